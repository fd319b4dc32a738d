"""nation: a day of a country with 200,000 accelerators as a fluid, with its bands and its outcome; a search
for the fewest accelerators. Wall time of this process, which uses one core, and the most memory it had.
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
from moduai.planner import fluid
from moduai.planner.outcome import outcome
from moduai.planner.plant import Plant
from moduai.planner.scenario import Given, read
from moduai.planner.size import size

SCENARIO = "kr-200000"
MUST_SECONDS, MUST_GIB = 300, 4


@cache
def pack(name: str) -> Pack:
    return read_pack(where.shipped()[name], parse)


def nation(bench: Bench) -> Measured:
    """Seconds of a day, seconds of a search, GiB; nothing may be lost."""
    began = time.monotonic()
    world = read(SCENARIO, Given(parse, shipped_text(), pack))
    plant = Plant(world)
    flow = fluid.run(world, plant, fluid.middle(world))
    columns = fluid.drawn(world, plant)
    found = outcome(world, plant, flow, (columns, fluid.run(world, plant, columns, regions=False)))
    day = time.monotonic() - began
    least = size(world, plant)
    search = time.monotonic() - began - day
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    lines = [
        f"{found.accelerators:,} accelerators, {found.serving:,} answer {found.asked:,.0f} questions",
        f"missing {found.missing:.1e}; {least.fewest or 0:,} accelerators would keep the goals",
    ]
    holds = day <= MUST_SECONDS and most <= MUST_GIB and found.missing < 1e-9
    must = f"<= {MUST_SECONDS} s a day, <= {MUST_GIB} GiB"
    return Measured(Row("nation", [round(day, 2), round(search, 2), round(most, 2)], must, holds), lines)
