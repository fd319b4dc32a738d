"""wait: how good the wait is that people are told when they join the line.

Heavy users are judged in the flood, for there light ones do not wait a second. Light users are judged in a
lasting overload, when they alone want a fifth more than the pool can do and the heavy ones are there too.
Both take five minutes, with the limits that a policy ships (64 waiting for each person). What counts: who
waited at least a second, and came before the last part of the run, so that it is known how long they waited.
A rush that nobody could foresee, when the light users suddenly ask five times as often, is told in the notes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.fairness_world import CLASS, fair, flooded, of, play
from moduai.planner import Record, Request, traffic
from moduai.planner.clock import SECOND
from moduai.planner.measure import quantile
from moduai.scheduling.policy import ClassRule

MUST_ERROR = 0.25
MUST_LOW, MUST_HIGH = 0.75, 0.85
LEAST = SECOND
LASTING = 3.4 / 40
"""Requests a second of each light user in the lasting overload."""
RUSH, RUSH_TIMES = (0.2, 0.5), 5
LAST = 0.3
"""Part of a run at its end that is not judged."""


class Told(NamedTuple):
    """How good the predictions of one group were."""

    error: float
    """Median of the difference as a part of the wait."""
    covered: float
    """How many waits were inside their interval of 80 %."""
    note: str


def wait(bench: Bench) -> Measured:
    """Median error and coverage of the 80 % interval: light users, then heavy ones."""
    seconds = 60.0 if bench.quick else 300.0
    calm = traffic.light(1, seconds)
    begin, end = (seconds * part for part in RUSH)
    rush = traffic.light(3, end - begin, rate=(RUSH_TIMES - 1) / 40)
    loads = {
        "lasting": flooded(bench, traffic.light(5, seconds, rate=LASTING), seconds),
        "flood": flooded(bench, calm, seconds),
        "rush": traffic.merged(flooded(bench, calm, seconds), traffic.later(rush, begin)),
    }
    told = {
        (load, group): each
        for load, requests in loads.items()
        for group, each in _groups(f"{load} overload", requests, seconds)
    }
    judged = told["lasting", "light"], told["flood", "heavy"]
    holds = all(each.error <= MUST_ERROR and MUST_LOW <= each.covered <= MUST_HIGH for each in judged)
    value = [round(figure, 3) for each in judged for figure in (each.error, each.covered)]
    must = f"<= {MUST_ERROR}; {MUST_LOW} to {MUST_HIGH}; <= {MUST_ERROR}; {MUST_LOW} to {MUST_HIGH}"
    return Measured(Row("wait", list(value), must, holds), [each.note for each in told.values()])


def _groups(load: str, requests: list[Request], seconds: float) -> Iterator[tuple[str, Told]]:
    twin = play(fair(classes={CLASS: ClassRule(CLASS)}), requests, seconds)
    for group in ("light", "heavy"):
        yield group, _judge(f"{load}, {group}", of(twin, group), (1 - LAST) * seconds)


def _judge(name: str, records: list[Record], until: float) -> Told:
    early = [r for r in records if r.ticket.arrived < until * SECOND and not r.refused]
    waited = [r for r in early if r.waited >= LEAST]
    told = [(r.expected, r.waited) for r in waited if r.expected is not None and r.expected.wait >= 0]
    if not told:
        return Told(1.0, 0.0, f"{name}: nobody waited a second and was told how long")
    error = quantile([abs(each.wait - true) / true for each, true in told], 0.5)
    covered = sum(each.low <= true <= each.high for each, true in told) / len(told)
    ratios = [each.wait / true for each, true in told]
    note = (
        f"{name}: error {error:.1%}, covered {covered:.1%}; {len(waited)} waited 1 s or more, "
        f"median {quantile([r.waited / SECOND for r in waited], 0.5):.1f} s, {len(told)} were told, "
        f"{sum(r.granted < 0 for r in early)} still wait; told / true at p10, p50, p90: "
    )
    return Told(error, covered, note + ", ".join(f"{quantile(ratios, part):.2f}" for part in (0.1, 0.5, 0.9)))
