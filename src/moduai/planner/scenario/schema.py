"""What stands in a scenario, typed. Names of numbers end in their unit; a part of a whole is between 0 and 1.

A ``Range`` is one number, or ``[low, middle, high]`` where it is not known well: results then have a band.
The docstring of each field is its line in the reference.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from moduai.packs.schema import Count, Number, Words
from moduai.planner.basis import Basis
from moduai.planner.devices import Device
from moduai.planner.models import Model

Id = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]{0,63}$")]
Region = Annotated[str, Meta(pattern="^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
Part = Annotated[float, Meta(ge=0, le=1)]
# A tuple of exactly three beside a number with bounds makes msgspec 0.22 crash: hence its length as a bound.
Range: TypeAlias = Number | Annotated[tuple[Number, ...], Meta(min_length=3, max_length=3)]
PartRange: TypeAlias = Part | Annotated[tuple[Part, ...], Meta(min_length=3, max_length=3)]
Pue = Annotated[float, Meta(ge=1, le=3)]
Tokens = Annotated[float, Meta(ge=1, le=1e6)]
Year = Annotated[int, Meta(ge=2000, le=2100)]
DAYS = 3_660
"""Longest run: ten years."""


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a scenario."""


class Rested(Row, frozen=True, kw_only=True):
    """A row whose figures rest on something."""

    basis: Basis = Basis.ASSUMED
    """How its figures came to be: measured, fitted, published or assumed."""
    source: str = ""
    """Where they come from, in words or as the id of a source of the pack."""


class Head(Row, frozen=True, kw_only=True):
    """``[scenario]``: what it is, and what time it covers."""

    name: Words = {}
    """A title in each language; required unless the scenario extends another."""
    about: Words = {}
    """What it asks, in some sentences."""
    extends: str = ""
    """Another scenario to begin from: one that comes with Modu, by its name, or a file beside this one. Rows
    with the same id are changed field by field, others are added."""
    pack: str = ""
    """Country pack that regions, groups, sites, accelerators, prices and budgets come from; empty: none."""
    policy: str = ""
    """Policy file beside this one, or `modu` for the one of Modu; empty: the pack's, else that."""
    start: date = date(2027, 3, 1)
    """First day."""
    days: Annotated[int, Meta(ge=1, le=DAYS)] = 1
    """How many days are run."""
    tick_minutes: Literal[1, 2, 5, 10, 15, 30, 60] = 5
    """Step of the nation mode; runs of more than 62 days take 60."""
    seed: Annotated[int, Meta(ge=0)] = 1
    """Of what is drawn: the same seed gives the same result."""
    cell: Annotated[int, Meta(ge=1, le=4096)] = 256
    """Accelerators behind one gateway: the limits of the policy on waiting requests count for each. Sampled
    cells are so large."""
    draws: Annotated[int, Meta(ge=0, le=64)] = 16
    """Runs with figures drawn from their ranges, for the bands; 0: none."""
    regions: tuple[Region, ...] = ()
    """Only these of the pack; empty: all."""
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    """Of prices and budgets, where there is no pack."""


class RegionRow(Rested, frozen=True, kw_only=True):
    """``[[region]]``: people who live there. With a pack: in place of the pack's."""

    id: Region
    """ISO 3166-2."""
    name: Words = {}
    """Its name in each language."""
    population: Count
    """People."""


class GroupRow(Rested, frozen=True, kw_only=True):
    """``[[group]]``: people whom a demand can name, beside the groups of the pack."""

    id: Id
    """Its name in demands."""
    name: Words = {}
    """Its name in each language."""
    population: Count
    """People."""


class CurveRow(Rested, frozen=True, kw_only=True):
    """``[[curve]]``: how questions are spread over a day."""

    id: Id
    """Its name in demands. `flat` is there without a row."""
    hours: Annotated[tuple[Part, ...], Meta(min_length=24, max_length=24)]
    """The part of a working day's questions in each hour, from midnight: 24 numbers that add up to 1."""
    weekend: Annotated[float, Meta(ge=0, le=10)] = 1.0
    """A day of the weekend or a holiday of the pack, as a multiple of a working day."""


