"""What a scenario needs from elsewhere, and what is wrong between its rows.

``parts`` brings the pack, policies, traces and tables of models and accelerators together; ``problems`` then
looks at what contradicts. Pure but for the files that a scenario names beside it. Fails closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from moduai.lined import near
from moduai.packs.pack import Fault, Pack
from moduai.planner.basis import Basis
from moduai.planner.devices import Device, devices
from moduai.planner.load import Trace, read_trace
from moduai.planner.models import Model, models
from moduai.planner.scenario import schema
from moduai.planner.scenario.rows import Problem, Rows
from moduai.planner.scenario.world import PUE, Band, Region, Rests, Site, conversation, span
from moduai.planner.steptime import DoesNotFitError, capacity
from moduai.scheduling.policy import Policy

if TYPE_CHECKING:
    from moduai.planner.scenario.read import Given

MOST_TRACE_BYTES: Final = 268_435_456
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Of a file beside a scenario."""
CLOSE: Final = 0.005
"""Parts that add up may miss by this much, for they are rounded where they are written."""
NOTHING: Final = Band(0.0, 0.0, 0.0)
EVERYONE: Final = "everyone"
MODU: Final = "modu"
"""As a policy: the one that comes with Modu."""
RANGES: Final = {
    "demand": ("most", "questions_a_day"),
    "fleet": ("price",),
    "site": ("pue",),
    "power": ("server", "pue", "kwh"),
}
NEEDS: Final = {"site-lost": "site", "faster": "accelerator", "policy": "policy"}
"""Field that an event of a kind must have."""
Found = Iterator[Problem]
Read = Callable[[Path], bytes | None]


@dataclass(kw_only=True)
class Parts:
    """What rows refer to."""

    name: str
    pack: Pack | None = None
    policy: Policy
    policies: dict[str, Policy] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    sites: dict[str, Site] = field(default_factory=dict)
    askers: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    price: Band = NOTHING
    kwh: Band = NOTHING
    budgets: dict[int, float] = field(default_factory=dict)
    rests: list[Rests] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    """Of other files: traces, policies."""


def parts(rows: Rows, given: Given, file: Path, read: Read) -> Parts:
    """Everything that rows refer to, as far as it is there."""
    made = Parts(name=file.stem, policy=cast("Policy", given.parse_policy(given.policy)))
    head = rows.head
    if head.pack:
        try:
            made.pack = given.pack(head.pack)
        except ValueError as error:
            made.problems.append(Problem("scenario", "", "pack", str(error).splitlines()[0]))
            return made
    beside = _Beside(made, given, file.parent, read)
    if made.pack and made.pack.policy:
        made.policy = cast("Policy", given.parse_policy(made.pack.policy))
    if given.instead:
        made.policy = cast("Policy", given.parse_policy(given.instead))
    elif head.policy == MODU:
        made.policy = cast("Policy", given.parse_policy(given.policy))
    elif head.policy:
        made.policy = beside.policy(Problem("scenario", "", "policy", ""), head.policy) or made.policy
    for event in rows.events:
        if event.kind == "policy" and event.policy:
            found = beside.policy(Problem("event", event.id, "policy", ""), event.policy)
            made.policies[event.id] = found or made.policy
    for demand in rows.demands:
        if demand.trace and (trace := beside.trace(demand)):
            made.traces[demand.id] = trace
    _tables(made, rows)
    _places(made, rows)
    _numbers(made, rows)
    _money(made, rows)
    return made


class _Beside:
    """Files that a scenario names: only such as lie beside it."""

    def __init__(self, made: Parts, given: Given, folder: Path, read: Read) -> None:
        self._made, self._given, self._folder, self._read = made, given, folder, read

    def policy(self, where: Problem, name: str) -> Policy | None:
        text = self._bytes(where, name)
        if text is None:
            return None
        try:
            return cast("Policy", self._given.parse_policy(text.decode(errors="replace")))
        except ValueError as error:
            for one in getattr(error, "problems", ()):
                self._made.faults.append(Fault(name, one.line, tuple(one.path), one.text))
            self._made.problems.append(where._replace(text=f"the policy in {name!r} has faults"))
            return None

    def trace(self, demand: schema.DemandRow) -> Trace | None:
        data = self._bytes(Problem("demand", demand.id, "trace", ""), demand.trace)
        if data is None:
            return None
        trace, faults = read_trace(demand.trace, data)
        self._made.faults += faults
        return trace

    def _bytes(self, where: Problem, name: str) -> bytes | None:
        if not NAME.fullmatch(name):
            text = f"{name[:64]!r} is no name of a file beside the scenario"
        elif (found := self._read(self._folder / name)) is None:
            text = f"there is no file {name!r} beside the scenario, or it is larger than 256 MiB"
        else:
            return found
        self._made.problems.append(where._replace(text=text))
        return None


