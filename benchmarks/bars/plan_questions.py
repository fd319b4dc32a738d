"""questions: whether what people ask of the plan is answered with a right citation, in Korean and English.

As on a new machine: the documents of the box and of the pack, put in by the search process itself. Asked is
the desk, first beside a model that writes nothing, so that the passages are the answer; then, unless it has
to be quick, the whole service with the model in the box. An answer is right where what it cites as its
ground, a claim or a passage, is of the page that says it and holds the words that say it, and stands there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.json import decode

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.knowledge_added import MODEL, WHO, Engine
from benchmarks.bars.knowledge_grounded import say
from benchmarks.harness import stored
from benchmarks.harness.answering import service
from benchmarks.harness.searching import Home
from moduai.desk import Desk, Known
from moduai.desk.asking import Told
from moduai.desk.shelf import StoredShelf
from moduai.knowledge.client import Search

FILE = Path(__file__).resolve().parents[1] / "data" / "plan_questions.jsonl"
MUST, LANGUAGES = 18, ("ko", "en")
MORE = "more"
GROUNDS = frozenset({"claim", "passage"})


class Question(Struct, frozen=True):
    """A question, the page of the pack that answers it, and words of the answer."""

    id: str
    part: str
    """``digest-a`` or ``own``: one of the twenty; ``more``: asked after the pages were written."""
    language: str
    question: str
    page: str
    must: str
    also: tuple[str, ...] = ()
    """Other pages that say it."""


class Cited(Struct, frozen=True):
    """One place that an answer rests on."""

    page: str
    """Language and file, as in the pack."""
    quote: str


def questions(bench: Bench) -> Measured:
    """Questions answered rightly, of the twenty in each language: by passages alone, then by the model."""
    asked = [decode(line, type=Question) for line in FILE.read_bytes().splitlines()]
    twenty = [one for one in asked if one.part != MORE]
    home = Home(bench.place("questions"), own=True)
    asyncio.run(home.put([]))
    with home.searching(kiwi=not bench.quick):
        passages = [*zip(asked, asyncio.run(_by_passages(home, asked)), strict=True)]
    value, notes = _counted("passages", passages)
    if not bench.quick:
        by_model, more = _counted(
            "the model in the box", zip(twenty, _by_the_model(bench, twenty), strict=True)
        )
        value, notes = value + by_model, notes + more
    must = f">= {MUST} of 20 in each of {', '.join(LANGUAGES)}"
    return Measured(Row("questions", list(value), must, min(value) >= MUST), notes, broken=not max(value))


def _counted(by: str, answers: Iterable[tuple[Question, list[Cited]]]) -> tuple[list[int], list[str]]:
    """Right answers of the twenty in each language; how many of all, and which were not."""
    judged = [(one, _is_right(one, cited)) for one, cited in answers]
    value = [
        sum(right for one, right in judged if (one.language, one.part == MORE) == (language, False))
        for language in LANGUAGES
    ]
    notes = [f"by {by}: {sum(right for _, right in judged)} of all {len(judged)} that are asked"]
    return value, notes + [f"not by {by}: {one.id} {one.question}" for one, right in judged if not right]


def _is_right(asked: Question, cited: Iterable[Cited]) -> bool:
    pages = {f"{asked.language}/{page}" for page in (asked.page, *asked.also)}
    return any(one.page in pages and asked.must in one.quote for one in cited)


async def _by_passages(home: Home, asked: list[Question]) -> list[list[Cited]]:
    async with home.database() as db:
        known = {MODEL: Known(32_768, in_the_box=False)}.get
        desk = Desk(Engine(), Search(home.loaded), StoredShelf(db), known)
        return [await _cited(desk, one.question) for one in asked]


async def _cited(desk: Desk, question: str) -> list[Cited]:
    """What the desk rests an answer on, each looked up where it says that it stands."""
    body = {"model": f"{MODEL}+public", "messages": [{"role": "user", "content": question}]}
    told = [event async for event in desk(body, WHO) if isinstance(event, Told) and event.kind in GROUNDS]
    found = []
    for one in (each for event in told for each in event.citations):
        held = await desk.shelf.text(one.document, one.version)
        if held and held[1][one.start : one.end] == one.quote:
            found.append(Cited(held[0].key, one.quote))
    return found


def _by_the_model(bench: Bench, asked: list[Question]) -> list[list[Cited]]:
    held = bench.shared(service)
    answers = held.ask_all([one.question for one in asked], say)
    keys = stored.keys(held.home)
    return [
        [
            Cited(keys[note.modu.document], note.modu.quote)
            for note in each.message.annotations
            if note.modu.kind in GROUNDS and not stored.wrong(held.home, [note])
        ]
        for each in answers
    ]
