"""Reading a document: bytes in, text and passages out, and nothing else. Pure: no file, no network, no
clock.

``read`` picks the reader by what the bytes are, then by the name's ending. A reader takes any bytes and
gives a ``Parsed`` or raises ``ReadError`` with one of these codes; all of them fail closed, the document is
refused:

* ``empty``: nothing to read is in it
* ``unknown_format``: no reader for it
* ``several``: one document was asked for, and it holds more
* ``broken``: it does not keep to its own format
* ``encrypted``: it is protected by a password; ``distribution``: it is a locked copy of a Hangul document
* ``too_large``, ``too_deep``: more than ``Limits`` allows; ``too_heavy``: more time than a PDF may take
* ``doctype``: it declares entities, which could hide words or unfold to any size
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import PurePosixPath
from typing import Protocol, cast

from msgspec.structs import replace

from moduai.knowledge.readers import decisions, hypertext, lines, official
from moduai.knowledge.readers.archive import Archive
from moduai.knowledge.readers.limits import LIMITS, Limits, check_size
from moduai.knowledge.readers.outline import one_line
from moduai.knowledge.readers.text import language, opening
from moduai.knowledge.types import Facts, Parsed, ReadError

__all__ = ["LIMITS", "SUFFIXES", "Limits", "read", "read_all"]

_SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".html": "hypertext", ".htm": "hypertext"} | {
    ".jsonl": "lines", ".ndjson": "lines", ".json": "lines", ".csv": "table", ".tsv": "table", ".txt": "text",
}  # fmt: skip
_LOOKS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("markdown", lambda text: text.startswith("---\n")),
    ("official", official.looks_like_it),
    ("hypertext", hypertext.looks_like_it),
    ("lines", lines.looks_like_it),
    ("decisions", decisions.looks_like_one),
)
_FOLDERS = {"word/": "docx", "Contents/": "hwpx"}
"""Of an archive: where its text is."""
_SAID = ("title", "language", "licence", "ministry", "number", "level")
_FACT = 300
"""Most characters of each."""

SUFFIXES = frozenset((*_SUFFIXES, ".pdf", ".docx", ".hwpx", ".hwp"))
"""Endings of the files in a folder that are documents."""


class Reader(Protocol):
    """A module of this package that reads one format."""

    def read(self, data: bytes, limits: Limits = LIMITS) -> Parsed:
        """The document. Raises ReadError."""


def read(name: str, data: bytes, limits: Limits = LIMITS) -> Parsed:
    """The one document of a file. Raises ReadError; ``several`` where it holds more."""
    documents = read_all(name, data, limits)
    if len(documents) > 1:
        raise ReadError("several", f"The file holds {len(documents):,} documents.")
    return documents[0][1]


def read_all(name: str, data: bytes, limits: Limits = LIMITS) -> list[tuple[str, Parsed]]:
    """Key and document of each document in a file: one with an empty key, or rows with their ids as keys."""
    check_size(data, limits)
    if not data.strip():
        raise ReadError("empty", "The file is empty.")
    chosen = _format(name, data, limits)
    path = PurePosixPath(name)
    if chosen == "lines":
        found = lines.read_all(data, limits, whole=path.suffix.lower() == ".json")
    else:
        found = [("", cast("Reader", import_module(f"{__name__}.{chosen}")).read(data, limits))]
    return [(key, replace(each, facts=_told(each, path.stem or name))) for key, each in found]


def _told(parsed: Parsed, name: str) -> Facts:
    """What a document says of itself, as it may stand beside a citation: each fact on a line, and short."""
    said = {fact: one_line(getattr(parsed.facts, fact))[:_FACT] for fact in _SAID}
    said["title"] = said["title"] or one_line(name)[:_FACT]
    code = re.match(r"[a-z]{2}", said["language"].lower())
    said["language"] = code[0] if code else language(parsed.text)
    return replace(parsed.facts, **said)


def _format(name: str, data: bytes, limits: Limits) -> str:
    """The module that reads it."""
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "hwp5"
    if data.startswith(b"PK"):
        return _packed(data, limits)
    if data.startswith(b"---\n"):
        return "markdown"
    text, suffix = opening(data), PurePosixPath(name).suffix.lower()
    return next((module for module, fits in _LOOKS if fits(text)), "") or _SUFFIXES.get(suffix, "text")


def _packed(data: bytes, limits: Limits) -> str:
    names = Archive(data, limits).names
    chosen = next(
        (reader for at, reader in _FOLDERS.items() if any(name.startswith(at) for name in names)), ""
    )
    if not chosen:
        raise ReadError("unknown_format", "The archive is neither DOCX nor HWPX.")
    return chosen
