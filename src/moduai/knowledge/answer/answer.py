"""One question answered out of public documents: search, ask, check each sentence, or show the passages.

Rules: nothing that a model writes is shown before its whole sentence was checked; each citation is looked
for in the store just before it is shown; a sentence that goes round, or asks back, is dropped like one that
is not supported, and the second time that a model says the same ends the reading. Closing the iterator
closes the model's, which cancels its request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import date, datetime
from typing import Any, Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from moduai.knowledge.answer import prompt, words
from moduai.knowledge.answer.extract import MOST, Fit, about, extracts, fits, nearest
from moduai.knowledge.answer.sections import Section, Source
from moduai.knowledge.answer.support import supported
from moduai.knowledge.answer.verify import Citation, Shelf, shown
from moduai.knowledge.search.understand import day
from moduai.knowledge.types import Facts, Found, Query

MOST_CLAIMS = 5
MOST_WRITTEN = 8_000
"""Characters that are read of a model's answer."""
_GAP = 2
"""Characters between neighbouring sentences."""
_COMPLETE = re.compile(r"[.!。다요][\"”’'」』)\]]*$")
"""How a statement ends; Korean's may do without a full stop."""
Other_co = TypeVar("Other_co", covariant=True)
Other = TypeVar("Other")


class Searcher(Protocol):
    """The search: the client of its process, or an index in this one."""

    async def search(self, query: Query) -> Sequence[Found]:
        """Passages, best first."""


class Asker(Protocol[Other_co]):
    """Asks a model: ``gateway.local.LocalAsk`` behind a few lines."""

    def __call__(self, messages: list[dict[str, Any]]) -> AsyncGenerator[str | Other_co, None]:
        """Pieces of the answer's text; what else happens (a place in line) is passed on as it is."""


class Claim(Struct, frozen=True):
    """A sentence that a model wrote and its citation supports."""

    text: str
    citation: Citation


class Extracts(Struct, frozen=True):
    """The passages are the answer: no sentence could be shown, or those that were are a weak model's."""

    citations: tuple[Citation, ...]
    beside: bool = False
    """Whether they stand beside claims."""


class NotFound(Struct, frozen=True):
    """No document says anything of it; ``nearest``: what came nearest, for whoever wants to look."""

    nearest: tuple[Citation, ...] = ()


class SmallTalk(Struct, frozen=True):
    """Nothing was asked that documents could answer."""

    kind: str
    """hello, thanks, who (are you, what can you do) or unclear."""


class Ended(Struct, frozen=True):
    """The last event of all, how the answer came to be: to be counted."""

    asked: bool
    """Whether a model was asked."""
    shown: int = 0
    """Sentences shown as claims."""
    unsupported: int = 0
    """Sentences dropped because no passage supports them."""
    idle: int = 0
    """Sentences dropped: they repeat, go round, ask back, are not complete or not about the question, or mean
    one before them that is not shown."""


async def _written(pieces: AsyncGenerator[str | Other, None]) -> AsyncGenerator[str | Other, None]:
    """A model's answer sentence by sentence; its text beyond ``MOST_WRITTEN`` is not read."""
    text, size = "", 0
    async with aclosing(pieces):
        async for piece in pieces:
            if not isinstance(piece, str):
                yield piece
                continue
            size += len(piece)
            *whole, text = _split(text + piece)
            for each in whole:
                yield each
            if size > MOST_WRITTEN:
                return
    if text.strip():
        yield text


def _split(text: str) -> list[str]:
    """Whole sentences, and last what may still grow."""
    parts = words.sentences(text)
    if not parts:
        return [text]
    # a sentence is whole once something stands behind it: "1." may become "1.5", and '."' a quotation's end
    begin, _ = parts[-1]
    return [*(text[start:end] for start, end in parts[:-1]), text[begin:]]


class _Checked:
    """What was shown so far, and what was dropped."""

    def __init__(self, question: str, sections: Sequence[Section]) -> None:
        self._sections = sections
        self._question = frozenset(each for word in words.topic(question) for each in words.near(word))
        self.claims, self.unsupported, self.idle = list[Claim](), 0, 0
        self._said = set[frozenset[str]]()
        self.goes_round = False
        """The model has begun to repeat itself."""

    def claim(self, sentence: str) -> Claim | None:
        """The sentence with its citation; None, and counted, where it is dropped. Fails closed."""
        text = " ".join(sentence.split())
        if self._is_idle(text):
            self.idle += 1
            return None
        citation = supported(text, self._sections)
        if citation is None:
            self.unsupported += 1
            return None
        if not self._stands_alone(text) and not self._goes_on(citation):
            self.idle += 1
            return None
        return Claim(text, citation)

    def say(self, claim: Claim) -> None:
        """It is shown."""
        self.claims.append(claim)

    def _is_idle(self, text: str) -> bool:
        said = words.content(text)
        self.goes_round = self.goes_round or frozenset(said) in self._said
        self._said.add(frozenset(said))
        if not said or not _COMPLETE.search(text) or text in prompt.NONE.values():
            return True
        return self.goes_round or _circles(said)

    def _stands_alone(self, text: str) -> bool:
        """Whether it has words of the question, and does not mean a sentence before it."""
        return not self._question.isdisjoint(words.near_of(text)) and not words.leans_back(text)

    def _goes_on(self, citation: Citation) -> bool:
        """Whether it stands right behind what was shown last."""
        last = self.claims[-1].citation if self.claims else None
        same = last and (last.document, last.version) == (citation.document, citation.version)
        return bool(same and last and 0 <= citation.start - last.end <= _GAP)


