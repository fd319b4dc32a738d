"""One question answered out of public documents: search, ask, check each sentence, or show the passages.

Rules: nothing that a model writes is shown before its whole sentence was checked; each citation is looked
for once more in the store just before it is shown; a sentence that repeats, or asks back, is dropped like
one that is not supported. Closing the iterator closes the model's, which cancels its request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from moduai.knowledge.answer import prompt, words
from moduai.knowledge.answer.extract import MOST, about, extracts
from moduai.knowledge.answer.support import Source, supported
from moduai.knowledge.answer.verify import Citation, Shelf, shown
from moduai.knowledge.types import Found, Query

MOST_CLAIMS = 8
MOST_WRITTEN = 8_000
"""Characters that are read of a model's answer."""
LIMIT = 8
"""Passages that are looked for."""
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


class Ended(Struct, frozen=True):
    """The last event of all, how the answer came to be: to be counted."""

    asked: bool
    """Whether a model was asked."""
    shown: int = 0
    """Sentences shown as claims."""
    unsupported: int = 0
    """Sentences dropped because no passage supports them."""
    idle: int = 0
    """Sentences dropped: they repeat, go round, ask back, are not complete or not about the question."""


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

    def __init__(self, question: str, sources: Sequence[Source]) -> None:
        self.sources = sources
        self._question = frozenset(stem for word in words.content(question) for stem in words.stems(word))
        self.shown, self.unsupported, self.idle = 0, 0, 0
        self._said: list[frozenset[str]] = []

    def claim(self, sentence: str) -> Claim | None:
        """The sentence with its citation; None, and counted, where it is dropped. Fails closed."""
        text = " ".join(sentence.split())
        if self._is_idle(text):
            self.idle += 1
            return None
        citation = supported(text, self.sources)
        if citation is None:
            self.unsupported += 1
            return None
        return Claim(text, citation)

    def say(self, claim: Claim) -> None:
        """It is shown."""
        self.shown += 1
        self._said.append(frozenset(words.content(claim.text)))

    def _is_idle(self, text: str) -> bool:
        said = words.content(text)
        if not said or not _COMPLETE.search(text) or text in prompt.NONE.values():
            return True
        aside = all(self._question.isdisjoint(words.stems(word)) for word in said)
        return aside or frozenset(said) in self._said or _circles(said)


def _circles(said: Sequence[str]) -> bool:
    """Whether a sentence goes round: three words in a row come again."""
    threes = [tuple(said[at : at + 3]) for at in range(len(said) - 2)]
    return len(set(threes)) < len(threes)


Event = Claim | Extracts | NotFound | Ended


async def answer(
    question: Query,
    search: Searcher,
    shelf: Shelf,
    ask: Asker[Other] | None,
    context: int = 0,
    *,
    weak: bool = False,
) -> AsyncGenerator[Event | Other, None]:
    """Events of one answer, ``Ended`` last. ``ask``: None where no model is to be asked; ``context``: the
    model's, in tokens; ``weak``: the best passage stands beside what it writes. Raises what the search
    raises: without it there is no answer.
    """
    sources = await _stored(await search.search(question), shelf)
    fitting = about(question.text, sources)
    checked = _Checked(question.text, fitting)
    if not fitting:
        yield NotFound(await _still(extracts(question.text, sources), shelf))
        yield Ended(asked=False)
        return
    if ask is not None:
        pieces = ask(prompt.messages(question.text, fitting, context))
        async with aclosing(_claims(pieces, checked, shelf)) as events:
            async for event in events:
                yield event
    if weak or not checked.shown:
        beside = checked.shown > 0
        citations = await _still(extracts(question.text, fitting, 1 if beside else MOST), shelf)
        if citations or not beside:
            yield Extracts(citations, beside) if citations else NotFound()
    yield Ended(ask is not None, checked.shown, checked.unsupported, checked.idle)


async def _claims(
    pieces: AsyncGenerator[str | Other, None], checked: _Checked, shelf: Shelf
) -> AsyncGenerator[Claim | Other, None]:
    async with aclosing(_written(pieces)) as sentences:
        async for sentence in sentences:
            if not isinstance(sentence, str):
                yield sentence
                continue
            claim = checked.claim(sentence)
            if claim is None:
                continue
            if not await shown(claim.citation, shelf):
                checked.unsupported += 1  # its document was removed meanwhile
                continue
            checked.say(claim)
            yield claim
            if checked.shown >= MOST_CLAIMS:
                return


async def _stored(found: Sequence[Found], shelf: Shelf) -> list[Source]:
    """What was found, with the texts it stands in; what is stored no more, or otherwise, is left out."""
    places = dict.fromkeys((each.document, each.version) for each in found)
    texts = {place: await shelf.text(*place) for place in places}
    sources = []
    for each in found:
        stored, passage = texts[each.document, each.version], each.passage
        if stored is not None and 0 <= passage.start < passage.end <= len(stored[1]):
            sources.append(Source(each, stored[1]))
    return sources


async def _still(citations: Sequence[Citation], shelf: Shelf) -> tuple[Citation, ...]:
    """Those that may be shown now."""
    return tuple([each for each in citations if await shown(each, shelf)])
