"""Hangul documents of the older binary kind (HWP 5): records in the streams of a compound file.

Streams are read by Hancom's published description of the format, revision 1.3. A record has a tag, a level
and data; what belongs to a record follows it with higher levels, and the paragraphs of a list (a cell, a
note) follow it at its own level. Passwords and documents for distribution only are refused, not broken.
Scripts and embedded objects are neither run nor read.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from moduai.knowledge.readers.body import Body, Frame
from moduai.knowledge.readers.compound import Compound, broken
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.types import Parsed, ReadError

_SIGNATURE = b"HWP Document File"
_COMPRESSED = 1 << 0
_PROTECTED = {
    1 << 1: ("encrypted", "The document is protected by a password."),
    1 << 2: (
        "distribution",
        "The document is a copy for distribution, whose text is locked: add the original.",
    ),
    1 << 4: ("encrypted", "The document is protected by digital rights management."),
    1 << 8: ("encrypted", "The document is encrypted with a certificate."),
    1 << 10: ("encrypted", "The document is protected by digital rights management."),
}
"""Bits of the header's flags."""
_SECTION = re.compile(r"BodyText/Section(\d{1,5})")
_SUMMARY = "\x05HwpSummaryInformation"

_PARA_SHAPE = 25
_PARA_HEADER, _PARA_TEXT, _CTRL_HEADER, _LIST_HEADER, _TABLE, _EQUATION = 66, 67, 71, 72, 77, 88
_OUTLINE = 1

_RUN = re.compile(rb"(?:[\x20-\xff]\x00|[\x00-\xff][^\x00])+")
"""UTF-16 characters that are none of the format's 32 controls."""
_PLAIN = {10: "\n", 24: "-", 30: " ", 31: " "}
"""Controls that are text, of one unit."""
_UNITS = frozenset({0, 10, 13, *range(24, 32)})
"""Controls of one unit; the others have eight."""
_INLINE = frozenset({4, 5, 6, 7, 8, 9, 19, 20})
"""Controls that no record stands for."""
_TAB = 9
_EDGES = frozenset({b"head", b"foot"})
_HIDDEN = frozenset({b"tcmt", b"%%me"})
"""Comments and memos."""
_PICTURE = 85


