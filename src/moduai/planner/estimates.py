"""What a sample of cells says of a nation, stratum by stratum and in all, and beside it what the fluid says.

Rule: both are of the same questions in the same windows, with the same cost of a question, so that what is
between them is what the fluid leaves out, and chance. An interval holds what chance does to a sample; what is
not known of engines and people is in the band of the fluid's drawn runs, and counts for the sample as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct

from moduai.packs.schema import Words
from moduai.planner import fluid, sampled
from moduai.planner.basis import Spread
from moduai.planner.fluid import Columns, Flow
from moduai.planner.interval import EDGES, SURE, Drawn, around, quantile, ratio
from moduai.planner.known import Known, known
from moduai.planner.load import Floats
from moduai.planner.outcome import spread
from moduai.planner.plant import Plant
from moduai.planner.sampled import Counted, Kind, Plan, Stratum, Supply
from moduai.planner.scenario.world import World
from moduai.planner.waits import Waited, Waits, by_class

LATE: Final = 0.99
FLUID: Final = {"ended": "served", "refused": "refused", "left": "left"}
"""What is counted in cells, and what a flow calls it: no answer is lost in it."""


class Beside(Struct, frozen=True):
    """An estimate and its interval, and what the fluid says, with the band of its drawn runs."""

    sampled: Spread
    fluid: Spread

    @property
    def apart(self) -> float:
        """Of the fluid from the sample, as a part of the sample's."""
        return self.fluid.middle / self.sampled.middle - 1 if self.sampled.middle else 0.0


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
    away: Beside
    """Refused, left or lost."""
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
    """Part of the intervals that hold the truth, as far as chance goes."""
    error: float
    """Within which nine of ten engines' time per token lies, of the least known: no interval holds it."""
    nation: Part
    strata: tuple[Part, ...]
    digest: str
    known: Known


class _Side(NamedTuple):
    """One run of the fluid: a column of a flow."""

    flow: Flow
    columns: Columns
    column: int
    waited: Waited


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


def estimates(
    world: World,
    plant: Plant,
    flow: Flow,
    plan: Plan,
    counted: Sequence[Counted],
    bands: tuple[Columns, Flow] | None = None,
    *,
    least: int = sampled.EACH,
    scale: float = 1.0,
) -> Sampled:
    """What these cells say. Strata with fewer than ``least`` are left out: it was stopped before. ``bands``:
    drawn runs of the fluid; ``scale``: of what the strata stand for, this part.
    """
    made = _Made(world, plant, flow, plan, bands, scale)
    of = [[one for one in counted if one.stratum == number] for number in range(len(plan.strata))]
    rows = [
        made.rows(stratum, sorted(mine, key=lambda one: one.draw))
        for stratum, mine in zip(plan.strata, of, strict=True)
        if len(mine) >= least
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
        error=float(plant.error.max(initial=0.0)),
        known=known(world, plant),
    )


