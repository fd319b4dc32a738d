"""What a sample of cells says of a nation, stratum by stratum and in all, and beside it what the fluid says.

Rule: both are of the same questions in the same windows, with the same cost of a question, so that what is
between them is what the fluid leaves out, and chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from moduai.packs.schema import Words
from moduai.planner import load, sampled
from moduai.planner.basis import Spread
from moduai.planner.fluid import Flow
from moduai.planner.interval import EDGES, SURE, Drawn, around, quantile, ratio
from moduai.planner.load import Floats
from moduai.planner.plant import Plant
from moduai.planner.sampled import Counted, Kind, Plan, Stratum, Supply
from moduai.planner.scenario.world import World
from moduai.planner.waits import Waited, Waits, by_class

LATE: Final = 0.99


class Beside(Struct, frozen=True):
    """An estimate and its interval, and what the fluid says."""

    sampled: Spread
    fluid: float

    @property
    def apart(self) -> float:
        """Of the fluid from the sample, as a part of the sample's."""
        return self.fluid / self.sampled.middle - 1 if self.sampled.middle else 0.0


class ClassBeside(Struct, frozen=True, kw_only=True):
    """What one class got."""

    service_class: str
    title: Words
    served: Beside
    """Part of what was asked."""
    refused: Beside
    left: Beside
    lost: Beside
    """With an engine that died in the middle of the answer."""
    share: Beside
    """Part of the accelerator time that was used."""
    mean: Beside
    p50: Beside
    p99: Beside
    """Seconds in line, without the way there and back."""


class Part(Struct, frozen=True, kw_only=True):
    """A stratum, or all of them."""

    model: str
    accelerator: str
    devices: int
    level: int
    """How busy: 0 is the busiest hour; -1: all strata."""
    hours: float
    """Of the run, that it stands for."""
    cells: float
    """Most that there are at once."""
    drawn: int
    answers_s: Beside
    tokens_s: Beside
    classes: tuple[ClassBeside, ...]


class Sampled(Struct, frozen=True, kw_only=True):
    """All of it."""

    scenario: str
    seed: int
    cell: int
    """Accelerators behind one gateway."""
    planned: int
    drawn: int
    """Cells; fewer than planned: it was stopped."""
    requests: int
    """Simulated."""
    sure: float
    """Part of the intervals that hold the truth."""
    nation: Part
    strata: tuple[Part, ...]
    digest: str


class _Rows(NamedTuple):
    """What was counted in the cells of a stratum: cells × demands."""

    stratum: Stratum
    asked: Floats
    ended: Floats
    refused: Floats
    left: Floats
    lost: Floats
    wrote: Floats
    waited: Floats
    work: Floats
    waits: Floats
    """Cells × demands × steps."""
    expected: Floats
    """Questions that each cell was to be asked, in the mean of all draws."""


class _Total(NamedTuple):
    """What all cells together come to, by demand, and the errors of it, cells × demands, by stratum."""

    value: Floats
    off: list[tuple[float, Floats]]

    def spread(self, seconds: float) -> Spread:
        """All demands, a second."""
        return around(
            float(self.value.sum()) / seconds, [(size, off.sum(1) / seconds) for size, off in self.off]
        )

    def part(self, mine: list[int]) -> Spread:
        """What these demands are of all."""
        whole = max(float(self.value.sum()), 1e-12)
        value = float(self.value[mine].sum()) / whole
        return around(
            value, [(size, (off[:, mine].sum(1) - value * off.sum(1)) / whole) for size, off in self.off]
        )


def estimates(world: World, plant: Plant, flow: Flow, plan: Plan, counted: Sequence[Counted]) -> Sampled:
    """What these cells say. Strata without two cells are left out: it was stopped before."""
    made = _Made(world, plant, flow, plan)
    of = [[one for one in counted if one.stratum == number] for number in range(len(plan.strata))]
    rows = [
        made.rows(stratum, sorted(mine, key=lambda one: one.draw))
        for stratum, mine in zip(plan.strata, of, strict=True)
        if len(mine) >= sampled.EACH
    ]
    return Sampled(
        scenario=world.file,
        seed=world.head.seed,
        cell=world.head.cell,
        planned=len(plan.tasks),
        drawn=len(counted),
        requests=sum(one.requests for one in counted),
        sure=SURE,
        nation=made.part(rows),
        strata=tuple(made.part([one]) for one in rows),
        digest=sampled.digest(counted),
    )


