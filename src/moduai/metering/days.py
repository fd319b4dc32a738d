"""The parts of ``usage`` on PostgreSQL: one for each day (UTC), made ahead and dropped as a whole.

Words: a *part* is a partition. ``usage_20261122`` has one day, ``usage_to_20261122`` all before one (from
the upgrade or a restored backup), ``usage_default`` what fits in no other: it loses nothing when parts
could not be made, or a clock jumped. Making and dropping need the table for a moment; where somebody reads
for longer, it is left for the next time, for reports must not wait behind it.
"""

from __future__ import annotations

import logging
import re
import time
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from moduai.metering.hours import HOUR
from moduai.store.database import Database, brief

DAY: Final = 24 * HOUR
AHEAD: Final = 3
"""Parts there are from today on; it is enough to make them once in two days."""
LOCK_MS: Final = 2_000
_PART: Final = re.compile(r"usage_(to_)?(\d{8})")
_PARTS: Final = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'usage'::regclass"
)

log = logging.getLogger(__name__)


async def parts(db: Database) -> dict[str, int]:
    """Each part but the default, with its end in microseconds. Raises one of ``db.errors``."""
    async with db.connect() as connection:
        names = list(await connection.scalars(_PARTS))
    found = {name: match for name in names if (match := _PART.fullmatch(name))}
    return {name: _start(match[2]) + (0 if match[1] else DAY) for name, match in found.items()}


async def make_ahead(db: Database, now: float) -> None:
    """Make the parts of the next days. What cannot be made now is not missed: see ``usage_default``."""
    if db.file:
        return
    there = await parts(db)
    today = int(now * 1_000_000) // DAY * DAY
    past = max((end for name, end in there.items() if name.startswith("usage_to_")), default=0)
    for start in range(max(today, past), today + AHEAD * DAY, DAY):
        name = time.strftime("usage_%Y%m%d", time.gmtime(start // 1_000_000))
        if name not in there:
            bounds = f"FROM ({start}) TO ({start + DAY})"
            await _try(db, f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF usage FOR VALUES {bounds}")


async def drop_before(db: Database, at: int) -> bool:
    """Drop the parts that end before a time, in microseconds; False: somebody reads one, and it stays."""
    if db.file:
        return True
    old = sorted(name for name, end in (await parts(db)).items() if end <= at)
    return all([await _try(db, f"DROP TABLE IF EXISTS {name}") for name in old])


async def _try(db: Database, statement: str) -> bool:
    """Whether it was done. Fails open: rows have a place without it, and old parts wait for the next time."""
    try:
        async with db.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
            await connection.execute(text(statement))
    except DBAPIError as error:
        log.warning("the ledger's days are left as they are", extra={"why": brief(error)})
        return False
    return True


def _start(day: str) -> int:
    return int(datetime.strptime(day + "+0000", "%Y%m%d%z").timestamp()) * 1_000_000
