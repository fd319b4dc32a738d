"""What the line has learned and what people owe, kept in ``run/`` from one worker to the next.

Written at the beginning of a drain, while it is still known who owes what; read once, when the engines are
known, and removed, so that a crash brings nothing old back. Without it fairness starts anew: fails open.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from moduai.scheduling import FairQueue
from moduai.scheduling.state import MOST_BYTES
from moduai.store.files import write

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
        with place.open("rb") as file:
            data, written = file.read(MOST_BYTES + 1), os.fstat(file.fileno()).st_mtime_ns
        place.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("what the line had learned cannot be read", extra={"why": str(error)})
        return
    away = max(0, time.time_ns() - written)
    if not line.restore(data, time.monotonic_ns(), away):
        log.warning("what the line had learned is damaged or of another version: it begins anew")
