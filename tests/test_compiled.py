"""Machine code of the hot lane: used as a whole, only while it is of these sources, and no different."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripts import compiled as script

from moduai import compiled

DECISIONS = """
from benchmarks.fairness_histories import History
from moduai import compiled
from moduai.scheduling import queue
from moduai.scheduling.journal import Journal
import benchmarks.fairness_histories as histories

made = []
def journal(policy):
    made.append(Journal(policy, lambda line: None))
    return made[-1]
histories.FairQueue = journal
for seed in range(40):
    History(seed).play()
print(compiled.in_use(), sum(each.calls for each in made), *(each.digest for each in made))
"""


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one module and its machine code; the file of the source."""
    source, file = tmp_path / "part.py", tmp_path / "part.so"
    source.write_text("x = 1\n")
    file.write_bytes(b"")
    manifest = tmp_path / "manifest.json"
    manifest.write_text(
        json.dumps({"sources": {"part.py": compiled.digest(source)}, "files": {"moduai.part": "part.so"}})
    )
    for name, value in (("PACKAGE", tmp_path), ("BUILT", tmp_path), ("MANIFEST", manifest)):
        monkeypatch.setattr(compiled, name, value)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return source


def test_machine_code_is_used_only_for_the_sources_it_was_built_from(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODU_COMPILED", "1")
    compiled.use()
    assert compiled.in_use()
    compiled.use()
    assert sum(isinstance(each, compiled.Finder) for each in sys.meta_path) == 1
    (finder,) = (each for each in sys.meta_path if isinstance(each, compiled.Finder))
    found = finder.find_spec("moduai.part")
    assert found is not None
    assert found.origin == str(built.with_suffix(".so"))
    assert finder.find_spec("moduai.other") is None
    built.write_text("x = 2\n")
    assert compiled.read() is None


@pytest.mark.parametrize("damaged", ["", "[]", "{}", '{"sources": {}}', '{"sources": 1, "files": {}}'])
def test_a_damaged_list_is_as_if_there_were_none(built: Path, damaged: str) -> None:
    compiled.MANIFEST.write_text(damaged)
    assert compiled.read() is None


def test_without_the_files_or_when_told_so_the_sources_run(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODU_COMPILED", "0")
    compiled.use()
    assert not compiled.in_use()
    built.with_suffix(".so").unlink()
    assert compiled.read() is None


@pytest.mark.slow
def test_machine_code_decides_as_the_sources_do() -> None:
    if not script.is_built():
        pytest.skip("not built here: make compiled")
    told = {
        setting: subprocess.run(
            [sys.executable, "-c", DECISIONS],
            env={**os.environ, "MODU_COMPILED": setting},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for setting in ("0", "1")
    }
    assert (told["0"][0], told["1"][0]) == ("False", "True")
    assert told["0"][1:] == told["1"][1:]
    assert int(told["0"][1]) > 1000