class DemandRow(Rested, frozen=True, kw_only=True):
    """``[[demand]]``: one stream of questions."""

    id: Id
    """Its name."""
    name: Words = {}
    """Its name in each language."""
    kind: Literal["people", "agents", "batch"] = "people"
    """Batch work waits as long as it must and is never refused."""
    service_class: str
    """Class of the policy that it is served in."""
    organisation: str = "none"
    """Organisation below the class; the policy may have a rule for it."""
    policy_group: str = ""
    """Group of the policy whose weight each asker has."""
    of: str = ""
    """Who asks: a group of the pack or of this file, or `everyone`."""
    count: Count | None = None
    """How many ask, in place of `of`: people, agents, jobs."""
    most: PartRange = 1.0
    """Part of them who use it in the end."""
    begins: date | None = None
    """The day from which they can; empty: before the start, and all who will use it do."""
    half: date | None = None
    """The day on which half of `most` use it: a logistic curve. Empty: all of them at once."""
    questions_a_day: Range
    """Of one who uses it, on a working day."""
    growth: Annotated[float, Meta(ge=-1, le=10)] = 0.0
    """Of questions a day, for each year after `begins`, or after the start: 0.2 is a fifth more."""
    curve: str = "flat"
    """Its day."""
    model: str
    """The model that answers."""
    tokens_in: Tokens = 300
    """New tokens of a question, in the mean."""
    tokens_out: Tokens = 250
    """Tokens of an answer, in the mean."""
    spread: Annotated[float, Meta(ge=0, le=3)] = 0.75
    """Standard deviation of the logarithm of both lengths."""
    trace: str = ""
    """A file beside this one with the columns `at_s`, `tokens_in`, `tokens_out`, in place of the lengths and
    the curve: its shape is repeated."""
    session: Annotated[float, Meta(ge=1, le=1000)] = 1.0
    """Questions of a conversation: each reads those before it and their answers again."""
    cached: Part = 0.8
    """Part of what is read again that the engine still has."""
    tpot_ms: Annotated[float, Meta(ge=0, le=10_000)] = 0.0
    """Most time for each token of an answer, ms: engines keep their batch that small; 0: any."""
    patience_s: Annotated[float, Meta(ge=0, le=604_800)] = 0.0
    """Who waits longer for the first word gives up; 0: nobody does."""
    regions: dict[Region, Part] = {}
    """Where they are, in parts that add up to 1; empty: as the population."""


class ModelRow(Model, frozen=True, kw_only=True):
    """``[[model]]``: a model that Modu's table does not have, or another form of one: the fields of
    `planner/data/models.toml` and
    """

    id: Id
    """Its name in demands and fleets."""


class AcceleratorRow(Device, frozen=True, kw_only=True):
    """``[[accelerator]]``: a kind that neither Modu's table nor the pack has, or another one of the name: the
    fields of `planner/data/devices.toml` and
    """

    id: Id
    """Its name in fleets."""


class SiteRow(Rested, frozen=True, kw_only=True):
    """``[[site]]``: a data centre, beside those of the pack or in place of one."""

    id: Id
    """Its name in fleets, links and events."""
    name: Words = {}
    """Its name in each language."""
    region: Region | None = None
    """Where it stands."""
    power_mw: Annotated[float, Meta(gt=0, le=1e5)] | None = None
    """Most power that it draws, MW; accelerators beyond it stay off."""
    pue: Range | None = None
    """Power of the site for each watt of its servers; empty: `power.pue`."""


