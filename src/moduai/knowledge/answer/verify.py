"""Quotations: where in a stored version their words stand, or that they stand nowhere.

Rule: a quotation stands at a place if its characters are those of the stored text there, one by one. Only
white space (any run of it counts as one space) and the shape of quotation marks may differ. Letter case,
look-alike letters, invisible characters, dots for what is left out and other punctuation may not; a
quotation begins and ends where a word does. Every check here fails closed.
"""

from __future__ import annotations

from typing import Protocol
from unicodedata import combining

from msgspec import Struct

from moduai.knowledge.types import Facts, Passage, Stored

_DOUBLE, _SINGLE = '"“”„‟«»「」『』＂〝〞', "'‘’‚‛‹›＇"
_SAME = {ord(mark): plain for plain, marks in (('"', _DOUBLE), ("'", _SINGLE)) for mark in marks}
_CLOSING = frozenset("”»」』〞")
_OPENING = {'"': '"', "“": "”", "„": "”“", "«": "»", "「": "」", "『": "』", "‘": "’", "＂": "＂", "〝": "〞"}


class Citation(Struct, frozen=True):
    """Words of one version of a document, and their place in it."""

    document: str
    version: int
    start: int
    end: int
    quote: str
    """The stored text from ``start`` to ``end``."""
    label: str
    """The place as people name it; empty: the document as a whole."""
    facts: Facts


class Shelf(Protocol):
    """Where versions are stored: the store, or its copy in a test."""

    async def text(self, document: str, version: int) -> tuple[Stored, str, tuple[Passage, ...]] | None:
        """A version's text and passages; None where it is not, or not any more."""

    async def newest(self, document: str) -> int | None:
        """The number of its newest version; 0: it was removed; None: there never was one."""


def stands(citation: Citation, text: str) -> bool:
    """Whether the citation's words are at its place in this text. Fails closed."""
    inside = 0 <= citation.start < citation.end <= len(text)
    return inside and text[citation.start : citation.end] == citation.quote


async def shown(citation: Citation, shelf: Shelf) -> bool:
    """The last look before a citation is shown: its version is stored, with its words there. Fails closed."""
    stored = await shelf.text(citation.document, citation.version)
    return stored is not None and stands(citation, stored[1])


def find(quote: str, text: str, start: int = 0, end: int | None = None) -> tuple[int, int] | None:
    """The range between ``start`` and ``end`` in which the quotation stands; None: nowhere. Fails closed."""
    end = len(text) if end is None else end
    wanted = " ".join(quote.translate(_SAME).split())
    if not any(letter.isalnum() for letter in wanted):
        return None
    plain, places = _plain(text, start, end)
    at = plain.find(wanted)
    while at >= 0:
        found = places[at], places[at + len(wanted) - 1] + 1
        if _whole_words(text, *found):
            return found
        at = plain.find(wanted, at + 1)
    return None


def quotations(sentence: str) -> list[str] | None:
    """What stands in quotation marks; None where one is opened or closed alone. Fails closed."""
    found, at = list[str](), 0
    while at < len(sentence):
        closing = _OPENING.get(sentence[at])
        if closing is None:
            if sentence[at] in _CLOSING:
                return None
            at += 1
            continue
        end = next((i for i in range(at + 1, len(sentence)) if sentence[i] in closing), -1)
        if end < 0:
            return None
        found.append(sentence[at + 1 : end])
        at = end + 1
    return found


def _plain(text: str, start: int, end: int) -> tuple[str, list[int]]:
    """The text between two places with plain marks and single spaces, and where each character was."""
    letters, places = list[str](), list[int]()
    for at in range(start, end):
        letter = text[at]
        if not letter.isspace():
            letters.append(_SAME.get(ord(letter), letter))
        elif letters and letters[-1] == " ":
            continue
        else:
            letters.append(" ")
        places.append(at)
    return "".join(letters), places


def _whole_words(text: str, start: int, end: int) -> bool:
    """Whether no word is cut: "able" does not stand in "unable", nor "3" in "30" or "1.3"."""
    before = start > 0 and _joined(text[start - 1], text[start])
    after = end < len(text) and _joined(text[end - 1], text[end])
    return not before and not after


def _joined(left: str, right: str) -> bool:
    return combining(right) > 0 or all(each.isalnum() or each == "_" for each in (left, right))