def _tables(made: Parts, rows: Rows) -> None:
    """Models and accelerators: the scenario's own before Modu's, Modu's before the pack's."""
    for one in made.pack.accelerators if made.pack else ():
        made.devices[one.id] = Device(
            name=one.name, tflops=one.bf16_tflops or 0, tflops8=one.fp8_tflops or 0, memory_gb=one.memory_gb,
            bandwidth_tbs=one.bandwidth_tb_s, watts=one.watts, basis=_basis(one.basis), source=one.source,
        )  # fmt: skip
    made.devices |= devices() | {row.id: row for row in rows.accelerators}
    made.models |= models() | {row.id: row for row in rows.models}


def _places(made: Parts, rows: Rows) -> None:
    """Regions and sites: the scenario's own, else the pack's."""
    pack, head = made.pack, rows.head
    if rows.regions:
        own = [Region(id=row.id, name=row.name, population=row.population) for row in rows.regions]
        made.regions = tuple(own)
        made.rests += [_people(row.id, row.population, row.basis, row.source) for row in rows.regions]
    elif pack:
        known = {one.code: one for one in pack.regions if one.code != pack.locale.country}
        for code in head.regions:
            if code not in known:
                text = f"the pack has no region {code!r}; {near(code, list(known))}"
                made.problems.append(Problem("scenario", "", "regions", text))
        chosen = [one for one in known.values() if not head.regions or one.code in head.regions]
        made.regions = tuple(Region(id=one.code, name=one.name, population=one.population) for one in chosen)
        made.rests += [_people(one.code, one.population, one.basis, one.source) for one in chosen]
    made.regions = made.regions or (Region(id="", name={}, population=1),)
    usual = Band.of(rows.power.pue) if rows.power.pue is not None else _price(pack, "pue") or Band(*PUE)
    for one in pack.sites if pack else ():
        pue = Band.of(one.pue) if one.pue else usual
        made.sites[one.id] = Site(
            id=one.id, name=one.name, region=one.region or "", power_mw=one.power_mw, pue=pue
        )
    for site in rows.sites:
        pue = Band.of(site.pue) if site.pue is not None else usual
        made.sites[site.id] = Site(
            id=site.id, name=site.name, region=site.region or "", power_mw=site.power_mw, pue=pue
        )


def _numbers(made: Parts, rows: Rows) -> None:
    """How many ask and how many accelerators there are."""
    pack = made.pack
    groups: dict[str, tuple[float, Basis, str]] = {}
    everyone = float(sum(region.population for region in made.regions))
    part = everyone / pack.people if pack and pack.people and rows.head.regions else 1.0
    for one in pack.groups if pack else ():
        if one.population is not None:
            basis = _basis(one.basis)
            groups[one.id] = (one.population * part, basis, one.source or "")
    groups |= {row.id: (row.population, row.basis, row.source) for row in rows.groups}
    for demand in rows.demands:
        count, basis, source = float(demand.count or 0), demand.basis, demand.source
        if demand.of == EVERYONE and (pack or rows.regions):
            count, basis, source = everyone, Basis.PUBLISHED, "regions"
        elif demand.of:
            if demand.of not in groups:
                text = f"nobody counted {demand.of!r}; {near(demand.of, [EVERYONE, *groups])}"
                made.problems.append(Problem("demand", demand.id, "of", text))
                continue
            count, basis, source = groups[demand.of]
        elif demand.count is None:
            text = "it has nobody: give `of` (a group, or everyone) or `count`"
            made.problems.append(Problem("demand", demand.id, "", text))
            continue
        made.askers[demand.id] = count
        made.rests += _asked(demand, count, basis, source)
    for fleet in rows.fleets:
        _fleet(made, fleet)


