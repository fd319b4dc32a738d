"""A scenario as the modes run it: rows of the file, the pack and Modu's tables joined, every figure with its
basis. Frozen; what it holds was checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.packs.pack import in_language
from moduai.packs.schema import Words
from moduai.planner import load
from moduai.planner.basis import Basis
from moduai.planner.devices import Device
from moduai.planner.load import DAY, LONG, Trace
from moduai.planner.models import Model
from moduai.planner.scenario import schema
from moduai.planner.scenario.rows import Rows
from moduai.planner.steptime import Coefficients, least_tp, shipped
from moduai.scheduling.policy import Policy
from moduai.scheduling.ticket import ONE

if TYPE_CHECKING:
    from moduai.packs.pack import Pack
    from moduai.planner.scenario.check import Parts

FLAT = (1 / 24,) * 24
PUE = (1.1, 1.3, 1.6)
CONTEXT = 65_536
"""Tokens of context that a replica has room for, where a fleet does not say its span."""


class Band(NamedTuple):
    """A figure that is known within bounds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, value: float | tuple[float, ...]) -> Band:
        """From a range as it is written."""
        return cls(*value) if isinstance(value, tuple) else cls(value, value, value)


class Rests(Struct, frozen=True):
    """A figure that results rest on, as the report lists it."""

    what: str
    value: Band
    unit: str
    basis: Basis
    source: str


@dataclass(frozen=True, kw_only=True)
class Region:
    """Where people are."""

    id: str
    name: Words
    population: int


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One stream of questions."""

    id: str
    name: Words
    kind: str
    service_class: str
    organisation: str
    policy_group: str
    weight: int
    """Of each asker, in thousandths."""
    askers: float
    most: Band
    begins: date | None
    half: date | None
    questions: Band
    """A day, of one who uses it."""
    growth: float
    hours: Sequence[float]
    """Part of a day's questions in each hour."""
    weekend: float
    model: str
    tokens_read: float
    """Tokens of a question that are computed: new ones, and of earlier turns what is not cached."""
    tokens_held: float
    """Tokens of earlier turns that the engine still has: they take room and are read with each step."""
    tokens_out: float
    spread: float
    trace: Trace | None
    tpot_ms: float
    patience: float
    """Seconds; 0: without end."""
    regions: Mapping[str, float]

    @cached_property
    def vary(self) -> float:
        """Mean square of the answers' lengths, by the square of their mean."""
        if self.trace is None:
            return float(np.exp(self.spread**2))
        wrote = self.trace.tokens_out
        return float((wrote**2).mean() / wrote.mean() ** 2)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A data centre."""

    id: str
    name: Words
    region: str
    power_mw: float | None
    pue: Band


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Accelerators of a fleet at one site that run one model; a model of "" is what trains."""

    fleet: str
    site: str
    model: str
    accelerator: str
    count: float
    devices: int
    """That one replica spans."""
    availability: float
    mtbf_hours: float
    """Of one accelerator; 0: none fails."""
    start_s: float
    begins: date | None
    ends: date | None


@dataclass(frozen=True, kw_only=True)
class Bought:
    """What a fleet costs."""

    fleet: str
    count: float
    year: int | None
    price: Band
    """Of one, in the currency; nothing where it is not known."""


