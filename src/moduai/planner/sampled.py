"""A nation as a sample of cells: each one every request, through the gateway's own dispatcher.

Words: a *kind* is all replicas of one model on one kind of accelerator, wherever they stand: in the fluid all
are equally busy, so a cell of one is like a cell of another. A *cell* is a gateway with ``scenario.cell``
accelerators of a kind behind it. A *window* is a quarter of an hour. Rules, in words:

* What is drawn is a cell in a window. Strata are kinds × how busy they are: the windows of a kind's busiest
  hour are one stratum, the others are put in order of load and cut where each part has as much work.
* Each stratum has two cells at least, the others go where most is asked. In a stratum a window is drawn with
  a chance as large as its number of cells, with replacement, so that the mean of what was drawn estimates it.
* A cell has its part of each demand. It begins ``WARM`` seconds before its window, with its part of the line
  that the fluid has then; only the window counts (its first quarter of an hour, where a tick is longer).
* The draw of a cell comes from the scenario's seed, its stratum and its number: the same seed gives the same
  ``digest``, whoever computes which cell and in whatever order.

Beside each estimate stands what the fluid says of the very same windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.planner import fluid, load
from moduai.planner.cell import Cell, Outage, Outcome
from moduai.planner.clock import SECOND
from moduai.planner.fluid import Flow
from moduai.planner.interval import histogram
from moduai.planner.load import Floats, Stream
from moduai.planner.plant import Plant, Spell
from moduai.planner.scenario.world import Pool, World
from moduai.planner.steptime import SLOTS, StepTime, step_time
from moduai.planner.traffic import Request
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import Policy

WINDOW: Final = 900
WARM: Final = 300
"""Seconds."""
EACH: Final = 2
"""Fewest cells of a stratum: of one alone nobody knows how it varies."""
PER_LEVEL: Final = 4
"""Cells for each level of load that a kind is cut into."""


Windows = NDArray[np.int64]


class Kind(NamedTuple):
    """Replicas that are alike."""

    model: str
    accelerator: str
    devices: int


def kind_of(pool: Pool) -> Kind:
    """What a pool's replicas are like."""
    return Kind(pool.model, pool.accelerator, pool.devices)


class Stratum(Struct, frozen=True):
    """Windows of a kind with about the same load."""

    kind: Kind
    level: int
    """0: the busiest hour."""
    windows: tuple[int, ...]
    cells: tuple[float, ...]
    """In each of these windows."""

    @property
    def size(self) -> float:
        """Cells × windows that it stands for."""
        return sum(self.cells)


class Task(Struct, frozen=True, kw_only=True):
    """One cell to run, with all that it needs."""

    stratum: int
    draw: int
    window: int
    seed: list[int]
    replicas: int
    time: StepTime
    slots: int
    policy: Policy
    streams: tuple[Stream, ...]
    tick: float
    warm: float
    seconds: float
    """With the warm part."""
    fails: float
    """How often a replica dies, a second, and how long it takes to answer again."""
    start_s: float


class Counted(Struct, frozen=True, kw_only=True):
    """What happened in a cell's window, stream by stream."""

    stratum: int
    draw: int
    window: int
    names: tuple[str, ...]
    asked: tuple[int, ...]
    ended: tuple[int, ...]
    refused: tuple[int, ...]
    left: tuple[int, ...]
    lost: tuple[int, ...]
    """With an engine that died."""
    wrote: tuple[int, ...]
    """Tokens of the answers that ended."""
    waited: tuple[float, ...]
    """Seconds in line of all who came."""
    waits: tuple[tuple[int, ...], ...]
    """Histograms of them over ``interval.EDGES``."""
    requests: int
    """Simulated, with the warm part."""
    digest: str
    """Of every grant."""


class Plan(Struct, frozen=True):
    """What is to be run."""

    strata: tuple[Stratum, ...]
    tasks: tuple[Task, ...]
    window: int
    """Seconds; of which so many are simulated:"""
    lasts: float

    @property
    def name(self) -> str:
        """Of what was planned: cells of another plan do not belong to it."""
        return blake2b(msgspec.msgpack.encode((self.strata, self.tasks)), digest_size=16).hexdigest()


