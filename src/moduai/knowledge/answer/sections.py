"""A passage as a reader sees it: statements below headings.

Rules: a line that stands alone, is followed by more and does not end as a sentence does is a heading, and so
is the first line of an article; a question is no statement either. Headings and questions say what a text is
about, never what is so: they are neither shown as an answer nor support one. Where this would leave less than
a third of a passage it has no headings: lists and tables end their lines without a full stop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from moduai.knowledge.answer import words
from moduai.knowledge.answer.verify import Citation
from moduai.knowledge.types import Found

_BLOCK = re.compile(r"\n\s*\n")
_ARTICLE = re.compile(r"제\d+조(?:의\d+)*(?: ?\([^()\n]*\))?(?:\n|(?=\s*①))")
_STATED = re.compile(r"(?:[.!。:;|,]|[.!]\s*\[[0-9, ]+\])[\"”’'」』)\]]*$|^\s*[-*•·○□◦▪※]")
_ASKED = re.compile(r"(?:[?？]|니까|나요|가요|까요)[.?]*[\"”’'」』)\]]*$")
HEADING = 120
"""Characters of the longest heading."""
Range = tuple[int, int]


class Source(Struct, frozen=True):
    """A passage that was found. Its places count from the passage's start."""

    found: Found

    @property
    def text(self) -> str:
        """The passage's own words."""
        return self.found.text

    @property
    def heads(self) -> str:
        """What stands above the passage."""
        passage, facts = self.found.passage, self.found.facts
        return " ".join((facts.title, facts.number, *passage.path, passage.label))

    def cite(self, start: int, end: int, label: str = "") -> Citation:
        """A citation of a range of the passage; ``label``: where the passage itself has none."""
        found, base = self.found, self.found.passage.start
        return Citation(
            found.document,
            found.version,
            base + start,
            base + end,
            self.text[start:end],
            found.passage.label or label,
            found.facts,
        )


class Section(Struct, frozen=True):
    """Statements of a passage that stand together, and the heading right above them."""

    source: Source
    heading: str
    sentences: tuple[Range, ...]

    @property
    def text(self) -> str:
        """From the first statement to the end of the last."""
        return self.source.text[self.sentences[0][0] : self.sentences[-1][1]]

    def cite(self, start: int, end: int) -> Citation:
        """A citation of a range of the passage."""
        return self.source.cite(start, end, self.heading)


def sections(source: Source) -> list[Section]:
    """The sections of a passage, in their order."""
    blocks = _blocks(source.text)
    found = _below_headings(source, blocks)
    told = sum(end - start for section in found for start, end in section.sentences)
    if told * 3 < len(source.text.strip()):
        lines = [each for block in blocks for each in words.sentences(source.text, *block[:2])]
        stated = tuple([each for each in lines if _states(source.text, each)])
        found = [Section(source, "", stated)] if stated else []
    return found


def _below_headings(source: Source, blocks: Sequence[tuple[int, int, bool]]) -> list[Section]:
    found, heading, held = list[Section](), "", list[Range]()
    for start, end, more in blocks:
        if more and _is_heading(source.text[start:end]):
            if held:
                found.append(Section(source, heading, tuple(held)))
            heading, held = source.text[start:end], []
            continue
        body = _below_article(source.text, start, end)
        held += [each for each in words.sentences(source.text, body, end) if _states(source.text, each)]
    return [*found, Section(source, heading, tuple(held))] if held else found


def _blocks(text: str) -> list[tuple[int, int, bool]]:
    """What blank lines part, and whether more follows."""
    cuts = [0, *(each.end() for each in _BLOCK.finditer(text)), len(text)]
    ends = [*(each.start() for each in _BLOCK.finditer(text)), len(text)]
    spans = [(start, end) for start, end in zip(cuts, ends, strict=False) if text[start:end].strip()]
    return [(*span, span != spans[-1]) for span in spans]


def _is_heading(block: str) -> bool:
    return "\n" not in block and len(block) <= HEADING and not _STATED.search(block.rstrip())


def _below_article(text: str, start: int, end: int) -> int:
    head = _ARTICLE.match(text, start, end)
    return head.end() if head and text[head.end() : end].strip() else start


def _states(text: str, place: Range) -> bool:
    return not _ASKED.search(text[place[0] : place[1]])
