"""Disks: one that is slow, and one that is full."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.harness.modu import Home

from tests.faults.conftest import LONG, Faults, FaultyHome, copied, until
from tests.service.test_faults import running

SLOW_S = 60 if LONG else 8


def test_a_slow_disk_keeps_nobody_waiting(faulty: FaultyHome, faults: Faults, tmp_path: Path) -> None:
    with running(faulty, tmp_path / "modu.log") as here:
        ids = here.served(3)
        here.all_there(ids)
        faults.set(slow_ms=SLOW_S * 1000)
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            ids += here.served(1)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.03)  # longer than some are between two writes
        assert slowest < SLOW_S / 2, "who is answered waited for a write"
        assert not {row[0] for row in here.rows()} & set(ids[10:]), "the disk was not slow"
        faults.set()
        here.all_there(ids)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64m,mode=0700", "modu-test", str(place)]
    if os.geteuid() or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip(
            "this kernel lets us mount nothing: tests/service/test_faults.py has a limit in its place"
        )
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def resize(place: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def test_a_disk_without_any_room(small: Path, prepared: Home) -> None:
    """Of the whole home folder: database, usage, pulse."""
    settings = {"ledger__buffer_rows": "60", "ledger__late_s": "1"}
    with running(copied(prepared, small / "home"), small.with_suffix(".log"), **settings) as here:
        ids = here.served(3)
        here.all_there(ids)
        found = os.statvfs(small)
        resize(small, (found.f_blocks - found.f_bfree + 2) * found.f_frsize)
        answer = here.ask()
        for _ in range(400):
            if answer.status_code == 503:
                break
            assert answer.status_code == 200
            ids.append(answer.headers["x-request-id"])
            answer = here.ask()
        assert answer.json()["error"]["code"] == "ledger_unavailable"
        until(lambda: {"disk", "ledger", "metering"} <= set(here.ready()[1]["degraded"]))
        assert here.ready()[0] == 503
        resize(small, 64 << 20)
        until(lambda: here.ready() == (200, {"status": "ready", "degraded": []}))
        here.all_there([*ids, *here.served(3)])
