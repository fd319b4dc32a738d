"""The schema's version: what the database has, what the code wants, and the way there.

A start with the schema at head costs one query; Alembic is imported only when there is work. An
upgrade is one transaction under a lock: it happens once however many processes start, or not at
all. It never makes others wait for long: a table that somebody is reading is asked for again and again,
and while it is not given everybody else goes on. A database that is newer than the code is refused
(fails closed).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection as SyncConnection
from sqlalchemy import column, func, inspect, select, table, text
from sqlalchemy.exc import DBAPIError

from moduai.store.database import Connection, Database
from moduai.store.files import place
from moduai.store.versions import FOLDER, head, versions

_LOCK = 0x6D6F6475
"""PostgreSQL's advisory lock of upgrades: "modu"."""
LOCK_MS = 2_000
"""How long an upgrade of PostgreSQL waits for a table, and all who want the table behind it."""
TRIES, AGAIN_S = 60, 1.0
"""How often it tries to have its tables, and what others have between two tries."""
BESIDE = "0007"
"""Processes of an older schema than this may not work beside ours on SQLite: their usage opens no hours."""
_LOCK_NOT_AVAILABLE = "55P03"
_version = table("alembic_version", column("version_num"))


class SchemaError(RuntimeError):
    """The database's schema cannot be used by this version; the text says what to do."""


async def current(db: Database) -> str | None:
    """The version the database has; None if it has no schema yet. Raises one of ``db.errors``."""
    if db.file and not db.file.exists():
        return None
    async with db.connect() as connection:
        return await version(connection)


async def upgrade(url: str, to: str = "") -> str:
    """Bring the database to ``to`` (default: head), making it if it is not there; returns the version
    it had, or "". Raises SchemaError, or one of ``Database.errors``.
    """
    db = Database(url)
    try:
        had = await current(db)
        if had != (to or head()):
            _check(had)
            if db.file:
                _make(db.file)
            had = await _upgraded(db, to or head())
        return had or ""
    finally:
        await db.dispose()


async def _upgraded(db: Database, to: str) -> str | None:
    """Try until nobody has a table that is to change. Raises SchemaError."""
    for _ in range(TRIES):
        try:
            async with db.begin() as connection:
                return await upgrade_within(connection, to)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != _LOCK_NOT_AVAILABLE:
                raise
        await asyncio.sleep(AGAIN_S)
    raise SchemaError(
        f"somebody reads {db.shown()} without end, so its tables cannot be changed: see pg_stat_activity, "
        "end what has run for long there, and try again"
    )


async def check(db: Database) -> None:
    """Raise SchemaError unless the database is at head."""
    had = await current(db)
    _check(had)
    if had is None:
        raise SchemaError(f"there is no data in {db.shown()} yet: run modu up")
    if had != head():
        raise SchemaError(f"the database {db.shown()} has schema {had}, not {head()}: run modu up")


def _check(had: str | None) -> None:
    if had is not None and had not in versions():
        raise SchemaError(
            f"the database has schema {had}, newer than this Modu (schema {head()}): "
            "install the newer Modu, or restore a backup of before it"
        )


async def upgrade_within(connection: Connection, to: str) -> str | None:
    """Bring the database to ``to`` in the caller's transaction, under a lock; returns the version it had.

    Raises SchemaError.
    """
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SET LOCAL lock_timeout = 0"))  # who is first may take its time
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        await connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MS}"))
    had = await version(connection)  # again: another process may have been first
    _check(had)
    if had is None or had < to:
        await connection.run_sync(_run, to)
    return had


async def version(connection: Connection) -> str | None:
    """The version the database has; None if it has no schema yet."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
        return None
    found: str | None = await connection.scalar(select(_version.c.version_num))
    return found


def _run(connection: SyncConnection, to: str) -> None:
    from alembic import command  # noqa: PLC0415  (11 MB and 0.2 s, seldom needed)
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _make(file: Path) -> None:
    """An empty database that only we can read (SQLite gives its log files the same mode).

    It gets its name only when it has its write-ahead log: connections that switch to one at the same
    time would fail as locked.
    """
    if file.exists():
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f".{secrets.token_hex(8)}.new")
    try:
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(draft)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        place(draft, file)
    except FileExistsError:
        pass  # another process was first
    finally:
        draft.unlink(missing_ok=True)
