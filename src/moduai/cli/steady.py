"""A start on which nothing has to be made or changed, told by reading SQLite without SQLAlchemy.

Importing that library costs 0.6 s of CPU, which every start but the first would pay to write nothing. Where
it cannot be told (PostgreSQL, a database that is away, locked or odd) the answer is "not steady", and the
whole preparation finds out and says why.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from moduai.engines.record import Engine
from moduai.engines.row import from_row
from moduai.settings import Loaded
from moduai.store.files import file_address
from moduai.store.keyring import Keyring
from moduai.store.versions import head, version_of


def steady(
    loaded: Loaded, keyring: Keyring, embedded_id: str, embedded: Engine | None
) -> list[Engine] | None:
    """The engines, by name, if the schema is at head, there is a key, and the record of the embedded engine
    is as ``embedded`` says (None: there is none in use). Otherwise None. Raises KeyringError.
    """
    file = loaded.path("modu.db")
    if loaded.settings.database.url or not file.exists():
        return None
    try:
        if version_of(file) != head():
            return None
        engines = _engines(file, keyring)
    except (sqlite3.Error, msgspec.ValidationError, ValueError):
        return None
    if engines is None:
        return None
    known = next((one for one in engines if one.id == embedded_id and one.state != "removed"), None)
    return engines if known == embedded else None


def _engines(file: Path, keyring: Keyring) -> list[Engine] | None:
    """All engines; None if there is no key of any kind."""
    with closing(sqlite3.connect(file_address(file), uri=True, timeout=1)) as connection:
        connection.row_factory = sqlite3.Row
        if connection.execute("SELECT 1 FROM api_keys LIMIT 1").fetchone() is None:
            return None
        rows = connection.execute("SELECT * FROM engines ORDER BY name, id").fetchall()
    return [from_row(keyring, _decoded(row)) for row in rows]


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    return {**row, "hardware": json.loads(row["hardware"]), "models": json.loads(row["models"])}
