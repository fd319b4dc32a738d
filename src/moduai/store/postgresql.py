"""Tables of PostgreSQL to files and back, for backups, without any tool of the server's.

Rule: the files are of one state, a CSV each with the columns' names on top, as PostgreSQL writes and reads
it. Putting them back is one transaction that ends with all of it or changes nothing; tables that were there
are moved to a schema of their own. The database is Modu's alone: every table of its schema counts as ours.
"""

from __future__ import annotations

import csv
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text

from moduai.store import migrate
from moduai.store.database import Connection, Database

ENDING = ".csv"
_TABLES = text(
    "SELECT relname, relispartition FROM pg_class"
    " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY relname"
)
_VERSION = "alembic_version"


async def dump(url: str, folder: Path, progress: Callable[[str, int, int], None]) -> str:
    """Write every table into ``folder``, which must exist; the schema's version, "" if there is none.

    Raises one of ``Database.errors``, or OSError.
    """
    db = Database(url)
    try:
        async with db.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            schema = await migrate.version(connection)
            names = [row.relname for row in await connection.execute(_TABLES) if not row.relispartition]
            for number, name in enumerate(names if schema else []):
                progress("copying the database", number, len(names))
                if name != _VERSION:
                    await _write(connection, name, folder / f"{name}{ENDING}")
            return schema or ""
    finally:
        await db.dispose()


async def _write(connection: Connection, name: str, file: Path) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as output:
        query = f"SELECT * FROM {_quoted(connection, name)}"  # noqa: S608  (a table's name, quoted)
        await (await _driver(connection)).copy_from_query(query, output=output, format="csv", header=True)


async def has_tables(url: str) -> bool:
    """Whether anything is in the database. Raises one of ``Database.errors``."""
    db = Database(url)
    try:
        async with db.connect() as connection:
            return (await connection.execute(_TABLES)).first() is not None
    finally:
        await db.dispose()


async def load(url: str, folder: Path, schema: str) -> str:
    """Make the tables of a schema's version and fill them with what ``dump`` wrote; the name of the schema
    that now has what was there, "" if nothing was. Raises one of ``Database.errors``, or OSError.
    """
    db = Database(url)
    try:
        async with db.begin() as connection:
            aside = await _set_aside(connection)
            await migrate.upgrade_within(connection, schema)
            made = await connection.run_sync(lambda sync: inspect(sync).get_sorted_table_and_fkc_names())
            for name in [name for name, _ in made if name and (folder / f"{name}{ENDING}").exists()]:
                await connection.execute(text(f"DELETE FROM {_quoted(connection, name)}"))  # noqa: S608
                await _fill(connection, name, folder / f"{name}{ENDING}")
            return aside
    finally:
        await db.dispose()


async def _set_aside(connection: Connection) -> str:
    names = [row.relname for row in await connection.execute(_TABLES)]
    if not names:
        return ""
    aside = f"replaced_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}_{secrets.token_hex(2)}"
    await connection.execute(text("SET LOCAL lock_timeout = '10s'"))  # somebody else still works with it
    await connection.execute(text(f"CREATE SCHEMA {aside}"))
    for name in names:
        await connection.execute(text(f"ALTER TABLE {_quoted(connection, name)} SET SCHEMA {aside}"))
    return aside


async def _fill(connection: Connection, name: str, file: Path) -> None:
    with file.open(newline="", encoding="utf-8") as source:
        columns = next(csv.reader(source))
    with file.open("rb") as content:
        await (await _driver(connection)).copy_to_table(
            name, source=content, columns=columns, format="csv", header=True
        )


async def _driver(connection: Connection) -> Any:
    """Asyncpg's own connection, in the transaction that is open."""
    return (await connection.get_raw_connection()).driver_connection


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
