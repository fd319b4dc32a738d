"""plan page: what a guest's first load of ``/plan`` weighs; when it is seen over 400 kbit/s with 300 ms."""

from __future__ import annotations

from urllib.parse import urlsplit

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.bars.slow_link import LINK, PAINT
from benchmarks.harness import modu, process
from benchmarks.harness.browser import WEIGHED_S, Loaded, fresh_tab, go, protocol, running_browser
from benchmarks.harness.process import StartError

MUST_KB, MUST_PAINT_S = 60, 3
VISITS = 7


def page(bench: Bench) -> Measured:
    """Bytes as the browser counts them, heads included; largest contentful paint, the median of visits with
    an empty cache.
    """
    place = bench.place("plan-page")
    with process.engine_process(place / "engine.log", on=bench.beside) as engine:
        home = modu.prepare(place / "home", [engine])
        log = place / "modu.log"
        with (
            modu.running_modu(home, log, on=bench.target, beside=bench.beside) as target,
            running_browser(place) as browser,
        ):
            address = f"{target.url}/plan"
            loaded = Loaded(urlsplit(target.url).netloc)
            with fresh_tab(browser, target.url) as tab:
                loaded.watch(tab)
                go(tab, address, quiet_s=WEIGHED_S)
            paints = []
            for _ in range(1 if bench.quick else VISITS):
                with fresh_tab(browser, target.url) as tab:
                    link = protocol(tab)
                    link.send("Network.enable")
                    link.send("Network.emulateNetworkConditions", LINK)
                    go(tab, address)
                    paints.append(tab.evaluate(PAINT) / 1000)
    if loaded.failed:
        raise StartError(f"the page did not load whole: {loaded.failed}")
    value = [round(loaded.kilobytes, 2), round(median(paints), 3)]
    holds = value[0] <= MUST_KB and value[1] <= MUST_PAINT_S
    notes = [*loaded.files, f"largest contentful paint, s: {min(paints):.4g} to {max(paints):.4g}"]
    notes += [f"leaves the machine: {url}" for url in loaded.outside]
    row = Row("page", list(value), f"<= {MUST_KB} kB; <= {MUST_PAINT_S} s", holds and not loaded.outside)
    return Measured(row, notes, broken=bool(loaded.outside))
