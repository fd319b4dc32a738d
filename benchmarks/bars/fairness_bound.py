"""bound: violations of the stated bound in generated histories; see ``benchmarks.fairness_histories``."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from benchmarks.bars import Bench, Measured, Row
from benchmarks.fairness_histories import worst

HISTORIES, QUICK = 100_000, 2_000
AT_ONCE = 500
"""Histories that one process plays in turn."""


def bound(bench: Bench) -> Measured:
    """Histories in which two siblings drifted apart further than the bound allows."""
    count = QUICK if bench.quick else HISTORIES
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(worst, repeat(AT_ONCE, count // AT_ONCE), range(0, count, AT_ONCE)))
    violations = [seed for _, seeds in found for seed in seeds]
    notes = [f"{count:,} histories; the largest gap is {max(gap for gap, _ in found):.3f} of the bound"]
    if violations:
        notes.append(f"seeds of violations: {violations[:20]}")
    row = Row("bound", len(violations), "0", holds=not violations)
    return Measured(row, notes, broken=bool(violations))
