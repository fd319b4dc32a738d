"""quotes: of all citations shown, how many are of words at the place named."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.bars import Bench, Measured, Row, knowledge_data
from benchmarks.bars.knowledge_grounded import asked, say
from benchmarks.harness import stored
from benchmarks.harness.answering import Answered, service
from benchmarks.harness.quoting import Case, run

CASES, REAL = 10_000, 200
QUICK_CASES, QUICK_REAL = 500, 12
_EVERYDAY = Path(__file__).resolve().parents[1] / "data" / "everyday.jsonl"


class _Gold(Struct):
    title: str


class _Everyday(Struct):
    question: str
    gold: tuple[_Gold, ...]


def quotes(bench: Bench) -> Measured:
    """Made-up answers, each with one trick, judged by code that shares nothing with the check; and answers of
    the service with its own model, judged by the database. Values: the share of right citations of each.
    """
    shown, wrong, tricks = asyncio.run(_adversarial(QUICK_CASES if bench.quick else CASES))
    answers = _real(bench)
    notes = [note for each in answers for note in each.message.annotations]
    bad = stored.wrong(bench.shared(service).home, notes)
    value = [round(1 - len(wrong) / max(1, shown), 6), round(1 - len(bad) / max(1, len(notes)), 6)]
    kinds = Counter(note.modu.kind for note in notes)
    made_up, shares = sum(tricks.values()), ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    lines = [
        f"{made_up:,} made-up answers, {len(tricks)} tricks: {shown:,} citations shown, {len(wrong)} wrong",
        f"{len(answers)} real answers: {len(notes)} citations ({shares}), {len(bad)} wrong",
        *wrong[:10],
        *bad[:10],
    ]
    enough = shown > made_up / 2 and len(notes) > len(answers) / 2
    return Measured(Row("quotes", list(value), "= 1; = 1", not wrong and not bad and enough), lines)


async def _adversarial(cases: int) -> tuple[int, list[str], Counter[str]]:
    shown, tricks, wrong = 0, Counter[str](), list[str]()
    for seed in range(cases):
        case = Case(seed)
        tricks[case.trick] += 1
        count, found = await run(case)
        shown += count
        wrong += [f"{seed} {case.trick}: {each}" for each in found]
    return shown, wrong, tricks


def _real(bench: Bench) -> list[Answered]:
    """The questions on the box, then, until there are enough, those of everyday life on statutes."""
    answers = [each.answered for each in asked(bench)]
    lines = [msgspec.json.decode(line, type=_Everyday) for line in _EVERYDAY.read_bytes().splitlines()]
    more = lines[: (QUICK_REAL if bench.quick else REAL) - len(answers)]
    held = bench.shared(service)
    held.add(_laws(bench, held.place / "laws", {gold.title for each in more for gold in each.gold}))
    return answers + held.ask_all([each.question for each in more], say)


def _laws(bench: Bench, place: Path, titles: set[str]) -> Path:
    """The statutes of these titles, each a file."""
    if not place.exists():
        found = [
            each for each in knowledge_data.statutes(bench.place("statutes")) if each[1].facts.title in titles
        ]
        place.mkdir()
        for law, parsed in found:
            (place / f"{law.key.replace('/', ' ')}.md").write_text(parsed.text)
    return place
