"""Text and its passages by the document's own structure; every reader builds on this.

The rule of what a passage is:

* A part is what stands under a heading; a tiny one, up to ``SECTION``, keeps the headings below it. An
  article of a statute and a page are always parts of their own. A heading that stands alone is no passage.
* Text within such a part is cut while it is longer than ``LONG``: at articles, paragraphs (①), items (1.),
  sub-items (가.), list entries, lines, sentences, in this order; small neighbours stay together up to
  ``LONG``.
* Only where there is nothing of this, a cut falls on a space, and at last on any character.

So a tiny document is one passage, an article is one unless it is very long, and nothing is lost: what is
in no passage are headings and white space.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.types import Facts, Parsed, Passage, ReadError

SECTION = 200
"""Characters up to which a part with headings in it stays whole: a few sentences, in Korean too."""
LONG = 1_500
"""Characters up to which text without headings stays whole; of 100 articles of statutes 97 are."""

ARTICLE = 8
PAGE = 9
_LINE, _SENTENCE = 19, 20

_LINES = re.compile(
    r"^[ \t]*(?:"
    r"(?P<article>제[0-9]{1,4}조(?:의[0-9]{1,3}){0,2})(?=[ \t]*(?:[(（①]|$))"
    r"|(?P<paragraph>[①-⑳㉑-㉟㊱-㊿])"
    r"|(?P<item>[0-9]{1,3}(?:의[0-9]{1,3}){0,2})\.(?=\s)"
    r"|(?P<letter>[가-힣](?:의[0-9]{1,3})?)\.(?=\s)"
    r"|(?P<number>[0-9]{1,3})\)"
    r"|(?P<syllable>[가-힣])\)"
    r"|(?P<entry>[-*•·○□◦▪※](?=[ \t])))?(?=.)",
    re.MULTILINE,
)
_RANKS = {
    "article": 10, "paragraph": 11, "item": 12, "letter": 13, "number": 14, "syllable": 15, "entry": 16,
}  # fmt: skip
_SENTENCES = re.compile(r"(?<=[.!?。？！])\s+(?=\S)")
_ARTICLE_LINES = re.compile(
    r"^[ \t]*(제[0-9]{1,4}조(?:의[0-9]{1,3}){0,2})[ \t]?[(（]([^()\n]{1,80})[)）]", re.MULTILINE
)
_CHAPTER_LINES = re.compile(
    r"^[ \t]*(제[0-9]{1,3}([편장절관])(?:의[0-9]{1,3})?[ \t]+\S[^\n]{0,78})$", re.MULTILINE
)

# Controls, marks of direction and invisible characters hide words from people or from the search.
_UNSEEN = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\U000e0000-\U000e007f"
)
_BREAKS = "\r\x0b\x0c\x85\u2028\u2029"
_HALVES = "\ud800-\udfff"
_UNCLEAN = re.compile(f"[{_UNSEEN}{_BREAKS}{_HALVES}]")
_CLEANED = tuple(
    (re.compile(pattern), by)
    for pattern, by in ((f"\r\n|[{_BREAKS}]", "\n"), (f"[{_HALVES}]", "\ufffd"), (f"[{_UNSEEN}]", ""))
)


def clean(words: str) -> str:
    """The same words in composed form, lines ended by a line feed, without characters that nobody sees."""
    if _UNCLEAN.search(words):
        for pattern, by in _CLEANED:
            words = pattern.sub(by, words)
    return unicodedata.normalize("NFC", words)


def one_line(words: str) -> str:
    """The same, its white space as single spaces."""
    return " ".join(clean(words).split())


def row(cells: Sequence[str]) -> str:
    """A row of a table as one line."""
    return " | ".join(" ".join(cell.split()) for cell in cells)


class Mark(NamedTuple):
    """Where a part begins: a heading, an article, a page."""

    start: int
    end: int
    """Behind the heading's own words: what follows is what it is the heading of."""
    rank: int
    """1 to 6: headings; ARTICLE; PAGE."""
    words: str
    page: int = 0


