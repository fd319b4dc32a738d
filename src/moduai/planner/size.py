"""How few accelerators keep the goals: all fleets grow or shrink together, many sizes run side by side.

Rule: a size counts when it keeps every goal and all larger ones that were tried do too. ``sure`` asks for it
in that part of the runs whose figures were drawn, not only in the middle. How many each of these runs would
need by itself is the band around the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.planner import fluid
from moduai.planner.basis import Spread
from moduai.planner.fluid import Columns
from moduai.planner.kept import Kept
from moduai.planner.known import Known, known
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
AROUND: Final = 8.0
"""The band is looked for within so many times the answer, to either side."""
GROUP: Final = 4
"""Sizes with all drawn runs of each that are run side by side: a year of more takes much memory."""


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
    drawn: Spread | None
    """Accelerators that the drawn runs need, the fifth to the ninety-fifth of a hundred; no number: more than
    eight times the answer. None: no run is drawn."""
    fleets: dict[str, int]
    tried: tuple[tuple[float, bool], ...]
    """Multiples, and whether they keep the goals."""
    whole: bool
    """Whether the search came to its end."""
    known: Known


def size(
    world: World,
    plant: Plant,
    sure: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
    done: Kept | None = None,
) -> Size:
    """Search; ``done`` keeps what was tried. An interrupt ends it with what was found. Raises ValueError: the
    scenario has no goals.
    """
    if not world.goals:
        raise ValueError("the scenario has no [[goal]]: there is nothing to keep")
    search = _Search(world, plant, sure, progress, done or Kept())
    tried: dict[float, bool] = {}
    low, high, whole = LEAST, MOST, True
    band, best = None, None
    try:
        for number in range(ROUNDS):
            scales = np.geomspace(low, high, TRIED)
            tried |= dict(zip(scales.tolist(), search.round(number, scales), strict=True))
            best = _least(tried)
            if best is None:
                break
            low, high = max((one for one in tried if one < best), default=best), best
            if low == high:
                break
        band = search.band(best) if best and world.head.draws else None
    except KeyboardInterrupt:
        whole = False
    return Size(
        scenario=world.file,
        fewest=None if best is None else sum(_fleets(world, best).values()),
        serving=0 if best is None else _serving(world, plant, best),
        now=sum(_fleets(world, 1.0).values()),
        multiple=best or 0.0,
        sure=sure,
        drawn=band,
        fleets={} if best is None else _fleets(world, best),
        tried=tuple(sorted(tried.items())),
        whole=whole,
        known=known(world, plant),
    )


def _least(tried: dict[float, bool]) -> float | None:
    """The smallest size from which on all are good."""
    best = None
    for one, good in sorted(tried.items(), reverse=True):
        if not good:
            break
        best = one
    return best


class _Search:
    """Sizes of one scenario that are tried."""

    def __init__(
        self, world: World, plant: Plant, sure: float, progress: Callable[[int, int], None] | None, done: Kept
    ) -> None:
        self.world, self.plant, self.sure, self.progress, self.done = world, plant, sure, progress, done
        self.drawn = fluid.drawn(world, plant)

    def round(self, number: int, scales: Floats) -> list[bool]:
        """Whether each size keeps the goals. Raises KeyboardInterrupt."""

        def compute() -> list[bool]:
            columns = self.drawn if self.sure else fluid.middle(self.world)
            # The first is the middle; with `sure` it counts as one of the drawn.
            good = self._good(scales, columns, number, ROUNDS)
            return [bool(one.mean() >= self.sure) if self.sure else bool(one[0]) for one in good]

        return self.done.piece(f"sizes {scales[0]!r} to {scales[-1]!r}", list[bool], compute)

    def band(self, best: float) -> Spread:
        """Accelerators that each drawn run needs. Raises KeyboardInterrupt."""
        scales = np.geomspace(best / AROUND, best * AROUND, TRIED)
        groups = np.array_split(scales, TRIED // GROUP)
        rows: list[list[bool]] = []
        for number, group in enumerate(groups):
            compute = partial(self._rows, group, number, len(groups))
            rows += self.done.piece(f"band {number} of {best!r}", list[list[bool]], compute)
        needs = []
        for good in np.array(rows).T[1:]:
            least = _least(dict(zip(scales.tolist(), good.tolist(), strict=True)))
            needs.append(np.inf if least is None else sum(_fleets(self.world, least).values()))
        low, high = (float(one) for one in np.quantile(needs, (0.05, 0.95), method="nearest"))
        return Spread(low, float(sum(_fleets(self.world, best).values())), high)

    def _rows(self, scales: Floats, number: int, all_: int) -> list[list[bool]]:
        return [[bool(one) for one in row] for row in self._good(scales, self.drawn, number, all_)]

    def _good(self, scales: Floats, drawn: Columns, number: int, all_: int) -> NDArray[np.bool_]:
        """Sizes × columns: whether the goals are kept."""
        world, plant, each, many = self.world, self.plant, drawn.count, (len(scales), 1)
        columns = Columns(np.tile(drawn.demand, many), np.tile(drawn.speed, many), np.repeat(scales, each))
        told = self.progress and partial(_tell, self.progress, number, all_)
        flow = fluid.run(world, plant, columns, regions=False, progress=told)
        if flow.done < len(flow.served):
            raise KeyboardInterrupt
        good = [kept(world, plant, flow, columns, place) for place in range(columns.count)]
        return np.array(good).reshape(len(scales), each)


def _tell(progress: Callable[[int, int], None], number: int, all_: int, done: int, ticks: int) -> None:
    progress(number * ticks + done, all_ * ticks)


def _fleets(world: World, scale: float) -> dict[str, int]:
    made: dict[str, float] = {}
    for pool in world.pools:
        made[pool.fleet] = made.get(pool.fleet, 0.0) + pool.count * scale
    return {name: max(1, round(count)) for name, count in made.items()}


def _serving(world: World, plant: Plant, scale: float) -> int:
    replicas = plant.at(0).replicas(fluid.middle(world, np.array([scale])))[0]
    return round(float((replicas * plant.span)[~plant.trains].sum()))
