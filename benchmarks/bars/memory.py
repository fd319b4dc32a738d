"""memory: what a hot worker holds, and whether it grows."""

from __future__ import annotations

import time

from benchmarks.bars import Bench, Measured, Row
from benchmarks.harness import load, modu, process
from benchmarks.harness.load import Kind, Load
from benchmarks.harness.nginx import Target

MB = 2**20
MUST_MB, MUST_GROWTH_MB = 60, 2
SETTLE_S = 1.0


def memory(bench: Bench) -> Measured:
    """PSS after 10,000 requests (a part of them streams), and its growth to 100,000."""
    place = bench.place("memory")
    hot, all_of_them = (1_000, 3_000) if bench.quick else (10_000, 100_000)
    with process.engine_process(place / "engine.log", "--chunks", "200", on=bench.beside) as engine:
        home = modu.prepare(place / "home", [engine])
        with modu.running_modu(home, place / "modu.log", on=bench.target, beside=bench.beside) as target:
            idle = process.pss(target.pids[0])
            done = _ask(bench, target, "sse", hot // 20) + _ask(bench, target, "json", hot - hot // 20)
            first = _settled(target)
            done += _ask(bench, target, "json", all_of_them - done)
            last = _settled(target)
            beside = process.pss(target.pids[1])
    value = [round(first / MB, 2), round((last - first) / MB, 2)]
    holds = value[0] <= MUST_MB and value[1] <= MUST_GROWTH_MB
    note = (
        f"idle {idle / MB:.1f} MB, after {hot:,} requests {first / MB:.1f}, after {done:,} {last / MB:.1f}; "
        f"the metering process {beside / MB:.1f}"
    )
    return Measured(Row("memory", list(value), f"<= {MUST_MB}; <= {MUST_GROWTH_MB}", holds), [note])


def _ask(bench: Bench, target: Target, kind: Kind, count: int) -> int:
    asked = Load(
        url=target.url,
        kind=kind,
        clients=64 if kind == "sse" else 32,
        key=target.key,
        warm_s=0.0,
        window_s=120.0,
        answers=count,
    )
    result = load.measure(asked, on=bench.beside)
    if result.errors or result.answers < count:
        raise process.StartError(
            f"{result.answers} of {count} answers, {result.errors} errors: {result.first_error}"
        )
    return result.answers


def _settled(target: Target) -> int:
    time.sleep(SETTLE_S)  # what is waiting for the ledger's next flush is not memory that is kept
    return process.pss(target.pids[0])
