"""modes: the same world as a cell, every request through the gateway's dispatcher, and as a fluid.

Two H100 with an 8-billion-parameter model and three classes that together ask for more than there is:
residents for less than their part, businesses and batch for more. Compared are throughput, the part of each
class in what was served, and how long residents wait, without the first minutes, in which the cell fills.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.bars import Bench, Measured, Row
from moduai.gateway.policy_text import parse
from moduai.packs.pack import Pack
from moduai.planner import fluid, load, step_time
from moduai.planner.cell import Cell
from moduai.planner.clock import SECOND
from moduai.planner.plant import Plant
from moduai.planner.scenario import Given, World, read
from moduai.planner.waits import Waited
from moduai.scheduling import FairQueue

MOST = 0.10
FILLS, LASTS, SHORT = 240, 900, 360
"""Seconds that are left out, that are run, and that a quick run takes."""
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
[[site]]
id = "here"
[[fleet]]
id = "gpus"
accelerator = "h100"
count = 2
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


def modes(bench: Bench) -> Measured:
    """Difference of throughput, and the largest of a class's part; how long residents wait is told."""
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant(world(Path(folder), 1.0))
        made = world(Path(folder), 1 / float(plant.at(0).cost(fluid.middle(plant.world))[0, 0]))
    plant, seconds = Plant(made), SHORT if bench.quick else LASTS
    flow = fluid.run(made, plant, fluid.middle(made))
    window = slice(FILLS // 60, seconds // 60)
    by_fluid = flow.served[window, 0].sum(0) / (seconds - FILLS)
    requests = list(load.arrivals(made, 0, seconds))
    times = [step_time(made.models["llama-3.1-8b"], made.devices["h100"])] * 2
    found = Cell(FairQueue(made.policy), times, requests, pool="llama-3.1-8b").run(seconds * SECOND)
    of = np.array([list(ASKED).index(one.path[0]) for one in requests])
    ended = (found.ended >= FILLS * SECOND) & (found.ended < seconds * SECOND)
    by_cell = np.bincount(of[ended], minlength=3) / (seconds - FILLS)
    throughput = float(abs(by_fluid.sum() / by_cell.sum() - 1))
    parts = float(np.abs(by_fluid / by_fluid.sum() - by_cell / by_cell.sum()).max())
    late = (of == 0) & (found.granted >= 0) & (found.at >= FILLS * SECOND)
    waits = np.quantile((found.granted - found.at)[late] / SECOND, 0.99)
    told = Waited(made, plant, flow, np.zeros(1)).of(0, [0]).quantile(0.99)
    lines = [
        f"cell {by_cell.round(1).tolist()} questions/s, fluid {by_fluid.round(1).tolist()}",
        f"residents' p99 in line: cell {waits:.2f} s, fluid {told:.2f} s",
    ]
    must, holds = f"throughput and parts <= {MOST:.0%} apart", max(throughput, parts) <= MOST
    return Measured(Row("modes", [round(throughput, 3), round(parts, 3)], must, holds), lines)
