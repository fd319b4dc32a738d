"""Weights: what comes with Modu, files, and downloads from a real (local) hub."""

from __future__ import annotations

import hashlib
import os
import pty
import select
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from moduai.engines.embedded import terms, weights
from moduai.engines.embedded.download import Choice, choose
from moduai.engines.embedded.weights import WeightsError, from_file, is_path, model_name, resolve
from tests.engines.hub import Hub, running


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf_file(count: int | None = None, **fields: object) -> bytes:
    """A head with fields; a list becomes an array of texts."""
    out = b""
    for name, value in fields.items():
        out += text(name.replace("__", "."))
        match value:
            case str():
                out += struct.pack("<I", 8) + text(value)
            case int():
                out += struct.pack("<II", 4, value)
            case list():
                out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(fields) if count is None else count) + out


CHAT = gguf_file(
    general__architecture="llama",
    general__name="Tiny Chat 1B",
    general__license="mit",
    general__file_type=15,
    llama__context_length=2048,
    tokenizer__ggml__tokens=["a", "나", "c"],
    tokenizer__chat_template="{{ tools }}",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    terms.accept(tmp_path, "test")
    return tmp_path


def test_a_file_says_what_it_is(tmp_path):
    file = tmp_path / "x.gguf"
    file.write_bytes(CHAT)
    found = from_file(file)
    assert (found.name, found.licence, found.facts.context) == ("tiny-chat-1b", "mit", 2048)
    assert found.facts.has_template
    assert found.facts.tools
    assert found.description == "Tiny Chat 1B: llama, chat model, 4-bit; from x.gguf"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04 something else", "not a GGUF file"),
        (b"GGUF\x09\0\0\0" + bytes(16), "version 9"),
        (b"GGUF\x03\0\0\0", "ends too early"),
        (gguf_file(count=5_000), "5000 fields"),
        (gguf_file(count=1), "ends too early"),
        (gguf_file(count=1) + struct.pack("<Q", 1 << 62), "cut off"),
        (gguf_file(count=1) + text("a") + struct.pack("<I", 77), "unknown type 77"),
        (gguf_file(count=1) + text("a") + struct.pack("<IIQ", 9, 4, 1 << 50), "list of"),
        (gguf_file(count=1) + text("a") + struct.pack("<IIQ", 9, 8, 1_000) + text("x" * 9), "ends too early"),
        (gguf_file(count=1) + text("a") + struct.pack("<IIQ", 9, 9, 1), "list of unknown type"),
        (CHAT[:-30], "cut off|too early"),
    ],
)
def test_what_is_no_gguf_file_is_refused(tmp_path, data, says):
    file = tmp_path / "x.gguf"
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=says) as error:
        from_file(file)
    assert "\n" not in str(error.value)


def test_a_path_and_a_repository_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x.gguf").touch()
    for path in ("/a/b.gguf", "./b", "~/b.gguf", "here/x.gguf", "x.gguf", "a/b/c.gguf"):
        assert is_path(path), path
    for repository in ("ggml-org/gemma-3-1b-it-GGUF", "a/b:c-Q4_K_M.gguf", "a/b:sub/c.gguf"):
        assert not is_path(repository), repository


def test_model_names_are_easy_to_type():
    assert model_name("Qwen3 8B Instruct (Q4)") == "qwen3-8b-instruct-q4"
    assert model_name("한국어") == "model"


def test_without_accepted_terms_there_is_no_bundled_model(tmp_path, monkeypatch):
    monkeypatch.delenv("MODU_ACCEPT_TERMS", raising=False)
    assert resolve(tmp_path, "") is None
    assert not (tmp_path / "weights").exists()


def test_terms_are_accepted_by_environment_and_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("MODU_ACCEPT_TERMS", raising=False)
    assert not terms.accepted(tmp_path, {"MODU_ACCEPT_TERMS": "yes please"})
    assert terms.accepted(tmp_path, {"MODU_ACCEPT_TERMS": "1"})
    kept = terms.acceptance(tmp_path)
    assert kept is not None
    assert (kept.version, kept.how) == (terms.VERSION, "environment")
    assert terms.accepted(tmp_path, {})


