"""Statutes and decisions as XML of the National Law Information Center (law.go.kr), one a file.

Four roots: ``법령`` (acts, decrees, rules), ``AdmRulService`` (administrative rules), ``LawService``
(ordinances), ``PrecService`` (decisions). An article is what stands in 조문내용 or 조내용, with the 항내용,
호내용 and 목내용 that follow it; a line that names a part, a chapter or a section is a heading. Addenda come
one a promulgation below 부칙, annexes with their text below 별표; forms are files of their own. Addresses in
the file are not kept: the key of whoever asked for it stands in them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from moduai.knowledge.readers import decisions, front, statutes
from moduai.knowledge.readers.archive import Elements, walk
from moduai.knowledge.readers.limits import LIMITS, Limits, check_size
from moduai.knowledge.readers.outline import Outline, clean
from moduai.knowledge.types import Facts, Parsed, ReadError

STATUTE, RULE, ORDINANCE, DECISION = "법령", "AdmRulService", "LawService", "PrecService"
Leaves = list[tuple[str, str]]
"""Each element with its own characters, in the order in which they close: the root is the last."""

_LOOK = re.compile(rf"\s*(?:<\?xml[^<>]*\?>\s*)?<(?:{STATUTE}|{RULE}|{ORDINANCE}|{DECISION})[\s>]")
_UNCLOSED = (b"<%s>", b"</%s>")
_NOTES = "조문참고자료".encode()
"""An element that the source does not always close; nothing of it is read."""
_NAMES = {
    "title": ("법령명_한글", "행정규칙명", "자치법규명"),
    "number": ("법령ID", "행정규칙ID", "자치법규ID"),
    "level": ("법종구분", "행정규칙종류", "자치법규종류"),
    "ministry": ("소관부처", "소관부처명", "지자체기관명"),
    "from": ("시행일자", "발령일자"),
}
_LEVELS = {"C0001": "조례", "C0002": "규칙", "C0003": "훈령", "C0004": "예규"}
_OPENS = {"조문내용", "조내용"}
_GOES_ON = {"항내용", "호내용", "목내용"}
_ARTICLE = re.compile(
    r"(제[0-9]{1,4}(?:-[0-9]{1,4})?조(?:의[0-9]{1,3}){0,2})[ \t]*"
    r"(?:[(（]([^()（）\n]{0,200}(?:[(（][^()（）\n]{0,100}[)）][^()（）\n]{0,100}){0,4})[)）])?[ \t]*"
)
_NEXT = re.compile(r"\n(?=제[0-9]{1,4}(?:-[0-9]{1,4})?조(?:의[0-9]{1,3}){0,2}[ \t]?[(（])")
"""Some rules come with all their articles in one."""
_CHAPTER = re.compile(r"제[0-9]{1,3}([편장절관])(?:의[0-9]{1,3})?(?=\s)[^\n]{0,150}")
_ADDENDUM = re.compile(r"부\s*칙[^\n]{0,100}")
_PARTS = ("판시사항", "판결요지", "참조조문", "참조판례", "판례내용")
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|tr|li)>", re.IGNORECASE)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def looks_like_it(text: str) -> bool:
    """Whether a file begins as one of these."""
    return bool(_LOOK.match(text))


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The statute or the decision."""
    found = leaves(data, limits)
    if found[-1][0] == DECISION:
        return _decision(dict(reversed(found)), limits)
    return _statute(found, limits)


def leaves(data: bytes, limits: Limits = LIMITS) -> Leaves:
    """The elements of such a file. Raises ReadError."""
    check_size(data, limits)
    for mark in _UNCLOSED:
        data = data.replace(mark % _NOTES, b"")
    elements = _Leaves()
    walk(data, elements, limits)
    return elements.found