def _circles(said: Sequence[str]) -> bool:
    """Whether a sentence goes round: three words in a row come again."""
    threes = [tuple(said[at : at + 3]) for at in range(len(said) - 2)]
    return len(set(threes)) < len(threes)


Event = Claim | Extracts | NotFound | SmallTalk | Ended


async def answer(
    question: Query,
    search: Searcher,
    shelf: Shelf,
    ask: Asker[Other] | None,
    context: int = 0,
    *,
    before: str = "",
    weak: bool = False,
) -> AsyncGenerator[Event | Other, None]:
    """Events of one answer, ``Ended`` last. ``ask``: None where no model is to be asked; ``context``: the
    model's, in tokens; ``before``: what was asked just before; ``weak``: the best passage stands beside what
    it writes. Raises what the search raises: without it there is no answer.
    """
    if kind := words.small_talk(question.text):
        yield SmallTalk(kind)
        yield Ended(asked=False)
        return
    asked, everything = await _looked(question, before, search)
    fitting = about(asked, everything)
    if not fitting:
        yield NotFound(await _still(nearest(everything), shelf))
        yield Ended(asked=False)
        return
    sections = [fit.section for fit in fitting]
    checked = _Checked(asked, sections)
    if ask is not None:
        pieces = ask(prompt.messages(asked, sections, context))
        async with aclosing(_claims(pieces, checked, shelf)) as events:
            async for event in events:
                yield event
    claims = checked.claims
    if weak or not claims:
        passages = extracts(asked, fitting, 1 if claims else MOST)
        citations = await _still([each for each in passages if not _told(each, claims)], shelf)
        if citations or not claims:
            yield Extracts(citations, bool(claims)) if citations else NotFound()
    yield Ended(ask is not None, len(claims), checked.unsupported, checked.idle)


async def _looked(question: Query, before: str, search: Searcher) -> tuple[str, list[Fit]]:
    """What is found, and for which words. A question that refers back is looked for with the one before it,
    then alone; any other alone first.
    """
    alone = question.text
    ways = list(dict.fromkeys((alone, f"{before} {alone}".strip())))
    if words.refers_back(alone):
        ways.reverse()
    for way in ways:
        found = await _holding(replace(question, text=way), search)
        everything = fits(way, [Source(each) for each in found if each.text.strip()])
        if about(way, everything):
            break
    return way, everything


async def _holding(question: Query, search: Searcher) -> Sequence[Found]:
    """What is found and holds today, unless another day is asked for. Most collections hold nothing else, so
    they are asked once.
    """
    found = await search.search(question)
    if question.in_force_on or day(question.text):
        return found
    today = datetime.now().astimezone().date()
    kept = [each for each in found if _holds(each.facts, today)]
    if len(kept) == len(found):
        return found
    return await search.search(replace(question, in_force_on=today)) or kept


def _holds(facts: Facts, today: date) -> bool:
    """A page's first day is when it was written; a statute's may be still to come."""
    begun = facts.kind != "statute" or facts.in_force_from is None or facts.in_force_from <= today
    return begun and (facts.in_force_until is None or facts.in_force_until >= today)


def _told(passage: Citation, claims: Sequence[Claim]) -> bool:
    """Whether claims have said most of a passage."""
    same = [
        c
        for c in (each.citation for each in claims)
        if (c.document, c.version) == (passage.document, passage.version)
    ]
    cited = sum(max(0, min(c.end, passage.end) - max(c.start, passage.start)) for c in same)
    return cited * 2 > passage.end - passage.start


async def _claims(
    pieces: AsyncGenerator[str | Other, None], checked: _Checked, shelf: Shelf
) -> AsyncGenerator[Claim | Other, None]:
    async with aclosing(_written(pieces)) as sentences:
        async for sentence in sentences:
            if not isinstance(sentence, str):
                yield sentence
                continue
            claim = checked.claim(sentence)
            if checked.goes_round:
                return
            if claim is None:
                continue
            if not await shown(claim.citation, shelf):
                checked.unsupported += 1  # its document was removed meanwhile
                continue
            checked.say(claim)
            yield claim
            if len(checked.claims) >= MOST_CLAIMS:
                return


async def _still(citations: Sequence[Citation], shelf: Shelf) -> tuple[Citation, ...]:
    """Those that may be shown now."""
    return tuple([each for each in citations if await shown(each, shelf)])
