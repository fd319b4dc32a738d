"""Single rows of the ledger, for what needs more than sums: the planner, on the machine."""

from __future__ import annotations

from msgspec import Struct
from sqlalchemy import func, select

from moduai.metering.row import UsageRow
from moduai.metering.tables import usage as table
from moduai.store.database import Connection

MOST = 300_000
"""Rows that are read at once: about a kilobyte of memory each."""


class Rows(Struct, frozen=True):
    """Rows in order of arrival."""

    rows: list[UsageRow]
    left_out: int
    """Newer rows than these that were too many to read."""


async def rows(connection: Connection, since: int, until: int, most: int = MOST) -> Rows:
    """Requests that arrived in [since, until), Unix microseconds: the first ``most``."""
    here = (table.c.at >= since, table.c.at < until)
    columns = [table.c[name] for name in UsageRow.__struct_fields__]
    found = await connection.execute(
        select(*columns).where(*here).order_by(table.c.at, table.c.id).limit(most)
    )
    made = [UsageRow(*row) for row in found]
    whole = (await connection.execute(select(func.count()).where(*here))).scalar_one()
    return Rows(made, int(whole) - len(made))
