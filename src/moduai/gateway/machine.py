"""What a worker sees of its machine: how far the metering process is, room on the disks, the clock.

What cannot be seen is no trouble (fails open), but for the metering process: of that nothing is heard for as
long as this worker runs.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from moduai.gateway.degraded import CLOCK, DISK, METERING, Mode
from moduai.metering import pulse
from moduai.settings import Loaded

LEAST_FREE: Final = 256 << 20
"""A disk with less room than this is nearly full, unless that is more than ``LEAST_PART`` of it."""
LEAST_PART: Final = 0.05


class Machine:
    """The last look at it."""

    def __init__(self, loaded: Loaded) -> None:
        self._home = loaded.home
        self._folders = (loaded.home, loaded.path("usage"))
        self._late_s = loaded.settings.ledger.late_s
        self._began = pulse.boot_s()
        self.behind_s = 0.0
        """Age of the oldest usage that may not be in the database."""
        self._full = False
        self._moved_s = 0.0

    @property
    def modes(self) -> dict[Mode, bool]:
        """Which of its modes hold."""
        return {
            METERING: self.behind_s > self._late_s,
            DISK: self._full,
            CLOCK: abs(self._moved_s) > pulse.MOVED_S,
        }

    def look(self) -> None:
        """Look now; it may take as long as a disk does."""
        beat = pulse.read(self._home)
        behind = beat.behind_s() if beat else None
        self.behind_s = pulse.boot_s() - self._began if behind is None else behind
        self._moved_s = beat.moved_s() if beat else 0.0
        self._full = any(map(_nearly_full, self._folders))


def _nearly_full(folder: os.PathLike[str]) -> bool:
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize < min(LEAST_FREE, found.f_blocks * found.f_frsize * LEAST_PART)
    return False
