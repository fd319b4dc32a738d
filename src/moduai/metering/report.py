"""What the ledger says: usage summed by model, organisation, day and so on.

Whole hours come from their sums (``hours``), also when their rows are deleted by now. What cuts hours (by
minute, by hour and day in time zones that are half an hour off, and both ends of a time that is no whole
hours) comes from single rows, as far as they are kept.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from msgspec import Struct
from sqlalchemy import BigInteger, ColumnElement, Subquery, case, cast, func, literal, select

from moduai.metering.hours import HOUR, SUMS, source
from moduai.store.database import Connection

By = Literal[
    "model", "organisation", "key", "engine", "day", "hour", "minute", "outcome", "region", "group", "source"
]
"""group: coarse group of people; source: where the token counts come from (engine, counted, estimated)."""
BY: tuple[str, ...] = get_args(By)

_PERIODS = {"day": 24 * HOUR, "hour": HOUR, "minute": HOUR // 60}


class Usage(Struct, frozen=True, kw_only=True):
    """Sums over the requests of one group. Times in microseconds, energy in millijoules."""

    group: str
    """A name or id; for day, hour and minute the start as Unix microseconds; "" where a row has none."""
    people: int
    """Subjects that asked: people, programmes with a key, and guests."""
    requests: int
    failed: int
    """Requests whose outcome is not ok."""
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    uncounted: int
    """Requests whose tokens the engine did not give: counted from the stream or estimated."""
    queue_us: int
    """Mean time in line."""
    first_token_us: int
    """Mean time from arrival to the first byte, over answers that had one; 0: none had."""
    duration_us: int
    """Mean duration."""
    accelerator_us: int
    energy_mj: int


async def usage(
    connection: Connection, since: int, until: int, by: By, *, offset_s: int = 0, organisation: str = ""
) -> list[Usage]:
    """Usage of requests that arrived in [since, until), Unix microseconds; the most tokens first, days,
    hours and minutes in order. ``offset_s`` is the time zone's, east of UTC; ``organisation`` is an id.
    """
    rows = _rows(since, until, by, offset_s)
    return await _select(connection, rows, _group(rows, by, offset_s), organisation)


async def total(connection: Connection, since: int, until: int, *, organisation: str = "") -> Usage:
    """Everything in [since, until) in one."""
    found = await _select(connection, source(since, until, sums=True), literal("total"), organisation)
    return found[0] if found else Usage(group="total", **dict.fromkeys(Usage.__struct_fields__[1:], 0))


async def people_of_small(
    connection: Connection, since: int, until: int, by: By, *, least: int, offset_s: int = 0
) -> int:
    """How many people all groups of fewer than ``least`` have together."""
    rows = _rows(since, until, by, offset_s)
    group = _group(rows, by, offset_s).label("group")
    pairs = select(group, rows.c.subject).distinct().subquery()
    small = select(pairs.c.group).group_by(pairs.c.group).having(func.count() < least)
    query = select(func.count(pairs.c.subject.distinct())).where(pairs.c.group.in_(small))
    return int((await connection.execute(query)).scalar_one())


async def subjects(connection: Connection, since: int, until: int, beginning: str) -> int:
    """How many asked whose opaque id begins so."""
    rows = source(since, until, sums=True)
    counted = select(cast(func.count(rows.c.subject.distinct()), BigInteger))
    query = counted.where(rows.c.subject.startswith(beginning, autoescape=True))
    return int((await connection.execute(query)).scalar_one())


async def _select(
    connection: Connection, rows: Subquery, group: ColumnElement[str | int], organisation: str
) -> list[Usage]:
    inner = select(group.label("told"), rows)
    if organisation:
        inner = inner.where(rows.c.organisation == organisation)
    one = inner.subquery()
    sums = {name: _sum(one.c[name]).label(name) for name in SUMS}
    failed = _sum(case((one.c.outcome != "ok", one.c.requests), else_=0)).label("failed")
    uncounted = _sum(case((one.c.source != "engine", one.c.requests), else_=0)).label("uncounted")
    people = func.count(one.c.subject.distinct()).label("people")
    tokens = sums["tokens_in"] + sums["tokens_out"]
    query = select(one.c.told, people, failed, uncounted, *sums.values()).group_by(one.c.told)
    query = query.order_by(one.c.told if isinstance(group.type, BigInteger) else tokens.desc(), one.c.told)
    return [_usage(dict(row)) for row in (await connection.execute(query)).mappings()]


def _usage(row: dict[str, Any]) -> Usage:
    """Of sums of times their means."""
    requests, first_tokens = row["requests"], row.pop("first_tokens")
    row["queue_us"] //= requests
    row["duration_us"] //= requests
    row["first_token_us"] = row["first_token_us"] // first_tokens if first_tokens else 0
    return Usage(group=str(row.pop("told")), **row)


def _rows(since: int, until: int, by: By, offset_s: int) -> Subquery:
    length = _PERIODS.get(by, 0)
    return source(since, until, sums=not length or not (length % HOUR or offset_s * 1_000_000 % HOUR))


def _group(rows: Subquery, by: By, offset_s: int) -> ColumnElement[str | int]:
    if length := _PERIODS.get(by):
        shift = offset_s * 1_000_000 % length
        return cast(rows.c.at - (rows.c.at + shift) % length, BigInteger)
    return rows.c[by]


def _sum(value: ColumnElement[int]) -> ColumnElement[int]:
    return cast(func.sum(value), BigInteger)  # PostgreSQL sums whole numbers into numeric
