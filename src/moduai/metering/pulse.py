"""The pulse of the metering process: how far it has loaded, and what time it should be.

Words: the *boot clock* counts since the machine was started, and nobody can set it; the *wall clock* tells
the time of day, and may jump; the *expected* time is the wall clock's as the boot clock has gone on from it.

Rule: what is deleted for its age is deleted by the earlier one of the wall clock and the expected time, so a
clock that jumps ahead deletes nothing; one that stays so for `BELIEVED_S` of work is believed. The pulse is
beaten into a small file of this machine, where the gateways read it; one that cannot be written is as one
that stands still.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

FILE: Final = "run/metering.pulse"
EVERY_S: Final = 1.0
MOVED_S: Final = 60.0
"""A wall clock that is off by more than this has been moved."""
DAY_S: Final = 86_400.0
BELIEVED_S: Final = DAY_S
OFF_S: Final = DAY_S
"""A machine that was off for less is believed at once when it is back."""
SIZE: Final = 256
"""Bytes of the file: it is written in place, also when the disk is full."""
_BOOT_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Pulse(Struct, frozen=True):
    """What the file says. Times are seconds of the boot clock but for ``time``."""

    boot: str
    """Names the start of the machine; empty where the system does not tell."""
    at: float
    loaded: float
    """All usage that was written before this is in the database."""
    time: float
    """The expected Unix time at ``at``."""
    odd_s: float
    """How long the wall clock has been another's."""

    def behind_s(self) -> float | None:
        """Age of the oldest usage that may not be in the database; None where the machine began anew."""
        return max(0.0, boot_s() - self.loaded) if self.boot == _BOOT_ID else None

    def moved_s(self) -> float:
        """How far the wall clock is ahead of the expected time."""
        return time.time() - self.expected()

    def expected(self) -> float:
        """The Unix time that it should be now."""
        gone, wall = boot_s() - self.at, time.time()
        if self.boot == _BOOT_ID and gone >= 0:
            return self.time + gone
        return wall if 0 <= wall - self.time <= OFF_S else self.time


_decode = msgspec.json.Decoder(Pulse).decode


def boot_s() -> float:
    """Seconds since the machine was started, also while it slept."""
    return time.clock_gettime(_BOOT_CLOCK)


def read(home: Path) -> Pulse | None:
    """The last beat; None where there is none that can be read."""
    with suppress(OSError, msgspec.DecodeError):
        return _decode((home / FILE).read_bytes())
    return None


class Heart:
    """What beats it."""

    def __init__(self, home: Path) -> None:
        self._file = home / FILE
        now, was = boot_s(), read(home)
        if was is None or was.boot != _BOOT_ID:
            expected, odd = (was.expected(), was.odd_s) if was else (time.time(), 0.0)
            was = Pulse(_BOOT_ID, now, now, expected, odd)
        self._pulse, self._next = was, now

    def sure(self) -> float:
        """The Unix time that deleting goes by: never ahead of the right one."""
        return min(time.time(), self._pulse.expected())

    def beat(self, began: float, *, loaded: bool) -> None:
        """A round that began then, by the boot clock, is over; ``loaded``: all that was there is loaded."""
        now, was = boot_s(), self._pulse
        expected, wall = was.expected(), time.time()
        moved = abs(wall - expected) > MOVED_S
        odd = was.odd_s + now - was.at if moved else 0.0
        if not moved or odd >= BELIEVED_S:
            expected, odd = wall, 0.0
        self._pulse = Pulse(_BOOT_ID, now, began if loaded else was.loaded, expected, odd)
        if now >= self._next:
            self._next = now + EVERY_S
            self._write()

    def _write(self) -> None:
        with suppress(OSError):
            handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(handle, msgspec.json.encode(self._pulse).ljust(SIZE), 0)
            finally:
                os.close(handle)


def _read_boot_id() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


_BOOT_ID: Final = _read_boot_id()
