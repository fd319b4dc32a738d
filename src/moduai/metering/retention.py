"""How long the ledger is kept: rows of single requests, and sums of hours.

Rule: rows are deleted by whole days, and only once all their hours are summed up, so reports stand without
them. Before they are, their days are *closed*: a row of one that comes late is refused, for it cannot be
known whether it was counted (fails closed; the loader keeps it aside and says so). What is deleted is gone,
so no clock is believed alone: time is what both the clock and the newest row say, and one call closes a few
days only, so that clocks which are all wrong do harm slowly. Each call does one small batch, so nothing that
is loaded waits long.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, func, select, tuple_, update

from moduai.metering.days import DAY, drop_before
from moduai.metering.tables import hours, kept_from, open_hours, usage
from moduai.store.database import Connection, Database

BATCH: Final = 2_000
STEP: Final = 7 * DAY
"""Most that one call closes."""
_ROWS: Final = kept_from.c.table == "usage"


async def closed_before(connection: Connection) -> int:
    """Rows from before this, in microseconds, are refused. The answer holds until the caller's transaction
    ends.
    """
    return await connection.scalar(select(kept_from.c.at).where(_ROWS).with_for_update(read=True)) or 0


async def close_days(db: Database, keep_days: int, now: float) -> None:
    """Close days that are older than ``keep_days`` (0: none is), as far as their hours are summed up.
    ``now`` is Unix time in seconds. Raises one of ``db.errors``.
    """
    if not keep_days:
        return
    async with db.begin() as connection:
        # the lock first: rows of old days that are being loaded are seen by what follows
        closed: int = await connection.scalar(select(kept_from.c.at).where(_ROWS).with_for_update()) or 0
        newest = await connection.scalar(select(func.max(usage.c.at)))
        oldest = await connection.scalar(select(func.min(usage.c.at)).where(usage.c.at >= closed))
        if newest is None or oldest is None:
            return
        opened = await connection.scalar(select(func.min(open_hours.c.hour)))
        today = min(int(now * 1_000_000), newest) // DAY * DAY
        before = min(today - keep_days * DAY, oldest // DAY * DAY + STEP)
        before = before if opened is None else min(before, opened // DAY * DAY)
        if before > closed:
            await connection.execute(update(kept_from).where(_ROWS).values(at=before))


async def drop_rows(db: Database) -> bool:
    """Delete rows of closed days; whether there are more. Raises one of ``db.errors``."""
    async with db.connect() as connection:
        before: int = await connection.scalar(select(kept_from.c.at).where(_ROWS)) or 0
    if not before or not await drop_before(db, before):
        return False  # somebody reads them: the next hour
    old = select(usage.c.id, usage.c.at).where(usage.c.at < before).order_by(usage.c.at).limit(BATCH)
    async with db.begin() as connection:
        key = tuple_(usage.c.id, usage.c.at)
        gone = await connection.execute(delete(usage).where(usage.c.at < before, key.in_(old)))
    return gone.rowcount == BATCH


async def drop_hours(db: Database, keep_days: int, now: float) -> None:
    """Delete the sums of the oldest hour, if it is older than ``keep_days`` (0: none is) and its rows are
    deleted. Raises one of ``db.errors``.
    """
    if not keep_days:
        return
    async with db.begin() as connection:
        closed: int = await connection.scalar(select(kept_from.c.at).where(_ROWS)) or 0
        oldest = await connection.scalar(select(func.min(hours.c.hour)))
        newest = await connection.scalar(select(func.max(hours.c.hour)))
        if oldest is not None and oldest < min(closed, min(int(now * 1_000_000), newest) - keep_days * DAY):
            await connection.execute(delete(hours).where(hours.c.hour == oldest))
