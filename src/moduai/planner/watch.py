"""The live ledger against the plan: what an hour was, beside what a scenario expects of it.

Words: a *window* is the time that is looked at. Rule: a band is the 5th to the 95th of a hundred drawn runs,
widened by what chance does to a count that is so small (Poisson); what is outside is said, nothing is
explained. The plan is run for two days that end with the day of the window, so that the evening before
stands in line where it would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from moduai.planner import fluid, load
from moduai.planner.fluid import Columns, Flow, Progress
from moduai.planner.known import Known, known
from moduai.planner.ledger import SOURCE
from moduai.planner.load import Floats
from moduai.planner.plant import Plant
from moduai.planner.scenario.world import World
from moduai.planner.waits import Waited

CHANCE: Final = 1.645
"""Standard deviations within which nine of ten counts lie."""
WAIT_TOLD: Final = 0.5
"""Seconds: a wait that is off by less is no news."""

Where = Literal["within", "below", "above"]


class Seen(Struct, frozen=True, kw_only=True):
    """What the ledger has of one class in the window."""

    asked: int
    served: int
    wait: float
    """Mean seconds in line of what was served."""
    tokens_in: int
    tokens_out: int


class Line(Struct, frozen=True, kw_only=True):
    """One figure beside the plan."""

    what: str
    """questions, served, wait, tokens read, tokens written or use."""
    of: str
    """The class, or for ``use`` the model; empty: all together."""
    seen: float
    low: float
    middle: float
    high: float
    where: Where


class Watched(Struct, frozen=True, kw_only=True):
    """A window beside the plan."""

    scenario: str
    seconds: float
    lines: tuple[Line, ...]
    not_planned: tuple[str, ...]
    """Classes that ask and that the scenario does not have."""
    seen: str
    """Where what was seen is from: it is measured."""
    known: Known
    """How well what is expected is known."""

    @property
    def outside(self) -> list[Line]:
        """The figures that have left the band."""
        return [one for one in self.lines if one.where != "within"]


class Expected:
    """A scenario's two days, run once and looked at as often as one likes."""

    def __init__(self, world: World, progress: Progress | None = None) -> None:
        """Raises KeyboardInterrupt."""
        self.world, self.plant = world, Plant(world)
        self.columns: Columns = fluid.drawn(world, self.plant)
        self.flow: Flow = fluid.run(world, self.plant, self.columns, regions=False, progress=progress)
        if self.flow.done < len(self.flow.served):
            raise KeyboardInterrupt

    def beside(
        self, begins: float, seconds: float, seen: Mapping[str, Seen], used: Mapping[str, float]
    ) -> Watched:
        """A window that begins so many seconds after the start. ``used``: part of the accelerators' time that
        each model took, by its name in the scenario.
        """
        ticks = (load.ticks(self.world)[: self.flow.done] - self.flow.tick / 2).astype(float)
        part = np.clip(
            np.minimum(ticks + self.flow.tick, begins + seconds) - np.maximum(ticks, begins), 0, None
        )
        weight: Floats = part / self.flow.tick
        lines = []
        classes = dict.fromkeys(one.service_class for one in self.world.demands)
        for name in classes:
            mine = [place for place, one in enumerate(self.world.demands) if one.service_class == name]
            lines += self._class(name, mine, weight, seen.get(name, NOBODY))
        for place, model in enumerate(self.plant.models):
            if model in used:
                band = (self.flow.used[:, :, place] * weight[:, None]).sum(0) / max(weight.sum(), 1e-12)
                lines.append(_line("use", model, used[model], band))
        return Watched(
            scenario=self.world.file,
            seconds=seconds,
            lines=tuple(lines),
            not_planned=tuple(sorted(seen.keys() - classes.keys())),
            seen=SOURCE,
            known=known(self.world, self.plant),
        )

    def _class(self, name: str, mine: list[int], weight: Floats, seen: Seen) -> list[Line]:
        flow, world = self.flow, self.world
        shape = world.shape[: flow.done] * flow.tick
        asked = np.einsum("t,td,cd->c", weight, shape[:, mine], self.columns.demand[:, mine])
        each = np.einsum("t,tcd->cd", weight, flow.served[: flow.done][:, :, mine])
        made = [
            _line("questions", name, seen.asked, asked, grain=1.0),
            _line("served", name, seen.served, each.sum(1), grain=1.0),
        ]
        vary = np.array([world.demands[one].vary for one in mine])
        for what, of, value in (
            ("tokens read", "tokens_read", seen.tokens_in),
            ("tokens written", "tokens_out", seen.tokens_out),
        ):
            mean = np.array([getattr(world.demands[one], of) for one in mine])
            # A sum of lengths varies as if it came in pieces of their mean square by their mean.
            grain = float(each[0] @ (mean**2 * vary)) / max(float(each[0] @ mean), 1e-12)
            made.append(_line(what, name, value, each @ mean, grain=grain))
        if seen.served:
            made.append(_line("wait", name, seen.wait, self._waits(mine, weight), least=WAIT_TOLD))
        return made

    def _waits(self, mine: list[int], weight: Floats) -> Floats:
        """Mean seconds in line in each column. The way there and back is not the ledger's."""
        waited = Waited(self.world, self.plant, self.flow, np.zeros(1))
        found = []
        for column in range(self.columns.count):
            whole, sum_ = 1e-12, 0.0
            for demand in mine:
                count, delay, chance, pause = waited.leaf(column, demand, 0)
                whole += float((count * weight).sum())
                sum_ += float((count * weight * (delay + chance * pause)).sum())
            found.append(sum_ / whole)
        return np.array(found)


NOBODY: Final = Seen(asked=0, served=0, wait=0.0, tokens_in=0, tokens_out=0)


def _line(
    what: str, of: str, seen: float, band: Floats | Sequence[float], *, grain: float = 0.0, least: float = 0.0
) -> Line:
    """``band``: by column, the middle first. ``grain``: how much comes at once where it is counted."""
    drawn = np.asarray(band)[1:] if len(band) > 1 else np.asarray(band)
    low, high = (float(one) for one in np.quantile(drawn, (0.05, 0.95)))
    low = max(0.0, low - CHANCE * np.sqrt(low * grain) - least)
    high = high + CHANCE * np.sqrt(high * grain) + least
    where: Where = "below" if seen < low else "above" if seen > high else "within"
    return Line(
        what=what, of=of, seen=float(seen), low=float(low), middle=float(np.asarray(band)[0]),
        high=float(high), where=where,
    )  # fmt: skip
