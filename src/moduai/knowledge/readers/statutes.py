r"""Statutes: acts, decrees, rules as Markdown, in the form of the repository legalize-kr.

Fields in Korean at the head; ``#`` to ``####`` are parts, chapters, sections (편, 장, 절, 관), ``#####``
articles, ``**①**`` paragraphs, ``1\.`` items. What is kept is the law's own text without these marks, a
line for each paragraph, item or row. Every article is a passage, deleted ones too (that it was deleted is
an answer), and so is each promulgation's part of the addenda (부칙), below the heading 부칙. Pictures leave
a mark in their place.
"""

from __future__ import annotations

import re

from moduai.knowledge.readers import front
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.readers.outline import Outline
from moduai.knowledge.readers.text import address, decoded
from moduai.knowledge.types import Facts, Parsed

PICTURE = "[그림]"
LICENCE = "저작권법 제7조"
"""Which says that statutes and decisions are not protected by copyright."""

_HEADINGS = re.compile(r"^(#{1,6})[ \t]+(.*)\n?", re.MULTILINE)
_ARTICLE = re.compile(r"(제\d+조(?:의\d+)*)\s*(?:[(（](.*)[)）])?")
_ADDENDUM = re.compile(r"^(부칙\b.*)\n", re.MULTILINE)
_AMENDED = re.compile(r"\s*<[^<>]*>$")
_NUMBERS = re.compile(r"\n\*\*(.)\*\*")
_PICTURES = re.compile(r"<img\b[^<>]*>\s*(</img>)?|</img>")
_DRAWN = re.compile(r"[─-╿]")
_DRAWN_LINES = re.compile(r"^.*[─-╿].*$", re.MULTILINE)
_BLANK = re.compile(r"\n\s*\n")
_INDENT = re.compile(r"\n(?!(?:  ){1,3}\S)[ \t\u3000]+")


def is_statute(fields: front.Fields, body: str) -> bool:
    """Whether a Markdown file is one: it says a law's number, or its headings are articles."""
    return "법령ID" in fields or bool("제목" in fields and re.search(r"^#{2,6} 제\d+조", body, re.MULTILINE))


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """A statute from the bytes of its file."""
    return parse(*front.split(decoded(data, limits)), limits)


def parse(fields: front.Fields, body: str, limits: Limits = LIMITS) -> Parsed:
    """The same from its fields and the text below them."""
    facts = _facts(fields)
    outline = Outline(limits)
    lead, *parts = _HEADINGS.split(plain(body))
    outline.add(lead)
    for marks, heading, words in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        _part(outline, len(marks), heading.strip(), words.strip(), facts.title)
    return outline.parsed(facts, _notes(fields, body))


def _part(outline: Outline, level: int, heading: str, words: str, title: str) -> None:
    article = _ARTICLE.match(heading)
    if article:
        outline.article(heading, f"{article[1]}({article[2]})" if article[2] else article[1])
        outline.below(words)
    elif heading == "부칙":
        outline.heading(1, heading)
        lead, *addenda = _ADDENDUM.split(f"{words}\n")
        outline.add(lead)
        for name, text in zip(addenda[::2], addenda[1::2], strict=True):
            outline.article(name, name)
            outline.below(text)
    else:
        if heading == title:
            outline.title(heading)
        else:
            outline.heading(level, heading, unamended(heading))
        outline.add(words)


def unamended(heading: str) -> str:
    """A heading without when it was changed: 제2장 근로계약 <개정 2007. 4. 11.>."""
    return _AMENDED.sub("", heading)


def plain(body: str) -> str:
    """The law's words: without escapes, emphasis, pictures and drawn lines; no blank line within a part."""
    body = _NUMBERS.sub(r"\n\1", body.replace("\\.", "."))
    if "<img" in body:
        body = _PICTURES.sub(lambda found: PICTURE if found[1] else "", body)
    if _DRAWN.search(body):
        body = _DRAWN_LINES.sub(_row, body)
    return _INDENT.sub("\n", _BLANK.sub("\n", body))


def _row(line: re.Match[str]) -> str:
    return " | ".join(filter(None, (" ".join(cell.split()) for cell in _DRAWN.split(line[0]))))


def _facts(fields: front.Fields) -> Facts:
    one = {key: values[0] for key, values in fields.items()}
    return Facts(
        title=one.get("제목", ""),
        kind="statute",
        language="ko",
        address=address(one.get("출처", "")),
        licence=LICENCE,
        ministry=", ".join(fields.get("소관부처", ())),
        number=one.get("법령ID", ""),
        level=one.get("법령구분", ""),
        in_force_from=front.day(one.get("시행일자", "")),
        in_force_until=front.day(one.get("폐지일자", "")),
    )


def _notes(fields: front.Fields, body: str) -> tuple[str, ...]:
    annexes, pictures = len(fields.get("첨부파일", ())), body.count("<img")
    notes = []
    if annexes:
        notes.append(f"{annexes} annexes and forms (별표, 서식) are files of their own and were not read")
    if pictures:
        notes.append(f"{pictures} pictures were not read")
    return tuple(notes)
