"""What the line has learned and what people owe, kept in ``run/`` from one worker to the next.

Written at the beginning of a drain, while it is still known who owes what; but not by a worker whose
successor is at work already, for only the one after that would read it, much too late. Read once, when the
engines are known, and removed, so that a crash brings nothing old back. Without it fairness starts anew:
fails open.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from moduai.scheduling import FairQueue
from moduai.scheduling.state import MOST_BYTES
from moduai.store.files import read_aged, write

FILE = "run/line.state"

log = logging.getLogger(__name__)


def keep(home: Path, line: FairQueue) -> None:
    """Write what the next worker goes on from. Fails open."""
    try:
        write(home / FILE, line.dump(time.monotonic_ns()))
    except OSError as error:
        log.warning("what the line has learned cannot be kept", extra={"why": str(error)})


def take_back(home: Path, line: FairQueue) -> None:
    """Go on from what the worker before has kept. Fails open."""
    place = home / FILE
    try:
        if not (found := read_aged(place, MOST_BYTES + 1)):
            return
        place.unlink()
    except OSError as error:
        log.warning("what the line had learned cannot be read", extra={"why": str(error)})
        return
    if not line.restore(found[0], time.monotonic_ns(), found[1]):
        log.warning("what the line had learned is damaged or of another version: it begins anew")
