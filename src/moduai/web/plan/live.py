"""What this installation counts itself, for a page that everyone sees: from its ledgers and its engines.

Rule: figures of fewer people than ``disclosure.LEAST`` are kept back as on the console. Others are rounded
down to whole multiples of it: the page is public and changes through the month, and the difference of two
looks must not tell of one person. Where there is no ledger yet the figure is not there, and the page says so.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Protocol

from msgspec import Struct
from sqlalchemy import BigInteger, case, cast, func, select

from moduai.gateway.policy_text import parse
from moduai.knowledge.tables import documents
from moduai.metering import report
from moduai.metering.disclosure import LEAST, hidden
from moduai.metering.hours import source
from moduai.metering.report import By
from moduai.packs import choose
from moduai.packs.schema import Live
from moduai.store.database import Connection
from moduai.web.services import Services

KEPT_S = 300.0
"""The same figures are shown so long, however many look."""
MJ_OF_KWH: Final = 3_600_000_000
"""Millijoules."""
RESIDENT, GUEST = "sub_", "gst_"
"""How subjects of the ledger begin."""
_BY: Final[Mapping[Live, By]] = {"residents-by-region": "region", "residents-by-group": "group"}


class Part(Struct, frozen=True):
    """One row of a figure; None: fewer people than are shown."""

    name: str
    """A code or name; empty: those of whom it is not known."""
    value: int | None


class Energy(Struct, frozen=True):
    """What accelerators used, by the ledger's estimate: busy time × the power that an engine was added with ×
    the setting ``ledger.pue``.
    """

    kwh: float
    covered: float
    """The part of the accelerators' time that it is of, 0 to 1: of engines whose power nobody said it has
    none.
    """


class Figure(Struct, frozen=True, kw_only=True):
    """One figure. ``value`` is None where it is of fewer people than are shown, or is parts or energy."""

    value: int | None = None
    few: bool = False
    parts: tuple[Part, ...] = ()
    energy: Energy | None = None


Figures = Mapping[Live, Figure]
"""What is not in it has no ledger here yet."""


class Counts(Protocol):
    """Where the page has its figures from."""

    async def read(self) -> Figures | None:
        """Those of now; None while they cannot be read."""


class Ledgers:
    """The figures of this installation, kept for ``KEPT_S``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept: tuple[float, Figures] | None = None
        self._lock = asyncio.Lock()

    async def read(self) -> Figures | None:
        """From the database and the engines. The page is shown without them too (fails open)."""
        async with self._lock:  # one looks, the others take what it found
            now = time.monotonic()
            if self._kept is None or now - self._kept[0] > KEPT_S:
                try:
                    async with self._services.database.connect() as connection:
                        self._kept = now, {**_engines(self._services), **await self._ledger(connection)}
                except self._services.database.errors:
                    return None
            return self._kept[1]

    async def _ledger(self, connection: Connection) -> dict[Live, Figure]:
        zone = choose.zone(self._services.loaded, parse)
        month = datetime.now(zone).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        since, until = int(month.timestamp()) * 1_000_000, int((time.time() + 1) * 1_000_000)
        there = select(func.count(), func.count(documents.c.collection.distinct())).where(
            documents.c.removed_at == 0
        )
        opened, collections = (await connection.execute(there)).one()
        found: dict[Live, Figure] = {
            "documents": Figure(value=opened),
            "collections": Figure(value=collections),
            "residents": _people(await report.subjects(connection, since, until, RESIDENT)),
            "guests": _people(await report.subjects(connection, since, until, GUEST)),
        }
        total = await report.total(connection, since, until)
        tokens = total.tokens_in + total.tokens_out
        few = total.people < LEAST
        found["tokens"] = Figure(few=True) if few else Figure(value=tokens)
        found["spend"] = Figure(few=True) if few else Figure(energy=await _energy(connection, since, until))
        for live, by in _BY.items():
            rows = await report.usage(connection, since, until, by)
            small = await report.people_of_small(connection, since, until, by, least=LEAST)
            back = hidden(rows, total.people, small)
            found[live] = Figure(
                parts=tuple(
                    Part(row.group, None if row.group in back else _whole(row.people))
                    for row in sorted(rows, key=lambda row: (not row.group, row.group))
                )
            )
        return found


def _engines(services: Services) -> dict[Live, Figure]:
    if services.lane is None:
        return {}
    active = [one for one in services.lane.fleet.replicas.values() if one.is_open]
    kinds: Counter[str] = Counter()
    for one in active:
        hardware = one.engine.hardware
        if hardware.kind and hardware.kind.upper() != "CPU":
            kinds[hardware.kind] += hardware.count
    return {
        "engines": Figure(value=len(active)),
        "models": Figure(value=len({name for one in active for name in one.models})),
        "accelerators": Figure(
            value=kinds.total(), parts=tuple(Part(kind, count) for kind, count in sorted(kinds.items()))
        ),
    }


async def _energy(connection: Connection, since: int, until: int) -> Energy:
    used = source(since, until, sums=True).c
    with_power = case((used.energy_mj > 0, used.accelerator_us), else_=0)
    columns = (used.energy_mj, used.accelerator_us, with_power)
    query = select(*(cast(func.coalesce(func.sum(one), 0), BigInteger) for one in columns))
    millijoules, time_us, with_power_us = map(int, (await connection.execute(query)).one())
    return Energy(millijoules / MJ_OF_KWH, with_power_us / time_us if time_us else 1.0)


def _people(count: int) -> Figure:
    return Figure(few=True) if count < LEAST else Figure(value=_whole(count))


def _whole(count: int) -> int:
    return count // LEAST * LEAST
