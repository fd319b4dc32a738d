"""How few accelerators keep the goals: all fleets grow or shrink together, many sizes run side by side.

Rule: a size counts when it keeps every goal and all larger ones that were tried do too. ``sure`` asks for it
in that part of the runs whose figures were drawn, not only in the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from msgspec import Struct

from moduai.planner import fluid
from moduai.planner.fluid import Columns
from moduai.planner.load import Floats
from moduai.planner.outcome import kept
from moduai.planner.plant import Plant
from moduai.planner.scenario.world import World

TRIED: Final = 12
"""Sizes that are run side by side."""
ROUNDS: Final = 4
"""The first looks over all sizes, each other one between two neighbours of the last."""
LEAST, MOST = 1 / 4096, 256.0
"""Sizes that are looked at, as multiples of the scenario's."""


class Size(Struct, frozen=True, kw_only=True):
    """The answer."""

    scenario: str
    fewest: int | None
    """Accelerators in all; None: no size keeps the goals."""
    serving: int
    """Of them, in replicas that answer."""
    now: int
    """Those of the scenario."""
    multiple: float
    sure: float
    """Part of the drawn runs that keep the goals; 0: the middle alone was asked."""
    fleets: dict[str, int]
    tried: tuple[tuple[float, bool], ...]
    """Multiples, and whether they keep the goals."""
    whole: bool
    """Whether the search came to its end."""


def size(
    world: World, plant: Plant, sure: float = 0.0, progress: Callable[[int, int], None] | None = None
) -> Size:
    """Search. An interrupt ends it with what was found. Raises ValueError for a scenario without goals."""
    if not world.goals:
        raise ValueError("the scenario has no [[goal]]: there is nothing to keep")
    tried: dict[float, bool] = {}
    low, high, whole = LEAST, MOST, True
    for number in range(ROUNDS):
        scales = np.geomspace(low, high, TRIED)
        found = _try(world, plant, scales, sure, partial(_tell, progress, number))
        if found is None:
            whole = False
            break
        tried |= dict(zip(scales.tolist(), found, strict=True))
        good = _least(tried)
        if good is None:
            break
        smaller = [one for one in tried if one < good]
        low, high = max(smaller, default=good), good
        if low == high:
            break
    best = _least(tried)
    return Size(
        scenario=world.file,
        fewest=None if best is None else sum(_fleets(world, best).values()),
        serving=0 if best is None else _serving(world, plant, best),
        now=sum(_fleets(world, 1.0).values()),
        multiple=best or 0.0,
        sure=sure,
        fleets={} if best is None else _fleets(world, best),
        tried=tuple(sorted(tried.items())),
        whole=whole,
    )


def _tell(progress: Callable[[int, int], None] | None, number: int, done: int, all_: int) -> None:
    if progress:
        progress(number * all_ + done, ROUNDS * all_)


def _least(tried: dict[float, bool]) -> float | None:
    """The smallest size from which on all are good."""
    best = None
    for one, good in sorted(tried.items(), reverse=True):
        if not good:
            break
        best = one
    return best


def _try(
    world: World, plant: Plant, scales: Floats, sure: float, progress: Callable[[int, int], None]
) -> list[bool] | None:
    """Whether each size keeps the goals; None: it was interrupted."""
    middle = fluid.middle(world)
    drawn = fluid.drawn(world, plant) if sure else middle
    each = drawn.count
    many = (len(scales), 1)
    columns = Columns(np.tile(drawn.demand, many), np.tile(drawn.speed, many), np.repeat(scales, each))
    flow = fluid.run(world, plant, columns, regions=False, progress=progress)
    if flow.done < len(flow.served):
        return None
    made = []
    for number in range(len(scales)):
        good = [kept(world, plant, flow, columns, number * each + one) for one in range(each)]
        # The first is the middle; with `sure` it counts as one of the drawn.
        made.append(good[0] if not sure else float(np.mean(good)) >= sure)
    return made


def _fleets(world: World, scale: float) -> dict[str, int]:
    made: dict[str, float] = {}
    for pool in world.pools:
        made[pool.fleet] = made.get(pool.fleet, 0.0) + pool.count * scale
    return {name: max(1, round(count)) for name, count in made.items()}


def _serving(world: World, plant: Plant, scale: float) -> int:
    replicas = plant.at(0).replicas(fluid.middle(world, np.array([scale])))[0]
    return round(float((replicas * plant.span)[~plant.trains].sum()))