@dataclass(frozen=True, kw_only=True)
class World:
    """All of it."""

    file: str
    head: schema.Head
    pack: Pack | None
    currency: str
    regions: tuple[Region, ...]
    demands: tuple[Demand, ...]
    models: Mapping[str, Model]
    devices: Mapping[str, Device]
    sites: Mapping[str, Site]
    pools: tuple[Pool, ...]
    bought: tuple[Bought, ...]
    links: tuple[schema.LinkRow, ...]
    events: tuple[schema.EventRow, ...]
    goals: tuple[schema.GoalRow, ...]
    power: schema.PowerRow
    kwh: Band
    budgets: Mapping[int, float]
    policy: Policy
    policies: Mapping[str, Policy]
    """By the event that brings each."""
    rests: tuple[Rests, ...] = field(default=())
    fit: Coefficients = field(default_factory=shipped)
    """How fast engines are."""

    @cached_property
    def tick(self) -> float:
        """Seconds."""
        return 60.0 * (60 if self.head.days > LONG else self.head.tick_minutes)

    @cached_property
    def shape(self) -> NDArray[np.float64]:
        """``load.shape``: questions a second, ticks × demands; computed once, and not to be written to."""
        made = load.shape(self)
        made.flags.writeable = False
        return made

    @cached_property
    def _free(self) -> frozenset[date]:
        return frozenset(one.day for one in self.pack.holidays) if self.pack else frozenset()

    def is_free(self, day: date) -> bool:
        """Whether it is a day of the weekend or a holiday of the pack."""
        return day.weekday() >= 5 or day in self._free

    def seconds(self, moment: datetime | date) -> float:
        """From the start to a moment."""
        start = self.head.start
        day = moment.date() if isinstance(moment, datetime) else moment
        of_day = (
            moment.hour * 3600 + moment.minute * 60 + moment.second if isinstance(moment, datetime) else 0
        )
        return (day - start).days * DAY + of_day

    def window(self, event: schema.EventRow) -> tuple[float, float]:
        """Seconds from the start to the beginning and the end of an event."""
        begins = self.seconds(event.begins) if event.begins else 0.0
        return begins, np.inf if event.hours is None else begins + event.hours * 3600

    def during(self, event: schema.EventRow, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these times are within an event."""
        begins, ends = self.window(event)
        return np.asarray((times >= begins) & (times < ends))

    def title(self, language: str) -> str:
        """Its name."""
        return in_language(self.head.name, language) or self.file

    def grown(self, times: float | Mapping[str, float]) -> World:
        """The same with fleets so many times as large: all, or by their kind of accelerator."""

        def of(kind: str) -> float:
            return times.get(kind, 1.0) if isinstance(times, Mapping) else times

        kinds = {pool.fleet: pool.accelerator for pool in self.pools}
        pools = tuple(replace(pool, count=pool.count * of(pool.accelerator)) for pool in self.pools)
        bought = tuple(replace(one, count=one.count * of(kinds.get(one.fleet, ""))) for one in self.bought)
        return replace(self, pools=pools, bought=bought)


def build(rows: Rows, parts: Parts) -> World:
    """Joins what was checked."""
    pack = parts.pack
    return World(
        file=parts.name,
        head=rows.head,
        pack=pack,
        currency=rows.head.currency or (pack.locale.currency if pack else "") or "",
        regions=parts.regions,
        demands=tuple(_demand(row, rows, parts) for row in rows.demands),
        models=parts.models,
        devices=parts.devices,
        sites=parts.sites,
        pools=tuple(pool for row in rows.fleets for pool in _pools(row, parts)),
        bought=tuple(_bought(row, parts) for row in rows.fleets),
        links=tuple(rows.links),
        events=tuple(rows.events),
        goals=tuple(rows.goals),
        power=rows.power,
        kwh=parts.kwh,
        budgets=parts.budgets,
        policy=parts.policy,
        policies=parts.policies,
        rests=tuple(parts.rests),
    )


def _demand(row: schema.DemandRow, rows: Rows, parts: Parts) -> Demand:
    curve = next((one for one in rows.curves if one.id == row.curve), None)
    trace = parts.traces.get(row.id)
    read = float(trace.tokens_in.mean()) if trace else row.tokens_in
    wrote = float(trace.tokens_out.mean()) if trace else row.tokens_out
    rule = parts.policy.classes[row.service_class]
    computed, held = conversation(row, read, wrote)
    return Demand(
        id=row.id,
        name=row.name,
        kind=row.kind,
        service_class=row.service_class,
        organisation=row.organisation,
        policy_group=row.policy_group,
        weight=rule.groups.get(row.policy_group, ONE),
        askers=parts.askers[row.id],
        most=Band.of(row.most),
        begins=row.begins,
        half=row.half,
        questions=Band.of(row.questions_a_day),
        growth=row.growth,
        hours=curve.hours if curve else FLAT,
        weekend=curve.weekend if curve else 1.0,
        model=row.model,
        tokens_read=computed,
        tokens_held=held,
        tokens_out=wrote,
        spread=row.spread,
        trace=trace,
        tpot_ms=row.tpot_ms,
        patience=row.patience_s,
        regions=row.regions,
    )


def conversation(row: schema.DemandRow, read: float, wrote: float) -> tuple[float, float]:
    """Tokens of a question's prompt, in the mean over a conversation: those that are computed (what is new,
    and of what is read again the part that the engine no longer has), and those that it still has.
    """
    again = (row.session - 1) / 2 * (read + wrote)
    return read + again * (1 - row.cached), again * row.cached


def span(row: schema.FleetRow, model: Model, device: Device) -> int:
    """Accelerators of one replica. Raises DoesNotFitError."""
    return row.devices or least_tp(model, device, CONTEXT)


def _pools(row: schema.FleetRow, parts: Parts) -> list[Pool]:
    count = parts.counts[row.id]
    device = parts.devices[row.accelerator]
    serving = [(name, part, span(row, parts.models[name], device)) for name, part in row.models.items()]
    rest = 1 - sum(row.models.values())
    if rest > 1e-9:
        serving.append(("", rest, 1))
    return [
        Pool(
            fleet=row.id,
            site=site,
            model=model,
            accelerator=row.accelerator,
            count=count * here * part,
            devices=devices,
            availability=row.availability,
            mtbf_hours=row.mtbf_hours,
            start_s=row.start_s,
            begins=row.begins,
            ends=row.ends,
        )
        for site, here in row.sites.items()
        for model, part, devices in serving
        if here and part
    ]


def _bought(row: schema.FleetRow, parts: Parts) -> Bought:
    year = row.bought or (row.begins.year if row.begins else None)
    price = Band.of(row.price) if row.price is not None else parts.price
    return Bought(fleet=row.id, count=parts.counts[row.id], year=year, price=price)
