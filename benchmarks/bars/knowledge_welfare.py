"""welfare: whether the programme that answers a question comes first."""

from __future__ import annotations

from benchmarks.bars import Bench, Measured, Row, knowledge_data
from moduai.knowledge.search.index import Index
from moduai.knowledge.types import Query

MUST_MRR, MUST_FIRST = 0.84, 0.77
DEEP = 20
"""Places that are looked at; a programme behind them counts as not found."""


def welfare(bench: Bench) -> Measured:
    """Mean reciprocal rank and the share of first places, by grams alone and with morphemes filled in."""
    index = Index(bench.place("welfare") / "index")
    index.add(knowledge_data.programmes())
    asked = knowledge_data.questions()[:: 20 if bench.quick else 1]
    alone = _ranks(index, asked)
    index.morphemes.load()
    if not bench.quick:
        while index.fill():
            pass
    ranks = _ranks(index, asked)
    index.close()
    value = [round(_mrr(ranks), 4), round(_first(ranks), 4)]
    holds = value[0] >= MUST_MRR and value[1] >= MUST_FIRST
    note = (
        f"{len(asked)} questions on {len(knowledge_data.programmes())} programmes; "
        f"by grams before Kiwi is in memory {_mrr(alone):.4f}, {_first(alone):.4f}"
    )
    row = Row("welfare", list(value), f">= {MUST_MRR}; >= {MUST_FIRST}", holds)
    return Measured(row, [note], broken=value[0] < 0.5)


def _ranks(index: Index, asked: list[knowledge_data.Question]) -> list[int]:
    """The place of the gold document among the documents found, from 1; 0: not found."""
    ranks = []
    for question in asked:
        found = dict.fromkeys(one.facts.title for one in index.search(Query(text=question.q, limit=DEEP)))
        ranks.append(next((at for at, title in enumerate(found, 1) if title in question.gold), 0))
    return ranks


def _mrr(ranks: list[int]) -> float:
    return sum(1 / rank for rank in ranks if rank) / max(1, len(ranks))


def _first(ranks: list[int]) -> float:
    return sum(rank == 1 for rank in ranks) / max(1, len(ranks))