def _fleet(made: Parts, fleet: schema.FleetRow) -> None:
    """How many a fleet has: as it says, or as a claim of the pack does."""
    if (fleet.count is None) == (not fleet.claim):
        made.problems.append(Problem("fleet", fleet.id, "", "give `count`, or `claim` of a pack"))
    elif fleet.count is not None:
        made.counts[fleet.id] = float(fleet.count)
        made.rests.append(_rest(f"{fleet.id}: accelerators", fleet.count, "", fleet.basis, fleet.source))
    else:
        claim = made.pack.claim.get(fleet.claim) if made.pack else None
        unit = made.pack.unit.get(claim.unit or "") if made.pack and claim else None
        if made.pack is None or claim is None or claim.number is None or unit is None:
            known = [one.id for one in (made.pack.claims if made.pack else ()) if one.number]
            text = f"the pack has no claim {fleet.claim!r} with a number; {near(fleet.claim, known)[:200]}"
            made.problems.append(Problem("fleet", fleet.id, "claim", text))
        elif unit.kind != "accelerators":
            text = f"claim {claim.id} is of {unit.kind}, not of accelerators"
            made.problems.append(Problem("fleet", fleet.id, "claim", text))
        else:
            made.counts[fleet.id] = claim.number * fleet.part
            what = f"{fleet.id}: accelerators, {fleet.part:.0%} of claim {claim.id}"
            basis = Basis.PUBLISHED if fleet.part == 1 else fleet.basis
            made.rests.append(_rest(what, claim.number * fleet.part, "", basis, claim.source))


def _money(made: Parts, rows: Rows) -> None:
    pack = made.pack
    made.price = _price(pack, "accelerator") or made.price
    made.kwh = Band.of(rows.power.kwh) if rows.power.kwh is not None else _price(pack, "kwh") or made.kwh
    for one in pack.budgets if pack else ():
        if one.ai:
            made.budgets[one.year] = one.ai
    made.budgets |= {row.year: row.amount for row in rows.budgets}
    for price in pack.prices if pack else ():
        if price.of in {"accelerator", "kwh", "pue"}:
            band = Band(price.low, price.middle, price.high)
            made.rests.append(Rests(f"price {price.id}", band, price.unit, _basis(price.basis), price.source))
    power = rows.power
    made.rests.append(
        Rests("power of a server / its accelerators", Band.of(power.server), "", power.basis, power.source)
    )
    made.rests.append(_rest("power without work, part", power.idle, "", power.basis, power.source))


def _price(pack: Pack | None, of: str) -> Band | None:
    """The pack's first price of a kind."""
    for one in pack.prices if pack else ():
        if one.of == of:
            return Band(one.low, one.middle, one.high)
    return None


def _people(what: str, value: float, basis: str, source: str) -> Rests:
    return _rest(f"people in {what}", value, "people", _basis(basis), source)


def _basis(of_pack: str) -> Basis:
    """What packs derive from published numbers by arithmetic is as good as these."""
    return Basis.PUBLISHED if of_pack == "derived" else Basis(of_pack)


def _asked(demand: schema.DemandRow, count: float, basis: Basis, source: str) -> Iterator[Rests]:
    yield _rest(f"{demand.id}: who may ask", count, "", basis, source)
    yield Rests(f"{demand.id}: part that uses it", Band.of(demand.most), "", demand.basis, demand.source)
    asked = Band.of(demand.questions_a_day)
    yield Rests(f"{demand.id}: questions", asked, "a day each", demand.basis, demand.source)
    yield _rest(f"{demand.id}: tokens of a question", demand.tokens_in, "", demand.basis, demand.source)
    yield _rest(f"{demand.id}: tokens of an answer", demand.tokens_out, "", demand.basis, demand.source)


def _rest(what: str, value: float, unit: str, basis: Basis, source: str) -> Rests:
    return Rests(what, Band.of(float(value)), unit, basis, source)


# what contradicts


def problems(rows: Rows, made: Parts) -> list[Problem]:
    """All that is wrong between rows."""
    found: list[Problem] = []
    for check in CHECKS:
        found += check(rows, made)
    return found


