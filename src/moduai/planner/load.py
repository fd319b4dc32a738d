"""What is asked over time: who has begun to use it, how a day goes, and recorded traces.

A demand's rate is a product: askers of a region × the part that uses it by then × questions a day × growth ×
the day's curve × what events do. The first and the rest are independent, so a scenario's load is kept as
``shape`` (ticks × demands, questions a second in all regions) and ``spread`` (demands × regions, parts).
Arrivals that are drawn from it are Poisson in each tick, from a seed; a ``Stream`` has all that they need.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
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
PIECE: Final = 300.0
MOST_LENGTHS: Final = 10_000
"""Of a trace's requests whose lengths arrivals are drawn from."""


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


class Stream(Struct, frozen=True, kw_only=True):
    """The questions of one demand over some seconds; without a world, so that they can be sent around."""

    name: str
    place: tuple[str, str]
    """Class and organisation."""
    weight: int
    pool: str
    people: int
    rates: tuple[float, ...]
    """Questions a second, piece by piece of the time."""
    read: float
    held: float
    wrote: float
    spread: float
    lengths: tuple[tuple[float, float], ...]
    """Of a trace: tokens in and out."""
    patience: float
    insists: bool
    waits: int = 0
    """So many wait already when it begins."""


def piece(world: World) -> float:
    """Seconds in which the rates of a stream stay as they are."""
    return min(world.tick, PIECE)


def streams(world: World, begins: float, seconds: float, part: float | Floats = 1.0) -> tuple[Stream, ...]:
    """All demands from ``begins`` (s after the start; before it is as the first tick, after the end as the
    last); a ``part`` of all askers, or one for each demand.
    """
    rates, each = world.shape, piece(world)
    times = begins + (np.arange(np.ceil(seconds / each)) + 0.5) * each
    rates = rates[np.clip(times // world.tick, 0, len(rates) - 1).astype(int)]
    parts = np.broadcast_to(part, len(world.demands))
    return tuple(
        _stream(one, rates[:, n], float(parts[n])) for n, one in enumerate(world.demands) if parts[n]
    )


def _stream(demand: Demand, rates: Floats, part: float) -> Stream:
    trace = demand.trace
    step = 1 + len(trace.at) // MOST_LENGTHS if trace else 1
    rows = zip(trace.tokens_in[::step], trace.tokens_out[::step], strict=True) if trace else ()
    return Stream(
        name=demand.id,
        place=(demand.service_class, demand.organisation),
        weight=demand.weight,
        pool=demand.model,
        people=max(1, round(demand.askers * demand.most.middle * part)),
        rates=tuple((rates * part).tolist()),
        read=demand.tokens_read,
        held=demand.tokens_held,
        wrote=demand.tokens_out,
        spread=demand.spread,
        lengths=tuple((float(read), float(wrote)) for read, wrote in rows),
        patience=demand.patience,
        insists=demand.kind == "batch",
    )


def arrivals(world: World, begins: float, seconds: float, part: float = 1.0) -> Iterator[Request]:
    """Requests of so many seconds from ``begins`` (s after the start), of a ``part`` of all askers, in order
    of time; drawn from the scenario's seed.
    """
    some = streams(world, begins, seconds, part)
    return drawn(some, piece(world), [world.head.seed, round(begins)], seconds)


def drawn(some: Sequence[Stream], tick: float, seed: list[int], seconds: float) -> Iterator[Request]:
    """Requests of these streams, whose pieces last a ``tick``, in order of time."""
    random = np.random.default_rng(seed)
    parts = [_drawn(number, one, tick, seconds, random) for number, one in enumerate(some)]
    rows = np.concatenate(parts) if parts else np.zeros((0, 6), np.int64)
    patience = [int(one.patience * SECOND) for one in some]
    for at, number, who, read, wrote, held in rows[np.argsort(rows[:, 0], kind="stable")].tolist():
        one = some[number]
        yield Request(
            at, (*one.place, f"{one.name}-{who}"), read, wrote, app=one.name, weight=one.weight, held=held,
            insists=one.insists, patience=patience[number], pool=one.pool,
        )  # fmt: skip


def _drawn(
    number: int, one: Stream, tick: float, seconds: float, random: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of one stream: when (ns), its number, who, tokens computed, written and held."""
    times: list[Any] = [np.zeros(one.waits)]
    for place, rate in enumerate(one.rates):
        low, high = place * tick, min(seconds, (place + 1) * tick)
        if high > low:
            times.append(random.uniform(low, high, random.poisson(rate * (high - low))))
    at = np.concatenate(times)
    who = random.integers(0, one.people, len(at))
    lengths = _lengths(one, len(at), random)
    held = random.uniform(0, 2 * one.held, len(at))  # any turn of a conversation
    rows = np.stack([at * SECOND, np.full(len(at), number), who, lengths[:, 0], lengths[:, 1], held], axis=1)
    return rows.astype(np.int64)


def _lengths(one: Stream, count: int, random: np.random.Generator) -> Floats:
    """Tokens computed and written: lognormal with the demand's means, or rows of its trace."""
    if one.lengths:
        return np.array(one.lengths)[random.integers(0, len(one.lengths), count)]
    means = np.array([one.read, one.wrote])
    made = random.lognormal(-(one.spread**2) / 2, one.spread, (count, 2)) * means
    return np.asarray(np.maximum(1.0, np.round(made)))


def local(start: date, seconds: float) -> datetime:
    """The time of day so many seconds after the start."""
    return datetime(start.year, start.month, start.day) + timedelta(seconds=seconds)  # noqa: DTZ001  as the scenario's own
