"""What the database of a service holds, read without the service's code."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from contextlib import closing

from benchmarks.harness.answering import Note
from benchmarks.harness.modu import Home


def _read(home: Home, query: str) -> list[tuple[str, int, bytes]]:
    with closing(sqlite3.connect(f"file:{home.folder / 'modu.db'}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def keys(home: Home) -> dict[str, str]:
    """Documents and their keys: the paths of files."""
    return {document: str(key) for document, _, key in _read(home, "SELECT id, version, key FROM documents")}


def wrong(home: Home, notes: Sequence[Note]) -> list[str]:
    """Citations whose words are not at the place named, in the version named."""
    rows = _read(home, "SELECT document, version, text FROM document_versions")
    texts = {(document, version): zlib.decompress(text).decode() for document, version, text in rows}
    bad = []
    for note in notes:
        place = note.modu
        words = texts.get((place.document, place.version), "")[place.start : place.end]
        address = f"/source/{place.document}/{place.version}?from={place.start}&to={place.end}#here"
        if words != place.quote or not words.strip() or note.url_citation.url != address:
            bad.append(f"{place.document} {place.version} {place.start}–{place.end}: {place.quote[:80]!r}")
    return bad
