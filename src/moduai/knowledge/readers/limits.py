"""How much of one document is read. Counts only, never a clock: the same bytes give the same document
anywhere.

Every count fails closed: past it the document is refused with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass

from moduai.knowledge.types import ReadError


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a reader takes of one file."""

    bytes: int = 64 << 20
    """Of the file as it came."""
    unpacked: int = 256 << 20
    """Bytes of all its parts together, once unpacked."""
    parts: int = 10_000
    """Entries of an archive, streams of a compound file."""
    characters: int = 20_000_000
    """Of the text."""
    passages: int = 200_000
    records: int = 4_000_000
    """Of a binary file, and elements of each XML part of an archive: they cost time beyond their bytes."""
    depth: int = 100
    """Elements within elements."""
    elements: int = 500_000
    """Tags of a page of HTML, opening and closing."""
    pages: int = 5_000
    cells: int = 500_000
    """Of all tables together."""


LIMITS = Limits()


def check_size(data: bytes, limits: Limits) -> None:
    """Refuse a file that is larger than what is read of one. Raises ReadError."""
    if len(data) > limits.bytes:
        raise ReadError("too_large", f"The file is larger than {limits.bytes >> 20:,} MB.")
