"""The process that runs one scenario for a page: a request on standard input, an answer on standard output.

It bounds itself before it reads: time, memory, and one at a time on this machine (``scenario.lock`` in the
home folder's ``run``). It reads files and writes none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from moduai.gateway.policy_text import parse, shipped_text
from moduai.packs.read import told
from moduai.planner import fluid, load, outcome
from moduai.planner.plant import Plant
from moduai.planner.report import sections
from moduai.planner.scenario import Given, ScenarioError, World, read
from moduai.scheduling.policy import Policy, trusted
from moduai.web.scenario_runs import MOST_TICKS, Asked, Said

LANGUAGES: Final = ("en", "ko")
NICE: Final = 10
POLL_S: Final = 0.05
MOST_TOLD: Final = 5
"""Faults of a scenario."""


def main() -> None:
    """Bound ourselves, read, answer."""
    cpu, memory, turn, wall = map(int, sys.argv[1:5])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    with contextlib.suppress(ValueError, OSError):  # macOS does not have it
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    os.nice(NICE)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    with _alone(Path(asked.home), turn) as alone:
        signal.alarm(wall)
        said = answer(asked) if alone else Said(error="planner_busy")
        sys.stdout.buffer.write(msgspec.json.encode(said))


@contextlib.contextmanager
def _alone(home: Path, turn: float) -> Iterator[bool]:
    """Whether no other worker's child runs, within so many seconds; and none does until it is left."""
    folder = home / "run"
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + turn
    with (folder / "scenario.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    yield False
                    return
                time.sleep(POLL_S)
            else:
                yield True
                return


def answer(asked: Asked) -> Said:
    """Run the scenario. More than may be taken of memory is too much like more than may be taken of time."""
    try:
        return _answer(asked)
    except MemoryError:
        return Said(error="planner_too_much")


def _answer(asked: Asked) -> Said:
    given = Given.here(partial(_policy, asked), shipped_text(), Path(asked.home), asked.policy)
    try:
        world = read(Path(asked.file), given, asked.what_if.tables())
    except ScenarioError as error:
        return Said(error="value_not_allowed", text="; ".join(map(told, error.faults[:MOST_TOLD])))
    if asked.what_if.fleet != 1.0:
        world = world.grown(asked.what_if.fleet)
    ticks = len(load.ticks(world))
    if ticks > MOST_TICKS:
        most = f"{world.head.days} days are {ticks:,} steps of time and {MOST_TICKS:,} may be run here"
        return Said(error="planner_too_much", text=f"{most}: choose fewer days, or modu plan run.")
    return _run(world)


def _policy(asked: Asked, text: str) -> Policy:
    """The one that is in force here gives nothing to groups that people choose for themselves."""
    found = parse(text)
    return trusted(found, asked.chosen) if text == asked.policy else found


def _run(world: World) -> Said:
    plant = Plant(world)
    flow = fluid.run(world, plant, fluid.middle(world))
    bands = None
    if world.head.draws:
        columns = fluid.drawn(world, plant)
        bands = columns, fluid.run(world, plant, columns, regions=False)
    found = outcome.outcome(world, plant, flow, bands)
    return Said(
        outcome=msgspec.Raw(msgspec.json.encode(found)),
        figures={language: sections(found, language) for language in LANGUAGES},
    )


if __name__ == "__main__":
    main()
