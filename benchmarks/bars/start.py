"""start: CPU of a second start until the first authorised answer, and of ``modu --help``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.harness import modu, process
from benchmarks.harness.process import StartError

MUST_S, MUST_HELP_S = 1.5, 0.3
EMBEDDED = "moduai.engines.embedded"


def start(bench: Bench) -> Measured:
    """CPU of all processes of ``modu up``, less the embedded engine's, which is told beside."""
    runs = 1 if bench.quick else 5
    place = bench.place("start")
    home = modu.prepare(place / "home")
    _start(bench, home, place / "first.log")  # writes the engine's record and puts its weights together
    measured = [_start(bench, home, place / f"{number}.log") for number in range(runs)]
    parts = {name: median([each.parts.get(name, 0.0) for each in measured]) for name in measured[0].parts}
    helps = [_help(bench) for _ in range(3 if bench.quick else 9)]
    ours, elapsed = median([each.ours for each in measured]), median([each.elapsed for each in measured])
    value = [round(ours, 3), round(median(helps), 3)]
    notes = [
        ", ".join(f"{name} {used:.2f} s" for name, used in parts.items()) + f"; {elapsed:.2f} s elapsed",
        f"`modu --help` {min(helps):.3f} to {max(helps):.3f} s",
    ]
    holds = value[0] <= MUST_S and value[1] <= MUST_HELP_S
    return Measured(Row("start", list(value), f"<= {MUST_S}; <= {MUST_HELP_S}", holds), notes)


class Start(NamedTuple):
    """One start. Seconds."""

    parts: dict[str, float]
    """CPU by process; "ended" is what had ended by then, such as the forked preparation."""
    elapsed: float

    @property
    def ours(self) -> float:
        """CPU of all but the engine."""
        return sum(used for name, used in self.parts.items() if name != EMBEDDED)


def _start(bench: Bench, home: modu.Home, log: Path) -> Start:
    """One start on this home folder, until the first authorised answer."""
    began = time.perf_counter()
    with modu.up(home, log, on=bench.target, engine=True) as supervisor:
        url = modu.wait_for_status(home.folder, supervisor, log)
        _until_200(url, home.key)
        elapsed = time.perf_counter() - began
        parts: dict[str, float] = {}
        for pid in process.tree(supervisor.pid):
            name = next((word for word in process.command(pid).split() if word.startswith("moduai")), "other")
            own, ended = process.cpu_parts_s(pid)
            parts[name] = parts.get(name, 0.0) + own
            parts["ended"] = parts.get("ended", 0.0) + ended
    return Start(parts, elapsed)


def _until_200(url: str, key: str) -> None:
    deadline = time.monotonic() + modu.READY_S
    while time.monotonic() < deadline:
        if modu.get(url, "/v1/models", key)[0] == 200:
            return
        time.sleep(0.005)
    raise StartError("/v1/models was not answered with 200")


def _help(bench: Bench) -> float:
    """CPU of ``modu --help``: user and system time of the child."""
    arguments = [sys.executable, "-m", "moduai.cli", "--help"]
    running = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, cwd=process.ROOT)
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise StartError(f"`modu --help` ended with {running.returncode}")
    return used.ru_utime + used.ru_stime