class Outline:
    """A document while it is read: say what comes, in order, and take the result."""

    __slots__ = ("_body", "_limits", "_marks", "_page", "_parts", "_size")

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._parts: list[str] = []
        self._marks: list[Mark] = []
        self._size = 0
        self._body = 0
        self._page = 0

    def title(self, words: str) -> None:
        """The document's own title, where it stands in the text: a heading of no part."""
        self.add(one_line(words))
        self._body = self._size

    def heading(self, level: int, words: str, name: str = "") -> None:
        """A heading of level 1 to 6, by its name if that is shorter: a part up to the next not below it."""
        words = one_line(words)
        if words:
            start = self._append(words)
            self._marks.append(Mark(start, self._size, min(max(level, 1), 6), name or words, self._page))

    def article(self, words: str, label: str) -> None:
        """An article of a statute, by its heading as it stands and by its name: always a part of its own."""
        start = self._append(words)
        self._marks.append(Mark(start, self._size, ARTICLE, label, self._page))

    def below(self, words: str) -> None:
        """What an article says, on the lines below its heading; clean already."""
        words = words.strip()
        if words:
            self._append(words, "\n")

    def page(self, number: int) -> None:
        """A page begins, from 1."""
        if number > self._limits.pages:
            raise ReadError("too_large", f"The document has more than {self._limits.pages} pages.")
        self._page = number
        here = self._size + 2 * bool(self._size)
        self._marks.append(Mark(here, here, PAGE, f"p. {number}", number))

    def add(self, words: str) -> None:
        """A paragraph, a list, a table's rows: lines that belong together."""
        words = clean(words).strip("\n \t")
        if words:
            self._append(words)

    def _append(self, words: str, gap: str = "\n\n") -> int:
        if self._size:
            self._parts.append(gap)
            self._size += len(gap)
        start = self._size
        self._parts.append(words)
        self._size += len(words)
        if self._size > self._limits.characters:
            raise ReadError("too_large", f"The text has more than {self._limits.characters:,} characters.")
        return start

    def parsed(self, facts: Facts, notes: tuple[str, ...] = ()) -> Parsed:
        """The document. Raises ReadError where nothing is in it or there are too many passages."""
        text = "".join(self._parts)
        if not text:
            raise ReadError("empty", "No text was found in the document.")
        inside = [mark for mark in self._marks if mark.start < len(text)]  # the last page may be empty
        marks = sorted([*inside, *_articles(text, inside)], key=lambda mark: (mark.start, mark.rank))
        passages: list[Passage] = []
        top = Mark(0, min(self._body, len(text)), 0, "")
        for passage in _parts(text, top, len(text), marks, ()):
            passages.append(passage)
            if len(passages) > self._limits.passages:
                raise ReadError(
                    "too_large", f"The document has more than {self._limits.passages:,} passages."
                )
        return Parsed(facts=facts, text=text, passages=tuple(passages), notes=notes)


def _articles(text: str, marks: list[Mark]) -> list[Mark]:
    """Chapters and articles of a statute in plain lines; three articles at least, or it only names some."""
    if any("조" in mark.words and mark.words.startswith("제") for mark in marks):
        return []
    articles = [
        Mark(found.start(1), found.end(), ARTICLE, f"{found[1]}({found[2].strip()})")
        for found in _ARTICLE_LINES.finditer(text)
    ]
    if len(articles) < 3:
        return []
    chapters = [
        Mark(found.start(1), found.end(1), "편장절관".index(found[2]) + 1, " ".join(found[1].split()))
        for found in _CHAPTER_LINES.finditer(text)
    ]
    return articles + chapters


def _parts(text: str, own: Mark, end: int, marks: Sequence[Mark], path: tuple[str, ...]) -> Iterator[Passage]:
    """The passages from ``own`` to ``end``, where ``marks`` are those between."""
    whole = end - own.start <= SECTION and not any(mark.rank >= ARTICLE for mark in marks)
    if whole or not marks:
        if _worded(text, own, end, marks):
            yield from cut(text, own, end, path)
        return
    rank = min(mark.rank for mark in marks)
    opens = [at for at, mark in enumerate(marks) if mark.rank == rank]
    yield from _parts(text, own, marks[opens[0]].start, marks[: opens[0]], path)
    below = (*path, own.words) if own.words else path
    page = own.page
    for at, after in zip(opens, [*opens[1:], len(marks)], strict=True):
        mark = marks[at]
        page = mark.page or page
        until = marks[after].start if after < len(marks) else end
        yield from _parts(text, mark._replace(page=page), until, marks[at + 1 : after], below)


def _worded(text: str, own: Mark, end: int, marks: Sequence[Mark]) -> bool:
    """Whether more than headings is there."""
    if own.rank == ARTICLE:
        return True
    at = own.end
    for mark in marks:
        if text[at : mark.start].strip():
            return True
        at = mark.end
    return bool(text[at:end].strip())


class _Piece(NamedTuple):
    start: int
    rank: int
    name: str = ""


