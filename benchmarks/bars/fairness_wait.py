"""wait: how good the wait is that people are told when they join the line.

The load: the 400 light and 8 heavy users of the flood for five minutes, with the limits that a policy ships
(64 waiting for each person); from 60 s to 150 s the light users ask five times as often, so that they wait
too. What is judged: who waited at least a second and came before the last ninety seconds. (``--quick``: two
minutes, with the rush from 15 s to 45 s.)
"""

from __future__ import annotations

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.fairness_world import CLASS, fair, flooded, of, play
from moduai.planner import Record, traffic
from moduai.planner.clock import SECOND
from moduai.planner.measure import quantile
from moduai.scheduling.policy import ClassRule

MUST_ERROR = 0.25
MUST_LOW, MUST_HIGH = 0.75, 0.85
LEAST = SECOND
LAST_S = 90.0
RUSH_TIMES = 5


def wait(bench: Bench) -> Measured:
    """Median error and coverage of the 80 % interval: light users, then heavy ones."""
    seconds, begin, end = (130.0, 15.0, 45.0) if bench.quick else (300.0, 60.0, 150.0)
    calm = traffic.light(1, seconds)
    rush = traffic.light(3, end - begin, rate=(RUSH_TIMES - 1) / 40)
    load = traffic.merged(flooded(bench, calm, seconds), traffic.later(rush, begin))
    twin = play(fair(classes={CLASS: ClassRule(CLASS)}), load, seconds)
    values, notes, holds = [], [], True
    for name in ("light", "heavy"):
        early = [r for r in of(twin, name) if r.ticket.arrived < (seconds - LAST_S) * SECOND]
        waited = [r for r in early if r.waited >= LEAST]
        told = [r for r in waited if r.expected is not None and r.expected.wait >= 0]
        error = quantile([abs(_told(r) - r.waited) / r.waited for r in told], 0.5)
        covered = sum(_covered(r) for r in told) / max(1, len(told))
        holds = holds and error <= MUST_ERROR and MUST_LOW <= covered <= MUST_HIGH
        values += [round(error, 3), round(covered, 3)]
        notes.append(
            f"{name}: {len(waited)} waited 1 s or more, median {_median(waited):.1f} s; "
            f"{len(told)} were told; {sum(r.granted < 0 and not r.refused for r in early)} still wait; "
            "told/true at p10, p50, p90: "
            + ", ".join(
                f"{quantile([_told(r) / r.waited for r in told], part):.2f}" for part in (0.1, 0.5, 0.9)
            )
        )
    must = f"<= {MUST_ERROR}; {MUST_LOW} to {MUST_HIGH}; <= {MUST_ERROR}; {MUST_LOW} to {MUST_HIGH}"
    return Measured(Row("wait", list(values), must, holds), notes)


def _told(record: Record) -> int:
    return record.expected.wait if record.expected is not None else -1


def _covered(record: Record) -> bool:
    told = record.expected
    return told is not None and told.low <= record.waited <= told.high


def _median(records: list[Record]) -> float:
    return quantile([record.waited / SECOND for record in records], 0.5)
