"""What is asked over time: who has begun to use it, how a day goes, and recorded traces.

A demand's rate is a product: askers of a region × the part that uses it by then × questions a day × growth ×
the day's curve × what events do. The first and the rest are independent, so a scenario's load is kept as
``shape`` (ticks × demands, questions a second in all regions) and ``spread`` (demands × regions, parts).
Arrivals that are drawn from it are Poisson in each tick, from the scenario's seed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.packs.pack import Fault
from moduai.planner.clock import SECOND
from moduai.planner.traffic import Request

if TYPE_CHECKING:
    from moduai.planner.scenario.world import Demand, World

Floats = NDArray[np.float64]
DAY: Final = 86_400
YEAR: Final = 365.25
"""Days."""
STEEP: Final = 4.0
"""Adoption goes from nothing to all between -4 and 4 of the logistic curve."""
LONG: Final = 62
"""Days, above which a tick is an hour."""
COLUMNS: Final = ("at_s", "tokens_in", "tokens_out")
MOST_ROWS: Final = 5_000_000
MOST_TRACE_FAULTS: Final = 5


class Trace(Struct, frozen=True):
    """Requests that were recorded, in order of time."""

    at: Floats
    """Seconds from the first."""
    tokens_in: Floats
    tokens_out: Floats

    @property
    def seconds(self) -> float:
        """How long it is: to the last request and one mean gap more."""
        return float(self.at[-1]) * len(self.at) / max(1, len(self.at) - 1) or 1.0

    def at_times(self, seconds: Floats, width: float) -> Floats:
        """How busy it is at these times of its repetition, as a multiple of its mean."""
        bins = max(1, round(self.seconds / width))
        counts, _ = np.histogram(self.at, bins=bins, range=(0, self.seconds))
        place = (seconds % self.seconds / self.seconds * bins).astype(int)
        return np.asarray(counts[np.minimum(place, bins - 1)] / (len(self.at) / bins))


def read_trace(name: str, data: bytes) -> tuple[Trace | None, list[Fault]]:
    """A trace from CSV, or all that is wrong with it. Fails closed: a trace with a fault is not used."""
    try:
        lines = csv.reader(io.StringIO(data.decode()))
        head = next(lines, [])
    except (UnicodeDecodeError, csv.Error) as error:
        return None, [Fault(name, 0, (), f"this is no CSV in UTF-8: {error}")]
    if not set(COLUMNS) <= set(head):
        return None, [Fault(name, 1, (), f"the first line names the columns {', '.join(COLUMNS)}")]
    places = [head.index(column) for column in COLUMNS]
    rows: list[tuple[float, ...]] = []
    faults: list[Fault] = []
    for number, line in enumerate(lines, 2):
        row = _row(line, places, rows[-1][0] if rows else 0.0)
        if isinstance(row, str):
            faults.append(Fault(name, number, (), row))
            if len(faults) >= MOST_TRACE_FAULTS:
                break
        elif len(rows) >= MOST_ROWS:
            faults.append(Fault(name, number, (), f"at most {MOST_ROWS:,} requests"))
            break
        else:
            rows.append(row)
    if not rows and not faults:
        faults.append(Fault(name, 0, (), "the trace is empty: one line for each request, in order of time"))
    if faults:
        return None, faults
    at, read, wrote = np.array(rows).T
    return Trace(at - at[0], read, wrote), []


def _row(line: list[str], places: list[int], last: float) -> tuple[float, ...] | str:
    """The numbers of a line, or what is wrong with it."""
    try:
        at, read, wrote = (float(line[place]) for place in places)
    except (ValueError, IndexError):
        return f"it needs three numbers: {', '.join(COLUMNS)}"
    if not (0 <= at < np.inf and 0 < read <= 1e7 and 0 < wrote <= 1e7):
        return "times are not negative, and a request has at least one token in and one out"
    if at < last:
        return f"out of order: {at:g} s comes after {last:g} s; sort the lines by at_s"
    return at, read, wrote


def ticks(world: World) -> Floats:
    """Seconds from the start to the middle of each tick."""
    count = round(world.head.days * DAY / world.tick)
    return np.asarray((np.arange(count) + 0.5) * world.tick, dtype=np.float64)


def shape(world: World) -> Floats:
    """Questions a second of each demand, all regions together: ticks × demands."""
    times = ticks(world)
    made = np.empty((len(times), len(world.demands)))
    for column, demand in enumerate(world.demands):
        rate = demand.askers * demand.most.middle * demand.questions.middle / DAY
        made[:, column] = rate * _using(demand, world, times) * _day(demand, world, times)
    for event in world.events:
        if event.kind == "launch":
            during = world.during(event, times)
            chosen = np.array([event.demand in {"", demand.id} for demand in world.demands])
            made[np.ix_(during, chosen)] *= event.factor
    return made


def _using(demand: Demand, world: World, times: Floats) -> Floats:
    """Part of `most` that uses it by then, times what growth does."""
    days = times / DAY
    using, begins = np.ones(len(times)), 0
    if demand.begins is not None:
        begins = (demand.begins - world.head.start).days
        half = (demand.half - world.head.start).days if demand.half else begins
        using = adopted(days, begins, half)
    return np.asarray(using * (1 + demand.growth) ** (np.maximum(0.0, days - begins) / YEAR))


def adopted(days: Floats, begins: float, half: float) -> Floats:
    """Part of those who will use it that do: nobody before ``begins``, half of them on the day ``half``, all
    of them as long after it; a logistic curve, cut at both ends.
    """
    if half <= begins:
        return (days >= begins).astype(float)
    least = 1 / (1 + np.exp(STEEP))
    curve = 1 / (1 + np.exp(-STEEP * np.clip((days - half) / (half - begins), -1, 1)))
    return np.asarray((curve - least) / (1 - 2 * least))


def _day(demand: Demand, world: World, times: Floats) -> Floats:
    """How busy a time is, as a multiple of a working day's mean."""
    if demand.trace is not None:
        return demand.trace.at_times(times, max(world.tick, demand.trace.seconds / 288))
    hours = np.asarray(demand.hours) * 24
    busy = hours[(times % DAY // 3600).astype(int)]
    free = np.array([world.is_free(world.head.start + timedelta(days=day)) for day in range(world.head.days)])
    return np.asarray(busy * np.where(free[(times // DAY).astype(int)], demand.weekend, 1.0))


def spread(world: World) -> Floats:
    """Part of each demand's questions from each region: demands × regions; rows add up to 1."""
    people = np.array([region.population for region in world.regions], dtype=float)
    made = np.tile(people / people.sum(), (len(world.demands), 1))
    for row, demand in enumerate(world.demands):
        if demand.regions:
            made[row] = [demand.regions.get(region.id, 0.0) for region in world.regions]
            made[row] /= made[row].sum()
    return made


def arrivals(world: World, begins: float, seconds: float, part: float = 1.0) -> Iterator[Request]:
    """Requests of so many seconds from ``begins`` (s after the start), of a ``part`` of all askers, in order
    of time; drawn from the scenario's seed.
    """
    random = np.random.default_rng([world.head.seed, round(begins)])
    rates, first = shape(world) * part, int(begins // world.tick)
    drawn: list[tuple[Floats, NDArray[np.int64], int]] = []
    for number, demand in enumerate(world.demands):
        times: list[Any] = []
        for tick in range(first, int(np.ceil((begins + seconds) / world.tick))):
            low, high = max(begins, tick * world.tick), min(begins + seconds, (tick + 1) * world.tick)
            times.append(random.uniform(low, high, random.poisson(rates[tick, number] * (high - low))))
        at = np.sort(np.concatenate(times)) - begins
        who = random.integers(0, max(1, round(demand.askers * demand.most.middle * part)), len(at))
        drawn.append((at, who, number))
    at = np.concatenate([one[0] for one in drawn])
    who = np.concatenate([one[1] for one in drawn])
    of = np.concatenate([np.full(len(one[0]), one[2]) for one in drawn])
    lengths = np.concatenate([_lengths(world.demands[one[2]], len(one[0]), random) for one in drawn])
    for place in np.argsort(at, kind="stable"):
        demand = world.demands[of[place]]
        read, wrote = lengths[place]
        path = (demand.service_class, demand.organisation, f"{demand.id}-{who[place]}")
        yield Request(
            int(at[place] * SECOND), path, int(read), int(wrote), app=demand.id, weight=demand.weight,
            pool=demand.model, patience=int(demand.patience * SECOND),
        )  # fmt: skip


def _lengths(demand: Demand, count: int, random: np.random.Generator) -> Floats:
    """Tokens in and out: lognormal with the demand's means, or rows of its trace."""
    if demand.trace is not None:
        rows = random.integers(0, len(demand.trace.at), count)
        return np.stack([demand.trace.tokens_in[rows], demand.trace.tokens_out[rows]], axis=1)
    means = np.array([demand.tokens_read, demand.tokens_out])
    made = random.lognormal(-(demand.spread**2) / 2, demand.spread, (count, 2)) * means
    return np.asarray(np.maximum(1.0, np.round(made)))


def local(start: date, seconds: float) -> datetime:
    """The time of day so many seconds after the start."""
    return datetime(start.year, start.month, start.day) + timedelta(seconds=seconds)  # noqa: DTZ001  as the scenario's own