class _Made:
    """The sums behind the estimates."""

    def __init__(self, world: World, plant: Plant, flow: Flow, plan: Plan) -> None:
        self.world, self.plant, self.flow = world, plant, flow
        self.window, self.lasts = plan.window, plan.lasts
        self.supply = Supply(world, plant, flow.done)
        self.waited = Waited(world, plant, flow, np.zeros(1))
        self.classes = by_class(world)
        self.asked = load.shape(world)[: flow.done] * world.tick

    def rows(self, stratum: Stratum, mine: Sequence[Counted]) -> _Rows:
        """Cells of a stratum side by side."""
        place = {one.id: number for number, one in enumerate(self.world.demands)}

        def table(name: str, *more: int) -> Floats:
            made = np.zeros((len(mine), len(place), *more))
            for row, one in zip(made, mine, strict=True):
                row[[place[each] for each in one.names]] = getattr(one, name)
            return made

        ended = table("ended")
        costs = [self.supply.spell(one.window).accelerator_seconds(self.supply.ones)[0] for one in mine]
        return _Rows(
            stratum, table("asked"), ended, table("refused"), table("left"), table("lost"), table("wrote"),
            table("waited"), ended * np.array(costs), table("waits", len(EDGES) - 1),
            np.array([self._expected(stratum.kind, one.window) for one in mine]),
        )  # fmt: skip

    def part(self, rows: Sequence[_Rows]) -> Part:
        """An estimate of what these strata stand for."""
        strata = [one.stratum for one in rows]
        windows = {window for one in strata for window in one.windows}
        seconds = max(1, len(windows) * self.window)
        weights = self._weights(strata)
        first = strata[0].kind if len({one.kind for one in strata}) == 1 else Kind("", "", 0)
        wrote = np.array([one.tokens_out for one in self.world.demands])
        served = (self.flow.served[: self.flow.done, 0] * weights).sum(0)
        return Part(
            model=first.model,
            accelerator=first.accelerator,
            devices=first.devices,
            level=strata[0].level if len(strata) == 1 else -1,
            hours=seconds / 3600,
            cells=sum(max(one.cells) for one in {one.kind: one for one in reversed(strata)}.values()),
            drawn=sum(len(one.asked) for one in rows),
            answers_s=Beside(
                self._total(rows, weights, "ended").spread(seconds), float(served.sum()) / seconds
            ),
            tokens_s=Beside(
                self._total(rows, weights, "wrote").spread(seconds), float((served * wrote).sum()) / seconds
            ),
            classes=tuple(
                self._class(rows, weights, name, mine)
                for name, mine in self.classes.items()
                if any(one.asked[:, mine].any() for one in rows)
            ),
        )

    def _expected(self, kind: Kind, window: int) -> Floats:
        """Questions of each demand in a cell in a window, in the mean of all draws."""
        found = self.supply.at(kind, window)
        at = slice(window * self.supply.each, (window + 1) * self.supply.each)
        part = self.supply.size(kind, window) / found.replicas * self.lasts / self.window
        return np.asarray(self.asked[at].sum(0) * found.part * part)

    def _total(self, rows: Sequence[_Rows], weights: Floats, field: str) -> _Total:
        """Of all demands: each for a question that is expected of it, times what is expected in all."""
        known = (self.asked * weights).sum(0)
        drawn = sum(one.stratum.size * one.expected.mean(0) for one in rows)
        found = sum(one.stratum.size * getattr(one, field).mean(0) for one in rows)
        times = known / np.where(drawn > 0, drawn, np.inf)
        each = found / np.where(drawn > 0, drawn, np.inf)
        off = [(one.stratum.size, times * (getattr(one, field) - each * one.expected)) for one in rows]
        return _Total(np.asarray(each * known), off)

    def _weights(self, strata: Sequence[Stratum]) -> Floats:
        """Ticks × demands: the part of what is asked that these strata answer."""
        made = np.zeros(self.asked.shape)
        for stratum in strata:
            for window in stratum.windows:
                at = slice(window * self.supply.each, (window + 1) * self.supply.each)
                made[at] += self.supply.at(stratum.kind, window).part
        return made

    def _class(self, rows: Sequence[_Rows], weights: Floats, name: str, mine: list[int]) -> ClassBeside:
        flow, done = self.flow, self.flow.done
        served, refused, left = (
            float((each[:done, 0] * weights)[:, mine].sum())
            for each in (flow.served, flow.refused, flow.left)
        )
        asked = max(float((self.asked * weights)[:, mine].sum()), 1e-12)
        waits = self._fluid_waits(weights, mine)

        def part(field: str, value: float) -> Beside:
            return Beside(
                _ratio(rows, lambda one: getattr(one, field)[:, mine], lambda one: one.asked[:, mine]), value
            )

        def late(quantile_: float) -> Beside:
            some = [(one.stratum.size, one.waits[:, mine].sum(1)) for one in rows]
            return Beside(quantile(some, quantile_), waits.quantile(quantile_))

        return ClassBeside(
            service_class=name,
            title=self.world.policy.classes[name].title,
            served=part("ended", served / asked),
            refused=part("refused", refused / asked),
            left=part("left", left / asked),
            lost=part("lost", 0.0),
            share=Beside(self._total(rows, weights, "work").part(mine), self._share(weights, mine)),
            mean=Beside(
                _ratio(rows, lambda one: one.waited[:, mine], lambda one: one.waits[:, mine].sum(2)),
                waits.mean(),
            ),
            p50=late(0.5),
            p99=late(LATE),
        )

    def _share(self, weights: Floats, mine: list[int]) -> float:
        took = np.zeros(len(self.world.demands))
        for spell, ticks in self.plant.by_tick(self.flow.done):
            each = spell.accelerator_seconds(self.supply.ones)[0]
            took += (self.flow.served[: self.flow.done, 0] * weights)[ticks].sum(0) * each
        return float(took[mine].sum()) / max(float(took.sum()), 1e-12)

    def _fluid_waits(self, weights: Floats, mine: list[int]) -> Waits:
        found = []
        for demand in mine:
            for region in range(self.flow.came.shape[-1]):
                count, *rest = self.waited.leaf(0, demand, region)
                found.append((count * weights[:, demand], *rest))
        return Waits(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _ratio(rows: Sequence[_Rows], y: Callable[[_Rows], Floats], x: Callable[[_Rows], Floats]) -> Spread:
    """Of sums over the demands that each side takes."""
    return ratio([Drawn(one.stratum.size, y(one).sum(1), x(one).sum(1)) for one in rows])
