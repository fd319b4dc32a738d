"""``python -m benchmarks service``: what the gateway promises of cost, memory, start and crashes."""

from __future__ import annotations

from benchmarks import area
from benchmarks.bars.cpu import chunk_cpu, json_cpu, peers
from benchmarks.bars.crash import crash
from benchmarks.bars.memory import memory
from benchmarks.bars.page import page
from benchmarks.bars.start import start

BARS: area.Bars = {
    "json-cpu": json_cpu,
    "chunk-cpu": chunk_cpu,
    "peers": peers,
    "memory": memory,
    "start": start,
    "page": page,
    "crash": crash,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """See ``area.run``."""
    return area.run("Bars of the service", BARS, only=only, quick=quick)
