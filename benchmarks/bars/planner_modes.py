"""modes: the same world as one cell, every request through the gateway's dispatcher; as a sample of smaller
cells; and as a fluid.

Four H100 with an 8-billion-parameter model and three classes that together ask for more than there is:
residents for less than their part, businesses and batch for more. The sample's cells have two of them.
Compared are throughput, the part of each class in what was served, and how long residents wait, without the
first minutes, in which the cell fills.
"""

from __future__ import annotations

import tempfile
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.bars import Bench, Measured, Row
from moduai.gateway.policy_text import parse
from moduai.packs.pack import Pack
from moduai.planner import crew, fluid, load, sampled, step_time
from moduai.planner.cell import Cell
from moduai.planner.clock import SECOND
from moduai.planner.estimates import estimates
from moduai.planner.fluid import Flow
from moduai.planner.load import Floats
from moduai.planner.plant import Plant
from moduai.planner.scenario import Given, World, read
from moduai.planner.waits import Waited
from moduai.scheduling import FairQueue

MOST = 0.10
FILLS, LASTS, QUICK_FILLS, QUICK = 240, 900, 60, 120
"""Seconds that are left out, and that are run."""
CELLS = 6
"""Of the sample; a quick run has two."""
ACCELERATORS = 4
WIDE = "[limits]\nperson = 1_000_000\norganisation = 1_000_000\ntotal = 1_000_000\n"
POLICY = f"""\
name = "modes"
default = "batch"
estimate_percentile = 70
{WIDE}
[class.resident]
title = {{ en = "R" }}
weight = 10
guarantee = 40
[class.business]
title = {{ en = "B" }}
weight = 3
[class.batch]
title = {{ en = "Batch" }}
weight = 1
"""
DEMAND = """\
[[demand]]
id = "{name}"
kind = "batch"
service_class = "{name}"
count = {count}
questions_a_day = {a_day}
model = "llama-3.1-8b"
tokens_in = 300
tokens_out = 250
spread = 0.6
"""
WORLD = """\
[scenario]
name = {{ en = "modes" }}
tick_minutes = 1
cell = 2
[[site]]
id = "here"
[[fleet]]
id = "gpus"
accelerator = "h100"
count = 4
sites = {{ here = 1 }}
models = {{ "llama-3.1-8b" = 1 }}
availability = 1
"""
ASKED = {"resident": 0.4, "business": 0.9, "batch": 0.9}
"""Of what the two can do."""


def none(name: str) -> Pack:
    raise ValueError(name)


def world(folder: Path, capacity: float) -> World:
    text = WORLD.replace("{{", "{").replace("}}", "}")
    for name, part in ASKED.items():
        text += DEMAND.format(name=name, count=2_000, a_day=part * capacity * 86_400 / 2_000)
    (folder / "modes.toml").write_text(text, "utf-8")
    return read(folder / "modes.toml", Given(parse, POLICY, none))


class Served(NamedTuple):
    """What one mode says: answers a second by class, and the wait of 99 of 100 residents, s."""

    rates: Floats
    late: float


def modes(bench: Bench) -> Measured:
    """Largest difference between two modes: of throughput, and of a class's part; waits are told."""
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant(world(Path(folder), 1.0))
        made = world(Path(folder), 1 / float(plant.at(0).cost(fluid.middle(plant.world))[0, 0]))
    window = (QUICK_FILLS, QUICK) if bench.quick else (FILLS, LASTS)
    plant = Plant(made)
    flow = fluid.run(made, plant, fluid.middle(made))
    found = {
        "cell": by_cell(made, *window),
        "sample": by_sample(made, plant, flow, 2 if bench.quick else CELLS, window[1] - window[0]),
        "fluid": by_fluid(made, plant, flow, *window),
    }
    throughput = max(abs(a.rates.sum() / b.rates.sum() - 1) for a, b in combinations(found.values(), 2))
    parts = [one.rates / one.rates.sum() for one in found.values()]
    apart = max(float(np.abs(a - b).max()) for a, b in combinations(parts, 2))
    lines = [
        f"{name}: {one.rates.round(1).tolist()} answers/s, residents' p99 {one.late:.2f} s"
        for name, one in found.items()
    ]
    must, holds = f"throughput and parts <= {MOST:.0%} apart", max(throughput, apart) <= MOST
    return Measured(Row("modes", [round(float(throughput), 3), round(apart, 3)], must, holds), lines)


def by_fluid(made: World, plant: Plant, flow: Flow, fills: int, seconds: int) -> Served:
    window = slice(fills // 60, seconds // 60)
    late = Waited(made, plant, flow, np.zeros(1)).of(0, [0]).quantile(0.99)
    return Served(flow.served[window, 0].sum(0) / (seconds - fills), late)


def by_cell(made: World, fills: int, seconds: int) -> Served:
    requests = list(load.arrivals(made, 0, seconds))
    times = [step_time(made.models["llama-3.1-8b"], made.devices["h100"])] * ACCELERATORS
    found = Cell(FairQueue(made.policy), times, requests, pool="llama-3.1-8b").run(seconds * SECOND)
    of = np.array([list(ASKED).index(one.path[0]) for one in requests])
    ended = (found.ended >= fills * SECOND) & (found.ended < seconds * SECOND)
    late = (of == 0) & (found.granted >= 0) & (found.at >= fills * SECOND)
    waits = np.quantile((found.granted - found.at)[late] / SECOND, 0.99)
    return Served(np.bincount(of[ended], minlength=3) / (seconds - fills), float(waits))


def by_sample(made: World, plant: Plant, flow: Flow, cells: int, lasts: float) -> Served:
    plan = sampled.plan(made, plant, flow, cells, peak=True, lasts=lasts)
    found = estimates(made, plant, flow, plan, list(crew.here(sampled.run, plan.tasks, 2))).nation
    whole, served = found.answers_s.sampled.middle, [one.share.sampled.middle for one in found.classes]
    # All three classes ask alike, so a part of the work is a part of the answers.
    return Served(whole * np.array(served), found.classes[0].p99.sampled.middle)
