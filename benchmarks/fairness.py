"""``python -m benchmarks fairness``: what the fair queue promises, in the twin's simulated time."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import area
from benchmarks.bars import fairness_figures
from benchmarks.bars.decisions import decisions
from benchmarks.bars.fairness_bound import bound
from benchmarks.bars.fairness_flood import flood, goodput
from benchmarks.bars.fairness_live import engine, json_cpu
from benchmarks.bars.fairness_locality import locality
from benchmarks.bars.fairness_share import gap, share
from benchmarks.bars.fairness_wait import wait
from benchmarks.bars.fairness_world import DATA

BARS: area.Bars = {
    "gap": gap,
    "bound": bound,
    "share": share,
    "flood": flood,
    "goodput": goodput,
    "locality": locality,
    "wait": wait,
    "decisions": decisions,
    "json-cpu": json_cpu,
    "engine": engine,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False, data: str = "", figures: str = "") -> int:
    """See ``area.run``. ``data``: the folder with the traces. ``figures``: draw them there instead."""
    if data:
        os.environ[DATA] = data
    if figures:
        return fairness_figures.draw(Path(figures))
    return area.run("Bars of the fair queue", BARS, only=only, quick=quick)
