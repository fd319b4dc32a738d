"""How long questions stand in line: from the curves of what came and of what went in a fluid.

A wait is the time between both curves at the same count; to it comes what chance adds (``fluid``).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from moduai.planner.fluid import Flow
from moduai.planner.load import Floats
from moduai.planner.plant import Plant
from moduai.planner.scenario.world import World

BISECTIONS: Final = 48
FAR: Final = 40.0
"""Mean waits beyond which chance makes nobody wait."""


class Waits:
    """Seconds in line of all questions that some leaves took, in one column."""

    def __init__(self, count: Floats, delay: Floats, chance: Floats, pause: Floats) -> None:
        some = count > 0
        self.count, self.delay, self.chance, self.pause = (
            each[some] for each in np.broadcast_arrays(count, delay, chance, pause)
        )

    def within(self, seconds: float) -> float:
        """Part that waits no longer; all of it where nobody asks."""
        if not len(self.count):
            return 1.0
        rest = seconds - self.delay
        tail = self.chance * np.exp(-np.clip(rest / np.maximum(self.pause, 1e-12), 0, FAR))
        return float((self.count * np.where(rest >= 0, 1 - tail, 0.0)).sum() / self.count.sum())

    def quantile(self, part: float) -> float:
        """Seconds that this part does not wait longer than."""
        if not len(self.count):
            return 0.0
        low, high = 0.0, float(self.delay.max() + FAR * self.pause.max())
        if self.within(0.0) >= part:
            return 0.0
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if self.within(middle) >= part else (middle, high)
        return high

    def mean(self) -> float:
        """Seconds."""
        if not len(self.count):
            return 0.0
        return float((self.count * (self.delay + self.chance * self.pause)).sum() / self.count.sum())


class Waited:
    """Waits of a whole flow: from the curves of what came and what went."""

    def __init__(self, world: World, plant: Plant, flow: Flow, rtt: Floats) -> None:
        self.world, self.plant, self.flow, self.rtt = world, plant, flow, rtt
        self.model_of = np.array([plant.models.index(one.model) for one in world.demands])

    def of(self, column: int, demands: list[int], region: int | None = None) -> Waits:
        """Of these demands, in one region or in all."""
        done = self.flow.done
        regions = list(range(self.flow.came.shape[-1])) if region is None else [region]
        found = [self.leaf(column, demand, each) for demand in demands for each in regions]
        if not found or not done:
            none = np.zeros(0)
            return Waits(none, none, none, none)
        count, delay, chance, pause = (np.concatenate(each) for each in zip(*found, strict=True))
        return Waits(count, delay, chance, pause)

    def leaf(self, column: int, demand: int, region: int) -> tuple[Floats, Floats, Floats, Floats]:
        """By tick: how many came, how long they stand in line, and what chance adds."""
        flow, done, model = self.flow, self.flow.done, self.model_of[demand]
        count = np.diff(flow.came[: done + 1, column, demand, region])
        delay = self.delay(column, demand, region) + self.rtt[region if len(self.rtt) > 1 else 0]
        return count, delay, flow.chance[:done, column, model], flow.pause[:done, column, model]

    def delay(self, column: int, demand: int, region: int) -> Floats:
        """How long those who come in the middle of each tick stand in line; those who still do at the end: as
        long as they have.
        """
        flow, done = self.flow, self.flow.done
        came, went = (each[: done + 1, column, demand, region] for each in (flow.came, flow.went))
        if not np.any(came[1:] - went[1:] > 1e-9 * np.maximum(came[1:], 1)):
            return np.zeros(done)
        edges = np.arange(done + 1) * flow.tick
        middle = (came[:-1] + came[1:]) / 2
        # Where nothing goes for a while the curve is flat: a slope of next to nothing makes it one-to-one.
        rising = went + edges * (1e-9 * max(1.0, float(came[-1])) / max(edges[-1], 1.0))
        leaves = np.interp(middle, rising, edges)
        return np.asarray(np.maximum(0.0, leaves - (edges[:-1] + flow.tick / 2)))


def by_class(world: World) -> dict[str, list[int]]:
    """Class to its demands, in the order of the policy."""
    found: dict[str, list[int]] = {}
    for name in world.policy.classes:
        mine = [place for place, one in enumerate(world.demands) if one.service_class == name]
        if mine:
            found[name] = mine
    return found
