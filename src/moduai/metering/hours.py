"""Usage summed by the hour, so that reports of months read little, and stand when their rows are gone.

Words: an hour is *open* from the moment a row of it is loaded until it is *summed up*. Rule: reports take
open hours from the rows and all others from the sums, so a figure is the same to the last token whenever
it is asked for. A row that comes late opens its hour again, in its own transaction; an hour is summed up
as a whole, in one. So both may be killed, run twice or run at once. Of a day that is closed (``retention``)
the sums stand whatever the marks say: its rows are gone.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Subquery,
    and_,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
)

from moduai.metering.tables import hours, kept_from, open_hours, usage
from moduai.store import database
from moduai.store.database import Connection, Database

HOUR: Final = 3_600_000_000
SETTLED_US: Final = 120_000_000
"""An hour is summed up so long after its end; nearly all of its rows are there by then."""
_LOCK: Final = 0x6D6F6475_686F7572
"""PostgreSQL's advisory lock of summing up: "moduhour". It is done by one at a time."""
_LOADER: Final = secrets.token_hex(6)
"""This process in marks."""

TEXTS: Final = ("subject", "organisation", "key", "model", "engine", "region", "group", "outcome", "source")
SUMS: Final = (
    *("requests", "tokens_in", "tokens_cached", "tokens_out", "queue_us", "first_tokens"),
    *("first_token_us", "duration_us", "accelerator_us", "energy_mj"),
)


async def open_up(connection: Connection, times: set[int]) -> None:
    """Open the hours of rows that are loaded in the same transaction; ``times`` are theirs.

    A mark that is there is written again: it may be about to go, with sums that do not have these rows.
    """
    marks = [{"hour": hour, "loader": _LOADER} for hour in sorted({at // HOUR * HOUR for at in times})]
    mark = database.insert(connection, open_hours)
    again = mark.on_conflict_do_update(
        index_elements=["hour", "loader"], set_={"loader": mark.excluded.loader}
    )
    await connection.execute(again, marks)


async def sum_up(db: Database, now: float) -> bool:
    """Sum up the latest hour that is over and open; False if there is none, or another process is at it.
    ``now`` is Unix time in seconds. Raises one of ``db.errors``.
    """
    over = int(now * 1_000_000) - HOUR - SETTLED_US
    async with db.begin() as connection:
        if not await _alone(connection):
            return False
        hour = await connection.scalar(select(func.max(open_hours.c.hour)).where(open_hours.c.hour <= over))
        if hour is None:
            return False
        marked = select(open_hours.c.loader).where(open_hours.c.hour == hour)
        marks = list(await connection.scalars(marked.with_for_update()))  # waits for rows that are coming
        closed = select(kept_from.c.at).where(kept_from.c.table == "usage")
        if hour >= (await connection.scalar(closed) or 0):
            await connection.execute(delete(hours).where(hours.c.hour == hour))
            await connection.execute(insert(hours).from_select(["hour", *TEXTS, *SUMS], _summed(hour)))
        done = delete(open_hours).where(open_hours.c.hour == hour, open_hours.c.loader.in_(marks))
        await connection.execute(done)
    return True


async def _alone(connection: Connection) -> bool:
    """Whether nobody else sums up; nobody does until the transaction ends."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(await connection.scalar(select(func.pg_try_advisory_xact_lock(_LOCK))))


def _summed(hour: int) -> Select[Any]:
    rows = _rows(_between(hour, hour + HOUR)).subquery()
    sums = [cast(func.sum(rows.c[name]), BigInteger) for name in SUMS]
    texts = [rows.c[name] for name in TEXTS]
    return select(literal(hour, BigInteger), *texts, *sums).group_by(*texts)


def source(since: int, until: int, *, sums: bool) -> Subquery:
    """What was used in [since, until): ``at``, the texts and the sums, of hours or of single rows.

    Without ``sums`` of single rows only, for reports that cut hours. One statement reads it all, so it is
    of one state.
    """
    first, last = -(-since // HOUR) * HOUR, until // HOUR * HOUR
    if not sums or first >= last:
        return _rows(_between(since, until)).subquery()
    marked = select(open_hours.c.hour).where(open_hours.c.hour >= first, open_hours.c.hour < last)
    summed = select(hours.c.hour.label("at"), *(hours.c[name] for name in (*TEXTS, *SUMS)))
    marks = marked.distinct().subquery()
    parts = [
        summed.where(hours.c.hour >= first, hours.c.hour < last, hours.c.hour.not_in(marked)),
        _rows(usage.c.at >= marks.c.hour, usage.c.at < marks.c.hour + HOUR),
        *([_rows(_between(since, first))] if since < first else []),
        *([_rows(_between(last, until))] if last < until else []),
    ]
    return union_all(*parts).subquery()


def _rows(*where: ColumnElement[bool]) -> Select[Any]:
    """Single rows as sums of one."""
    one: dict[str, ColumnElement[Any]] = {
        "source": usage.c.tokens_source,
        "requests": literal(1, BigInteger),
        "first_tokens": case((usage.c.first_token_us > 0, 1), else_=0),
    }
    named = ((one[name] if name in one else usage.c[name]).label(name) for name in (*TEXTS, *SUMS))
    return select(usage.c.at, *named).where(*where)


def _between(since: int, until: int) -> ColumnElement[bool]:
    return and_(usage.c.at >= since, usage.c.at < until)
