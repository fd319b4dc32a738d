"""A bundle, made of a few of the locked packages, installs where there is no network."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from moduai import __version__
from moduai.cli import bundle

ENOUGH = ("async-timeout", "msgspec", "redis")
"""What the test carries of the locks; all of them are half a gigabyte."""


def _lock(folder: Path) -> Path:
    text = "".join((bundle.SOURCE / "requirements" / f"{name}.lock").read_text() for name in bundle.LOCKS)
    taken = [part for part in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE) if part.startswith(ENOUGH)]
    assert len(taken) == len(ENOUGH)
    lock = folder / "few.lock"
    lock.write_text("".join(taken))
    return lock


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    place = tmp_path_factory.mktemp("bundle")
    (place / "answers.gguf").write_bytes(b"GGUF" + bytes(64))
    digest = bundle.make(place / "usb" / "modu", [_lock(place)], [place / "answers.gguf"])
    return place / "usb" / "modu", digest


def planted(folder: Path) -> Path:
    """A good wheel that no list names."""
    file = folder / "wheels" / "planted-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("planted.py", "")
        about = "planted-1.0.dist-info"
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    return file


def install(folder: Path, to: Path) -> subprocess.CompletedProcess[str]:
    """In a network namespace with nothing in it, not even loopback."""
    alone = ["unshare", "--net", "--user", "--map-root-user"] if sys.platform == "linux" else []
    environ = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "HOME": str(to.parent)}
    command = [*alone, "sh", str(folder / "install.sh"), str(to)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def test_everything_is_listed_and_the_list_has_a_digest(made: tuple[Path, str]) -> None:
    folder, digest = made
    listed = (folder / "SHA256SUMS").read_text()
    assert digest == hashlib.sha256(listed.encode()).hexdigest()
    named = {line.partition("  ")[2] for line in listed.splitlines()}
    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert named == there - {"SHA256SUMS"}
    assert {"install.sh", "weights/answers.gguf"} <= named
    assert f"wheels/moduai-{__version__}-py3-none-any.whl" in named
    assert list(folder.parent.iterdir()) == [folder], "nothing is left beside it"


@pytest.mark.slow
def test_it_installs_what_is_listed_without_a_network(made: tuple[Path, str], tmp_path: Path) -> None:
    extra = planted(made[0])
    ended = install(made[0], tmp_path / "modu")
    extra.unlink()
    assert ended.returncode == 0, ended.stderr
    assert not list((tmp_path / "modu").glob("lib/*/site-packages/planted*"))
    said = subprocess.run(
        [tmp_path / "modu" / "bin" / "modu", "--version"], capture_output=True, text=True, check=True, env={}
    )
    assert said.stdout == f"modu {__version__}\n"
    code = "import moduai.settings, redis; print(moduai.__file__)"
    said = subprocess.run(
        [tmp_path / "modu" / "bin" / "python", "-c", code], capture_output=True, text=True, check=True, env={}
    )
    assert Path(said.stdout).is_relative_to(tmp_path), "it is what was carried, not our source"


def test_a_file_that_was_changed_on_the_way_stops_it(made: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = made
    file = folder / "weights" / "answers.gguf"
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:-1] + b"\1")
        ended = install(folder, tmp_path / "modu")
    finally:
        file.write_bytes(whole)
    assert ended.returncode != 0
    assert "answers.gguf" in ended.stdout + ended.stderr
    assert not (tmp_path / "modu").exists()


def test_it_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(bundle.BundleError, match="a new folder"):
        bundle.make(tmp_path, [_lock(tmp_path)], [])
    with pytest.raises(bundle.BundleError, match="checkout"):
        bundle.make(tmp_path / "new", [tmp_path / "none.lock"], [])
    wrong = tmp_path / "wrong.lock"
    wrong.write_text(f"msgspec==0.22.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(bundle.BundleError, match="pip"):
        bundle.make(tmp_path / "new", [wrong], [])
    assert not (tmp_path / "new").exists()
