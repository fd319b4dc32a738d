"""Reading a document: bytes in, text and passages out, and nothing else. Pure: no file, no network, no clock.

``read`` picks the reader by what the bytes are, then by the name's ending. A reader takes any bytes and gives a
``Parsed`` or raises ``ReadError`` with one of these codes; all of them fail closed, the document is refused:

* ``empty``: nothing to read is in it
* ``unknown_format``: no reader for it
* ``broken``: it does not keep to its own format
* ``encrypted``: it is protected by a password
* ``too_large``, ``too_deep``: more than ``Limits`` allows
* ``doctype``: it declares entities, which could hide words or unfold to any size
"""

from __future__ import annotations

import io
import zipfile
from importlib import import_module
from pathlib import PurePosixPath
from typing import Protocol, cast

from msgspec.structs import replace

from moduai.knowledge.readers import decisions, hypertext, lines
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.readers.text import decoded
from moduai.knowledge.types import Parsed, ReadError

__all__ = ["LIMITS", "SUFFIXES", "Limits", "read", "read_all"]

SUFFIXES = frozenset(
    ".md .markdown .txt .text .html .htm .xhtml .jsonl .ndjson .json .csv .tsv .pdf .docx .hwpx .hwp".split()
)
"""Endings of the files that a folder's documents have; others are not looked at."""

_PARTS = {"word/document.xml": "docx", "Contents/content.hpf": "hwpx"}


class Reader(Protocol):
    """A module of this package that reads one format."""

    def read(self, data: bytes, limits: Limits = LIMITS) -> Parsed:
        """The document. Raises ReadError."""


def read(name: str, data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The one document of a file. Raises ReadError, where the file holds several with the code ``several``."""
    documents = read_all(name, data, limits)
    if len(documents) > 1:
        raise ReadError("several", f"The file holds {len(documents):,} documents.")
    return documents[0][1]


def read_all(name: str, data: bytes, limits: Limits = LIMITS) -> list[tuple[str, Parsed]]:
    """Key and document of each document in a file: one with an empty key, or rows with their ids as keys."""
    if len(data) > limits.bytes:
        raise ReadError("too_large", f"The file has more than {limits.bytes >> 20} MiB.")
    if not data.strip():
        raise ReadError("empty", "The file is empty.")
    chosen = _format(name, data)
    if chosen == "lines":
        return lines.read_all(data, limits)
    parsed = cast("Reader", import_module(f"{__name__}.{chosen}")).read(data, limits)
    if not parsed.facts.title:
        parsed = replace(parsed, facts=replace(parsed.facts, title=PurePosixPath(name).stem or name))
    return [("", parsed)]


def _format(name: str, data: bytes) -> str:
    """The module that reads it."""
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "hwp5"
    if data.startswith(b"PK"):
        return _packed(data)
    text = decoded(data, limits=LIMITS)
    suffix = PurePosixPath(name).suffix.lower()
    if hypertext.looks_like_it(text):
        return "hypertext"
    if text.startswith("---\n") or suffix in {".md", ".markdown"}:
        return "markdown"
    if lines.looks_like_it(text):
        return "lines"
    if suffix in {".csv", ".tsv"}:
        return "table"
    if suffix in {".html", ".htm", ".xhtml"}:
        return "hypertext"
    return "decisions" if decisions.looks_like_one(text) else "text"


def _packed(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise ReadError("broken", "The file is damaged: its archive cannot be opened.") from error
    chosen = next((reader for part, reader in _PARTS.items() if part in names), "")
    if not chosen:
        raise ReadError("unknown_format", "The archive is neither DOCX nor HWPX.")
    return chosen
