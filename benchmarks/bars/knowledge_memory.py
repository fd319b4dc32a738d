"""memory: what the search process holds when it is warm."""

from __future__ import annotations

import asyncio

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.knowledge_statutes import questions, warm
from benchmarks.harness import process
from moduai.knowledge.client import Search
from moduai.knowledge.types import Query

MB = 2**20
MUST_MB = 900
ASKED = 1_000


def memory(bench: Bench) -> Measured:
    """PSS of the search process with all statutes and Kiwi, after a thousand searches, while it fills in
    morphemes.
    """
    made = bench.shared(warm)
    home, laws = made.built.home, made.built.laws
    if made.asked < ASKED:
        asyncio.run(_ask(Search(home.loaded), questions(laws, quick=bench.quick)))
    value = round(process.pss(made.pid) / MB, 1)
    status = asyncio.run(Search(home.loaded).status())
    row = Row("memory", value, f"<= {MUST_MB}", holds=value <= MUST_MB)
    note = f"{status.passages:,} articles, {status.passages - status.waiting:,} of them with morphemes"
    return Measured(row, [note], broken=status.waiting == status.passages)


async def _ask(search: Search, texts: list[str]) -> None:
    for text in texts:
        await search.search(Query(text, language="ko"))
