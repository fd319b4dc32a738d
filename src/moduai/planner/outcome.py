"""What a run comes to: waits by class and region, shares, energy, money, goals; each with its basis.

Rule: a number that comes from several figures is no better known than the weakest of them (``basis``). A
band is from the fifth to the ninety-fifth of a hundred runs whose figures were drawn; the middle is the run
with all figures in the middle, and may lie outside of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct

from moduai.packs.schema import Words
from moduai.planner import load
from moduai.planner.basis import Basis, Spread
from moduai.planner.fluid import Columns, Flow
from moduai.planner.known import known
from moduai.planner.load import DAY, Floats
from moduai.planner.plant import Plant
from moduai.planner.scenario.world import Rests, World
from moduai.planner.spent import Year, power_of, years_of
from moduai.planner.waits import Waited, by_class

if TYPE_CHECKING:
    from moduai.planner.scenario.schema import GoalRow

COLUMNS: Final = ("at", "service_class", "asked", "served", "refused", "left", "waiting", "wait_s")
MOST_POINTS: Final = 400
"""Of a curve over the whole run."""


class ByClass(Struct, frozen=True, kw_only=True):
    """What one class got."""

    service_class: str
    title: Words
    asked: float
    served: Spread | None
    """Part of what was asked; None: nobody asked."""
    refused: float
    left: float
    waiting: float
    """Parts; waiting: at the end."""
    share: float
    """Part of all accelerator time that was used."""
    tokens_s: float
    """Tokens of answers a second, in the mean."""
    mean: float
    p50: float
    p90: float
    p99: Spread
    """Seconds in line, with the way there and back."""


class ByRegion(Struct, frozen=True, kw_only=True):
    """What people in one region got, all classes together, without agents and batch work."""

    region: str
    name: Words
    asked: float
    served: float
    mean: float
    p99: float


class Goal(Struct, frozen=True, kw_only=True):
    """Whether a goal was kept."""

    service_class: str
    wait_s: float
    wanted: float
    within: float
    """Part of questions that waited no longer."""
    turned_away: float
    kept: bool


class Hour(Struct, frozen=True, kw_only=True):
    """An hour of the day, in the mean of all days, by class in the order of ``Outcome.classes``."""

    hour: int
    asked: tuple[float, ...]
    """Questions a second."""
    wait: tuple[float, ...]
    """Mean seconds in line of those who come then."""


class Point(Struct, frozen=True, kw_only=True):
    """A time of the run."""

    at: str
    """Local time."""
    asked: float
    served: float
    """Questions a second, all classes."""
    used: float
    """Part of the accelerators that serve."""
    megawatts: float


class BySite(Struct, frozen=True, kw_only=True):
    """What one site had."""

    site: str
    name: Words
    accelerators: int
    powered: float
    """Part that its power is enough for."""
    peak_mw: float
    energy_mwh: float


class ByPool(Struct, frozen=True, kw_only=True):
    """Replicas of a model at a site, and how fast one is of the demand that asks most of it."""

    site: str
    model: str
    accelerator: str
    replicas: int
    devices: int
    batch: int
    requests_s: float
    tpot_ms: float
    basis: Basis
    error: float


class Outcome(Struct, frozen=True, kw_only=True):
    """All of it."""

    scenario: str
    name: Words
    about: Words
    start: str
    days: float
    whole: bool
    """Whether the run came to its end."""
    seed: int
    draws: int
    currency: str
    large_numbers: dict[str, dict[str, float]]
    """Their names by language, as the pack has them."""
    accelerators: int
    serving: int
    """Of them, in replicas that answer."""
    asked: float
    tokens_s: float
    used: dict[str, float]
    """Part of the supply by model, in the mean."""
    peak: dict[str, float]
    """In the busiest tick."""
    missing: float
    """Largest part of a demand of which nobody knows what became: nothing."""
    classes: tuple[ByClass, ...]
    regions: tuple[ByRegion, ...]
    goals: tuple[Goal, ...]
    hours: tuple[Hour, ...]
    curve: tuple[Point, ...]
    sites: tuple[BySite, ...]
    pools: tuple[ByPool, ...]
    years: tuple[Year, ...]
    rests: tuple[Rests, ...]
    """What all of it rests on."""
    basis: dict[str, Basis]
    """As of ``Known``."""


def outcome(world: World, plant: Plant, flow: Flow, bands: tuple[Columns, Flow] | None) -> Outcome:
    """What a run comes to. ``bands``: drawn runs beside it, regions together."""
    ones = Columns(np.ones((1, len(world.demands))), np.ones((1, len(world.pools))), np.ones(1))
    asked = world.shape[: flow.done] * world.tick
    classes = by_class(world)
    waited = Waited(world, plant, flow, plant.rtt(world))
    beside = Waited(world, plant, bands[1], np.array([plant.rtt(world).mean()])) if bands else None
    power = power_of(world, plant, flow, ones)
    share = _shares(plant, flow, ones, classes)
    spell = plant.at(max(0, flow.done - 1))
    serving = float((spell.replicas(ones)[0] * plant.span)[~plant.trains].sum())
    wrote = np.array([one.tokens_out for one in world.demands])
    seconds = max(flow.done * flow.tick, 1.0)
    behind = known(world, plant)
    return Outcome(
        scenario=world.file,
        name=world.head.name,
        about=world.head.about,
        start=str(world.head.start),
        days=flow.done * flow.tick / DAY,
        whole=flow.done == len(load.ticks(world)),
        seed=world.head.seed,
        draws=world.head.draws if bands else 0,
        currency=world.currency,
        large_numbers=world.pack.locale.large_numbers if world.pack else {},
        accelerators=round(float((plant.count * spell.up).sum())),
        serving=round(serving),
        asked=float(asked.sum()),
        tokens_s=float((flow.served[: flow.done, 0] * wrote).sum() / seconds),
        used={name: float(flow.used[: flow.done, 0, m].mean()) for m, name in enumerate(plant.models)},
        peak={name: float(flow.used[: flow.done, 0, m].max()) for m, name in enumerate(plant.models)},
        missing=flow.missing(asked.sum(0)[None]),
        classes=tuple(
            _by_class(world, flow, bands, waited, beside, name, mine, share[name])
            for name, mine in classes.items()
        ),
        regions=tuple(_regions(world, flow, waited)),
        goals=tuple(_kept(world, flow, waited, classes, goal) for goal in world.goals),
        hours=tuple(_hours(world, flow, waited, classes)),
        curve=tuple(_curve(world, plant, flow, power)),
        sites=tuple(_sites(world, plant, flow, power, ones)),
        pools=tuple(_pools(world, plant, ones)),
        years=tuple(years_of(world, flow, power)),
        rests=behind.rests,
        basis=behind.basis,
    )


def _by_class(
    world: World, flow: Flow, bands: tuple[Columns, Flow] | None, waited: Waited, beside: Waited | None,
    name: str, mine: list[int], share: float,
) -> ByClass:  # fmt: skip
    at = slice(flow.done)
    shape = world.shape[at][:, mine] * world.tick
    asked = float(shape.sum())
    whole = max(asked, 1e-12)
    waits = waited.of(0, mine)
    drawn = [float(flow.served[at, 0][:, mine].sum()) / whole]
    late = [waits.quantile(0.99)]
    if bands and beside:
        columns, other = bands
        for column in range(1, columns.count):
            want = max(float((shape * columns.demand[column, mine]).sum()), 1e-12)
            drawn.append(float(other.served[at, column][:, mine].sum()) / want)
            late.append(beside.of(column, mine).quantile(0.99))
    wrote = sum(float(flow.served[at, 0, one].sum()) * world.demands[one].tokens_out for one in mine)
    return ByClass(
        service_class=name,
        title=world.policy.classes[name].title,
        asked=asked,
        served=spread(drawn) if asked else None,
        refused=float(flow.refused[at, 0][:, mine].sum()) / whole,
        left=float(flow.left[at, 0][:, mine].sum()) / whole,
        waiting=float(flow.waiting[-1][0, mine].sum()) / whole if flow.done else 0.0,
        share=share,
        tokens_s=wrote / max(flow.done * flow.tick, 1.0),
        mean=waits.mean(),
        p50=waits.quantile(0.5),
        p90=waits.quantile(0.9),
        p99=spread(late),
    )


def spread(values: list[float]) -> Spread:
    """The middle first, then the drawn ones."""
    drawn = values[1:] or values
    return Spread(float(np.quantile(drawn, 0.05)), values[0], float(np.quantile(drawn, 0.95)))


def _shares(plant: Plant, flow: Flow, ones: Columns, classes: dict[str, list[int]]) -> dict[str, float]:
    """Part of the accelerator time that is used, by class: all supplies together."""
    took = np.zeros(flow.served.shape[2])
    for spell, mine in plant.by_tick(flow.done):
        took += flow.served[: flow.done, 0][mine].sum(0) * spell.accelerator_seconds(ones)[0]
    whole = max(float(took.sum()), 1e-12)
    return {name: float(took[mine].sum()) / whole for name, mine in classes.items()}


def _regions(world: World, flow: Flow, waited: Waited) -> list[ByRegion]:
    if flow.came.shape[-1] != len(world.regions) or not flow.done:
        return []
    spread = load.spread(world)
    asked = world.shape[: flow.done].sum(0) * world.tick
    people = [place for place, one in enumerate(world.demands) if one.kind == "people"]
    made = []
    for number, region in enumerate(world.regions):
        want = float((asked * spread[:, number])[people].sum())
        lost = float((flow.gone + flow.turned + flow.waiting[-1])[0, people, number].sum())
        waits = waited.of(0, people, number)
        made.append(
            ByRegion(
                region=region.id,
                name=region.name,
                asked=want,
                served=1 - lost / max(want, 1e-12),
                mean=waits.mean(),
                p99=waits.quantile(0.99),
            )
        )
    return made


def kept(world: World, plant: Plant, flow: Flow, columns: Columns, column: int) -> bool:
    """Whether all goals are kept in a column."""
    rtt = plant.rtt(world)
    rtt = rtt if flow.came.shape[-1] == len(rtt) else np.array([rtt.mean()])
    waited, classes = Waited(world, plant, flow, rtt), by_class(world)
    more = columns.demand[column]
    return all(_kept(world, flow, waited, classes, goal, column, more).kept for goal in world.goals)


def by_tick(world: World, plant: Plant, flow: Flow) -> dict[str, list[object]]:
    """Columns of a table with a row for each tick and class: what programs read."""
    waited = Waited(world, plant, flow, plant.rtt(world))
    made: dict[str, list[object]] = {name: [] for name in COLUMNS}
    asked = world.shape[: flow.done] * world.tick
    times = [load.local(world.head.start, tick * flow.tick) for tick in range(flow.done)]
    waiting = flow.waiting[:, 0].sum(-1)
    for name, mine in by_class(world).items():
        counts = (asked, flow.served[: flow.done, 0], flow.refused[: flow.done, 0], flow.left[: flow.done, 0])
        sums = [each[:, mine].sum(1) for each in (*counts, waiting)]
        values = (times, [name] * flow.done, *sums, _mean_by_tick(flow, waited, mine))
        for column, value in zip(COLUMNS, values, strict=True):
            made[column] += list(value)
    return made


def _kept(
    world: World, flow: Flow, waited: Waited, classes: dict[str, list[int]], goal: GoalRow, column: int = 0,
    more: Floats | float = 1.0,
) -> Goal:  # fmt: skip
    mine = classes.get(goal.service_class, [])
    at = slice(flow.done)
    within = waited.of(column, mine).within(goal.wait_s)
    asked = float((world.shape[at] * more)[:, mine].sum() * world.tick)
    lost = float((flow.refused[at, column] + flow.left[at, column])[:, mine].sum()) / max(asked, 1e-12)
    return Goal(
        service_class=goal.service_class,
        wait_s=goal.wait_s,
        wanted=goal.part,
        within=within,
        turned_away=lost,
        kept=within >= goal.part and lost <= goal.turned_away,
    )


def _hours(world: World, flow: Flow, waited: Waited, classes: dict[str, list[int]]) -> list[Hour]:
    times = load.ticks(world)[: flow.done]
    of_day = (times % DAY // 3600).astype(int)
    asked = world.shape[: flow.done]
    rates = {name: asked[:, mine].sum(1) for name, mine in classes.items()}
    waits = {name: _mean_by_tick(flow, waited, mine) for name, mine in classes.items()}
    made = []
    for hour in range(24):
        mine = of_day == hour
        if mine.any():
            made.append(
                Hour(
                    hour=hour,
                    asked=tuple(float(rates[name][mine].mean()) for name in classes),
                    wait=tuple(_weighted(waits[name][mine], rates[name][mine]) for name in classes),
                )
            )
    return made


def _mean_by_tick(flow: Flow, waited: Waited, demands: list[int]) -> Floats:
    """Mean wait of those who come in each tick."""
    whole, sum_ = np.zeros(flow.done), np.zeros(flow.done)
    for demand in demands:
        for region in range(flow.came.shape[-1]):
            count, delay, chance, pause = waited.leaf(0, demand, region)
            whole += count
            sum_ += count * (delay + chance * pause)
    return np.asarray(sum_ / np.maximum(whole, 1e-12))


def _weighted(values: Floats, weights: Floats) -> float:
    return float((values * weights).sum() / max(float(weights.sum()), 1e-12))


def _curve(world: World, plant: Plant, flow: Flow, power: Floats) -> list[Point]:
    if not flow.done:
        return []
    asked, served = world.shape[: flow.done].sum(1), flow.served[: flow.done, 0].sum(1) / flow.tick
    weight = np.array(
        [sum(pool.count for pool in world.pools if pool.model == model) for model in plant.models]
    )
    used = flow.used[: flow.done, 0] @ (weight / max(float(weight.sum()), 1e-12))
    made = []
    for part in np.array_split(np.arange(flow.done), min(flow.done, MOST_POINTS)):
        at = load.local(world.head.start, float(part[0]) * flow.tick)
        made.append(
            Point(
                at=at.isoformat(timespec="minutes"),
                asked=float(asked[part].mean()),
                served=float(served[part].mean()),
                used=float(used[part].mean()),
                megawatts=float(power[part].sum(1).mean()) / 1e6,
            )
        )
    return made


def _sites(world: World, plant: Plant, flow: Flow, power: Floats, ones: Columns) -> list[BySite]:
    spell = plant.at(max(0, flow.done - 1))
    powered = spell.powered(ones)[0]
    made = []
    for number, name in enumerate(plant.sites):
        mine = plant.site_of == number
        made.append(
            BySite(
                site=name,
                name=world.sites[name].name,
                accelerators=round(float(plant.count[mine].sum())),
                powered=float(powered[mine].min()),
                peak_mw=float(power[:, number].max()) / 1e6 if flow.done else 0.0,
                energy_mwh=float(power[:, number].sum()) * flow.tick / 3.6e9,
            )
        )
    return made


def _pools(world: World, plant: Plant, ones: Columns) -> list[ByPool]:
    asked = world.shape.sum(0)
    replicas = plant.at(0).replicas(ones)[0]
    made = []
    for number, pool in enumerate(world.pools):
        mine = [place for place, one in enumerate(world.demands) if one.model == pool.model]
        if not mine:
            continue
        capacity = plant.capacities[number, max(mine, key=asked.__getitem__)]
        made.append(
            ByPool(
                site=pool.site,
                model=pool.model,
                accelerator=pool.accelerator,
                replicas=int(replicas[number]),
                devices=pool.devices,
                batch=capacity.batch,
                requests_s=capacity.requests_per_s,
                tpot_ms=capacity.tpot_ms,
                basis=capacity.basis,
                error=capacity.error,
            )
        )
    return made
