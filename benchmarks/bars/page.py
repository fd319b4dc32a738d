"""page and page-weight: what a browser loads at the first visit, counted by the browser itself."""

from __future__ import annotations

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.world import world
from benchmarks.harness import modu, process
from benchmarks.harness.browser import Loaded, weigh
from benchmarks.harness.process import StartError

MUST_KB, MUST_OUTSIDE = 60, 0


def page(bench: Bench) -> Measured:
    """Bytes of a guest's first load of ``/`` with heads, and requests to other hosts."""
    place = bench.place("page")
    with process.engine_process(place / "engine.log", on=bench.beside) as engine:
        home = modu.prepare(place / "home", [engine])
        with modu.running_modu(home, place / "modu.log", on=bench.target, beside=bench.beside) as target:
            return _measured("page", weigh(target.url, place))


def page_weight(bench: Bench) -> Measured:
    """The same for a resident who has conversations."""
    here = world(bench, "page-weight")
    return _measured("page-weight", weigh(here.url, here.place, here.resident.cookies))


def _measured(bar: str, loaded: Loaded) -> Measured:
    if loaded.failed:
        raise StartError(f"the page did not load whole: {loaded.failed}")
    value = [round(loaded.kilobytes, 2), len(loaded.outside)]
    holds = value[0] <= MUST_KB and value[1] <= MUST_OUTSIDE
    row = Row(bar, list(value), f"<= {MUST_KB}; <= {MUST_OUTSIDE}", holds)
    notes = [*loaded.files, *(f"leaves the machine: {url}" for url in loaded.outside)]
    return Measured(row, notes, broken=bool(loaded.outside))
