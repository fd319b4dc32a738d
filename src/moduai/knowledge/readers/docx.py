"""Documents of Word (DOCX, ISO/IEC 29500): a zip archive of XML.

Styles with an outline level are headings; deleted and moved text of tracked changes, comments, instructions
of fields and what stands twice for older programs are no text. Parts are found by the package's relations,
and only those inside it. Macros and embedded objects are neither run nor read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import NamedTuple

from moduai.knowledge.readers.archive import Archive, Elements, number, walk
from moduai.knowledge.readers.body import Body, Line
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.types import Parsed

_HIDDEN = frozenset({"del", "moveFrom", "Fallback", "rt", "tabs", "pPrChange", "tcPrChange"})
"""Beside text that is gone: places of tabulators, and properties as they were."""
_MARKS = {"tab": " ", "ptab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_NOTES = ("footnotes", "endnotes")
_EDGES = ("header", "footer")
_PICTURES = frozenset({"blip", "imagedata", "OLEObject", "altChunk"})
_STYLES = 10
"""Most steps from a style to the one that it is based on."""


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The document; raises ReadError where it is not one, is protected, or is past a limit."""
    package = _Package(Archive(data, limits), limits)
    main = next(iter(package.related("", "officeDocument")), "word/document.xml")
    styles = _Styles()
    for part in package.related(main, "styles"):
        package.walk(part, styles)
    levels = styles.levels()
    body = Body(limits)
    notes: dict[tuple[str, str], list[Line]] = {}
    for kind in _NOTES:
        for part in package.related(main, kind):
            package.walk(part, _Text(body, levels, notes))
    text = _Text(body, levels, notes)
    package.walk(main, text)
    for kind in _EDGES:
        for part in package.related(main, kind):
            body.begin()
            package.walk(part, text)
            body.end_edge()
    if text.pictures:
        body.notes.append(f"Pictures and objects were not read: {text.pictures}.")
    core = _Core()
    for part in package.related("", "core-properties"):
        package.walk(part, core)
    return body.parsed("".join(core.title))


class _Package:
    """Parts and how they relate."""

    def __init__(self, archive: Archive, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        self._relations: dict[str, list[_Relation]] = {}

    def walk(self, part: str, elements: Elements) -> None:
        walk(self._archive.part(part), elements, self._limits)

    def related(self, part: str, kind: str) -> list[str]:
        """Parts of a kind that ``part`` names, each once; of the package as a whole for an empty one."""
        folder, name = posixpath.split(part)
        if part not in self._relations:
            listed = posixpath.join(folder, "_rels", f"{name}.rels")
            relations = _Relations()
            if listed in self._archive.names:
                self.walk(listed, relations)
            self._relations[part] = relations.found
        targets = [each.target for each in self._relations[part] if each.kind == kind]
        paths = [posixpath.normpath(posixpath.join("/", folder, target))[1:] for target in targets]
        return [path for path in dict.fromkeys(paths) if path in self._archive.names]


class _Relation(NamedTuple):
    kind: str
    target: str


class _Relations(Elements):
    """What a part names; not what lies outside the package."""

    def __init__(self) -> None:
        self.found: list[_Relation] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "Relationship" and attributes.get("TargetMode") != "External":
            kind = attributes.get("Type", "").rpartition("/")[2]
            self.found.append(_Relation(kind, attributes.get("Target", "")))

    def end(self, name: str) -> None: ...
    def text(self, text: str) -> None: ...


class _Core(Elements):
    """The title that the package says."""

    def __init__(self) -> None:
        self.title: list[str] = []
        self._open = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._open = name == "title"

    def end(self, name: str) -> None:
        self._open = False

    def text(self, text: str) -> None:
        if self._open:
            self.title.append(text)


class _Styles(Elements):
    """Which styles are headings, and how deep."""

    def __init__(self) -> None:
        self._own: dict[str, int] = {}
        self._based: dict[str, str] = {}
        self._style = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "style":
            self._style = attributes.get("styleId", "")
        elif name == "basedOn":
            self._based[self._style] = attributes.get("val", "")
        elif name == "outlineLvl":
            self._own[self._style] = outline(attributes)

    def end(self, name: str) -> None: ...
    def text(self, text: str) -> None: ...

    def levels(self) -> dict[str, int]:
        """Levels from 1, of all styles that have one or are based on one that has."""
        found = dict(self._own)
        for style in self._based:
            above = style
            for _ in range(_STYLES):
                if above in self._own:
                    found[style] = self._own[above]
                    break
                above = self._based.get(above, "")
        return found


def outline(attributes: Mapping[str, str]) -> int:
    """A heading's level, from 1; 9 in the file means body text."""
    level = number(attributes, "val")
    return level + 1 if level < 9 else 0


class _Text(Elements):
    """A part of text, told to the body; notes are kept until a paragraph names them."""

    def __init__(
        self, body: Body, levels: Mapping[str, int], notes: dict[tuple[str, str], list[Line]]
    ) -> None:
        self._body = body
        self._levels = levels
        self._notes = notes
        self._hidden = 0
        self._texts = 0
        self._tables: list[list[int]] = [[0, 0, 1]]
        """Row, column and width of what comes next in the tables that are open; the first is no table."""
        self._note = ("", "")
        self.pictures = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        table = self._tables[-1]
        if self._hidden or name in _HIDDEN:
            self._hidden += 1
        elif name in {"p", "txbxContent", "tc"}:
            self._body.begin()
        elif name == "t":
            self._texts += 1
        elif name == "tbl":
            self._body.begin()
            self._tables.append([0, 0, 1])
        elif name == "tr":
            table[:2] = table[0] + 1, 0
        elif name == "gridSpan":
            table[2] = max(1, number(attributes, "val"))
        elif name == "gridBefore":
            table[1] = number(attributes, "val")
        elif name in {"footnote", "endnote"}:
            self._body.begin()
            self._note = (name, attributes.get("id", "") if "type" not in attributes else "")
        else:
            self._mark(name, attributes)

    def _mark(self, name: str, attributes: dict[str, str]) -> None:
        """Elements that have no text in them, but say something."""
        if name in _MARKS:
            self._body.write(_MARKS[name])
        elif name == "pStyle":
            self._body.level(self._levels.get(attributes.get("val", ""), 0))
        elif name == "outlineLvl":
            self._body.level(outline(attributes))
        elif name in {"footnoteReference", "endnoteReference"}:
            key = (name.removesuffix("Reference"), attributes.get("id", ""))
            self._body.take(self._notes.pop(key, []))
        self.pictures += name in _PICTURES

    def end(self, name: str) -> None:
        table = self._tables[-1]
        if self._hidden:
            self._hidden -= 1
        elif name in {"p", "txbxContent"}:
            self._body.end()
        elif name == "t":
            self._texts -= 1
        elif name == "tc":
            self._body.end_cell(*table)
            table[1:] = table[1] + table[2], 1
        elif name == "tbl":
            self._tables.pop()
            self._body.end_table()
        elif name in {"footnote", "endnote"}:
            self._notes[self._note] = self._body.close()

    def text(self, text: str) -> None:
        if self._texts and not self._hidden:
            self._body.write(text)
