"""Single rows of the ledger, for what needs more than sums: the planner, on the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import BigInteger, Cast, ColumnElement, and_, case, cast, func, select
from sqlalchemy.sql.functions import Function

from moduai.metering.row import UsageRow
from moduai.metering.tables import usage as table
from moduai.store.database import Connection

MOST = 300_000
"""Rows that are read at once: about a kilobyte of memory each."""


ANSWERS = frozenset({"chat", "completions", "responses"})
"""Endpoints that write an answer token by token."""


class Rows(Struct, frozen=True):
    """Rows in order of arrival."""

    rows: list[UsageRow]
    left_out: int
    """Rows that were too many to read: newer ones than these, or older ones."""


class Asked(Struct, frozen=True):
    """What some who share alike have asked, all rows together."""

    service_class: str
    organisation: str
    group: str
    zone: str
    asked: int
    answered: int
    """By an engine, token by token; the rest is of these."""
    queue_us: int
    uncached: int
    """Tokens of prompts."""
    tokens_out: int


class Took(Struct, frozen=True):
    """What one model took on one engine."""

    engine: str
    model: str
    accelerator_us: int


async def sums(connection: Connection, since: int, until: int) -> tuple[list[Asked], list[Took]]:
    """All requests that arrived in [since, until), Unix microseconds, however many."""
    one, here = table.c, (table.c.at >= since, table.c.at < until)
    who = (one.service_class, one.organisation, one.group, one.zone)
    answered = case(
        (
            and_(
                one.engine != "",
                one.tokens_out > 0,
                one.endpoint.in_(sorted(ANSWERS)),
                one.duration_us > one.queue_us,
            ),
            1,
        ),
        else_=0,
    )
    values = (answered, answered * one.queue_us, answered * (one.tokens_in - one.tokens_cached),
              answered * one.tokens_out)  # fmt: skip
    asked = await connection.execute(
        select(*who, func.count(), *(_whole(func.sum(each)) for each in values)).where(*here).group_by(*who)
    )
    ran = (one.engine, one.model)
    took = await connection.execute(
        select(*ran, _whole(func.sum(one.accelerator_us))).where(*here, one.engine != "").group_by(*ran)
    )
    return [Asked(*row) for row in asked], [Took(*row) for row in took]


def _whole(sum_: Function[Any]) -> Cast[int]:
    """PostgreSQL sums to a decimal number."""
    return cast(sum_, BigInteger)


async def rows(
    connection: Connection, since: int, until: int, most: int = MOST, *, newest: bool = False
) -> Rows:
    """Requests that arrived in [since, until), Unix microseconds: the first ``most``, or the ``newest``."""
    here = (table.c.at >= since, table.c.at < until)
    columns = [table.c[name] for name in UsageRow.__struct_fields__]
    order: Sequence[ColumnElement[Any]] = (table.c.at, table.c.id)
    order = [each.desc() for each in order] if newest else order
    found = await connection.execute(select(*columns).where(*here).order_by(*order).limit(most))
    made = [UsageRow(*row) for row in found]
    if newest:
        made.reverse()
    whole = (await connection.execute(select(func.count()).where(*here))).scalar_one()
    return Rows(made, int(whole) - len(made))