class FleetRow(Rested, frozen=True, kw_only=True):
    """``[[fleet]]``: accelerators of one kind, where they stand and what they run."""

    id: Id
    """Its name."""
    accelerator: str
    """Its kind."""
    count: Count | None = None
    """How many."""
    claim: str = ""
    """In place of `count`: a claim of the pack whose number it is."""
    part: Part = 1.0
    """Of that claim's number. Fleets of one claim add up to at most 1."""
    sites: dict[Id, Part]
    """Part of them at each site; they add up to 1."""
    models: dict[str, Part]
    """Part of them for each model; they add up to at most 1, the rest trains and researches."""
    devices: Annotated[int, Meta(ge=0, le=64)] = 0
    """Accelerators that one replica spans; 0: the fewest of 1, 2, 4, 8, … that hold the model
    and 65,536 tokens of context."""
    begins: date | None = None
    """First day of service; empty: before the start."""
    ends: date | None = None
    """Last day of service."""
    availability: Part = 0.97
    """Part that works at any time."""
    mtbf_hours: Annotated[float, Meta(ge=0, le=1e7)] = 0.0
    """Mean time between failures of one accelerator, hours: an engine dies when one of its accelerators does,
    and ends the answers that it has begun. 0: never. Sampled cells alone: in the mean over years it is a part
    of `availability`."""
    start_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
    """Until an engine that died answers again, s."""
    price: Range | None = None
    """Of one with its server and network, in the currency; empty: the pack's."""
    bought: Year | None = None
    """The year that pays for it; empty: that of `begins`, else nobody pays within the run."""


class LinkRow(Rested, frozen=True, kw_only=True):
    """``[[link]]``: how a region reaches a site. Without a row: within 10 ms, as much as it likes."""

    id: Id
    """Its name."""
    region: Region
    """From here."""
    site: Id
    """To there."""
    rtt_ms: Annotated[float, Meta(ge=0, le=10_000)] = 10.0
    """Round trip, ms."""
    gbit_s: Number | None = None
    """Most that it carries, Gbit/s; 0: it is cut; empty: as much as is sent."""


class EventRow(Row, frozen=True, kw_only=True):
    """``[[event]]``: what happens on the way."""

    id: Id
    """Its name."""
    kind: Literal["site-lost", "launch", "faster", "policy"]
    """A site is lost, a demand asks more, accelerators of a kind are faster, another policy counts."""
    begins: datetime | None = None
    """When, in local time: 2027-03-02T09:00:00. Empty: from the start."""
    hours: Annotated[float, Meta(gt=0, le=24 * DAYS)] | None = None
    """How long; empty: to the end."""
    site: str = ""
    """Of `site-lost`."""
    demand: str = ""
    """Of `launch`: one demand; empty: all."""
    accelerator: str = ""
    """Of `faster`: its kind."""
    factor: Annotated[float, Meta(gt=0, le=1000)] = 2.0
    """Of `launch` and `faster`."""
    policy: str = ""
    """Of `policy`: a file beside this one."""


class GoalRow(Row, frozen=True, kw_only=True):
    """``[[goal]]``: what a class is to get."""

    service_class: str
    """The class."""
    wait_s: Annotated[float, Meta(gt=0, le=604_800)] = 2.0
    """Most seconds until its answers begin to be computed …"""
    part: Annotated[float, Meta(gt=0, le=1)] = 0.99
    """… for this part of its questions."""
    turned_away: Part = 0.001
    """Most that is refused or gives up, as a part of its questions."""


class PowerRow(Rested, frozen=True, kw_only=True):
    """``[power]``: what accelerators draw and what it costs."""

    server: Range = (1.4, 1.6, 1.8)
    """Power of an accelerator with its part of the server, as a multiple of its own watts."""
    idle: Part = 0.3
    """Part of it that it draws without work."""
    pue: Range | None = None
    """Of sites that have none; empty: the pack's, else [1.1, 1.3, 1.6]."""
    kwh: Range | None = None
    """Price of a kWh in the currency; empty: the pack's."""
    start_up_minutes: Annotated[float, Meta(ge=0, le=1440)] = 10.0
    """Until a site that comes back answers again."""


class BudgetRow(Rested, frozen=True, kw_only=True):
    """``[[budget]]``: money of a year, beside or in place of the pack's AI budget of that year."""

    year: Year
    """Of which year."""
    amount: Number
    """In the currency."""
