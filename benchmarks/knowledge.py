"""``python -m benchmarks knowledge``: what search over public documents promises."""

from __future__ import annotations

from benchmarks import area
from benchmarks.bars.knowledge_added import added
from benchmarks.bars.knowledge_everyday import everyday
from benchmarks.bars.knowledge_grounded import grounded
from benchmarks.bars.knowledge_memory import memory
from benchmarks.bars.knowledge_quotes import quotes
from benchmarks.bars.knowledge_statutes import build, query
from benchmarks.bars.knowledge_welfare import welfare

BARS: area.Bars = {
    "welfare": welfare,
    "statutes-build": build,
    "statutes-query": query,
    "added": added,
    "everyday": everyday,
    "grounded": grounded,
    "quotes": quotes,
    "memory": memory,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """See ``area.run``."""
    return area.run("Bars of public knowledge", BARS, only=only, quick=quick)
