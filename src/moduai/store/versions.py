"""The versions of the schema, told without the database's library."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from moduai.store.files import file_address

FOLDER = Path(__file__).with_name("migrations")


def versions() -> list[str]:
    """Every version the code knows, oldest first."""
    return sorted(file.name[:4] for file in (FOLDER / "versions").glob("[0-9]*_*.py"))


def head() -> str:
    """The version the code wants."""
    return versions()[-1]


def version_of(file: Path) -> str:
    """The version of an SQLite file, "" if it has none. Raises ``sqlite3.Error``."""
    with closing(sqlite3.connect(file_address(file), uri=True)) as connection:
        names = connection.execute("PRAGMA table_list").fetchall()
        if not any("alembic_version" in row for row in names):
            return ""
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
