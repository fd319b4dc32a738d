"""The body of a word processor's document: paragraphs, headings, tables and notes in the order of the file.

A reader tells what it meets; what opens must close. A paragraph is a line; what stands in it (a table, a
note, a box) follows it. A row of a table is a line of cells, and a table of a single cell is only a frame
around its paragraphs. Headers and footers of pages come last, each once. Every count fails closed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from moduai.knowledge.readers.limits import Limits
from moduai.knowledge.readers.outline import Outline, clean
from moduai.knowledge.readers.text import language
from moduai.knowledge.types import Facts, Parsed, ReadError

_HEADING = 200
"""Most characters of a heading: what is longer is a paragraph in the style of one."""
_TITLE = 100
_OPENING = 20
"""Lines at the beginning in which a title is looked for."""
_SAMPLE = 500
"""Lines by which the language is told."""
_CELLS = " | "
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")  # not the single ones, which stay as they are


@dataclass(slots=True)
class Line:
    """A paragraph or a row that is done; ``level`` 0: no heading."""

    text: str
    level: int = 0


@dataclass(slots=True)
class Frame:
    """What is open: a paragraph, a cell, a note; with the lines that closed within it."""

    level: int = 0
    pieces: list[str] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    rows: dict[int, dict[int, tuple[int, str]]] = field(default_factory=dict)
    """Of a table: for each row and column the cell's text, and the first column behind it."""
    cell: list[Line] = field(default_factory=list)
    """Of a table: what its last cell has."""


class Body:
    """Takes what a reader meets; ``parsed`` closes it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stack = [Frame()]
        self._edges: dict[str, None] = {}
        self._characters = 0
        self._cells = 0
        self.notes: list[str] = []

    def write(self, text: str) -> None:
        """Characters of what is open."""
        self.count(len(text))
        self._stack[-1].pieces.append(text)

    def slot(self) -> tuple[Frame, int]:
        """A place in the paragraph for what only comes later: ``frame.pieces[index]``."""
        frame = self._stack[-1]
        frame.pieces.append("")
        return frame, len(frame.pieces) - 1

    def count(self, characters: int) -> None:
        """Account for characters before they are kept."""
        self._characters += characters
        if self._characters > self._limits.characters:
            raise ReadError(
                "too_large", f"The document has more than {self._limits.characters:,} characters."
            )

    def begin(self, level: int = 0) -> None:
        """Open a paragraph, a cell, a note or a table."""
        if len(self._stack) > self._limits.depth:
            raise ReadError("too_deep", f"The document nests more than {self._limits.depth} parts.")
        self._stack.append(Frame(level))

    def level(self, level: int) -> None:
        """The open paragraph is a heading of this level; 0: it is none."""
        self._stack[-1].level = level

    def close(self) -> list[Line]:
        """Close what is open; its lines go nowhere else."""
        frame = self._stack.pop()
        text = _words("".join(frame.pieces)) if frame.pieces else ""
        return [Line(text, frame.level), *frame.lines] if text else frame.lines

    def end(self) -> None:
        """Close what is open and give its lines to what is around it."""
        lines = self.close()
        self._stack[-1].lines += lines

    def end_edge(self) -> None:
        """Close a page's header or footer: it comes once, at the end of the document."""
        self._edges.update((line.text, None) for line in self.close())

    def take(self, lines: list[Line]) -> None:
        """Lines that were read before, such as a note's, after the open paragraph."""
        self.count(sum(len(line.text) for line in lines))
        self._stack[-1].lines += lines

    def end_cell(self, row: int, column: int, span: int = 1) -> None:
        """Close a cell that covers ``span`` columns; what is around it must be its table."""
        self._cells += 1
        if self._cells > self._limits.cells:
            raise ReadError("too_large", f"The tables have more than {self._limits.cells:,} cells.")
        lines = self.close()
        table = self._stack[-1]
        text = " ".join(line.text.replace("\n", " ") for line in lines)
        table.rows.setdefault(row, {})[column] = (column + span, text)
        table.cell = lines

    def end_table(self) -> None:
        """Close a table: its rows are lines, in their order."""
        table = self._stack.pop()
        lines = table.cell
        if sum(map(len, table.rows.values())) > 1:
            rows = filter(None, (_row(table.rows[number]) for number in sorted(table.rows)))
            lines = [Line(text) for text in ["\n".join(rows)] if text]
        self._stack[-1].lines += table.lines + lines

    def parsed(self, title: str = "") -> Parsed:
        """The document; ``title`` is what the file says, believed if the text begins with it."""
        lines = self._stack[0].lines
        title = " ".join(_words(title).split())
        opening = _spaceless("".join(line.text for line in lines[:_OPENING])[: _TITLE * _OPENING])
        if not title or len(title) > _TITLE or _spaceless(title) not in opening:
            title = lines[0].text.partition("\n")[0][:_TITLE] if lines else ""
        outline = Outline(self._limits)
        for line in lines:
            if line.level and len(line.text) <= _HEADING:
                outline.heading(line.level, line.text)
            else:
                outline.add(line.text)
        for edge in self._edges:
            outline.add(edge)
        facts = Facts(title=title, language=language("\n".join(line.text for line in lines[:_SAMPLE])))
        return outline.parsed(facts, tuple(self.notes))


def _row(cells: dict[int, tuple[int, str]]) -> str:
    """A line; where cells from above reach into the row, an empty one keeps the columns apart."""
    texts, expected = [], 0
    for column in sorted(cells):
        if column > expected:
            texts.append("")
        expected, text = cells[column]
        texts.append(text)
    return _CELLS.join(texts).rstrip(" |") if any(texts) else ""


def _words(text: str) -> str:
    """Clean lines, white space as single spaces, without empty ones."""
    return "\n".join(filter(None, (_SPACES.sub(" ", line).strip() for line in clean(text).split("\n"))))


def _spaceless(text: str) -> str:
    return "".join(text.split())
