"""What the ledger says: usage summed by model, organisation, day and so on."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct
from sqlalchemy import BigInteger, ColumnElement, case, cast, func, literal, select

from moduai.metering.tables import usage as table
from moduai.store.database import Connection

By = Literal[
    "model", "organisation", "key", "engine", "day", "hour", "minute", "outcome", "region", "group", "source"
]
"""group: coarse group of people; source: where the token counts come from (engine, counted, estimated)."""
BY: tuple[str, ...] = get_args(By)

_PERIODS = {"day": 86_400_000_000, "hour": 3_600_000_000, "minute": 60_000_000}
_NAMES = {"source": "tokens_source"}


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
    return await _select(connection, since, until, _group(by, offset_s), organisation)


async def total(connection: Connection, since: int, until: int, *, organisation: str = "") -> Usage:
    """Everything in [since, until) in one."""
    found = await _select(connection, since, until, literal("total"), organisation)
    return found[0] if found else Usage(group="total", **dict.fromkeys(Usage.__struct_fields__[1:], 0))


async def people_of_small(
    connection: Connection, since: int, until: int, by: By, *, least: int, offset_s: int = 0
) -> int:
    """How many people all groups of fewer than ``least`` have together."""
    group = _group(by, offset_s).label("group")
    rows = select(group, table.c.subject).where(table.c.at >= since, table.c.at < until).distinct().subquery()
    small = select(rows.c.group).group_by(rows.c.group).having(func.count() < least)
    query = select(func.count(rows.c.subject.distinct())).where(rows.c.group.in_(small))
    return int((await connection.execute(query)).scalar_one())


async def _select(
    connection: Connection, since: int, until: int, group: ColumnElement[str | int], organisation: str
) -> list[Usage]:
    inner = select(group.label("group"), *_MEASURES).where(table.c.at >= since, table.c.at < until)
    if organisation:
        inner = inner.where(table.c.organisation == organisation)
    rows = inner.subquery()
    sums = [_whole(func.sum(rows.c[name])).label(name) for name in _SUMS]
    means = [_whole(func.coalesce(func.avg(rows.c[name]), 0)).label(name) for name in _MEANS]
    people = func.count(rows.c.subject.distinct()).label("people")
    query = select(rows.c.group, people, *sums, *means).group_by(rows.c.group)
    timed = isinstance(group.type, BigInteger)
    query = query.order_by(rows.c.group if timed else (sums[3] + sums[5]).desc(), rows.c.group)
    found = (await connection.execute(query)).mappings()
    return [Usage(**{**row, "group": str(row["group"])}) for row in found]


def _group(by: By, offset_s: int) -> ColumnElement[str | int]:
    if length := _PERIODS.get(by):
        shift = offset_s * 1_000_000 % length
        return cast(table.c.at - (table.c.at + shift) % length, BigInteger)
    return table.c[_NAMES.get(by, by)]


def _whole(value: ColumnElement[int]) -> ColumnElement[int]:
    return cast(value, BigInteger)  # PostgreSQL sums whole numbers into numeric


def _one_if(condition: ColumnElement[bool], name: str) -> ColumnElement[int]:
    return case((condition, 1), else_=0).label(name)


_SUMS = (
    "requests",
    "failed",
    "uncounted",
    "tokens_in",
    "tokens_cached",
    "tokens_out",
    "accelerator_us",
    "energy_mj",
)
_MEANS = ("queue_us", "first_token_us", "duration_us")
_MEASURES = (
    table.c.subject,
    literal(1).label("requests"),
    _one_if(table.c.outcome != "ok", "failed"),
    _one_if(table.c.tokens_source != "engine", "uncounted"),
    *(table.c[name] for name in ("tokens_in", "tokens_cached", "tokens_out")),
    *(table.c[name] for name in ("accelerator_us", "energy_mj", "queue_us", "duration_us")),
    func.nullif(table.c.first_token_us, 0).label("first_token_us"),
)
