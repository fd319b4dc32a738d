"""``python -m benchmarks plan``: what country packs promise."""

from __future__ import annotations

from benchmarks import area
from benchmarks.bars.plan_faults import faults
from benchmarks.bars.plan_items import items
from benchmarks.bars.plan_neutral import neutral
from benchmarks.bars.plan_page import page
from benchmarks.bars.plan_questions import questions

BARS: area.Bars = {
    "items": items,
    "questions": questions,
    "page": page,
    "faults": faults,
    "neutral": neutral,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """See ``area.run``."""
    return area.run("Bars of the plan", BARS, only=only, quick=quick)