class Found(NamedTuple):
    """What a kind is at one time."""

    replicas: float
    rates: Floats
    """Questions a second of all of them, by demand."""
    part: Floats
    """Of each demand that goes to this kind."""
    fails: float
    """How often one replica dies, a second."""
    start_s: float


class Supply:
    """Kinds over time."""

    def __init__(self, world: World, plant: Plant, done: int) -> None:
        self.world, self.plant = world, plant
        self.each = max(1, round(WINDOW / world.tick))
        """Ticks of a window."""
        self.windows = done // self.each
        self.ones = fluid.middle(world)
        models = [one.model for one in world.demands]
        self.kinds = list(dict.fromkeys(kind_of(one) for one in world.pools if one.model in models))
        self._found: dict[tuple[Kind, int], Found] = {}

    def asked(self) -> Floats:
        """Questions a second by window and demand. Raises ValueError where there is no window."""
        if not self.windows:
            raise ValueError("not a quarter of an hour was run: there is nothing to draw from")
        shape = self.world.shape[: self.windows * self.each]
        return np.asarray(shape.reshape(self.windows, self.each, -1).mean(1))

    def spell(self, window: int) -> Spell:
        """What there is when a window begins."""
        return self.plant.at(window * self.each)

    def at(self, kind: Kind, window: int) -> Found:
        """A kind in a window."""
        spell = self.spell(window)
        key = kind, id(spell)
        if key not in self._found:
            replicas = spell.replicas(self.ones)[0]
            mine = np.array([kind_of(one) == kind for one in self.world.pools])
            speeds = (replicas * spell.fast)[:, None] * self.plant.rate
            rates, whole = speeds[mine].sum(0), speeds.sum(0)
            part = rates / np.where(whole > 0, whole, np.inf)
            count = float(replicas[mine].sum())
            fails = [
                one.devices / one.mtbf_hours / 3600 if one.mtbf_hours else 0.0 for one in self.world.pools
            ]
            starts = [one.start_s for one in self.world.pools]
            means = (float((replicas * each)[mine].sum()) / max(count, 1e-12) for each in (fails, starts))
            self._found[key] = Found(count, rates, part, *means)
        return self._found[key]

    def size(self, kind: Kind, window: int) -> int:
        """Replicas of a cell."""
        most = max(1, self.world.head.cell // kind.devices)
        return int(min(most, self.at(kind, window).replicas))


def plan(
    world: World, plant: Plant, flow: Flow, cells: int, *, peak: bool = False, lasts: float = 0.0
) -> Plan:
    """Which cells to run, from a fluid run that is done. ``peak``: of the busiest hour alone; ``lasts``: so
    many seconds of each window in place of a quarter of an hour. Raises ValueError where there are too few
    for two of each kind, or no window.
    """
    lasts = lasts or WINDOW
    supply = Supply(world, plant, flow.done)
    asked = supply.asked()
    kinds = [kind for kind in supply.kinds if busyness(supply, kind, asked).any()]
    least = EACH * len(kinds) * (1 if peak else 2)
    if cells < least:
        raise ValueError(f"{least} cells at least: two for the busiest hour and for the rest of each kind")
    levels = max(1, cells // (PER_LEVEL * max(1, len(kinds))))
    if peak:
        busy = np.sum([accelerators(supply, one, asked) for one in kinds], axis=0)
        groups = {kind: [_busiest(supply, busy)] for kind in kinds}
    else:
        groups = {kind: _levels(supply, busyness(supply, kind, asked), levels) for kind in kinds}
    found = (_stratum(supply, kind, level, some) for kind in kinds for level, some in enumerate(groups[kind]))
    strata = [one for one in found if one.windows]
    numbers = _shared_out(cells, [_questions(supply, one, asked) for one in strata])
    tasks = [
        _task(supply, flow, number, stratum, draw, lasts)
        for number, (stratum, count) in enumerate(zip(strata, numbers, strict=True))
        for draw in range(count)
    ]
    # Those that take longest first, so that all processes end at about the same time.
    tasks.sort(key=lambda one: (-sum(sum(each.rates) for each in one.streams), one.stratum, one.draw))
    return Plan(tuple(strata), tuple(tasks), round(supply.each * world.tick), lasts)


def busyness(supply: Supply, kind: Kind, asked: Floats) -> Floats:
    """How busy a kind is in each window: seconds of work that are asked of it in a second."""
    made = np.zeros(len(asked))
    for window, rates in enumerate(asked):
        found = supply.at(kind, window)
        able = found.rates > 0
        made[window] = (rates[able] * found.part[able] / found.rates[able]).sum()
    return made


def accelerators(supply: Supply, kind: Kind, asked: Floats) -> Floats:
    """How many of a kind are busy in each window, if they could do all that is asked."""
    some = [supply.at(kind, window).replicas for window in range(len(asked))]
    return busyness(supply, kind, asked) * some * kind.devices


def _busiest(supply: Supply, busy: Floats) -> Windows:
    """Of the hour with the busiest window."""
    hour = max(1, round(3600 / (supply.each * supply.world.tick)))
    first = int(busy.argmax()) // hour * hour
    return np.arange(first, min(first + hour, len(busy)))


def _levels(supply: Supply, busy: Floats, levels: int) -> list[Windows]:
    """The busiest hour, and the rest in order of load, cut where each part has as much work."""
    groups = [_busiest(supply, busy)]
    rest = np.setdiff1d(np.flatnonzero(busy > 0), groups[0])
    if not len(rest):
        return groups
    rest = rest[np.argsort(-busy[rest], kind="stable")]
    work, parts = np.cumsum(busy[rest]), max(1, levels - 1)
    of = np.minimum((work - busy[rest] / 2) / work[-1] * parts, parts - 1).astype(int)
    return groups + [np.sort(rest[of == part]) for part in range(parts) if (of == part).any()]


def _stratum(supply: Supply, kind: Kind, level: int, windows: Windows) -> Stratum:
    some = [one for one in windows.tolist() if supply.size(kind, one)]
    cells = tuple(supply.at(kind, one).replicas / supply.size(kind, one) for one in some)
    return Stratum(kind, level, tuple(some), cells)


def _questions(supply: Supply, stratum: Stratum, asked: Floats) -> float:
    return sum(float((asked[one] * supply.at(stratum.kind, one).part).sum()) for one in stratum.windows)


def _shared_out(cells: int, weights: list[float]) -> list[int]:
    """So many cells: two for each, the rest by weight, by largest remainder."""
    rest = max(0, cells - EACH * len(weights))
    whole = sum(weights) or 1.0
    exact = [rest * one / whole for one in weights]
    made = [int(one) for one in exact]
    order = sorted(range(len(weights)), key=lambda n: (made[n] - exact[n], n))
    for number in order[: rest - sum(made)]:
        made[number] += 1
    return [EACH + one for one in made]


def _task(supply: Supply, flow: Flow, number: int, stratum: Stratum, draw: int, lasts: float) -> Task:
    seed = [supply.world.head.seed, number, draw]
    chances = np.array(stratum.cells) / stratum.size
    window = int(np.random.default_rng(seed).choice(stratum.windows, p=chances))
    made = cell(supply, flow, stratum.kind, window, supply.size(stratum.kind, window), lasts)
    return msgspec.structs.replace(made, stratum=number, draw=draw, seed=[*seed, 1])


def _line(flow: Flow, at: float) -> Floats:
    """How many of each demand wait at a time (s), in the middle of all figures: a straight line within a
    tick.
    """
    if at <= 0:
        return np.zeros(flow.came.shape[2])
    tick = int(at // flow.tick)
    part = at / flow.tick - tick
    first, then = ((flow.came[one] - flow.went[one])[0].sum(-1) for one in (tick, tick + 1))
    return np.asarray(first * (1 - part) + then * part)


def cell(supply: Supply, flow: Flow, kind: Kind, window: int, count: int, lasts: float) -> Task:
    """A cell of so many replicas in a window."""
    world, plant = supply.world, supply.plant
    found = supply.at(kind, window)
    warm, seconds = WARM, WARM + lasts
    begins = window * supply.each * world.tick - warm
    part = found.part * count / found.replicas
    waits = _line(flow, begins) * part
    most = found.rates * count / found.replicas * seconds * 2
    lines = {one.id: int(min(waits[n], most[n])) for n, one in enumerate(world.demands)}
    streams = tuple(
        msgspec.structs.replace(one, waits=lines[one.name])
        for one in load.streams(world, begins, seconds, part)
    )
    spell = supply.spell(window)
    time = step_time(world.models[kind.model], world.devices[kind.accelerator], kind.devices, fit=world.fit)
    fast = max(spell.fast[n] for n, one in enumerate(world.pools) if one.accelerator == kind.accelerator)
    batches = [
        capacity.batch
        for (n, d), capacity in plant.capacities.items()
        if world.demands[d].tpot_ms and kind_of(world.pools[n]) == kind
    ]
    return Task(
        stratum=0, draw=0, window=window, seed=[world.head.seed, window], replicas=count,
        time=time.slower(round(1000 * fast)),
        slots=min([SLOTS, *batches]), policy=world.policies.get(spell.policy, world.policy), streams=streams,
        tick=load.piece(world), warm=warm, seconds=seconds,
        fails=found.fails, start_s=found.start_s,
    )  # fmt: skip


def run(task: Task) -> Counted:
    """Simulate a cell, every request."""
    requests = list(load.drawn(task.streams, task.tick, task.seed, task.seconds))
    queue = FairQueue(task.policy)
    times = [task.time] * task.replicas
    outages = _outages(task)
    cell = Cell(queue, times, requests, slots=task.slots, pool=task.streams[0].pool, outages=outages)
    return _counted(task, requests, cell.run(int(task.seconds * SECOND)))


def _outages(task: Task) -> list[Outage]:
    """When which replica dies: at random, none while it is away."""
    random = np.random.default_rng([*task.seed, 2])
    found = []
    for number in range(task.replicas if task.fails else 0):
        at = random.exponential(1 / task.fails)
        while at < task.seconds:
            back = at + task.start_s
            found.append(Outage(int(at * SECOND), int(back * SECOND), number))
            at = back + random.exponential(1 / task.fails)
    return sorted(found)


def _counted(task: Task, requests: Sequence[Request], found: Outcome) -> Counted:
    """What happened within the window."""
    names = tuple(one.name for one in task.streams)
    place = {name: number for number, name in enumerate(names)}
    of = np.array([place[one.app] for one in requests], np.int64)
    begins, ends = int(task.warm * SECOND), int(task.seconds * SECOND)
    came = found.at >= begins
    ended = found.ended >= begins
    gone = np.where(found.granted >= 0, found.granted, np.where(found.left >= 0, found.left, ends))
    waited = (gone - found.at) / SECOND
    taken = came & ~found.refused

    def sums(which: NDArray[np.bool_], values: Floats | None = None) -> list[float]:
        weights = None if values is None else values[which]
        made: list[float] = np.bincount(of[which], weights, minlength=len(names)).tolist()
        return made

    return Counted(
        stratum=task.stratum,
        draw=task.draw,
        window=task.window,
        names=names,
        asked=tuple(map(int, sums(came))),
        ended=tuple(map(int, sums(ended))),
        refused=tuple(map(int, sums(came & found.refused))),
        left=tuple(map(int, sums(found.left >= begins))),
        lost=tuple(map(int, sums(came & found.lost))),
        wrote=tuple(map(int, sums(ended, found.wrote.astype(float)))),
        waited=tuple(sums(taken, waited)),
        waits=tuple(tuple(histogram(waited[taken & (of == number)])) for number in range(len(names))),
        requests=len(requests),
        digest=found.digest,
    )


def digest(counted: Iterable[Counted]) -> str:
    """Hash of all cells, in whatever order they ended."""
    rows = sorted((one.stratum, one.draw, one.digest) for one in counted)
    return blake2b(msgspec.msgpack.encode(rows), digest_size=16).hexdigest()