def cut(text: str, own: Mark, end: int, path: tuple[str, ...]) -> Iterator[Passage]:
    """One part without headings in it, from ``own`` to ``end``, as passages. An article's say their place."""
    start, end = _trimmed(text, own.start, end)
    if end - start <= LONG:
        if start < end:
            yield Passage(start, end, path, own.words, own.page)
        return
    pieces = _pieces(text, start, end)
    body = _trimmed(text, own.end, end)[0]
    names = _Names([piece for piece in pieces if piece.start >= body]) if own.rank == ARTICLE else None
    for at, until in _spans(text, start, end, [piece for piece in pieces if piece.start > body]):
        at, until = _trimmed(text, at, until)  # noqa: PLW2901
        if at < until:
            place = names.between(at, until) if names else ""
            yield Passage(at, until, path, f"{own.words} {place}".strip(), own.page)


def place(text: str, passage: Passage, at: int) -> str:
    """What the place of a character in an article is called, as finely as it has names: 제1항제3호."""
    pieces = _pieces(text, passage.start, passage.end)
    return _Names([piece for piece in pieces if piece.rank > _RANKS["article"]]).between(at, at)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    words = text[start:end]
    return end - len(words.lstrip()), start + len(words.rstrip())


def _pieces(text: str, start: int, end: int) -> list[_Piece]:
    found = []
    for line in _LINES.finditer(text, start, end):
        kind = line.lastgroup
        if kind:
            rank = _RANKS[kind]
        else:
            rank = _RANKS["paragraph"] if text[line.start() - 2 : line.start()] == "\n\n" else _LINE
        found.append(_Piece(line.start(), rank, _name(kind, line[kind]) if kind else ""))
    return found


def _name(kind: str, mark: str) -> str:
    if kind == "article":
        return mark
    if kind == "paragraph":
        return f"제{int(unicodedata.numeric(mark))}항"
    if kind == "item":
        number, _, branch = mark.partition("의")
        return f"제{number}호의{branch}" if branch else f"제{number}호"
    if kind == "letter":
        return f"{mark[:1]}목{mark[1:]}"
    return f"{mark})" if kind in {"number", "syllable"} else ""


def _spans(text: str, start: int, end: int, pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
    """Cuts at the highest rank there is, deeper only where that is not enough."""
    if end - start <= LONG:
        yield start, end
        return
    inner = [piece for piece in pieces if start < piece.start < end]
    if not inner:
        inner = [_Piece(gap.end(), _SENTENCE) for gap in _SENTENCES.finditer(text, start, end)]
    if not inner:
        yield from _anywhere(text, start, end)
        return
    rank = min(piece.rank for piece in inner)
    bounds = [start, *(piece.start for piece in inner if piece.rank == rank), end]
    by_unit = _shared(inner, bounds)
    kept = start
    for at, until, mine in zip(bounds[:-1], bounds[1:], by_unit, strict=True):
        if until - kept <= LONG:
            continue
        if kept < at:
            yield kept, at
        kept = at
        if until - at > LONG:
            yield from _spans(text, at, until, mine)
            kept = until
    if kept < end:
        yield kept, end


def _shared(pieces: Sequence[_Piece], bounds: Sequence[int]) -> list[list[_Piece]]:
    """The pieces that lie within each pair of neighbouring bounds."""
    units: list[list[_Piece]] = [[] for _ in bounds[1:]]
    at = 0
    for piece in pieces:
        while piece.start >= bounds[at + 1]:
            at += 1
        units[at].append(piece)
    return units


def _anywhere(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > LONG:
        space = text.rfind(" ", start + LONG // 2, start + LONG)
        until = space if space > 0 else start + LONG
        yield start, until
        start = until
    yield start, end


class _Names:
    """What the places in a part are called: 제1항제3호."""

    def __init__(self, pieces: Sequence[_Piece]) -> None:
        self._starts: list[int] = []
        self._names: list[str] = []
        above: dict[int, str] = {}
        for piece in pieces:
            if piece.name:
                above = {rank: name for rank, name in above.items() if rank < piece.rank}
                above[piece.rank] = piece.name
                self._starts.append(piece.start)
                self._names.append("".join(above.values()))

    def between(self, start: int, end: int) -> str:
        """The first and the last place within; the place it lies in where none begins there."""
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end) - 1
        if last < first:
            return self._names[last] if last >= 0 else ""
        return self._names[first] if first == last else f"{self._names[first]}–{self._names[last]}"
