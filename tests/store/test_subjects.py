from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.store import subjects as module
from moduai.store.keyring import Keyring, KeyringError
from moduai.store.subjects import SubjectGoneError, SubjectKeys, SubjectsAwayError

ANN, BEN = "sub_a1", "sub_b2"


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[SubjectKeys]:
    opened = SubjectKeys.open(tmp_path, Keyring.open(tmp_path))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SubjectKeys]:
    home = tmp_path_factory.mktemp("kept")
    opened = SubjectKeys.open(home, Keyring.open(home))
    opened.create(ANN)
    yield opened
    opened.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other processes wrote is looked for at every call."""
    monkeypatch.setattr(module, "LOOK_S", 0.0)


def another(keys: SubjectKeys) -> SubjectKeys:
    """The same file, as another process has it."""
    return SubjectKeys.open(keys.file.parent.parent, Keyring.open(keys.file.parent.parent))


@settings(max_examples=50)
@given(
    clear=st.binary(max_size=300), purpose=st.text(max_size=10), at=st.integers(0), flip=st.integers(1, 255)
)
def test_what_is_sealed_is_read_and_a_changed_byte_is_found(
    kept: SubjectKeys, clear: bytes, purpose: str, at: int, flip: int
) -> None:
    purpose = purpose.encode("utf-8", "replace").decode()
    sealed = kept.seal(ANN, purpose, clear)
    assert kept.unseal(ANN, purpose, sealed) == clear
    assert len(clear) < 4 or clear not in sealed
    broken = bytearray(sealed)
    broken[at % len(sealed)] ^= flip
    with pytest.raises(KeyringError):
        kept.unseal(ANN, purpose, bytes(broken))


@given(sealed=st.binary(max_size=60))
def test_any_bytes_are_refused_without_a_crash(kept: SubjectKeys, sealed: bytes) -> None:
    with pytest.raises(KeyringError):
        kept.unseal(ANN, "turn", sealed)
    assert not kept.readable(BEN, sealed)


def test_a_text_is_bound_to_its_subject_and_purpose(keys: SubjectKeys) -> None:
    sealed = keys.seal(ANN, "turn", b"text")
    keys.create(BEN)
    with pytest.raises(KeyringError, match="lost"):
        keys.unseal(BEN, "turn", sealed)
    with pytest.raises(KeyringError, match="purpose"):
        keys.unseal(ANN, "title", sealed)


def test_a_key_given_to_another_subject_in_the_file_opens_nothing(keys: SubjectKeys) -> None:
    sealed = keys.seal(ANN, "turn", b"text")
    with sqlite3.connect(keys.file) as file:
        file.execute("INSERT INTO keys SELECT ?, id, wrapped, made_at FROM keys", (BEN,))
    file.close()
    with pytest.raises(KeyringError):
        another(keys).unseal(BEN, "turn", sealed)


def test_the_file_is_the_owners_alone_and_holds_no_key_in_clear(tmp_path: Path, keys: SubjectKeys) -> None:
    keys.seal(ANN, "turn", b"text")
    assert keys.file == tmp_path / "keyring" / "subjects.db"
    assert keys.file.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(keys.file) as file:
        (wrapped,) = file.execute("SELECT wrapped FROM keys").fetchone()
    file.close()
    clear = Keyring.open(tmp_path).unseal(f"subject key {ANN}", wrapped)
    assert clear not in keys.file.read_bytes()
    assert not list((tmp_path / "keyring").glob("*-wal"))
    assert not list((tmp_path / "keyring").glob(".*"))


def test_a_destroyed_key_is_gone_for_good(keys: SubjectKeys) -> None:
    sealed, other = keys.seal(ANN, "turn", b"text"), keys.seal(BEN, "turn", b"other")
    with sqlite3.connect(keys.file) as file:
        (wrapped,) = file.execute("SELECT wrapped FROM keys WHERE subject = ?", (ANN,)).fetchone()
    file.close()
    assert wrapped in keys.file.read_bytes()
    keys.destroy(ANN, 100)
    keys.destroy(ANN, 200)
    assert keys.destroyed() == {ANN: 100}, "the first time stays"
    assert wrapped not in keys.file.read_bytes()
    for attempt in (lambda: keys.unseal(ANN, "turn", sealed), lambda: keys.seal(ANN, "turn", b"more")):
        with pytest.raises(SubjectGoneError):
            attempt()
    with pytest.raises(SubjectGoneError):
        keys.create(ANN)
    assert keys.unseal(BEN, "turn", other) == b"other"
    assert not keys.readable(ANN, sealed)


def test_a_subject_that_never_had_a_key_can_be_destroyed(keys: SubjectKeys) -> None:
    keys.destroy(ANN, 100)
    with pytest.raises(SubjectGoneError):
        keys.seal(ANN, "turn", b"text")


@pytest.mark.usefixtures("at_once")
def test_what_another_process_destroys_leaves_this_ones_memory(keys: SubjectKeys) -> None:
    sealed = keys.seal(ANN, "turn", b"text")
    other = another(keys)
    other.destroy(ANN, 100)
    other.close()
    with pytest.raises(SubjectGoneError):
        keys.unseal(ANN, "turn", sealed)


def test_a_cached_key_may_be_dropped_by_name(keys: SubjectKeys) -> None:
    sealed = keys.seal(ANN, "turn", b"text")
    keys.seal(BEN, "turn", b"text")
    other = another(keys)
    other.destroy(ANN, 100)
    other.close()
    keys.forget_cached(ANN)
    assert set(keys._cache) == {BEN}
    with pytest.raises(SubjectGoneError):
        keys.unseal(ANN, "turn", sealed)
    keys.forget_cached()
    assert not keys._cache


def test_memory_is_bounded(keys: SubjectKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED", 3)
    sealed = {f"sub_{number}": keys.seal(f"sub_{number}", "turn", b"text") for number in range(6)}
    assert all(keys.unseal(subject, "turn", text) == b"text" for subject, text in sealed.items())
    assert len(keys._cache) == 3


def test_a_key_in_memory_costs_microseconds(keys: SubjectKeys) -> None:
    """About 5 µs here; the limit leaves room for a busy machine."""
    keys.create(ANN)
    start = time.process_time()
    for _ in range(2000):
        keys.unseal(ANN, "turn", keys.seal(ANN, "turn", b"text"))
    assert (time.process_time() - start) / 4000 < 50e-6


def test_threads_share_one(keys: SubjectKeys) -> None:
    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(lambda n: (n % 5, keys.seal(f"sub_{n % 5}", "turn", b"text")), range(100)))
        read = pool.map(lambda each: keys.unseal(f"sub_{each[0]}", "turn", each[1]), sealed)
        assert set(read) == {b"text"}


def test_two_processes_that_begin_at_once_make_one_key(tmp_path: Path) -> None:
    Keyring.open(tmp_path)
    program = (
        "import sys; from pathlib import Path; from moduai.store.keyring import Keyring\n"
        "from moduai.store.subjects import SubjectKeys\n"
        f"home = Path({str(tmp_path)!r}); sys.stdin.readline()\n"
        "keys = SubjectKeys.open(home, Keyring.open(home))\n"
        "print(' '.join(keys.seal(f'sub_{n}', 'turn', b'text').hex() for n in range(20)))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[0].split() for process in started]
    keys = SubjectKeys.open(tmp_path, Keyring.open(tmp_path))
    for sealed in told:
        assert len(sealed) == 20
        for number, text in enumerate(sealed):
            assert keys.unseal(f"sub_{number}", "turn", bytes.fromhex(text)) == b"text"
    keys.close()


def test_a_lost_file_loses_what_was_sealed_until_it_is_put_back(tmp_path: Path, keys: SubjectKeys) -> None:
    sealed = keys.seal(ANN, "turn", b"text")
    keys.close()
    keys.file.rename(tmp_path / "aside")
    with pytest.raises(SubjectsAwayError, match="No such file"):
        SubjectKeys.open(tmp_path, Keyring.open(tmp_path), create=False)
    anew = another(keys)
    with pytest.raises(KeyringError, match="its key is lost"):
        anew.unseal(ANN, "turn", sealed)
    assert anew.unseal(ANN, "turn", anew.seal(ANN, "turn", b"new")) == b"new"
    shutil.copy(tmp_path / "aside", keys.file.with_name("copy"))
    keys.file.with_name("copy").replace(keys.file)
    anew._looked_at = 0.0
    assert anew.unseal(ANN, "turn", sealed) == b"text", "the running process finds the file put back"
    anew.close()


def test_a_file_that_goes_away_while_it_runs_is_told(keys: SubjectKeys) -> None:
    sealed = keys.seal(ANN, "turn", b"text")
    keys.file.unlink()
    keys._looked_at = 0.0
    with pytest.raises(SubjectsAwayError):
        keys.unseal(ANN, "turn", sealed)
    with pytest.raises(SubjectsAwayError):
        keys.destroy(ANN, 100)
    first, second = keys.seal_all([(ANN, "turn", b"text"), (BEN, "turn", b"text")])
    assert isinstance(first, SubjectsAwayError)
    assert first is second, "asked once for all: each asking may have to wait"
    assert not keys.file.exists(), "nothing is written to a new, empty file unasked"


def test_another_keyring_reads_nothing_and_ruins_nothing(tmp_path: Path, keys: SubjectKeys) -> None:
    sealed = keys.seal(ANN, "turn", b"text")
    other = SubjectKeys(keys.file, Keyring(b"\x05" * 32))
    with pytest.raises(KeyringError, match=r"put back keyring/master\.key"):
        other.unseal(ANN, "turn", sealed)
    assert not other.readable(ANN, sealed)
    since = other.seal(ANN, "turn", b"since")
    assert other.unseal(ANN, "turn", since) == b"since"
    other.close()
    restored = another(keys)
    assert restored.unseal(ANN, "turn", sealed) == b"text", "the old keyring, put back, reads the old text"
    assert restored.unseal(ANN, "turn", restored.seal(ANN, "turn", b"more")) == b"more"
    assert not restored.readable(ANN, since)
    restored.close()


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\x00" + b"\xff" * 4080])
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    keys = SubjectKeys.open(tmp_path, Keyring.open(tmp_path))
    keys.file.write_bytes(content)
    for attempt in (
        lambda: keys.seal(ANN, "turn", b"text"),
        lambda: keys.unseal(ANN, "turn", b"\x01" + bytes(60)),
        lambda: keys.destroy(ANN, 1),
        keys.destroyed,
    ):
        with pytest.raises(SubjectsAwayError, match=r"subjects\.db (is damaged|cannot be used)"):
            attempt()
    keys.close()
    assert keys.file.read_bytes() == content


def test_an_older_copy_brings_no_deleted_key_back_unseen(tmp_path: Path, keys: SubjectKeys) -> None:
    """What a restore replays: the deletions that the database knows are destroyed once more."""
    sealed = keys.seal(ANN, "turn", b"text")
    keys.close()
    shutil.copy(keys.file, tmp_path / "older")
    keys.destroy(ANN, 100)
    keys.close()
    (tmp_path / "older").replace(keys.file)
    assert keys.unseal(ANN, "turn", sealed) == b"text"
    assert keys.destroyed() == {}
    keys.destroy(ANN, 100)
    with pytest.raises(SubjectGoneError):
        keys.unseal(ANN, "turn", sealed)


def test_one_that_others_may_read_is_refused(tmp_path: Path, keys: SubjectKeys) -> None:
    keys.file.chmod(0o644)
    with pytest.raises(KeyringError, match="chmod 600"):
        SubjectKeys.open(tmp_path, Keyring.open(tmp_path))


@pytest.mark.parametrize("begin", ["BEGIN EXCLUSIVE", "BEGIN; SELECT count(*) FROM keys"])
def test_a_locked_file_is_told(keys: SubjectKeys, begin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_S", 0.01)
    holder = sqlite3.connect(keys.file, isolation_level=None)
    for statement in begin.split("; "):  # a writer, or one that reads while we write
        holder.execute(statement)
    for _ in range(2):
        with pytest.raises(SubjectsAwayError, match="locked"):
            keys.seal(ANN, "turn", b"text")
    holder.execute("ROLLBACK")
    holder.close()
    assert keys.unseal(ANN, "turn", keys.seal(ANN, "turn", b"text")) == b"text"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    keyring = Keyring.open(tmp_path)
    (tmp_path / "other").write_text("a file where the folder should be")
    with pytest.raises(SubjectsAwayError, match="cannot be made"):
        SubjectKeys.open(tmp_path / "other", keyring)
