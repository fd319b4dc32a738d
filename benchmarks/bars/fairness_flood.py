"""flood and goodput: what light users notice of heavy ones, and what fairness costs the pool.

The loads: the synthetic flood; Azure's conversations as the light users, with the same eight heavy ones;
and the tenants of ServeGen, played so fast that all want 3.5 times the capacity. There a request is light
that comes while its tenant keeps within an equal part of the pool: all it asked before could be done by now.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.bars import Bench, Figure, Measured, Row
from benchmarks.bars.fairness_world import (
    OVERLOAD,
    capacity,
    fair,
    firsts,
    flood_runs,
    flooded,
    of,
    play,
    rate,
    traces,
)
from moduai.planner import Request, traffic
from moduai.planner.clock import SECOND
from moduai.planner.measure import quantile

LEAST_S = 1.0
TIMES = 2.0
MUST_GOODPUT = 0.99


def flood(bench: Bench) -> Measured:
    """99th percentile of light users' time to first token (s): synthetic, Azure, ServeGen."""
    values: list[Figure] = []
    notes: list[str] = []
    holds = True
    for name, load in (("synthetic", _synthetic), ("Azure", _azure), ("ServeGen", _servegen)):
        loaded = load(bench)
        if loaded is None:
            values.append(None)
            notes.append(f"{name}: not measured: the traces are not here (MODU_DATA)")
            holds = False
            continue
        light, everything, seconds = loaded
        quiet = play(fair(), light, seconds)
        alone = quantile(firsts(quiet, quiet.records), 0.99)
        twin = play(fair(), everything, seconds)
        ours = {id(request) for request in light}
        mine = [record for record in twin.records if id(record.request) in ours]
        times = firsts(twin, mine)
        crowded, limit = quantile(times, 0.99), max(TIMES * alone, LEAST_S)
        holds = holds and crowded <= limit
        values.append(round(crowded, 3))
        notes.append(
            f"{name}: {len(mine)} light requests of {len(twin.records)} in {seconds:.0f} s, "
            f"p50 {quantile(times, 0.5):.3f} s, p99 {crowded:.3f} s; "
            f"alone p99 {alone:.3f} s, so at most {limit:.2f} s"
        )
    return Measured(Row("flood", values, "each <= max(2 x uncontended, 1 s)", holds), notes)


def goodput(bench: Bench) -> Measured:
    """Work done in the flood, against first come, first served."""
    runs = bench.shared(flood_runs).runs
    ours, theirs = rate(runs["Modu"]), rate(runs["first come, first served"])
    value = round(ours / theirs, 4)
    notes = [
        f"{name}: {rate(twin):,.0f} tokens/s (answers count twice), "
        f"light users' p99 {quantile(firsts(twin, of(twin, 'light')), 0.99):.2f} s"
        for name, twin in runs.items()
    ]
    return Measured(Row("goodput", value, f">= {MUST_GOODPUT}", holds=value >= MUST_GOODPUT), notes)


Load = tuple[list[Request], list[Request], float]
"""Requests of the light users, those of all, and for how many seconds."""


def _synthetic(bench: Bench) -> Load:
    runs = bench.shared(flood_runs)
    return runs.light, runs.load, runs.seconds


def _azure(bench: Bench) -> Load | None:
    folder, seconds = traces(), 40.0 if bench.quick else 240.0
    if folder is None:
        return None
    light = traffic.azure(folder, seconds)
    return light, flooded(bench, light, seconds), seconds


def _servegen(bench: Bench) -> Load | None:
    folder, seconds = traces(), 40.0 if bench.quick else 240.0
    if folder is None:
        return None
    tenants = traffic.tenants(folder)
    could = bench.shared(capacity)
    slow = traffic.servegen(tenants, seconds, 1.0)
    factor = OVERLOAD * could * seconds / sum(request.work for request in slow)
    load = traffic.servegen(tenants, seconds, factor)
    return list(_within(load, could / len(tenants))), load, seconds


def _within(load: list[Request], part: float) -> Iterator[Request]:
    """Those before which all that their person asked earlier could be done, at ``part`` of work a second."""
    done: dict[tuple[str, str, str], float] = {}
    for request in load:
        at, before = request.at / SECOND, done.get(request.path, 0.0)
        if before <= at:
            yield request
        done[request.path] = max(before, at) + request.work / part
