"""``python -m benchmarks planner``: how near the planner's models are to what was measured, and how fast."""

from __future__ import annotations

from benchmarks import area
from benchmarks.bars.planner_laws import laws
from benchmarks.bars.planner_modes import modes
from benchmarks.bars.planner_nation import nation
from benchmarks.bars.planner_runs import vllm_runs, vtc
from benchmarks.bars.planner_speed import same, speed
from benchmarks.bars.planner_tpot import tpot

BARS: area.Bars = {
    "tpot": tpot,
    "vllm-runs": vllm_runs,
    "vtc": vtc,
    "laws": laws,
    "speed": speed,
    "nation": nation,
    "modes": modes,
    "same": same,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """See ``area.run``."""
    return area.run("Bars of the planner", BARS, only=only, quick=quick)
