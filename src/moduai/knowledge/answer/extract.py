"""The passages themselves as the answer: their sentences that have most of the question's words.

Used where a model wrote nothing that can be shown. Also says whether what was found has to do with the
question at all: a search always finds something nearest, and the nearest may be far.
"""

from __future__ import annotations

from collections.abc import Sequence

from moduai.knowledge.answer import words
from moduai.knowledge.answer.support import Source
from moduai.knowledge.answer.verify import Citation

SHORT = 320
"""Characters: a passage up to this length is shown whole, of a longer one about as much."""
MOST = 2
"""Passages that are shown."""
ENOUGH = 0.5
"""Share of the question's words that a passage must have, with its headings, to count as being about it."""


def about(question: str, sources: Sequence[Source]) -> list[Source]:
    """The sources that are about the question, in the order in which they were found."""
    wanted = _wanted(question)
    if not wanted:
        return []
    return [source for source in sources if _share(wanted, _known(source)) >= ENOUGH]


def extracts(question: str, sources: Sequence[Source], most: int = MOST) -> list[Citation]:
    """Words of the passages, as they stand: of each source the part that has most of the question's words."""
    wanted = _wanted(question)
    return [source.cite(*_part(wanted, source)) for source in sources[:most]]


def _part(wanted: Sequence[str], source: Source) -> tuple[int, int]:
    """The neighbouring sentences, as many as ``SHORT`` holds, with most of the words; the first of equals."""
    passage = source.found.passage
    parts = words.sentences(source.text, passage.start, passage.end)
    if not parts:
        return passage.start, passage.end
    best, most = parts[0], -1.0
    for first, (start, end) in enumerate(parts):
        for _, after in parts[first + 1 :]:
            if after - start > SHORT:
                break
            end = after  # noqa: PLW2901
        share = _share(wanted, words.stems_of(source.text[start:end]))
        if share > most:
            best, most = (start, end), share
    return best


def _wanted(question: str) -> list[str]:
    return list(dict.fromkeys(words.content(question)))


def _known(source: Source) -> frozenset[str]:
    passage = source.found.passage
    return words.stems_of(source.text[passage.start : passage.end]) | words.stems_of(source.heads)


def _share(wanted: Sequence[str], known: frozenset[str]) -> float:
    return sum(not known.isdisjoint(words.stems(word)) for word in wanted) / max(1, len(wanted))