class Record(NamedTuple):
    """One record of a stream."""

    tag: int
    level: int
    data: bytes


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The document; raises ReadError where it is not one, is protected, or is past a limit."""
    file = _File(data, limits)
    body = Body(limits)
    section = _Section(body, _levels(file.records("DocInfo")))
    for name in file.sections:
        for record in file.records(name):
            section.record(record)
        section.end()
    if section.pictures:
        body.notes.append(f"Pictures were not read: {section.pictures}.")
    return body.parsed(file.title())


class _File:
    """Streams of the file, unpacked: all together at most ``limits.unpacked`` bytes."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._compound = Compound(data, limits)
        self._limits = limits
        self._left = limits.unpacked
        self._records = 0
        if "FileHeader" not in self._compound:
            raise ReadError("unknown_format", "The file is not a Hangul document, but of another program.")
        header = self._compound.stream("FileHeader")
        if not header.startswith(_SIGNATURE) or len(header) < 40:
            raise ReadError("unknown_format", "The file is not a Hangul document of version 5.")
        (self._flags,) = struct.unpack_from("<I", header, 36)
        for bit, (code, reason) in _PROTECTED.items():
            if self._flags & bit:
                raise ReadError(code, reason)
        found = [
            (int(match[1]), match[0]) for match in map(_SECTION.fullmatch, self._compound.paths) if match
        ]
        self.sections = [name for _, name in sorted(found)]
        if not self.sections:
            raise ReadError("broken", "The file is damaged: it has no section of text.")

    def records(self, name: str) -> Iterator[Record]:
        """Records of one stream, in order."""
        data = self._take(self._compound.stream(name))
        if self._flags & _COMPRESSED:
            data = self._inflate(data)
        at, end = 0, len(data)
        while at + 4 <= end:
            (head,) = struct.unpack_from("<I", data, at)
            at += 4
            size = head >> 20
            if size == 0xFFF:
                if at + 4 > end:
                    raise broken("a record is cut short")
                (size,) = struct.unpack_from("<I", data, at)
                at += 4
            if at + size > end:
                raise broken("a record is cut short")
            self._records += 1
            if self._records > self._limits.records:
                raise ReadError("too_large", f"The file has more than {self._limits.records:,} records.")
            level = head >> 10 & 0x3FF
            if level > self._limits.depth:
                raise ReadError("too_deep", f"The document nests more than {self._limits.depth} parts.")
            yield Record(head & 0x3FF, level, data[at : at + size])
            at += size

    def _inflate(self, data: bytes) -> bytes:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            found = unpack.decompress(data, self._left + 1)
        except zlib.error as error:
            raise broken("a part cannot be unpacked") from error
        self._take(found)
        if not unpack.eof:
            raise broken("a part is cut short")
        return found

    def _take(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            raise ReadError("too_large", "The file unpacks to more than is read of one document.")
        return data

    def title(self) -> str:
        """What the summary says; empty where there is none, or it is damaged: nothing depends on it."""
        if _SUMMARY not in self._compound:
            return ""
        try:
            return _title(self._compound.stream(_SUMMARY))
        except (ReadError, struct.error):
            return ""


def _title(summary: bytes) -> str:
    """Property 2 of the first set ([MS-OLEPS])."""
    (start,) = struct.unpack_from("<I", summary, 44)
    (count,) = struct.unpack_from("<I", summary, start + 4)
    for number in range(min(count, 64)):
        name, offset = struct.unpack_from("<II", summary, start + 8 + number * 8)
        kind, length = struct.unpack_from("<II", summary, start + offset)
        if name == 2 and kind == 31:
            text = summary[start + offset + 8 :][: min(length, 1_000) * 2]
            return text.decode("utf-16-le", "replace").partition("\0")[0]
    return ""


def _levels(records: Iterator[Record]) -> list[int]:
    """Of each shape of paragraphs: how deep it stands in the outline, from 1; 0: it is no heading."""
    levels = []
    for record in records:
        if record.tag == _PARA_SHAPE and len(record.data) >= 4:
            (shape,) = struct.unpack_from("<I", record.data)
            levels.append(1 + (shape >> 25 & 7) if shape >> 23 & 3 == _OUTLINE else 0)
    return levels


@dataclass(slots=True)
class _Open:
    """What is open: a paragraph, a control (a table, a note) or a list of paragraphs (a cell)."""

    level: int
    close: Callable[[], None]
    control: bytes = b""
    holds: bool = False
    """A list: paragraphs of its own level belong to it."""
    table: bool = False
    """A control's table has been described: lists that follow are cells."""
    slots: list[tuple[Frame, int]] = field(default_factory=list)
    """Of a paragraph: places of its controls, in order."""


class _Section:
    """Records of one section after another, told to the body."""

    def __init__(self, body: Body, levels: list[int]) -> None:
        self._body = body
        self._levels = levels
        self._stack: list[_Open] = []
        self.pictures = 0

    def end(self) -> None:
        """Close what is open."""
        while self._stack:
            self._stack.pop().close()

    def record(self, record: Record) -> None:
        """What one record says."""
        while self._stack and self._closes(self._stack[-1], record):
            self._stack.pop().close()
        if record.tag == _PARA_HEADER:
            self._paragraph(record)
        elif record.tag == _PARA_TEXT:
            self._text(record.data)
        elif record.tag == _CTRL_HEADER:
            self._control(record)
        elif record.tag == _LIST_HEADER:
            self._list(record)
        elif record.tag == _TABLE and self._stack:
            self._stack[-1].table = True
        elif record.tag == _EQUATION:
            self._equation(record.data)
        self.pictures += record.tag == _PICTURE

    def _closes(self, top: _Open, record: Record) -> bool:
        if top.holds and record.tag == _PARA_HEADER:
            return top.level > record.level
        return top.level >= record.level

    def _open(self, what: _Open) -> None:
        self._body.begin()
        self._stack.append(what)

    def _paragraph(self, record: Record) -> None:
        shape = struct.unpack_from("<H", record.data, 8)[0] if len(record.data) >= 10 else 0
        self._body.begin(self._levels[shape] if shape < len(self._levels) else 0)
        self._stack.append(_Open(record.level, self._body.end))

    def _control(self, record: Record) -> None:
        """A table, a note, a box, a number: what stands at the next place that the paragraph left for one."""
        name = record.data[3::-1]
        slots = self._stack[-1].slots if self._stack else []
        place = slots.pop(0) if slots else None
        close: Callable[[], None] = self._body.end
        if name == b"tbl ":
            close = self._body.end_table
        elif name in _EDGES:
            close = self._body.end_edge
        elif name in _HIDDEN:
            close = self._forget
        elif name == b"atno" and place and len(record.data) >= 16:
            frame, index = place
            frame.pieces[index] = _number(record.data)
        elif name == b"tdut" and place:
            frame, index = place
            frame.pieces[index] = _annotated(record.data)
        self._open(_Open(record.level, close, control=name))

    def _forget(self) -> None:
        self._body.close()

    def _list(self, record: Record) -> None:
        top = self._stack[-1] if self._stack else None
        close: Callable[[], None] = self._body.end
        if top and top.control == b"tbl " and top.table and len(record.data) >= 16:
            column, row, span = struct.unpack_from("<3H", record.data, 8)

            def close() -> None:
                self._body.end_cell(row, column, span)

        self._open(_Open(record.level, close, holds=True))

    def _text(self, data: bytes) -> None:
        at = 0
        while at + 2 <= len(data):
            if run := _RUN.match(data, at):
                self._body.write(run[0].decode("utf-16-le", "replace"))
                at = run.end()
                continue
            control = data[at]
            at += 2 if control in _UNITS else 16
            if control in _PLAIN or control == _TAB:
                self._body.write(_PLAIN.get(control, " "))
            elif control not in _UNITS and control not in _INLINE and self._stack:
                self._stack[-1].slots.append(self._body.slot())

    def _equation(self, data: bytes) -> None:
        """An equation's own notation."""
        if len(data) >= 6:
            (length,) = struct.unpack_from("<H", data, 4)
            self._body.write(data[6 : 6 + 2 * length].decode("utf-16-le", "replace"))


def _number(data: bytes) -> str:
    """An automatic number with what stands around it."""
    number, _, before, after = struct.unpack_from("<4H", data, 8)
    around = [chr(unit) if unit >= 32 and not 0xD800 <= unit < 0xE000 else "" for unit in (before, after)]
    return f"{around[0]}{number}{around[1]}"


def _annotated(data: bytes) -> str:
    """Words with small ones above or below them."""
    words, at = [], 4
    for _ in range(2):
        length = int.from_bytes(data[at : at + 2], "little") * 2
        words.append(data[at + 2 : at + 2 + length].decode("utf-16-le", "replace"))
        at += 2 + length
    return f"{words[0]}({words[1]})"
