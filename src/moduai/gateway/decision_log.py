"""The decision log on disk: what the line was told, in segments of one worker's life.

Off unless the setting ``line.journal`` names a folder. Rule: the log may never stop the service. When it has
reached its size, or the disk refuses for long, it ends where it is (fails open); it never has a gap, for what
comes after one cannot be replayed. When a worker starts, the oldest segments go until the rest has that size.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from moduai.metering.segment import Appender
from moduai.scheduling.journal import Journal
from moduai.scheduling.policy import Policy
from moduai.settings import Loaded

SUFFIX = ".decisions.jsonl"
NUMBER = 6
"""Digits of a segment's number, before the suffix."""

log = logging.getLogger(__name__)


class DecisionLog(Appender[bytes]):
    """The line of one worker, and the file of all that it is told."""

    suffix = SUFFIX
    what = "the decision log"

    def __init__(self, loaded: Loaded, worker: str, policy: Policy) -> None:
        settings = loaded.settings
        folder = loaded.path(settings.line.journal)
        super().__init__(folder, settings.ledger, worker, b"".join)
        self._left = settings.line.journal_mb << 20
        _trim(folder, self._left)
        self.line = Journal(policy, self._take)

    def close(self) -> None:
        """Say the last hash, and give up the file."""
        self.line.close()
        super().close()

    def _take(self, line: bytes) -> None:
        """Keep a line until the next flush. Fails open."""
        if self._left < 0:
            return
        self._left -= len(line)
        if self.full:
            self._left = -1
        if self._left < 0:
            log.warning("the decision log ends here: it has its size, or the disk refuses it")
        else:
            self.add(line)


def segments(file: Path) -> list[Path]:
    """All segments of the worker's life to which one belongs, in order."""
    life = file.name.removesuffix(SUFFIX)[:-NUMBER]
    found = [each for each in file.parent.glob(f"*{SUFFIX}") if each.name.startswith(life)]
    return sorted(found) if file in found else [file]


def _trim(folder: Path, most: int) -> None:
    """Remove the oldest segments until the rest has at most so many bytes. Fails open."""
    try:
        found = sorted(((file.stat(), file) for file in folder.glob(f"*{SUFFIX}")), key=_age, reverse=True)
        kept = 0
        for stat, file in found:
            kept += stat.st_size
            if kept > most:
                file.unlink()
    except OSError as error:
        log.warning("old decision logs cannot be removed", extra={"why": str(error)})


def _age(found: tuple[os.stat_result, Path]) -> int:
    return found[0].st_mtime_ns