def test_terms_of_another_version_or_unreadable_ask_again(tmp_path):
    terms.accept(tmp_path, "test")
    file = tmp_path / "weights" / "gemma-terms.json"
    for text_ in ('{"version": 0, "accepted_at": 1, "how": "x"}', "{"):
        file.write_text(text_)
        assert terms.acceptance(tmp_path) is None


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal")
@pytest.mark.parametrize(("typed", "wanted"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_terms_are_asked_for_on_a_terminal(tmp_path, typed, wanted):
    script = (
        "import sys; from pathlib import Path; from moduai.engines.embedded import terms;"
        " print(terms.ask(Path(sys.argv[1])))"
    )
    ours, theirs = pty.openpty()
    environ = {name: value for name, value in os.environ.items() if name != "MODU_ACCEPT_TERMS"}
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environ,
    )
    os.write(ours, typed.encode())
    said = child.communicate(timeout=60)[0].decode().strip()
    shown = b""
    while select.select([ours], [], [], 1.0)[0]:  # the echo of what was typed may come by itself
        shown += os.read(ours, 65_536)
    os.close(ours)
    os.close(theirs)
    assert said == str(wanted)
    assert b"https://ai.google.dev/gemma/terms" in shown
    assert bool(terms.acceptance(tmp_path)) is wanted


class Parts:
    """Stands for the package that carries the weights, with other bytes."""

    def __init__(self, *files: Path) -> None:
        self.files = files

    def chunk_paths(self) -> list[Path]:
        return list(self.files)


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    parts = [tmp_path / "part0", tmp_path / "part1"]
    for number, part in enumerate(parts):
        part.write_bytes(bytes([number]) * 1000)
    whole = b"".join(part.read_bytes() for part in parts)
    monkeypatch.setattr(weights, "BUNDLED_DIGEST", hashlib.sha256(whole).hexdigest())
    monkeypatch.setattr(weights, "import_module", lambda _name: Parts(*parts))
    return parts


def test_bundled_weights_are_put_together_once_and_checked_once(home, packaged, monkeypatch):
    found = resolve(home, "")
    assert found is not None
    assert found.path.read_bytes() == b"\0" * 1000 + b"\1" * 1000
    monkeypatch.setattr(weights, "sha256", lambda _file: pytest.fail("it was checked before"))
    assert resolve(home, "") == found


def test_bundled_weights_that_changed_are_made_anew(home, packaged):
    found = resolve(home, "")
    found.path.write_bytes(b"something else")
    assert resolve(home, "").path.read_bytes() == b"\0" * 1000 + b"\1" * 1000


def test_a_package_with_other_bytes_is_refused_and_nothing_is_left(home, packaged):
    packaged[0].write_bytes(b"not what was pinned")
    with pytest.raises(WeightsError, match="digest"):
        resolve(home, "")
    assert [file.name for file in (home / "weights").iterdir()] == ["gemma-terms.json"]


def test_without_the_package_there_is_no_engine(home, monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda _name: None)
    assert resolve(home, "") is None


def test_the_sensible_quantisation_is_chosen():
    def files(*names: str) -> list[Choice]:
        return [Choice(name, "0" * 64, 1) for name in names]

    several = files("m-Q8_0.gguf", "m-Q4_K_M.gguf", "mmproj-f16.gguf", "README.md", "m-Q2_K.gguf")
    assert choose("a/b", "", several).name == "m-Q4_K_M.gguf"
    assert choose("a/b", "", files("m-Q8_0.gguf", "m-f16.gguf")).name == "m-Q8_0.gguf"
    assert choose("a/b", "", files("odd.gguf")).name == "odd.gguf"
    assert choose("a/b", "m-Q2_K.gguf", several).name == "m-Q2_K.gguf"
    with pytest.raises(WeightsError, match=r"no file x\.gguf; there are: m-Q8_0\.gguf, m-Q4_K_M\.gguf"):
        choose("a/b", "x.gguf", several)
    with pytest.raises(WeightsError, match="name one file"):
        choose("a/b", "", files("one.gguf", "two.gguf"))
    with pytest.raises(WeightsError, match="no GGUF file"):
        choose("a/b", "", files("model.safetensors"))


DOWNLOAD = """
import sys
from pathlib import Path
from moduai.engines.embedded.weights import WeightsError, resolve
try:
    found = resolve(Path(sys.argv[1]), sys.argv[2], lambda line: print("SAID", line))
    print("GOT", found.path.name if found else None, found.name if found else None)
except WeightsError as error:
    print("ERROR", error)
"""


def fetch(home: Path, hub: str, model: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DOWNLOAD, str(home), model],
        env={
            **os.environ,
            "HF_ENDPOINT": hub,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_ETAG_TIMEOUT": "2",
            **environ,
        },
        capture_output=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout.decode()


BIG = CHAT + bytes(3_000_000)


def test_a_model_is_downloaded_checked_and_then_used_without_the_hub(home):
    with running(Hub({"m-Q8_0.gguf": b"", "m-Q4_K_M.gguf": BIG})) as hub:
        said = fetch(home, hub.url, "someone/tiny-GGUF")
        assert "SAID downloading someone/tiny-GGUF/m-Q4_K_M.gguf (3 MB, 0 there)" in said
        assert "GOT m-Q4_K_M.gguf tiny-chat-1b" in said
    assert "GOT m-Q4_K_M.gguf tiny-chat-1b" in fetch(home, hub.url, "someone/tiny-GGUF")


def test_a_download_that_broke_off_goes_on_where_it_was(home):
    whole = BIG + bytes(9_000_000)  # the hub's client writes in pieces of 10 MB
    with running(Hub({"m-Q4_K_M.gguf": whole}, cut_after=11_000_000)) as hub:
        said = fetch(home, hub.url, "someone/tiny-GGUF", MODU_ACCEPT_TERMS="0")
        assert "going on with the model that comes with Modu" in said
        hub.cut_after, hub.away = 0, False
        before = len(hub.asked)
        said = fetch(home, hub.url, "someone/tiny-GGUF")
        assert "GOT m-Q4_K_M.gguf" in said
        assert ", 10 there" in said
        downloads = [range_ for method, path, range_ in hub.asked[before:] if "/resolve/" in path]
    assert len(downloads) == 1
    assert downloads[0].startswith("bytes=10")


def test_a_wrong_digest_is_refused_and_removed(home):
    with running(Hub({"m-Q4_K_M.gguf": BIG}, published={"m-Q4_K_M.gguf": "d" * 64})) as hub:
        said = fetch(home, hub.url, "someone/tiny-GGUF")
    assert "ERROR m-Q4_K_M.gguf has not the digest it should" in said
    assert not [*home.rglob("*.gguf"), *home.rglob("*.part")]


def test_an_unknown_repository_is_said_so(home):
    with running(Hub({})) as hub:
        assert "ERROR someone/else: there is no such repository" in fetch(home, hub.url, "someone/else")


def test_without_a_network_it_goes_on_with_what_there_is(home):
    with running(Hub({})) as hub:
        pass
    said = fetch(home, hub.url, "someone/tiny-GGUF:m.gguf")
    (line,) = [line for line in said.splitlines() if line.startswith("SAID")]
    assert "going on with the model that comes with Modu" in line
    assert "GOT gemma-3-270m-q4_k_m.gguf gemma-3-270m" in said
