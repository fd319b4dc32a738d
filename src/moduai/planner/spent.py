"""What a run costs: watts by site, energy and money by year, beside the budget."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.planner import load
from moduai.planner.basis import Spread
from moduai.planner.fluid import Columns, Flow
from moduai.planner.load import Floats
from moduai.planner.plant import Plant
from moduai.planner.scenario.world import Band, World

HOURS_A_YEAR: Final = 8_760


class Year(Struct, frozen=True, kw_only=True):
    """A calendar year at the pace of the run's days in it; money in the currency."""

    year: int
    bought: Spread
    energy_mwh: Spread | None
    """Of a whole year; None: no day of it was run."""
    bill: Spread | None
    budget: float | None
    part: float | None
    """What is bought and the bill, as a part of the budget."""


def power_of(world: World, plant: Plant, flow: Flow, ones: Columns) -> Floats:
    """Watts of each site at each tick, with all that it needs: ticks × sites."""
    made = np.zeros((flow.done, len(plant.sites)))
    idle, server = world.power.idle, Band.of(world.power.server).middle
    pue = np.array([world.sites[name].pue.middle for name in plant.sites])
    where = np.eye(len(plant.sites))[plant.site_of] * pue
    model_of = np.array([plant.models.index(p.model) if p.model in plant.models else -1 for p in world.pools])
    for spell, mine in plant.by_tick(flow.done):
        on = spell.replicas(ones)[0] * plant.span * plant.watts * server
        used = np.ones((int(mine.sum()), len(world.pools)))
        serves = model_of >= 0
        used[:, serves] = flow.used[: flow.done, 0][mine][:, model_of[serves]]
        used[:, ~serves & ~plant.trains] = 0.0
        made[mine] = (on * (idle + (1 - idle) * used)) @ where
    return made


def years_of(world: World, flow: Flow, power: Floats) -> list[Year]:
    """Calendar years of the run, and those that buy something."""
    of_tick = _year_of(world, flow)
    run = set(of_tick.tolist())
    bought = {one.year for one in world.bought if one.year}
    made = []
    for year in sorted(run | bought):
        paid = [(one.count, one.price) for one in world.bought if one.year == year]
        cost = Spread(*(sum(count * price[at] for count, price in paid) for at in range(3)))
        energy = bill = None
        if year in run:
            energy = _energy(world, float(power[of_tick == year].sum(1).mean()))
            prices = (world.kwh.low, world.kwh.middle, world.kwh.high)
            mwh = (energy.low, energy.middle, energy.high)
            bill = Spread(*(each * 1000 * price for each, price in zip(mwh, prices, strict=True)))
        budget = world.budgets.get(year)
        spent = cost.middle + (bill.middle if bill else 0.0)
        made.append(
            Year(
                year=year, bought=cost, energy_mwh=energy, bill=bill, budget=budget,
                part=spent / budget if budget else None,
            )
        )  # fmt: skip
    return made


def _energy(world: World, watts: float) -> Spread:
    """MWh of a year at a mean power, with the ranges of servers and of what sites need."""
    middle = watts * HOURS_A_YEAR / 1e6
    server = Band.of(world.power.server)
    pue = [world.sites[pool.site].pue for pool in world.pools]
    low, high = (
        server[at] / server.middle * float(np.mean([one[at] / one.middle for one in pue])) for at in (0, 2)
    )
    return Spread(middle * low, middle, middle * high)


def _year_of(world: World, flow: Flow) -> NDArray[np.int64]:
    start = np.datetime64(world.head.start, "s")
    times = start + load.ticks(world)[: flow.done].astype("timedelta64[s]")
    return np.asarray(times.astype("datetime64[Y]").astype(np.int64) + 1970)
