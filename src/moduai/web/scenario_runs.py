"""Scenarios of the planner for pages: run in a process of their own, one at a time, within bounds.

A worker that answers people has no NumPy and no time. So a run is a child process with bounds on its time and
memory (``scenario_child``); one runs on this machine at a time, few wait, and what was run lately is kept.
Rule: who asks for too much is told so and of the command that has no bounds. Fails closed: what went wrong
in a child is an error, never half an answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from moduai.gateway.errors import ApiError
from moduai.packs import where
from moduai.packs.files import SCENARIOS
from moduai.planner.handed import everything
from moduai.planner.what_if import WhatIf

WALL_S: Final = 40
"""A child's longest run; one takes about two seconds."""
TURN_S: Final = 20
"""How long it waits before for those of other workers."""
SLACK_S: Final = 10.0
"""To start and to end."""
CPU_S: Final = 20
MEMORY: Final = 4 << 30
"""Bytes of a child's address space."""
MOST_WAITING: Final = 3
"""Runs of this worker that may wait for the one that goes on."""
MOST_BYTES: Final = 8 << 20
MOST_TICKS: Final = 2_500
"""Of a run: eight days of five minutes, or a hundred of an hour."""
KEPT: Final = 16
KEPT_S: Final = 600.0
RETRY_S: Final = 5

BOUNDED: Final = (-signal.SIGALRM, -signal.SIGXCPU, -signal.SIGKILL)
"""How a child ends that has reached a bound."""

log = logging.getLogger(__name__)


class Asked(Struct, frozen=True, kw_only=True):
    """What a child is to do."""

    home: str
    file: str
    """Of the scenario."""
    policy: str = ""
    """The text of a policy in place of all others."""
    chosen: tuple[str, ...] = ()
    """Groups that people may choose for themselves: that policy gives them nothing."""
    what_if: WhatIf = WhatIf()


class Said(Struct, frozen=True, kw_only=True):
    """What a child answers."""

    error: str = ""
    """An error's code, and below what is to be told."""
    text: str = ""
    outcome: msgspec.Raw = msgspec.Raw(b"null")
    figures: dict[str, str] = {}
    """The report's sections by language, as markup of ours."""


def files(home: Path, use: str) -> Mapping[str, Path]:
    """Scenarios that can be run, by name: those that come with Modu, and those of the pack in use."""
    own = sorted((where.folder(use, home) / SCENARIOS).glob("*.toml"))
    both = {**{file.stem: file for file in own if file.is_file()}, **everything()}
    return {name: file for name, file in both.items() if not name.startswith("_")}


class Runs:
    """What runs and what was run lately, of one worker."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[float, Said]] = {}
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def ask(self, asked: Asked) -> Said:
        """The answer of a child, or the one that is kept. Raises ApiError."""
        key = msgspec.json.encode(asked)
        if (kept := self._fresh(key)) is not None:
            return kept
        if self._waiting >= MOST_WAITING:
            raise ApiError("planner_busy", retry_after_s=RETRY_S)
        self._waiting += 1
        try:
            async with self._lock:
                if (kept := self._fresh(key)) is None:
                    kept = await _child(key)
                    self._keep(key, kept)
        finally:
            self._waiting -= 1
        return kept

    def _fresh(self, key: bytes) -> Said | None:
        at, said = self._kept.get(key, (0.0, None))
        return said if time.monotonic() - at < KEPT_S else None

    def _keep(self, key: bytes, said: Said) -> None:
        self._kept.pop(key, None)
        self._kept[key] = (time.monotonic(), said)
        while len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]


async def _child(asked: bytes) -> Said:
    """Run a child to its end. Raises ApiError; whoever stops waiting ends it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "moduai.web.scenario_child",
        *map(str, (CPU_S, MEMORY, TURN_S, WALL_S)),
        env=_environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(TURN_S + WALL_S + SLACK_S):
            output, errors = await process.communicate(asked)
    except TimeoutError:
        raise ApiError("planner_too_much") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode in BOUNDED or len(output) > MOST_BYTES:
        raise ApiError("planner_too_much")
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        log.warning("a scenario could not be run", extra={"status": process.returncode, "why": last})
        raise ApiError("internal_error")
    said = msgspec.json.decode(output, type=Said)
    if said.error:
        raise ApiError(said.error, said.text, retry_after_s=RETRY_S if said.error == "planner_busy" else None)
    return said


def _environ() -> dict[str, str]:
    """What a child needs, and no secrets; it takes one core."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
