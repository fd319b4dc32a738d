"""What there is to answer with, at any time: pools that stand, are lost, come back, become faster.

A replica's questions a second and slots come from ``steptime.capacity``; how many replicas there are, from
the fleets, their availability, the events and the power that a site has. Times at which something changes
divide a run into *spells*; within one nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from moduai.planner import load
from moduai.planner.load import DAY, Floats
from moduai.planner.scenario.world import Pool, World
from moduai.planner.steptime import Capacity, More, capacity

if TYPE_CHECKING:
    from moduai.planner.fluid import Columns

USUAL_RTT: Final = 10.0
"""Round trip in ms where no link says another."""


class Plant:
    """All pools of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.models = list(dict.fromkeys(one.model for one in world.demands))
        self.capacities: dict[tuple[int, int], Capacity] = {}
        """Of one replica, by number of pool and demand."""
        known = cache(self._capacity)
        for number, pool in enumerate(world.pools):
            for place, one in enumerate(world.demands):
                if one.model == pool.model:
                    self.capacities[number, place] = known(
                        pool.model,
                        pool.accelerator,
                        pool.devices,
                        one.tokens_read,
                        one.tokens_held,
                        one.tokens_out,
                        one.vary,
                        one.tpot_ms,
                    )
        shape = (len(world.pools), len(world.demands))
        self.rate, self.slots = np.zeros(shape), np.zeros(shape)
        self.error = np.zeros(len(world.pools))
        for (number, place), one_ in self.capacities.items():
            self.rate[number, place], self.slots[number, place] = one_.requests_per_s, one_.batch
            self.error[number] = one_.error
        self.count = np.array([pool.count for pool in world.pools])
        self.span = np.array([pool.devices for pool in world.pools])
        self.availability = np.array([pool.availability for pool in world.pools])
        self.watts = np.array([world.devices[pool.accelerator].watts for pool in world.pools])
        self.sites = list(dict.fromkeys(pool.site for pool in world.pools))
        self.site_of = np.array([self.sites.index(pool.site) for pool in world.pools])
        self.trains = np.array([not pool.model for pool in world.pools])

    @cached_property
    def spells(self) -> list[Spell]:
        """In order of time."""
        return [Spell(self, begins) for begins in self._changes]

    @cached_property
    def _changes(self) -> list[float]:
        """Seconds at which something changes; the first is the start."""
        world = self.world
        found = {0.0}
        for pool in world.pools:
            found |= {world.seconds(pool.begins)} if pool.begins else set()
            found |= {world.seconds(pool.ends) + DAY} if pool.ends else set()
        for event in world.events:
            found |= {*world.window(event), _back(world, world.window(event)[1])}
        return sorted(one for one in found if 0 <= one < world.head.days * DAY)

    @cached_property
    def _spell_of(self) -> NDArray[np.int64]:
        return np.searchsorted(np.array(self._changes), load.ticks(self.world), "right") - 1

    def at(self, tick: int) -> Spell:
        """What there is in a tick."""
        return self.spells[int(self._spell_of[tick])]

    def by_tick(self, ticks: int) -> Iterator[tuple[Spell, NDArray[np.bool_]]]:
        """Spells, and the ticks of each among the first ones."""
        for number, spell in enumerate(self.spells):
            mine = self._spell_of[:ticks] == number
            if mine.any():
                yield spell, mine

    def _capacity(
        self, model: str, accelerator: str, devices: int, read: float, held: float, wrote: float,
        vary: float, tpot: float,
    ) -> Capacity:  # fmt: skip
        world, more = self.world, More(held, vary)
        of, device = world.models[model], world.devices[accelerator]
        return capacity(of, device, devices, read, wrote, world.fit, more=more, most_tpot_ms=tpot)

    def region_bytes(self, world: World, regions: int) -> Floats:
        """Bytes a second that each region's links carry together; without end where one has no limit."""
        most = np.full(regions, np.inf)
        for number, region in enumerate(world.regions if regions > 1 else ()):
            limits = {one.site: one.gbit_s for one in world.links if one.region == region.id}
            if limits and all(limits.get(site) is not None for site in self.sites):
                most[number] = sum((limits[site] or 0.0) for site in self.sites) * 1e9 / 8
        return most

    def rtt(self, world: World) -> Floats:
        """Mean round trip of each region in s, over the sites that it reaches as they are filled."""
        size = np.bincount(self.site_of, np.where(self.trains, 0, self.count), len(self.sites))
        made = np.full(len(world.regions), USUAL_RTT / 1000)
        for number, region in enumerate(world.regions):
            links = {one.site: one for one in world.links if one.region == region.id}
            trips = [links[site].rtt_ms if site in links else USUAL_RTT for site in self.sites]
            open_ = [site not in links or links[site].gbit_s != 0 for site in self.sites]
            weight = size * np.array(open_)
            if weight.sum():
                made[number] = float((weight * np.array(trips)).sum() / weight.sum()) / 1000
        return made


