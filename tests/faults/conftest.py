"""What breaks below a service: its clock, its disk, its network, its database.

Faults need what only root may do (mount, network namespaces) or a C compiler: where that is missing a test is
skipped with the reason, but fails where `CI` is set and it could have been installed.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness import modu, process
from benchmarks.harness.modu import Home

from tests import conftest

CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
LONG = bool(os.environ.get("MODU_BENCH_FAULTS_LONG"))
"""`python -m benchmarks cells --only faults`: faults last as long as real ones."""


def until(look: Callable[[], Any]) -> Any:
    """What ``look`` gives, once it is true: faults take seconds, so it looks ten times in each."""
    return conftest.until(look, within_s=60, every_s=0.1)


class Faults:
    """What processes that are started with it are told of clock and disk."""

    def __init__(self, library: Path, file: Path) -> None:
        self._library, self._file = library, file
        self.set()

    def set(self, *, ahead_s: int = 0, slow_ms: int = 0) -> None:
        """From now on."""
        with self._file.open("r+b" if self._file.exists() else "wb") as out:
            out.write(struct.pack("qq", ahead_s, slow_ms))

    @property
    def environ(self) -> dict[str, str]:
        """Of a process that is to have them."""
        return {"LD_PRELOAD": str(self._library), "FAULTS": str(self._file)}


class FaultyHome(Home):
    """A home folder whose processes have faults."""

    def __init__(self, home: Home, faults: Faults) -> None:
        super().__init__(home.folder, home.key)
        self._faults = faults

    def environ(self, **settings: str) -> dict[str, str]:
        return super().environ(**settings) | self._faults.environ


def needs(program: str) -> None:
    """Skip where a program is not installed; where CI is set that is a fault of its own."""
    if shutil.which(program) is None:
        assert "CI" not in os.environ, f"{program} is not installed"
        pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cc")
    made = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(made), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return made


@pytest.fixture
def faults(library: Path, tmp_path: Path) -> Iterator[Faults]:
    made = Faults(library, tmp_path / "faults")
    yield made
    made.set()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home folder to copy, and the engine that it names; on a socket, which every network has."""
    place = tmp_path_factory.mktemp("prepared")
    socket, log = place / "engine.sock", place / "engine.log"
    options = ["--unix", str(socket), "--chunks", "10", "--pace", "0.05"]
    command = [sys.executable, "-m", "benchmarks.harness.engine", *options]
    with process.started(command, on=CPUS, log=log):
        yield modu.prepare(place / "home", [f"unix://{socket}"], concurrency=4)


@pytest.fixture
def home(prepared: Home, tmp_path: Path) -> Home:
    return copied(prepared, tmp_path / "home")


def copied(home: Home, folder: Path) -> Home:
    """Another home like it."""
    shutil.copytree(home.folder, folder)
    return Home(folder, home.key)


@pytest.fixture
def faulty(faults: Faults, home: Home) -> FaultyHome:
    return FaultyHome(home, faults)