def _whole(rows: Rows, made: Parts) -> Found:
    if not rows.head.name:
        yield Problem("scenario", "", "", 'a scenario has a name, such as name = { en = "…" }')
    if not rows.demands:
        yield Problem("scenario", "", "", "nobody asks: there is no [[demand]]")
    if not rows.fleets:
        yield Problem("scenario", "", "", "nothing answers: there is no [[fleet]]")


def _ranges(rows: Rows, made: Parts) -> Found:
    kinds: Mapping[str, Any] = {"demand": rows.demands, "fleet": rows.fleets, "site": rows.sites}
    for kind, names in RANGES.items():
        for row in kinds.get(kind, (rows.power,)):
            for name in names:
                value = getattr(row, name)
                if isinstance(value, tuple) and not value[0] <= value[1] <= value[2]:
                    text = "a range is [low, middle, high], in this order"
                    yield Problem(kind, getattr(row, "id", ""), name, text)
    for site in made.sites.values():
        if not 1 <= site.pue.low <= site.pue.high <= 3:
            kind = "site" if any(site.id == row.id and row.pue for row in rows.sites) else "power"
            text = f"a PUE is between 1 and 3, not {site.pue.middle:g}: it is a ratio, 130 % is 1.3"
            yield Problem(kind, site.id if kind == "site" else "", "pue", text)


def _sums(rows: Rows, made: Parts) -> Found:
    for curve in rows.curves:
        if abs(sum(curve.hours) - 1) > CLOSE:
            text = f"the 24 hours add up to {sum(curve.hours):.4g}, not to 1: divide each by it"
            yield Problem("curve", curve.id, "hours", text)
    for demand in rows.demands:
        if demand.regions and abs(sum(demand.regions.values()) - 1) > CLOSE:
            yield Problem("demand", demand.id, "regions", _not_one(sum(demand.regions.values())))
    claimed: dict[str, float] = {}
    for fleet in rows.fleets:
        if abs(sum(fleet.sites.values()) - 1) > CLOSE:
            yield Problem("fleet", fleet.id, "sites", _not_one(sum(fleet.sites.values())))
        if sum(fleet.models.values()) > 1 + CLOSE:
            text = f"the parts add up to {sum(fleet.models.values()):.4g}: more than all of them"
            yield Problem("fleet", fleet.id, "models", text)
        if fleet.claim:
            claimed[fleet.claim] = claimed.get(fleet.claim, 0) + fleet.part
            if claimed[fleet.claim] > 1 + CLOSE:
                text = f"up to here fleets take {claimed[fleet.claim]:.4g} times claim {fleet.claim}"
                yield Problem("fleet", fleet.id, "part", text)


def _not_one(is_: float) -> str:
    hint = ": these are percent, write parts of one" if abs(is_ - 100) < 1 else ""
    return f"the parts add up to {is_:.4g}, not to 1{hint}"


def _names(rows: Rows, made: Parts) -> Found:
    regions = [region.id for region in made.regions]
    classes = list(made.policy.classes)
    curves = ["flat", *(curve.id for curve in rows.curves)]
    for demand in rows.demands:
        yield from _known("demand", demand.id, "service_class", demand.service_class, classes)
        yield from _known("demand", demand.id, "curve", demand.curve, curves)
        yield from _known("demand", demand.id, "model", demand.model, list(made.models))
        for region in demand.regions:
            yield from _known("demand", demand.id, f"regions.{region}", region, regions)
        rule = made.policy.classes.get(demand.service_class)
        if demand.policy_group and rule:
            yield from _known("demand", demand.id, "policy_group", demand.policy_group, list(rule.groups))
    for fleet in rows.fleets:
        yield from _known("fleet", fleet.id, "accelerator", fleet.accelerator, list(made.devices))
        for site in fleet.sites:
            yield from _known("fleet", fleet.id, f"sites.{site}", site, list(made.sites))
        for model in fleet.models:
            yield from _known("fleet", fleet.id, f"models.{model}", model, list(made.models))
    for link in rows.links:
        yield from _known("link", link.id, "region", link.region, regions)
        yield from _known("link", link.id, "site", link.site, list(made.sites))
    for goal in rows.goals:
        yield from _known("goal", goal.service_class, "service_class", goal.service_class, classes)
    for event in rows.events:
        yield from _known("event", event.id, "site", event.site, ["", *made.sites])
        yield from _known("event", event.id, "demand", event.demand, ["", *(one.id for one in rows.demands)])
        yield from _known("event", event.id, "accelerator", event.accelerator, ["", *made.devices])