class Spell:
    """A time in which nothing changes."""

    def __init__(self, plant: Plant, begins: float) -> None:
        world = plant.world
        self.plant, self.begins = plant, begins
        self.up = np.array([_stands(world, pool, begins) for pool in world.pools], dtype=float)
        self.fast = np.ones(len(world.pools))
        self.policy = ""
        """The event whose policy counts; empty: the scenario's."""
        for event in world.events:
            first, last = world.window(event)
            if not first <= begins < last:
                continue
            if event.kind == "faster":
                self.fast *= [
                    event.factor if pool.accelerator == event.accelerator else 1 for pool in world.pools
                ]
            elif event.kind == "policy":
                self.policy = event.id
        self._costs: dict[int, tuple[object, Floats, Floats]] = {}

    def replicas(self, columns: Columns) -> Floats:
        """Columns × pools: whole ones that are up and have power."""
        have = columns.fleet[:, None] * self.plant.count * self.plant.availability
        whole = np.floor(have * self.powered(columns) / self.plant.span + 1e-9)
        return np.asarray(whole * self.up)

    def powered(self, columns: Columns) -> Floats:
        """Columns × pools: the part of a site's accelerators that its power is enough for."""
        plant, world = self.plant, self.plant.world
        server = _middle(world.power.server)
        full = columns.fleet[:, None] * plant.count * plant.watts * server * self.up
        made = np.ones_like(full)
        for number, name in enumerate(plant.sites):
            site = world.sites[name]
            if site.power_mw is not None:
                mine = plant.site_of == number
                need = full[:, mine].sum(-1) * site.pue.middle / 1e6
                made[:, mine] = np.minimum(1.0, site.power_mw / np.maximum(need, 1e-12))[:, None]
        return np.asarray(made)

    def cost(self, columns: Columns) -> Floats:
        """Columns × demands: seconds of the whole supply for one question; inf: nothing runs its model."""
        return self._made(columns)[0]

    def gateways(self, columns: Columns) -> Floats:
        """Columns × models: one for each ``scenario.cell`` accelerators that answer, and one at least."""
        plant = self.plant
        runs = np.array([[pool.model == model for model in plant.models] for pool in plant.world.pools])
        serving = (self.replicas(columns) * plant.span) @ runs
        return np.asarray(np.maximum(1.0, serving / plant.world.head.cell))

    def accelerator_seconds(self, columns: Columns) -> Floats:
        """Columns × demands: what one question takes of the accelerators; nothing where nobody answers it."""
        plant = self.plant
        accelerators = self.replicas(columns) * plant.span
        runs = np.array(
            [[pool.model == one.model for one in plant.world.demands] for pool in plant.world.pools]
        )
        cost = self.cost(columns)
        return np.asarray(np.where(np.isfinite(cost), cost, 0.0) * (accelerators @ runs))

    def slots(self, columns: Columns) -> Floats:
        """Columns × models: questions at once."""
        return self._made(columns)[1]

    def _made(self, columns: Columns) -> tuple[Floats, Floats]:
        kept = self._costs.get(id(columns))
        if kept is None or kept[0] is not columns:
            kept = self._costs[id(columns)] = (columns, *self._compute(columns))
        return kept[1], kept[2]

    def _compute(self, columns: Columns) -> tuple[Floats, Floats]:
        plant = self.plant
        replicas = self.replicas(columns)
        rates = (replicas * columns.speed * self.fast) @ plant.rate
        with np.errstate(divide="ignore"):
            cost = np.where(rates > 0, 1 / np.maximum(rates, 1e-300), np.inf)
        slots = np.zeros((columns.count, len(plant.models)))
        of = np.array([plant.models.index(one.model) for one in plant.world.demands])
        at_once = replicas @ plant.slots
        for model in range(len(plant.models)):
            slots[:, model] = np.maximum(1.0, at_once[:, of == model].mean(-1))
        return cost, slots


def _middle(value: float | tuple[float, ...]) -> float:
    return value[1] if isinstance(value, tuple) else value


def _back(world: World, ends: float) -> float:
    """When what was lost answers again."""
    return ends + world.power.start_up_minutes * 60


def _stands(world: World, pool: Pool, at: float) -> bool:
    """Whether a pool is there at a time (s)."""
    if pool.begins and at < world.seconds(pool.begins):
        return False
    if pool.ends and at >= world.seconds(pool.ends) + DAY:
        return False
    for event in world.events:
        if event.kind == "site-lost" and event.site == pool.site:
            first, last = world.window(event)
            if first <= at < _back(world, last):
                return False
    return True
