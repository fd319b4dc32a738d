"""How few of each kind of accelerator keep the goals, and which mix of them is cheapest: a simple search.

Rule: for each kind in turn there is as much of it as may be; of the others only what the goals cannot do
without, the costliest taken away first; then as little of it as does. Told is the cheapest of these mixes and
of all kinds growing or shrinking together; another may be cheaper yet. What a kind costs is its price when
it is bought, without electricity; where a scenario has no prices, its watts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct

from moduai.planner import fluid
from moduai.planner.kept import Kept
from moduai.planner.known import Known
from moduai.planner.outcome import kept
from moduai.planner.plant import Plant
from moduai.planner.scenario.world import World
from moduai.planner.size import LEAST, MOST, Size

STEPS: Final = 12
"""Runs of one search, about."""
NEAR: Final = 1.03
"""A number is found to within this factor."""
Counts = dict[str, float]
"""Multiples of the scenario's accelerators, by kind."""


class Kind(Struct, frozen=True, kw_only=True):
    """One kind of accelerator. Counts include what does not answer."""

    kind: str
    now: int
    alone: int | None
    """The fewest while the other kinds stay as they are; None: however many there are, it is not enough."""
    searched: bool
    """Whether that is known; else it was stopped before."""
    held: float | None
    """Part of the drawn runs in which that many keep the goals; None: not known."""
    mix: int
    """In the cheapest mix that was found."""


class Mix(Struct, frozen=True, kw_only=True):
    """The answer."""

    scenario: str
    kinds: tuple[Kind, ...]
    unit: str
    """The currency, or W."""
    cost_now: float
    cost_mix: float
    held: float | None
    """Part of the drawn runs in which the mix keeps the goals; None: none is drawn."""
    sure: float
    """In what part of them it was asked for; 0: the middle of all figures alone."""
    runs: int
    whole: bool
    """Whether the search came to its end."""
    known: Known


class _Search:
    """Runs of one scenario with other numbers of each kind."""

    def __init__(
        self, world: World, sure: float, progress: Callable[[int, int], None] | None, done: Kept
    ) -> None:
        self.world, self.sure, self.runs, self.progress, self.done = world, sure, 0, progress, done
        self.kinds = list(dict.fromkeys(pool.accelerator for pool in world.pools))
        prices: Counts = {}
        for kind in self.kinds:
            fleets = {pool.fleet for pool in world.pools if pool.accelerator == kind}
            prices[kind] = sum(one.count * one.price.middle for one in world.bought if one.fleet in fleets)
        self.unit = world.currency if all(prices.values()) else "W"
        watts = {
            kind: sum(pool.count for pool in world.pools if pool.accelerator == kind)
            * world.devices[kind].watts
            for kind in self.kinds
        }
        self.cost: Counts = prices if self.unit != "W" else watts

    def keeps(self, counts: Mapping[str, float]) -> bool:
        """Whether these keep the goals. Raises KeyboardInterrupt."""
        good = self._good(counts, drawn=bool(self.sure))
        self.runs += 1
        if self.progress:
            count = len(self.kinds)
            self.progress(self.runs, count * count * STEPS + count * STEPS)
        return sum(good) >= self.sure * len(good) if self.sure else good[0]

    def held(self, counts: Mapping[str, float] | None) -> float | None:
        """Part of the drawn runs in which these keep the goals. Raises KeyboardInterrupt."""
        if counts is None or not self.world.head.draws:
            return None
        good = self._good(counts, drawn=True)[1:]
        return sum(good) / len(good)

    def _good(self, counts: Mapping[str, float], *, drawn: bool) -> list[bool]:
        """Whether the goals are kept, in the middle and in the drawn runs."""

        def compute() -> list[bool]:
            world = self.world.grown(counts)
            plant = Plant(world)
            columns = fluid.drawn(world, plant) if drawn else fluid.middle(world)
            flow = fluid.run(world, plant, columns, regions=False)
            if flow.done < len(flow.served):
                raise KeyboardInterrupt
            return [kept(world, plant, flow, columns, place) for place in range(columns.count)]

        return self.done.piece(f"mix {sorted(counts.items())} {drawn}", list[bool], compute)

    def least(self, kind: str, others: Mapping[str, float], high: float) -> float | None:
        """The smallest multiple of a kind, from nothing to ``high``, with these others."""
        if self.keeps({**others, kind: 0.0}):
            return 0.0
        if not self.keeps({**others, kind: high}):
            return None
        low = high * LEAST / MOST
        while high / low > NEAR:
            middle = (low * high) ** 0.5
            if self.keeps({**others, kind: middle}):
                high = middle
            else:
                low = middle
        return high

    def of_one(self, kind: str) -> Counts | None:
        """A mix with as much of one kind as may be; None: none keeps the goals."""
        counts = dict.fromkeys(self.kinds, MOST)
        others = [one for one in self.kinds if one != kind]
        for one in (*sorted(others, key=self.cost.__getitem__, reverse=True), kind):
            found = self.least(one, counts, MOST)
            if found is None:
                return None
            counts[one] = found
        return counts

    def of(self, counts: Mapping[str, float]) -> float:
        """What these cost."""
        return sum(self.cost[kind] * times for kind, times in counts.items())


def mix(
    world: World,
    uniform: Size,
    progress: Callable[[int, int], None] | None = None,
    done: Kept | None = None,
) -> Mix:
    """Search, from the size at which all kinds grow or shrink together, and as sure as that. ``done`` keeps
    what was tried. An interrupt ends it with what was found. Raises ValueError: no such size keeps the goals.
    """
    if uniform.fewest is None:
        raise ValueError("no size of all fleets together keeps the goals: there is no mix to begin with")
    search = _Search(world, uniform.sure, progress, done or Kept())
    best = dict.fromkeys(search.kinds, uniform.multiple)
    alone: dict[str, float | None] = {}
    held: dict[str, float | None] = {}
    held_mix, whole = None, True
    try:
        for kind in search.kinds:
            found = search.of_one(kind)
            if found is not None and search.of(found) < search.of(best):
                best = found
        held_mix = search.held(best)
        for kind in search.kinds:
            others = dict.fromkeys(search.kinds, 1.0)
            least = search.least(kind, others, MOST)
            held[kind] = search.held(None if least is None else {**others, kind: least})
            alone[kind] = least
    except KeyboardInterrupt:
        whole = False

    def row(kind: str) -> Kind:
        now = sum(pool.count for pool in world.pools if pool.accelerator == kind)
        least = alone.get(kind)
        return Kind(
            kind=kind,
            now=round(now),
            alone=None if least is None else round(now * least),
            searched=kind in alone,
            held=held.get(kind),
            mix=round(now * best[kind]),
        )

    return Mix(
        scenario=world.file,
        kinds=tuple(map(row, search.kinds)),
        unit=search.unit,
        cost_now=search.of(dict.fromkeys(search.kinds, 1.0)),
        cost_mix=search.of(best),
        held=held_mix,
        sure=uniform.sure,
        runs=search.runs,
        whole=whole,
        known=uniform.known,
    )