def _known(kind: str, key: object, name: str, value: str, known: list[str]) -> Found:
    if value not in known:
        said = near(value, known)
        listed = said if len(said) <= 300 else f"{said[:300]}…"
        yield Problem(kind, key, name, f"there is no {name.partition('.')[0]} {value[:64]!r}; {listed}")


def _fits(rows: Rows, made: Parts) -> Found:
    """Every model that is asked is run somewhere, and fits where it is run."""
    run: set[str] = set()
    longest: dict[str, tuple[float, float]] = {}
    for demand in rows.demands:
        lengths = sum(conversation(demand, demand.tokens_in, demand.tokens_out)), demand.tokens_out
        longest[demand.model] = max(lengths, longest.get(demand.model, (1, 1)))
    for fleet in rows.fleets:
        device = made.devices.get(fleet.accelerator)
        for name in fleet.models if device else ():
            model = made.models.get(name)
            if model is None or device is None:
                continue
            run.add(name)
            try:
                capacity(model, device, span(fleet, model, device), *longest.get(name, (1, 1)))
            except DoesNotFitError as error:
                others = _that_hold(model, made.devices)
                yield Problem("fleet", fleet.id, f"models.{name}", f"{error}; it fits on {others}")
    for demand in rows.demands:
        if demand.model in made.models and demand.model not in run:
            text = f"no fleet runs {demand.model!r}; {near(demand.model, sorted(run))}"
            yield Problem("demand", demand.id, "model", text)


def _that_hold(model: Model, devices: Mapping[str, Device]) -> str:
    found = []
    for name, device in devices.items():
        try:
            capacity(model, device, span(_ONE, model, device), 1, 1)
        except DoesNotFitError:
            continue
        found.append(name)
    return ", ".join(found) or "no accelerator that is known"


_ONE: Final = schema.FleetRow(id="one", accelerator="", sites={}, models={})


def _positive(rows: Rows, made: Parts) -> Found:
    """Rows that Modu's own tables share their type with have no bounds of their own."""
    for kind, some, names in (
        ("accelerator", rows.accelerators, ("tflops", "memory_gb", "bandwidth_tbs", "watts", "node")),
        ("model", rows.models, ("parameters_b", "layers", "hidden")),
    ):
        for row in some:
            for name in names:
                if not 0 < getattr(row, name) < 1e7:
                    yield Problem(kind, row.id, name, f"{name} is above 0, not {getattr(row, name):g}")


def _times(rows: Rows, made: Parts) -> Found:
    ends = rows.head.start + timedelta(days=rows.head.days)
    for demand in rows.demands:
        if demand.half and demand.begins is None:
            yield Problem("demand", demand.id, "half", "it needs `begins`, the day from which people can")
        if demand.half and demand.begins and demand.half < demand.begins:
            yield Problem("demand", demand.id, "half", f"{demand.half} is before it begins, {demand.begins}")
    for fleet in rows.fleets:
        if fleet.begins and fleet.ends and fleet.ends < fleet.begins:
            yield Problem("fleet", fleet.id, "ends", f"{fleet.ends} is before it begins, {fleet.begins}")
    for event in rows.events:
        name = NEEDS.get(event.kind, "")
        if name and not getattr(event, name):
            yield Problem("event", event.id, "", f"an event {event.kind!r} needs {name!r}")
        if event.begins and not rows.head.start <= event.begins.date() < ends:
            text = f"{event.begins} is outside the run, {rows.head.start} to {ends - timedelta(days=1)}"
            yield Problem("event", event.id, "begins", text)
        if event.begins and event.begins.tzinfo:
            yield Problem("event", event.id, "begins", "write local time, without a zone")


def _money_said(rows: Rows, made: Parts) -> Found:
    has_currency = rows.head.currency or made.pack
    if not has_currency and (rows.budgets or rows.power.kwh or any(one.price for one in rows.fleets)):
        yield Problem("scenario", "", "", 'prices need a `currency`, such as "XTS", or a pack')


CHECKS: Final = (_whole, _ranges, _sums, _names, _positive, _fits, _times, _money_said)
