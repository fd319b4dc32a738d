"""The text of a PDF by PDFium, in a process of its own: ``pdfium.py SECONDS PAGES CHARACTERS < file``.

PDFium is fast and reads Korean well, but it is machine code that follows what a stranger wrote. So it runs
apart from everything else, with a limit on memory and on time of the processor that the kernel holds, and
without a file of its own; the worst that a document can do is end it. Nothing of ours is imported here. The
answer is JSON on the standard output: ``pages`` (text each), ``outline`` (level from 0, page from 0, title)
and ``title``, or ``error``.

Korean is broken at any syllable, so a word may go on in the next line. Its halves are joined where the line
ends in a syllable, is full (``_FULL`` lines of the page end where it does, and it is ``_WIDE`` syllables
wide), the line close below it is not longer, not indented, no entry of a list, and begins with a syllable;
and where no space stood between: in documents that keep spaces at line ends (of the full lines at least one
in ``_KEPT``) none is there; in others the two syllables stand together within lines, at least ``_TWICE``
times and ``_SURER`` times as often as with a space between, and that is so of ``_SPLIT`` of the line ends of
which the document tells anything, or it is broken at words. Else lines stay as they are printed.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import islice, pairwise
from typing import Any, NamedTuple

MEMORY = 2 << 30
"""Bytes of address space; a file of 64 MiB needs a fraction."""
_BOOKMARKS = 10_000
_PASSWORD = 4
"""PDFium's number for this error."""
_FULL, _WIDE, _KEPT, _TWICE, _SURER, _SPLIT = 3, 12, 10, 2, 8, 0.3
_SYLLABLE = re.compile("[가-힣]")
_TOGETHER, _APART = re.compile("(?=([가-힣][가-힣]))"), re.compile("(?=([가-힣] [가-힣]))")
_ENTRY = re.compile(r"[가-힣][.)]|제[0-9]+[편장절관조]")


class _Line(NamedTuple):
    """A printed line: where it ends in the text, with spaces and without; its edges; its syllables' width."""

    until: int
    end: int
    words: str
    left: float
    right: float
    bottom: float
    em: float

    @property
    def bare(self) -> bool:
        """Whether no space stands at its end."""
        return self.until == self.end


def main(most_pages: int, most_characters: int) -> dict[str, object]:
    """What is in the file on the standard input."""
    import pypdfium2  # noqa: PLC0415  (the limits come first)

    try:
        document = pypdfium2.PdfDocument(sys.stdin.buffer.read())
    except pypdfium2.PdfiumError as error:
        return {"error": "encrypted" if error.err_code == _PASSWORD else "broken"}
    if len(document) > most_pages:
        return {"error": "pages"}
    pages: list[tuple[str, list[_Line]]] = []
    for number in range(len(document)):
        try:
            page = document[number]
            text = page.get_textpage()
            most_characters -= text.count_chars()
            if most_characters < 0:
                return {"error": "characters"}
            words = text.get_text_bounded()
            pages.append((words, _lines(text, words)))
            text.close()
            page.close()
        except pypdfium2.PdfiumError:
            pages.append(("", []))
    joined = _joined(pages)
    return {"pages": joined, "outline": _outline(document), "title": document.get_metadata_value("Title")}


def _lines(page: Any, text: str) -> list[_Line]:
    """Lines with the places of their letters; none where those cannot be told."""
    if "\r\n" not in text or len(text) != page.count_chars():
        return []
    found, start = [], 0
    for line in text.split("\r\n"):
        words = line.strip()
        end = start + len(line.rstrip())
        if words:
            left = page.get_charbox(end - len(words))[0]
            begins, bottom, right, _ = page.get_charbox(end - 1)
            found.append(_Line(start + len(line), end, words, left, right, bottom, right - begins))
        start += len(line) + 2
    return found


def _joined(pages: list[tuple[str, list[_Line]]]) -> list[str]:
    """The pages' texts, broken words made whole where that is sure."""
    kept, broken = 0, 0
    breaks = []
    for _, lines in pages:
        rights = sorted(line.right for line in lines)
        full = [(line, below) for line, below in pairwise(lines) if _goes_on(line, below, rights)]
        breaks.append({line.end: line.words[-1] + below.words[0] for line, below in full if line.bare})
        broken += len(breaks[-1])
        kept += len(full) - len(breaks[-1])
    texts = [text for text, _ in pages]
    if not broken or broken > _KEPT * kept > 0:
        return texts
    if not kept:
        breaks = _by_pairs(texts, breaks)
    return [_without(text, ends) for text, ends in zip(texts, breaks, strict=True)]


def _by_pairs(texts: list[str], breaks: list[dict[int, str]]) -> list[dict[int, str]]:
    """Of breaks with the syllables around them those within words, as the rest of the document tells."""
    together, apart = Counter[str](), Counter[str]()
    for text in texts:
        together.update(_TOGETHER.findall(text))
        apart.update(found.replace(" ", "") for found in _APART.findall(text))

    def within(pair: str) -> bool:
        return together[pair] >= max(_TWICE, _SURER * apart[pair])

    found = [{end: pair for end, pair in ends.items() if within(pair)} for ends in breaks]
    split = sum(map(len, found))
    between = sum(apart[pair] > together[pair] for ends in breaks for pair in ends.values())
    return found if split >= _SPLIT * (split + between) else [{} for _ in breaks]


def _goes_on(line: _Line, below: _Line, rights: list[float]) -> bool:
    """Whether a full line ends between syllables, and what it says goes on in the one below."""
    em = line.em
    alike = bisect_right(rights, line.right + em) - bisect_left(rights, line.right - em)
    return (
        bool(_SYLLABLE.match(line.words[-1]) and _SYLLABLE.match(below.words))
        and not _ENTRY.match(below.words)
        and em > 0
        and alike >= _FULL
        and line.right - line.left >= _WIDE * em
        and below.right <= line.right + em
        and below.left <= line.left + em / 2
        and 0 < line.bottom - below.bottom <= 3 * em
    )


def _without(text: str, ends: Iterable[int]) -> str:
    """The text without the line breaks at these places."""
    parts, at = [], 0
    for end in ends:
        parts.append(text[at:end])
        at = end + 2
    return "".join([*parts, text[at:]])


def _outline(document: Any) -> list[tuple[int, int, str]]:
    found = []
    for bookmark in islice(document.get_toc(), _BOOKMARKS):
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        if page is not None:
            found.append((bookmark.level, page, bookmark.get_title()[:300]))
    return found


if __name__ == "__main__":
    seconds, pages, characters = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    json.dump(main(pages, characters), sys.stdout)
