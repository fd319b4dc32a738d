"""nation: a day of a country with 200,000 accelerators as a fluid, with its bands and its outcome; a search
for the fewest accelerators; its busiest hour as a sample of cells, every request, by two processes. Wall
time, and the most memory that these processes had together.
"""

from __future__ import annotations

import resource
import sys
import time
from functools import cache

from benchmarks.bars import Bench, Measured, Row
from moduai.gateway.policy_text import parse, shipped_text
from moduai.packs import where
from moduai.packs.pack import Pack
from moduai.packs.read import read as read_pack
from moduai.planner import crew, fluid, sampled
from moduai.planner.estimates import estimates
from moduai.planner.outcome import outcome
from moduai.planner.plant import Plant
from moduai.planner.scenario import Given, read
from moduai.planner.size import size

SCENARIO = "kr-200000"
MUST_SECONDS, MUST_GIB, MUST_MINUTES = 300, 4, 20
CELLS, SMALL = 16, 4
"""Of the sample; a quick run has few, of eight replicas, for a minute."""
PROCESSES = 2


@cache
def pack(name: str) -> Pack:
    return read_pack(where.shipped()[name], parse)


def nation(bench: Bench) -> Measured:
    """Seconds of a day, of a search and of the busiest hour, GiB; nothing may be lost."""
    began = time.monotonic()
    world = read(
        SCENARIO, Given(parse, shipped_text(), pack), {"scenario": {"cell": 16}} if bench.quick else {}
    )
    plant = Plant(world)
    flow = fluid.run(world, plant, fluid.middle(world))
    columns = fluid.drawn(world, plant)
    found = outcome(world, plant, flow, (columns, fluid.run(world, plant, columns, regions=False)))
    day = time.monotonic() - began
    least = size(world, plant)
    search = time.monotonic() - began - day
    plan = sampled.plan(
        world, plant, flow, SMALL if bench.quick else CELLS, peak=True, lasts=60 * bench.quick
    )
    counted = list(crew.here(sampled.run, plan.tasks, PROCESSES))
    peak = time.monotonic() - began - day - search
    told = estimates(world, plant, flow, plan, counted)
    most = gib(resource.RUSAGE_SELF) + PROCESSES * gib(resource.RUSAGE_CHILDREN)
    apart = told.nation.answers_s.apart
    lines = [
        f"{found.accelerators:,} accelerators, {found.serving:,} answer {found.asked:,.0f} questions",
        f"missing {found.missing:.1e}; {least.fewest or 0:,} accelerators would keep the goals",
        f"{told.drawn} cells of {told.cell}, {told.requests:,} requests; fluid {apart:+.1%} answers/s",
    ]
    holds = day <= MUST_SECONDS and most <= MUST_GIB and found.missing < 1e-9 and peak <= 60 * MUST_MINUTES
    must = f"<= {MUST_SECONDS} s a day, <= {MUST_MINUTES} minutes the busiest hour, <= {MUST_GIB} GiB"
    value: list[float | int | None] = [round(day, 2), round(search, 2), round(peak), round(most, 2)]
    return Measured(Row("nation", value, must, holds), lines)


def gib(who: int) -> float:
    """Most memory of one process of these."""
    return resource.getrusage(who).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
