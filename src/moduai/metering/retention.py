"""How long the ledger is kept: rows of single requests, and sums of hours.

Rule: rows are deleted by whole days, and only once all their hours are summed up, so reports stand without
them. From then on their days are *closed*: a row of one that comes late is refused, for it cannot be known
whether it was counted (fails closed; the loader keeps it aside and says so). Each call does one small
batch, so nothing that is loaded waits long.
"""

from __future__ import annotations

import time
from typing import Final

from sqlalchemy import delete, func, select, tuple_, update

from moduai.metering.days import DAY, drop_before
from moduai.metering.tables import hours, kept_from, open_hours, usage
from moduai.store.database import Connection, Database

BATCH: Final = 2_000
_ROWS: Final = kept_from.c.table == "usage"


async def closed_before(connection: Connection, earliest: int) -> int:
    """Rows from before this, in microseconds, are refused. Of rows of today nothing is looked up: a day
    is not closed before it is over. The answer holds until the caller's transaction ends.
    """
    if earliest >= time.time() * 1_000_000 - DAY:
        return 0
    return await connection.scalar(select(kept_from.c.at).where(_ROWS).with_for_update(read=True)) or 0


async def drop_rows(db: Database, keep_days: int, now: float) -> bool:
    """Delete rows that are older than ``keep_days`` (0: none is); whether there are more. ``now`` is Unix
    time in seconds. Raises one of ``db.errors``.
    """
    before = await _close(db, keep_days, now)
    if not await drop_before(db, before):
        return False  # somebody reads them: the next hour
    old = select(usage.c.id, usage.c.at).where(usage.c.at < before).order_by(usage.c.at).limit(BATCH)
    async with db.begin() as connection:
        key = tuple_(usage.c.id, usage.c.at)
        gone = await connection.execute(delete(usage).where(usage.c.at < before, key.in_(old)))
    return gone.rowcount == BATCH


async def _close(db: Database, keep_days: int, now: float) -> int:
    """Close days, as far as their hours are summed up, and return where what is kept begins."""
    async with db.begin() as connection:
        # the lock first: rows of old days that are being loaded are seen by what follows
        closed: int = await connection.scalar(select(kept_from.c.at).where(_ROWS).with_for_update()) or 0
        if not keep_days:
            return closed
        wanted = int(now * 1_000_000) // DAY * DAY - keep_days * DAY
        oldest = await connection.scalar(select(func.min(open_hours.c.hour)))
        before = max(closed, wanted if oldest is None else min(wanted, oldest // DAY * DAY))
        if before > closed:
            await connection.execute(update(kept_from).where(_ROWS).values(at=before))
        return before


async def drop_hours(db: Database, keep_days: int, now: float) -> bool:
    """Delete the sums of the oldest hour, if it is older than ``keep_days`` (0: none is) and its rows are
    deleted; whether it was. Raises one of ``db.errors``.
    """
    if not keep_days:
        return False
    async with db.begin() as connection:
        closed: int = await connection.scalar(select(kept_from.c.at).where(_ROWS)) or 0
        oldest = await connection.scalar(select(func.min(hours.c.hour)))
        if oldest is None or oldest >= min(closed, int(now * 1_000_000) - keep_days * DAY):
            return False
        await connection.execute(delete(hours).where(hours.c.hour == oldest))
    return True
