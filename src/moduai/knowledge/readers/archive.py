"""Parts of a zip archive and the XML in them, within bounds.

Nothing is written to disk, no part is opened that a reader does not ask for, and an archive within an archive
is never unpacked. What counts is the bytes that come out, not the sizes that the archive claims. XML with a
document type is refused: without one there are no entities, so nothing grows and nothing is fetched. Every
check fails closed.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from xml.parsers import expat

from moduai.knowledge.readers.limits import Limits, check_size
from moduai.knowledge.types import ReadError

_ENTRY = b"PK\x01\x02"
"""Opens each entry of an archive's list."""
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
"""What ``zipfile`` raises on bytes that are not an archive of its kind."""


class Archive:
    """An open zip archive; all parts together give at most ``limits.unpacked`` bytes, also read twice."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        check_size(data, limits)
        if (
            data.count(_ENTRY) > limits.parts
        ):  # before the list is built: an entry costs far more than its bytes
            raise ReadError("too_large", f"The archive holds more than {limits.parts:,} parts.")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except _BROKEN as error:
            raise ReadError("broken", "The file is damaged: its archive cannot be opened.") from error
        self._parts = {info.filename: info for info in self._zip.infolist()}
        self._left = limits.unpacked
        self.names = tuple(self._parts)

    def part(self, name: str) -> bytes:
        """All of one part; a missing one is a damaged file."""
        info = self._parts.get(name)
        if info is None:
            raise ReadError("broken", f"The file is damaged: it has no part {name[:100]!r}.")
        if info.flag_bits & _ENCRYPTED:
            raise ReadError("encrypted", "The file is protected by a password.")
        if info.compress_type not in _METHODS:
            raise ReadError("broken", "The file is packed in a way that its format does not allow.")
        try:
            with self._zip.open(info) as stream:
                data = stream.read(self._left + 1)
        except _BROKEN as error:
            raise ReadError("broken", f"The file is damaged: {name[:100]!r} cannot be unpacked.") from error
        self._left -= len(data)
        if self._left < 0:
            raise ReadError("too_large", "The file unpacks to more than is read of one document.")
        return data


class Elements:
    """What hears the elements of a part; names come without their prefix."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element opens."""

    def end(self, name: str) -> None:
        """An element closes."""

    def text(self, text: str) -> None:
        """Characters, some or all that stand together."""


def walk(data: bytes, elements: Elements, limits: Limits) -> None:
    """Tell ``elements`` what is in an XML part, in order."""
    depth = seen = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, seen
        depth, seen = depth + 1, seen + 1
        if depth > limits.depth:
            raise ReadError("too_deep", f"The file nests more than {limits.depth} elements.")
        if seen > limits.records:
            raise ReadError("too_large", f"A part of the file has more than {limits.records:,} elements.")
        elements.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        elements.end(_local(name))

    def doctype(*_: object) -> None:
        raise ReadError("doctype", "The file declares a document type, which may hide entities.")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = elements.text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except ReadError:
        raise
    except (
        expat.ExpatError,
        LookupError,
        ValueError,
    ) as error:  # the latter two: an encoding it does not know
        raise ReadError("broken", "The file is damaged: a part is not well-formed XML.") from error


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def number(attributes: Mapping[str, str], name: str) -> int:
    """A small number that a file gives, from 0; 0 where it gives none or nonsense."""
    text = attributes.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0
