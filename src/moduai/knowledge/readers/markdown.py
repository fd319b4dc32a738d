"""Markdown with front matter: headings, paragraphs, lists, tables and code as plain text.

Line by line, each looked at a fixed number of times: no input takes more than linear time. Marks of emphasis,
links and HTML go, their words stay; addresses of links go too. Statutes and decisions in Markdown have readers
of their own, and are handed to them.
"""

from __future__ import annotations

import html
import re

from msgspec.structs import replace

from moduai.knowledge.readers import decisions, front, statutes
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.readers.outline import Outline, row
from moduai.knowledge.readers.text import address, decoded, language, without
from moduai.knowledge.types import Facts, Kind, Parsed, ReadError

_NAMES: dict[str, tuple[str, ...]] = {
    "title": ("title", "제목"),
    "kind": ("kind",),
    "language": ("language", "lang", "언어"),
    "address": ("address", "source", "url", "출처"),
    "licence": ("licence", "license", "라이선스", "이용조건"),
    "ministry": ("ministry", "author", "소관부처", "소관기관", "기관"),
    "number": ("number", "번호"),
    "from": ("in_force_from", "effective", "date", "시행일자", "시행일"),
    "until": ("in_force_until", "expires", "폐지일자"),
}
_KINDS: dict[str, Kind] = {"programme": "programme", "data": "data"}

_MARKED = re.compile(r"[*_`<&\\\[~]")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)+")
_DEFINITION = re.compile(r" {0,3}\[[^\[\]]{1,200}\]:[ \t]*\S+")
_BAR = re.compile(r"(?<!\\)\|")
_LINK = re.compile(
    r"!?\[([^\[\]]{0,1000})\](?:\([^()\s]{0,2000}(?:[ ]\"[^\"]{0,500}\")?\)|\[[^\[\]]{0,200}\])"
)
_TAG = re.compile(r"</?[A-Za-z](?![^<>]{0,8}://)[^<>]{0,1000}>")
_STRONG = re.compile(r"(\*{1,3}|_{2,3}|~~)(?=\S)([^*_~]{1,2000})(?<=\S)\1")
_EMPHASIS = re.compile(r"(?<!\w)_(?=\S)([^_]{1,2000})(?<=\S)_(?!\w)")
_CODE = re.compile(r"(`{1,2})([^`]{1,2000})\1")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """A page, a statute or a decision."""
    source = decoded(data, limits)
    fields, body = front.split(source)
    if statutes.is_statute(fields, body):
        return statutes.parse(source, limits)
    if decisions.is_decision(fields):
        return decisions.parse(source, limits)
    facts = _facts(fields, body)
    page = _Page(facts.title, limits)
    for line in without(body, "<!--", "-->").split("\n"):
        page.line(line)
    page.flush()
    return page.outline.parsed(replace(facts, title=facts.title or page.title))


def _facts(fields: front.Fields, body: str) -> Facts:
    def said(what: str) -> str:
        return next((", ".join(fields[name]) for name in _NAMES[what] if name in fields), "")

    return Facts(
        title=said("title"),
        kind=_KINDS.get(said("kind"), "page"),
        language=said("language")[:2].lower() or language(body),
        address=address(said("address")),
        licence=said("licence"),
        ministry=said("ministry"),
        number=said("number"),
        in_force_from=front.day(said("from")),
        in_force_until=front.day(said("until")),
    )


class _Page:
    """Lines in, blocks out."""

    def __init__(self, title: str, limits: Limits) -> None:
        self.outline = Outline(limits)
        self.title = title
        self._opened = False
        self._limits = limits
        self._fence = ""
        self._block: list[str] = []
        self._cells = 0
        self._table = False

    def line(self, line: str) -> None:
        fence = _FENCE.match(line)
        if self._fence:
            if fence and fence[1].startswith(self._fence) and not line[fence.end() :].strip():
                self._fence = ""
            else:
                self._block.append(line)
            return
        if fence:
            self._fence = fence[1]
            return
        line = line[quote.end() :] if (quote := _QUOTE.match(line)) else line
        bare = "".join(line.split())
        heading = _HEADING.match(line)
        if not bare or (len(bare) > 2 and set(bare) in ({"*"}, {"_"})) or _DEFINITION.match(line):
            self.flush()
        elif heading:
            self.flush()
            self._heading(len(heading[1]), re.sub(r" #+$", "", line[heading.end() :].rstrip()))
        elif set(bare) in ({"="}, {"-"}):
            self._underline(bare)
        elif not bare.strip("|:-") and "|" in bare and self._block:
            self._divider()
        else:
            self._words(line)

    def flush(self) -> None:
        """What was gathered is a block."""
        self.outline.add("\n".join(self._block))
        self._block.clear()
        self._table = False

    def _words(self, line: str) -> None:
        self._block.append(self._row(line) if self._table else inline(line).rstrip())

    def _row(self, line: str) -> str:
        cells = _BAR.split(line.strip().removeprefix("|").removesuffix("|"))
        self._cells += len(cells)
        if self._cells > self._limits.cells:
            raise ReadError("too_large", f"The tables have more than {self._limits.cells:,} cells.")
        return row([inline(cell.replace("\\|", "|")) for cell in cells])

    def _divider(self) -> None:
        head = self._block.pop()
        self.flush()
        self._table = True
        self._words(head)

    def _underline(self, bare: str) -> None:
        if len(self._block) != 1:
            self.flush()
            return
        words = self._block.pop()
        self._heading(1 if bare[0] == "=" else 2, words)

    def _heading(self, level: int, words: str) -> None:
        words = inline(words).strip()
        if level == 1 and not self._opened and self.title in {"", words}:
            self.title = words
            self.outline.title(words)
        else:
            self.outline.heading(level, words)
        self._opened = True


def inline(words: str) -> str:
    """One line without marks; what they marked stays."""
    if not _MARKED.search(words):
        return words
    words = _TAG.sub("", _LINK.sub(r"\1", words))
    words = _CODE.sub(r"\2", _EMPHASIS.sub(r"\1", _STRONG.sub(r"\2", words)))
    return html.unescape(_ESCAPED.sub(r"\1", words))
