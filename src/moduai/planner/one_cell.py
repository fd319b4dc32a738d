"""One cell of a scenario, every request, where and when one likes: with its engines as fast as they are known
to be, and with all of them slower and faster by their error. Beside it what the fluid says of the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from moduai.planner import load
from moduai.planner.basis import Spread
from moduai.planner.estimates import Beside, Part, estimates
from moduai.planner.fluid import Columns, Flow
from moduai.planner.known import Known, known
from moduai.planner.plant import Plant
from moduai.planner.sampled import Counted, Kind, Plan, Stratum, Supply, accelerators, busyness, cell
from moduai.planner.scenario.world import World

WAYS: Final = (0, -1, 1)
"""As it is, slower, faster."""
T = TypeVar("T", bound=Struct)


class OneCell(Struct, frozen=True, kw_only=True):
    """What became of it. Bounds are those of slower and faster engines: one cell tells nothing of chance."""

    scenario: str
    at: str
    """Local time of its first question that counts."""
    minutes: float
    accelerators: int
    replicas: int
    requests: int
    """Of the run in the middle, with the minutes before, in which it fills."""
    part: Part
    """Of the cell alone."""
    error: float
    """By which engines are slower and faster."""
    seed: int
    digest: str
    known: Known


class Where(Struct, frozen=True, kw_only=True):
    """Which cell, of ``scenario.cell`` accelerators. What is empty is chosen: where there is most work."""

    model: str = ""
    accelerator: str = ""
    at: datetime | None = None
    seconds: float = 900.0


def plan(world: World, plant: Plant, flow: Flow, where: Where) -> Plan:
    """The cell, once for each way. Raises ValueError where there is none such."""
    supply = Supply(world, plant, flow.done)
    asked = supply.asked()
    kinds = [
        one
        for one in supply.kinds
        if where.model in {"", one.model} and where.accelerator in {"", one.accelerator}
    ]
    busy = {kind: accelerators(supply, kind, asked) for kind in kinds}
    if not busy or not max(float(one.max()) for one in busy.values()):
        there = "; ".join(f"{one.model} on {one.accelerator}" for one in supply.kinds)
        raise ValueError(f"no such cell is asked anything: there are {there}")
    kind = max(busy, key=lambda one: float(busy[one].max()))
    window = _window(world, supply, where.at) if where.at else int(busyness(supply, kind, asked).argmax())
    count = supply.size(kind, window)
    if not count:
        raise ValueError(f"no replica of {kind.model} on {kind.accelerator} stands then")
    made = cell(supply, flow, kind, window, count, where.seconds)
    error = _error(world, plant, kind)
    tasks = tuple(
        replace(
            made, draw=draw, time=made.time.slower(round(1000 * (1 + error) ** way)) if way else made.time
        )
        for draw, way in enumerate(WAYS)
    )
    stratum = Stratum(kind, 0, (window,), (1.0,))
    return Plan((stratum,), tasks, round(supply.each * world.tick), where.seconds)


def told(
    world: World, plant: Plant, flow: Flow, made: Plan, counted: Sequence[Counted],
    bands: tuple[Columns, Flow] | None = None,
) -> OneCell:  # fmt: skip
    """What the cells of a plan say, all ways of it."""
    task, kind = made.tasks[0], made.strata[0].kind
    scale = task.replicas / Supply(world, plant, flow.done).at(kind, task.window).replicas
    ways = [[one for one in counted if one.draw == draw] for draw in range(len(WAYS))]
    runs = [estimates(world, plant, flow, made, one, bands, least=1, scale=scale) for one in ways]
    first = ways[0][0]
    return OneCell(
        scenario=world.file,
        at=load.local(world.head.start, task.window * made.window).isoformat(timespec="minutes"),
        minutes=made.lasts / 60,
        accelerators=task.replicas * kind.devices,
        replicas=task.replicas,
        requests=first.requests,
        part=_around([one.nation for one in runs]),
        error=_error(world, plant, kind),
        seed=world.head.seed,
        digest=first.digest,
        known=known(world, plant),
    )


def _window(world: World, supply: Supply, at: datetime) -> int:
    window = int(world.seconds(at) // (supply.each * world.tick))
    if not 0 <= window < supply.windows:
        last = load.local(world.head.start, supply.windows * supply.each * world.tick)
        raise ValueError(f"{at:%Y-%m-%d %H:%M} is not within the run, from {world.head.start} to {last}")
    return window


def _error(world: World, plant: Plant, kind: Kind) -> float:
    mine = [Kind(one.model, one.accelerator, one.devices) == kind for one in world.pools]
    return float(plant.error[np.array(mine)].max())


def _around(some: Sequence[T]) -> T:
    """The first, with the bounds of all in each of its estimates."""
    first = some[0]
    changed: dict[str, Any] = {}
    for name in first.__struct_fields__:
        each = [getattr(one, name) for one in some]
        if isinstance(each[0], Beside):
            values = [one.sampled.middle for one in each]
            changed[name] = Beside(Spread(min(values), values[0], max(values)), each[0].fluid)
        elif name == "classes":
            changed[name] = tuple(map(_around, zip(*each, strict=True)))
    return replace(first, **changed)
