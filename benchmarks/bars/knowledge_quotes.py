"""quotes: of all citations shown for adversarial answers, how many are of words at the place named."""

from __future__ import annotations

import asyncio
from collections import Counter

from benchmarks.bars import Bench, Measured, Row
from benchmarks.harness.quoting import Case, run

CASES = 10_000


def quotes(bench: Bench) -> Measured:
    """Made-up answers, each with one trick; judged by code that shares nothing with the check."""
    return asyncio.run(_quotes(500 if bench.quick else CASES))


async def _quotes(cases: int) -> Measured:
    shown, tricks, wrong = 0, Counter[str](), list[str]()
    for seed in range(cases):
        case = Case(seed)
        tricks[case.trick] += 1
        count, found = await run(case)
        shown += count
        wrong += [f"{seed} {case.trick}: {each}" for each in found]
    share = round(1 - len(wrong) / max(1, shown), 6)
    notes = [f"{cases:,} answers with {len(tricks)} tricks, {shown:,} citations shown, {len(wrong)} wrong"]
    return Measured(Row("quotes", share, "= 1", not wrong and shown > cases / 2), notes + wrong[:10])