class _Leaves(Elements):
    def __init__(self) -> None:
        self.found: Leaves = []
        self._open: list[list[str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._open.append([])

    def text(self, text: str) -> None:
        self._open[-1].append(text)

    def end(self, name: str) -> None:
        self.found.append((name, clean("".join(self._open.pop())).strip()))


def _decision(said: dict[str, str], limits: Limits) -> Parsed:
    fields: front.Fields = {
        name: (_plain(said[name]),) for name in ("사건명", "사건번호", "법원명", "선고일자") if said.get(name)
    }
    parts = [f"## {name}\n\n{_plain(said[name])}" for name in _PARTS if said.get(name)]
    if not parts:
        raise ReadError("empty", "No text was found in the decision.")
    return decisions.parse(fields, "\n\n".join(parts), limits)


def _plain(words: str) -> str:
    """Words without the marks of a page; what was in angle brackets of the law's own stays."""
    return _lines(html.unescape(_TAG.sub("", _BREAK.sub("\n", words))))


def _lines(words: str) -> str:
    return "\n".join(filter(None, map(str.strip, words.split("\n"))))


def _statute(found: Leaves, limits: Limits) -> Parsed:
    facts = _facts(found)
    reading = _Statute(facts.title, limits)
    for name, words in found:
        reading.element(name, words)
    reading.flush()
    return reading.outline.parsed(facts, tuple(reading.notes()))


def _facts(found: Leaves) -> Facts:
    first = dict(reversed(found))

    def said(what: str) -> str:
        return next((first[name] for name in _NAMES[what] if first.get(name)), "")

    return Facts(
        title=" ".join(said("title").split()),
        kind="statute",
        language="ko",
        licence=statutes.LICENCE,
        ministry=said("ministry"),
        number=said("number"),
        level=_LEVELS.get(said("level"), said("level")),
        in_force_from=front.day(said("from")),
    )


class _Statute:
    """Elements in, parts out."""

    def __init__(self, title: str, limits: Limits) -> None:
        self.outline = Outline(limits)
        self.outline.title(title)
        self._unit: list[str] = []
        self._below = ""
        """The heading that addenda or annexes stand under, once it stands there."""
        self._annex: dict[str, str] = {}
        self._forms = 0
        self._pictures = 0

    def element(self, name: str, words: str) -> None:
        """One more, as it closes."""
        if name in _OPENS:
            self.flush()
            self._unit = [words]
        elif name in _GOES_ON:
            self._unit.append(words)
        elif name == "부칙내용" and words:
            self._addendum(words)
        elif name.startswith("별표"):
            self._annex[name] = words
            if name == "별표단위":
                self._end_annex()

    def flush(self) -> None:
        """What was gathered is an article, or headings."""
        words = self._words("\n".join(filter(None, self._unit)))
        self._unit = []
        for part in _NEXT.split(words):
            self._part(part)

    def _part(self, words: str) -> None:
        article = _ARTICLE.match(words)
        if article:
            label = f"{article[1]}({article[2]})" if article[2] else article[1]
            self.outline.article(article[0].strip(), label)
            self.outline.below(words[article.end() :])
            return
        block: list[str] = []
        for line in words.split("\n"):
            chapter = _CHAPTER.match(line)
            if chapter:
                self.outline.add("\n".join(block))
                block.clear()
                level = "편장절관".index(chapter[1]) + 1
                self.outline.heading(level, line, statutes.unamended(line))
            else:
                block.append(line)
        self.outline.add("\n".join(block))

    def _addendum(self, words: str) -> None:
        lines = self._words(words)
        named = _ADDENDUM.match(lines)
        name = re.sub(r"^부\s*칙", "부칙", " ".join(named[0].split())) if named else "부칙"
        self._under("부칙")
        self.outline.article(name, name)
        self.outline.below(lines[named.end() :] if named else lines)

    def _end_annex(self) -> None:
        annex, self._annex = self._annex, {}
        words = annex.get("별표내용", "")
        if annex.get("별표구분") != "별표" or not words:
            self._forms += 1
            return
        number, branch = (annex.get(name, "").lstrip("0") for name in ("별표번호", "별표가지번호"))
        name = f"별표 {number}{f'의{branch}' if branch else ''} {annex.get('별표제목', '')}".strip()
        self._under("별표")
        self.outline.article(name, name)
        self.outline.below(self._words(words))

    def _under(self, heading: str) -> None:
        self.flush()
        if self._below != heading:
            self._below = heading
            self.outline.heading(1, heading)

    def _words(self, words: str) -> str:
        self._pictures += words.count("<img")
        return _lines(statutes.plain(clean(html.unescape(words))))

    def notes(self) -> Iterable[str]:
        """What was not read."""
        if self._forms:
            yield f"{self._forms} annexes and forms (별표, 서식) are files of their own and were not read"
        if self._pictures:
            yield f"{self._pictures} pictures were not read"
