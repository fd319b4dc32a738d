"""The metering process, ``python -m moduai.metering``: loads segments until told to stop, and keeps house.

While the database is locked or away it waits longer and longer, and loses nothing: rows and turns stay in
their files. At SIGTERM, or when its parent is gone, it loads what is there once more and ends. What it
keeps in order between two rounds is told in ``keeping``.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from moduai import settings
from moduai.history.loader import turns_kind
from moduai.log import configure
from moduai.metering.keeping import Keeper
from moduai.metering.loader import Loader
from moduai.metering.machine import machine_id
from moduai.metering.pulse import Heart, boot_s
from moduai.metering.taken import recover
from moduai.parent import Parent
from moduai.store.database import Database, brief
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys, SubjectsAwayError

EVERY_S = 0.2
MOST_WAIT_S = 5.0
"""Longest wait between two tries while the database is away."""

log = logging.getLogger("moduai.metering")


async def run(
    loaders: Sequence[Loader], keeper: Keeper, heart: Heart, db: Database, usage: Path, stop: asyncio.Event
) -> None:
    """Load every ``EVERY_S`` until ``stop`` is set or the parent process has gone, then once more."""
    parent = Parent()
    errors: tuple[type[Exception], ...] = (*db.errors, SubjectsAwayError)
    wait, failing = EVERY_S, False
    while True:
        last, began = stop.is_set() or parent.gone, boot_s()
        try:
            for loader in loaders:
                await loader.load_once()
            await recover(db, usage)
            heart.beat(began, loaded=True)
            wait = EVERY_S
            if failing:
                log.warning("usage is loaded again")
            failing = False
        except errors as error:
            if not failing:
                log.warning("usage cannot be loaded, and waits in its files", extra={"why": brief(error)})
            failing = True
            heart.beat(began, loaded=False)
            wait = min(wait * 2, MOST_WAIT_S)
        if last:
            return
        await keeper.step()  # after loading: what keeps it waiting may not keep usage
        await _sleep(stop, wait)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def main() -> None:
    """Read the settings and run until SIGTERM or SIGINT; a second signal ends it at once."""
    loaded = settings.load()
    configure(loaded.settings.log, "metering")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: sys.exit(1) if stop.is_set() else stop.set())
    db = Database(loaded.database_url)
    machine = machine_id(loaded.home)
    subjects = SubjectKeys.open(loaded.home, Keyring.open(loaded.home))
    loaders = [
        Loader(db, loaded.path("usage"), machine),
        Loader(db, loaded.path("turns"), machine, turns_kind(subjects)),
    ]
    heart = Heart(loaded.home)
    keeper = Keeper(db, loaded.settings, heart.sure)
    try:
        await run(loaders, keeper, heart, db, loaded.path("usage"), stop)
    finally:
        subjects.close()
        await db.dispose()


if __name__ == "__main__":
    asyncio.run(main())