class _Made:
    """The sums behind the estimates."""

    def __init__(
        self, world: World, plant: Plant, flow: Flow, plan: Plan, bands: tuple[Columns, Flow] | None,
        scale: float,
    ) -> None:  # fmt: skip
        self.scale = scale
        self.world, self.plant, self.flow = world, plant, flow
        self.window, self.lasts = plan.window, plan.lasts
        self.supply = Supply(world, plant, flow.done)
        none = np.zeros(1)
        self.sides = [_Side(flow, fluid.middle(world), 0, Waited(world, plant, flow, none))]
        if bands:
            waited = Waited(world, plant, bands[1], none)
            self.sides += [_Side(bands[1], bands[0], one, waited) for one in range(1, bands[0].count)]
        self.classes = by_class(world)
        self.asked = world.shape[: flow.done] * world.tick

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
        served = [self._sum(one, "served", weights) for one in self.sides]
        return Part(
            model=first.model,
            accelerator=first.accelerator,
            devices=first.devices,
            level=strata[0].level if len(strata) == 1 else -1,
            hours=seconds / 3600,
            cells=sum(max(one.cells) for one in {one.kind: one for one in reversed(strata)}.values()),
            drawn=sum(len(one.asked) for one in rows),
            answers_s=Beside(
                self._total(rows, weights, "ended").spread(seconds),
                spread([float(one.sum()) / seconds for one in served]),
            ),
            tokens_s=Beside(
                self._total(rows, weights, "wrote").spread(seconds),
                spread([float(one @ wrote) / seconds for one in served]),
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
                made[at] += self.supply.at(stratum.kind, window).part * self.scale
        return made

    def _sum(self, side: _Side, field: str, weights: Floats) -> Floats:
        """Questions by demand, of the time and the part of it that is looked at."""
        counts = getattr(side.flow, field)[: self.flow.done, side.column]
        return np.asarray((counts * weights).sum(0))

    def _class(self, rows: Sequence[_Rows], weights: Floats, name: str, mine: list[int]) -> ClassBeside:
        asked = [
            max(float((self.asked * weights).sum(0) @ _only(one.columns.demand[one.column], mine)), 1e-12)
            for one in self.sides
        ]
        waits = [self._fluid_waits(one, weights, mine) for one in self.sides]

        def part(*fields: str) -> Beside:
            told = [
                sum(
                    float(self._sum(one, each, weights)[mine].sum())
                    for each in map(FLUID.get, fields)
                    if each
                )
                for one in self.sides
            ]
            return Beside(
                _ratio(
                    rows,
                    lambda one: sum((getattr(one, each)[:, mine] for each in fields), np.zeros(1)),
                    lambda one: one.asked[:, mine],
                ),
                spread([one / all_ for one, all_ in zip(told, asked, strict=True)]),
            )

        def late(quantile_: float) -> Beside:
            some = [(one.stratum.size, one.waits[:, mine].sum(1)) for one in rows]
            return Beside(quantile(some, quantile_), spread([one.quantile(quantile_) for one in waits]))

        return ClassBeside(
            service_class=name,
            title=self.world.policy.classes[name].title,
            served=part("ended"),
            refused=part("refused"),
            left=part("left"),
            lost=part("lost"),
            away=part("refused", "left", "lost"),
            share=Beside(
                self._total(rows, weights, "work").part(mine),
                spread([self._share(one, weights, mine) for one in self.sides]),
            ),
            mean=Beside(
                _ratio(rows, lambda one: one.waited[:, mine], lambda one: one.waits[:, mine].sum(2)),
                spread([one.mean() for one in waits]),
            ),
            p50=late(0.5),
            p99=late(LATE),
        )

    def _share(self, side: _Side, weights: Floats, mine: list[int]) -> float:
        took = np.zeros(len(self.world.demands))
        for spell, ticks in self.plant.by_tick(self.flow.done):
            each = spell.accelerator_seconds(side.columns)[side.column]
            took += (side.flow.served[: self.flow.done, side.column] * weights)[ticks].sum(0) * each
        return float(took[mine].sum()) / max(float(took.sum()), 1e-12)

    def _fluid_waits(self, side: _Side, weights: Floats, mine: list[int]) -> Waits:
        found = []
        for demand in mine:
            for region in range(side.flow.came.shape[-1]):
                count, *rest = side.waited.leaf(side.column, demand, region)
                found.append((count * weights[:, demand], *rest))
        return Waits(*(np.concatenate(each) for each in zip(*found, strict=True)))


def _only(values: Floats, mine: list[int]) -> Floats:
    """Nothing but at these places."""
    made = np.zeros_like(values)
    made[mine] = values[mine]
    return made


def _ratio(rows: Sequence[_Rows], y: Callable[[_Rows], Floats], x: Callable[[_Rows], Floats]) -> Spread:
    """Of sums over the demands that each side takes."""
    return ratio([Drawn(one.stratum.size, y(one).sum(1), x(one).sum(1)) for one in rows])
