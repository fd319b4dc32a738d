"""Usage by hour, model, organisation, region and group, with the figures of a few people kept back.

Times are fixed so that tables do not overlap, or the difference of two would tell of a few people: a day
for hours, a calendar month for everything else. A day is a part of its month, so the days of a month are
kept back as the rows of a table are. Days begin at ``console.utc_offset``.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated, Literal

from msgspec import Meta, Struct
from sqlalchemy import select

from moduai.accounts.tables import organisations
from moduai.gateway.errors import ApiError
from moduai.gateway.policy_text import parse
from moduai.metering import report
from moduai.metering.disclosure import LEAST, hidden
from moduai.packs import choose
from moduai.store.database import Connection
from moduai.web.api.operation import Call, Operation, Request

By = Literal["hour", "model", "organisation", "region", "group"]


class UsageWanted(Request, frozen=True):
    """Which table."""

    by: By = "hour"
    period: Annotated[
        str,
        Meta(
            pattern=r"^(20\d\d-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?$",
            description="A day (2026-11-22) by hour, a month (2026-11) by anything else; empty: this one.",
        ),
    ] = ""


class Figures(Struct, frozen=True, kw_only=True):
    """What a group of people used. Means are over its requests."""

    people: int
    """People, programmes with a key, and guests."""
    requests: int
    failed: int
    tokens_in: int
    tokens_out: int
    wait_ms: float
    first_token_ms: float
    accelerator_s: float
    energy_wh: float


class UsageRow(Struct, frozen=True, kw_only=True):
    """One group."""

    id: str
    """Name or id of the group; by hour its start as Unix time in seconds; empty: requests without one."""
    name: str
    few: bool
    """Whether it is fewer people than ``least_people``."""
    figures: Figures | None
    """Null: kept back, because it is few people or those that are would be known from it and the total."""


class UsageTable(Struct, frozen=True, kw_only=True):
    """One table."""

    by: By
    period: str
    since: int
    until: int
    """Unix time in seconds; not included."""
    utc_offset: str
    least_people: int
    """Figures of fewer people than this are kept back."""
    rows: list[UsageRow]
    total: Figures | None


async def usage(call: Call, wanted: UsageWanted) -> UsageTable:
    """Requests that arrived in one day or month and have ended, of all workers, from the ledger."""
    zone = choose.zone(call.services.loaded, parse)
    shift = int(zone.utcoffset(None).total_seconds())
    period, start, end = _bounds(wanted, shift, call.now)
    bounds = (int(start.timestamp()) * 1_000_000, int(end.timestamp()) * 1_000_000)
    async with call.read() as connection:
        rows = await report.usage(connection, *bounds, wanted.by, offset_s=shift)
        total = await report.total(connection, *bounds)
        small = await report.people_of_small(connection, *bounds, wanted.by, least=LEAST, offset_s=shift)
        names = await _names(connection, wanted.by)
        told = wanted.by != "hour" or await _is_told(connection, start, shift)
    back = hidden(rows, total.people, small) if told else {row.group for row in rows}
    return UsageTable(
        by=wanted.by,
        period=period,
        since=bounds[0] // 1_000_000,
        until=bounds[1] // 1_000_000,
        utc_offset=start.strftime("%z")[:3] + ":" + start.strftime("%z")[3:],
        least_people=LEAST,
        rows=[_row(row, wanted.by, names, hide=row.group in back, zone=start) for row in rows],
        total=_figures(total) if told and total.people >= LEAST else None,
    )


async def _is_told(connection: Connection, day: datetime, shift: int) -> bool:
    """Whether the figures of a day are shown: or its month less its other days would tell of a few people."""
    first = day.replace(day=1)
    bounds = (round(first.timestamp()) * 1_000_000, round(_next_month(first).timestamp()) * 1_000_000)
    days = await report.usage(connection, *bounds, "day", offset_s=shift)
    total = await report.total(connection, *bounds)
    small = await report.people_of_small(connection, *bounds, "day", least=LEAST, offset_s=shift)
    return str(round(day.timestamp()) * 1_000_000) not in hidden(days, total.people, small)


def _bounds(wanted: UsageWanted, shift: int, now: float) -> tuple[str, datetime, datetime]:
    """The period's name, start and end. Raises ApiError."""
    zone = timezone(timedelta(seconds=shift))
    by_day = wanted.by == "hour"
    name = wanted.period or datetime.fromtimestamp(now, zone).strftime("%Y-%m-%d" if by_day else "%Y-%m")
    if (len(name) == 10) is not by_day:
        raise ApiError("value_not_allowed", "Hours are of one day, everything else is of one month.")
    try:
        start = datetime.strptime(name if by_day else name + "-01", "%Y-%m-%d").replace(tzinfo=zone)
    except ValueError:
        raise ApiError("value_not_allowed", f"There is no day {name}.") from None
    if by_day:
        return name, start, start + timedelta(days=1)
    return name, start, _next_month(start)


def _next_month(first: datetime) -> datetime:
    return (first + timedelta(days=32)).replace(day=1)


async def _names(connection: Connection, by: By) -> dict[str, str]:
    if by != "organisation":
        return {}
    rows = await connection.execute(select(organisations.c.id, organisations.c.name))
    return {row.id: row.name for row in rows}


def _row(row: report.Usage, by: By, names: dict[str, str], *, hide: bool, zone: datetime) -> UsageRow:
    group = str(int(row.group) // 1_000_000) if by == "hour" else row.group
    name = names.get(group, group)
    if by == "hour":
        name = datetime.fromtimestamp(int(group), zone.tzinfo).strftime("%H:%M")
    return UsageRow(id=group, name=name, few=row.people < LEAST, figures=None if hide else _figures(row))


def _figures(row: report.Usage) -> Figures:
    return Figures(
        people=row.people,
        requests=row.requests,
        failed=row.failed,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        wait_ms=round(row.queue_us / 1000, 1),
        first_token_ms=round(row.first_token_us / 1000, 1),
        accelerator_s=round(row.accelerator_us / 1e6, 3),
        energy_wh=round(row.energy_mj / 3.6e6, 3),
    )


OPERATIONS = (
    Operation(
        "usage", "GET", "/api/usage", "usage", "What was used.", UsageWanted, UsageTable, usage, "usage"
    ),
)
