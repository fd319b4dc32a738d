"""speed and same: requests a second on one core, and that the same seed gives the same grants.

speed: one replica (an H100 with an 8-billion-parameter model) at four fifths of its capacity, in machine code
from event to event; and a cell of 64 such replicas behind the gateway's own fair queue, 20,000 people asking.
CPU time of this process, after everything is compiled; the best of three.

same: a cell of 16 replicas twice, with its decision log: both grants and log have the same hash, and the log
replayed has it too.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import numpy as np

from benchmarks.bars import Bench, Measured, Row
from moduai.planner import Request, capacity, devices, engine, models, replay, step_time
from moduai.planner.cell import Cell
from moduai.planner.clock import SECOND
from moduai.scheduling import FairQueue
from moduai.scheduling.journal import Journal
from moduai.scheduling.policy import ClassRule, Limits, Policy

MUST, MUST_DISPATCHED = 700_000, 30_000
MODEL, DEVICE = "llama-3.1-8b", "h100"
LOAD = 0.8
REPLICAS, SMALL, PEOPLE = 64, 16, 20_000
WIDE = Limits(10_000_000, 10_000_000, 10_000_000)
POLICY = Policy("bench", {"resident": ClassRule("resident", limits=WIDE)}, "resident", limits=WIDE)


def asked(count: int, replicas: int, load: float, seed: int = 1) -> list[Request]:
    """So many requests of people at the page, at this part of what the replicas can do."""
    random = np.random.default_rng(seed)
    rate = load * replicas * capacity(models()[MODEL], devices()[DEVICE], 1, 400, 330).requests_per_s
    at = np.cumsum(random.exponential(SECOND / rate, count)).astype(np.int64).tolist()
    reads = np.clip(random.lognormal(0, 0.75, count) * 300, 8, 2_000).astype(np.int64).tolist()
    writes = np.clip(random.lognormal(0, 0.75, count) * 250, 1, 1_000).astype(np.int64).tolist()
    people = random.integers(0, PEOPLE, count).tolist()
    return [
        Request(at[number], ("resident", "none", f"p{people[number]}"), reads[number], writes[number])
        for number in range(count)
    ]


def speed(bench: Bench) -> Measured:
    """Requests a second: of one replica alone, and with the dispatcher before 64."""
    alone = _best(_alone, 20_000 if bench.quick else 400_000)
    dispatched = _best(_dispatched, 3_000 if bench.quick else 60_000)
    must = f">= {MUST:,} and >= {MUST_DISPATCHED:,} requests/s on one core"
    holds = alone >= MUST and dispatched >= MUST_DISPATCHED
    return Measured(Row("speed", [round(alone), round(dispatched)], must, holds), [])


def _best(once: Callable[[int], float], count: int) -> float:
    once(min(count, 2_000))
    return max(once(count) for _ in range(3))


def _alone(count: int) -> float:
    requests = asked(count, 1, LOAD)
    jobs = engine.table([one.tokens_in for one in requests], [one.tokens_out for one in requests])
    arrivals = np.array([one.at for one in requests], np.int64)
    replica = engine.core(step_time(models()[MODEL], devices()[DEVICE]), jobs)
    began = time.process_time()
    engine.run(*replica, arrivals, np.zeros((0, 2), np.int64), engine.NEVER)
    return count / (time.process_time() - began)


def _dispatched(count: int) -> float:
    requests = asked(count, REPLICAS, LOAD)
    cell = Cell(FairQueue(POLICY), [step_time(models()[MODEL], devices()[DEVICE])] * REPLICAS, requests)
    gc.collect()
    gc.freeze()  # as the service does with what it has at its start
    began = time.process_time()
    outcome = cell.run()
    spent = time.process_time() - began
    gc.unfreeze()
    assert (outcome.ended >= 0).all()
    return count / spent


def same(bench: Bench) -> Measured:
    """How many of the hashes of two runs and of a replay are the same."""
    requests = asked(1_000 if bench.quick else 20_000, SMALL, 1.3)
    told = []
    for _ in range(2):
        lines: list[bytes] = []
        journal = Journal(POLICY, lines.append)
        step = step_time(models()[MODEL], devices()[DEVICE])
        outcome = Cell(journal, [step] * SMALL, requests).run()
        journal.close()
        told.append((outcome.digest, journal.digest, replay(lines)))
    first, second = told
    alike = [first[0] == second[0], first[1] == second[1], *(each[2].agrees for each in told)]
    notes = [f"grants {first[0]}, decisions {first[1]}, {first[2].calls:,} calls replayed"]
    return Measured(Row("same", sum(alike), "all 4 hashes the same", all(alike)), notes)
