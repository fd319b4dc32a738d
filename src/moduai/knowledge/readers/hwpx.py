"""Hangul documents of the newer kind (HWPX, KS X 6101): a zip archive of XML.

Sections stand in the order of the package's manifest. Paragraphs of an outline are headings; comments,
deleted text of tracked changes and the commands of fields are no text. Scripts are neither run nor read.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from moduai.knowledge.readers.archive import Archive, Elements, number, walk
from moduai.knowledge.readers.body import Body
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.types import Parsed, ReadError

_PACKAGE = "Contents/content.hpf"
_SECTION = re.compile(r"(?:.*/)?section(\d{1,5})\.xml", re.IGNORECASE)
_HIDDEN = frozenset({"hiddenComment", "fieldBegin", "case", "parameterset"})
"""Not part of what one reads; ``case`` has a ``default`` beside it that says the same."""
_TEXT = frozenset({"t", "mainText", "subText", "script"})
_MARKS = {"tab": " ", "fwSpace": " ", "nbSpace": " ", "lineBreak": "\n", "hyphen": "-"}
_ASIDES = frozenset({"footNote", "endNote", "drawText", "caption"})
_EDGES = frozenset({"header", "footer"})
_PICTURES = frozenset({"pic", "video", "chart", "ole"})


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The document; raises ReadError where it is not one, is protected, or is past a limit."""
    archive = Archive(data, limits)
    if "META-INF/manifest.xml" in archive.names and b"encryption-data" in archive.part(
        "META-INF/manifest.xml"
    ):
        raise ReadError("encrypted", "The document is protected by a password.")
    package = _Package()
    if _PACKAGE in archive.names:
        walk(archive.part(_PACKAGE), package, limits)
    sections = package.sections(archive.names)
    if not sections:
        raise ReadError("broken", "The file is damaged: it has no section of text.")
    heads = _Heads()
    header = posixpath.join(posixpath.dirname(sections[0]), "header.xml")
    if header in archive.names:
        walk(archive.part(header), heads, limits)
    body = Body(limits)
    section = _Section(body, heads.levels)
    for name in sections:
        walk(archive.part(name), section, limits)
    if section.pictures:
        body.notes.append(f"Pictures and objects were not read: {section.pictures}.")
    return body.parsed("".join(package.title))


class _Package(Elements):
    """The manifest: title and the order of sections."""

    def __init__(self) -> None:
        self.title: list[str] = []
        self._in_title = False
        self._items: dict[str, str] = {}
        self._spine: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._in_title = name == "title"
        if name == "item":
            self._items[attributes.get("id", "")] = attributes.get("href", "")
        elif name == "itemref":
            self._spine.append(attributes.get("idref", ""))

    def end(self, name: str) -> None:
        self._in_title = False

    def text(self, text: str) -> None:
        if self._in_title:
            self.title.append(text)

    def sections(self, names: tuple[str, ...]) -> list[str]:
        """Parts of text that the archive has, each once; without a manifest in the order of their numbers."""
        known = set(names)
        hrefs = [self._items.get(item, "") for item in self._spine]
        paths = [path for href in hrefs for path in (href, f"Contents/{href}") if path in known]
        listed = [path for path in dict.fromkeys(paths) if _SECTION.fullmatch(path)]
        return listed or sorted(filter(_SECTION.fullmatch, names), key=_section_number)


def _section_number(name: str) -> int:
    match = _SECTION.fullmatch(name)
    return int(match[1]) if match else 0


class _Heads(Elements):
    """Which shapes of paragraphs are headings of an outline, and how deep: from 1."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self._shape = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "paraPr":
            self._shape = attributes.get("id", "")
        elif name == "heading" and attributes.get("type") == "OUTLINE":
            self.levels[self._shape] = 1 + number(attributes, "level")

    def end(self, name: str) -> None: ...
    def text(self, text: str) -> None: ...


class _Section(Elements):
    """One section after another, told to the body."""

    def __init__(self, body: Body, levels: Mapping[str, int]) -> None:
        self._body = body
        self._levels = levels
        self._hidden = 0
        """Elements open since one that is not read."""
        self._texts = 0
        self._deleted = False
        self._tables = [[0, 0]]
        """Row and column that come next in the tables that are open; the first is no table."""
        self._cells: list[list[int]] = []
        """Row, column and width of the cells that are open; a cell says its own behind its text."""
        self._number: str | None = None
        self.pictures = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._hidden or name in _HIDDEN:
            self._hidden += 1
        elif name == "p":
            self._body.begin(self._levels.get(attributes.get("paraPrIDRef", ""), 0))
        elif name in _TEXT:
            self._texts += 1
            self._write("(" if name == "subText" else "")
        elif name == "tc":
            self._body.begin()
            self._cells.append([*self._tables[-1], 1])
            self._tables[-1][1] += 1
        elif name == "tr":
            self._tables[-1] = [self._tables[-1][0] + 1, 0]
        elif name == "tbl":
            self._body.begin()
            self._tables.append([-1, 0])
        elif name in _ASIDES or name in _EDGES:
            self._body.begin()
        else:
            self._mark(name, attributes)

    def _mark(self, name: str, attributes: dict[str, str]) -> None:
        """Elements that have no text in them, but say something."""
        if name in _MARKS:
            self._write(_MARKS[name])
        elif name == "cellAddr" and self._cells:
            self._cells[-1][:2] = number(attributes, "rowAddr"), number(attributes, "colAddr")
        elif name == "cellSpan" and self._cells:
            self._cells[-1][2] = number(attributes, "colSpan")
        elif name in {"deleteBegin", "deleteEnd"}:
            self._deleted = name == "deleteBegin"
        elif name == "compose":
            self._write(attributes.get("composeText", ""))
        elif name == "autoNum":
            self._number = attributes.get("num", "")
        elif name == "autoNumFormat" and self._number is not None:
            self._write(attributes.get("prefixChar", "") + self._number + attributes.get("suffixChar", ""))
            self._number = None
        self.pictures += name in _PICTURES

    def end(self, name: str) -> None:
        if self._hidden:
            self._hidden -= 1
        elif name in _TEXT:
            self._write(")" if name == "subText" else "")
            self._texts -= 1
        elif name == "p" or name in _ASIDES:
            self._body.end()
        elif name == "tc":
            self._body.end_cell(*self._cells.pop())
        elif name == "tbl":
            self._tables.pop()
            self._body.end_table()
        elif name in _EDGES:
            self._body.end_edge()

    def text(self, text: str) -> None:
        if self._texts:
            self._write(text)

    def _write(self, text: str) -> None:
        if text and not self._hidden and not self._deleted:
            self._body.write(text)
