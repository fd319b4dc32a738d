"""laws: the engine obeys what is proven of queues.

* M/M/1 and M/G/1: with one slot and steps that all take the same, a replica is a queue with one server, and
  the mean wait is Pollaczek and Khinchine's λ·E[S²] / 2(1 - ρ).
* Little: the mean number of requests inside is the rate at which they come times the mean time inside; and
  those who come see the mean (Poisson arrivals).
* Tokens: what was read and written is what was asked for, and the memory is empty at the end.

Sampling error: runs are cut into batches, and the mean of the batches may be off by ``SIGMAS`` of its own
standard errors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import Bench, Measured, Row
from moduai.planner import StepTime, devices, engine, models, step_time
from moduai.planner.clock import SECOND
from moduai.planner.engine import Ints

SIGMAS = 3.5
BATCHES = 40
COUNT, QUICK = 400_000, 20_000
STEP = StepTime(base=1_000_000, sequence=0, context=0, prefill=0, room=1 << 40)
"""A µs each, whatever is in it."""
NO_FAILURES = np.zeros((0, 2), np.int64)
Floats = NDArray[np.float64]


def laws(bench: Bench) -> Measured:
    """For each law, by how many standard errors it is missed."""
    count = QUICK if bench.quick else COUNT
    random = np.random.default_rng(1)
    value: list[float | int | None] = []
    notes = []
    for name, load, lengths in (
        ("M/M/1", 0.5, random.geometric(1 / 500, count)),
        ("M/M/1", 0.9, random.geometric(1 / 500, count)),
        ("M/G/1, uniform", 0.8, random.integers(1, 1000, count)),
        ("M/G/1, one in a hundred long", 0.7, np.where(random.random(count) < 0.01, 20_000, 200)),
    ):
        off, told = _wait(random, lengths.astype(np.int64), load)
        value.append(round(off, 1))
        notes.append(f"{name} at {load:.0%}: {told}")
    for name, off, told in _little(random, count // 4):
        value.append(round(off, 1))
        notes.append(f"{name}: {told}")
    kept, told = _tokens(random, count // 4)
    notes.append(told)
    holds = kept and all(abs(each or 0) <= SIGMAS for each in value)
    return Measured(Row("laws", value, f"within {SIGMAS} standard errors; no token lost", holds), notes)


def _wait(random: np.random.Generator, lengths: Ints, load: float) -> tuple[float, str]:
    """Mean wait against Pollaczek and Khinchine's, whose moments are those of the lengths drawn."""
    service = lengths * 1e3
    rate = load / service.mean()
    arrivals = np.cumsum(random.exponential(1 / rate, len(lengths))).astype(np.int64)
    jobs = engine.table(np.ones(len(lengths), np.int64), lengths)
    engine.run(*engine.core(STEP, jobs, slots=1), arrivals, NO_FAILURES, engine.NEVER)
    waits = jobs[:, engine.ENDED] - arrivals - service
    law = rate * (service**2).mean() / 2 / (1 - load)
    return _off(waits, law, "µs", 1e3)


def _off(values: Floats, law: float, unit: str, by: float) -> tuple[float, str]:
    """Standard errors between the mean of the batches and the law; the first, the start, is left out."""
    batches = np.array([batch.mean() for batch in np.array_split(values, BATCHES)[1:]])
    off = float((batches.mean() - law) / (batches.std(ddof=1) / np.sqrt(len(batches))))
    return off, f"{batches.mean() / by:.4g} {unit}, by law {law / by:.4g} {unit} ({off:+.1f} standard errors)"


def _busy(random: np.random.Generator, count: int) -> tuple[Ints, Ints, float]:
    """An H100 with an 8-billion-parameter model, four fifths busy: requests, arrivals, rate a second."""
    rate = 18.0
    jobs = engine.table(random.integers(10, 900, count), random.integers(1, 650, count))
    arrivals = np.cumsum(random.exponential(SECOND / rate, count)).astype(np.int64)
    replica = engine.core(step_time(models()["llama-3.1-8b"], devices()["h100"]), jobs)
    engine.run(*replica, arrivals, NO_FAILURES, engine.NEVER)
    return jobs, arrivals, rate


def _little(random: np.random.Generator, count: int) -> list[tuple[str, float, str]]:
    jobs, arrivals, rate = _busy(random, count)
    ended = np.sort(jobs[:, engine.ENDED])
    inside = (jobs[:, engine.ENDED] - arrivals) / SECOND
    clock = np.linspace(arrivals[0], arrivals[-1], count).astype(np.int64)
    mean = np.searchsorted(arrivals, clock) - np.searchsorted(ended, clock)
    seen = np.arange(count) - np.searchsorted(ended, arrivals)
    little = _off(mean - rate * inside, 0.0, "requests", 1.0)
    poisson = _off((seen - mean).astype(np.float64), 0.0, "requests", 1.0)
    return [
        ("Little's law, number inside less rate × time inside", *little),
        ("what those who come see, less the mean over time", *poisson),
    ]


def _tokens(random: np.random.Generator, count: int) -> tuple[bool, str]:
    """On a replica whose memory is too small, so that many are preempted and read again."""
    reads, writes = random.integers(10, 900, count), random.integers(1, 650, count)
    jobs = engine.table(reads, writes)
    arrivals = np.cumsum(random.exponential(SECOND / 18.0, count)).astype(np.int64)
    time = step_time(models()["llama-3.1-8b"], devices()["h100"])
    small = StepTime(time.base, time.sequence, time.context, time.prefill, room=20_000)
    replica = engine.core(small, jobs)
    engine.run(*replica, arrivals, NO_FAILURES, engine.NEVER)
    again = int(jobs[:, engine.READ].sum() - reads.sum())
    empty = not replica.state[[engine.PRIVATE, engine.CONTEXT, engine.BATCH, engine.READERS]].any()
    kept = bool((jobs[:, engine.WROTE] == writes).all() and (jobs[:, engine.READ] >= reads).all()) and empty
    return kept, (
        f"{count:,} requests: {int(writes.sum()):,} tokens asked for and written, {again:,} read again after "
        f"they had lost their room; nothing is left in memory: {'yes' if kept else 'NO'}"
    )
