"""The database: one address, short read connections and write transactions, on SQLite or PostgreSQL.

SQLite runs with a write-ahead log, so readers never wait for a writer, and writes begin with
``BEGIN IMMEDIATE``, so a transaction that reads and then writes cannot fail half-way. It takes one writer
at a time, so each process has one connection that writes: its writes wait for each other in order, and
only other processes are waited for by trying again. The file is
never created by a connection (``migrate.upgrade`` does that): while it is away, connecting fails
instead of quietly writing to a new, empty file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import aiosqlite
from sqlalchemy import MetaData, Table, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from moduai.store.files import identity

Connection = AsyncConnection
"""What functions that read or write take; a transaction of the caller is open on it."""

BUSY_S = 5.0
"""How long a write waits for another process's before it fails, on either database."""
PAUSED_S = 30.0
"""How long PostgreSQL lets a transaction rest: one of a process that is paused would hold up all others."""
QUEUE_S = 10.0
"""How long it waits for a connection: on SQLite, for the writes of its own process that came before."""

_SILENCE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 2, "TCP_USER_TIMEOUT": 15_000}
"""PostgreSQL's connections end after 15 s without a sign: seconds, and milliseconds for the last."""

OPENS_HOURS = "modu.opens_hours"
"""What connections of versions that sum up usage by the hour say of themselves (migration 0008)."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of every package; constraint names are fixed so that migrations can name them."""


class Database:
    """A pool of connections to one database. Cheap to make: it connects at first use."""

    def __init__(self, url: str) -> None:
        """``url`` is SQLAlchemy's, with an asynchronous driver (see ``Loaded.database_url``)."""
        self.url = make_url(url)
        self.file = _file(self.url)
        """The SQLite file; None on PostgreSQL."""
        self.errors = _errors(self.url)
        """What is raised when the database is locked, away or broken: worth trying again later."""
        if self.file:
            self._writers, self._readers = _sqlite(self.file, writes=True), _sqlite(self.file)
        else:
            self._writers = _postgresql(self.url)
            self._readers = self._writers.execution_options(isolation_level="REPEATABLE READ")

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        """A connection to read with; all reads in it see one state. Raises one of ``errors``."""
        async with self._readers.connect() as connection:
            yield connection

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Connection]:
        """A write transaction: commits at the end, rolls back on an error. Raises one of ``errors``.

        Never one within another: on SQLite the inner one would wait for the outer.
        """
        async with self._writers.begin() as connection:
            yield connection

    async def dispose(self) -> None:
        """Close every connection."""
        await self._readers.dispose()
        await self._writers.dispose()

    def shown(self) -> str:
        """The address without its password, for people."""
        return str(self.file) if self.file else self.url.render_as_string(hide_password=True)


def _file(url: URL) -> Path | None:
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise ValueError(
            "database.url: SQLite needs a file, such as sqlite+aiosqlite:////var/lib/modu/modu.db"
        )
    return Path(url.database).absolute()


def _errors(url: URL) -> tuple[type[Exception], ...]:
    common = (DBAPIError, PoolTimeoutError, OSError)
    if url.get_backend_name() != "postgresql":
        return common
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415  (SQLite does not need its memory)

    return (*common, asyncpg.PostgresError, asyncpg.InterfaceError)


def _postgresql(url: URL) -> AsyncEngine:
    rules = {
        "lock_timeout": f"{BUSY_S * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{PAUSED_S * 1000:.0f}",
        **{f"tcp_keepalives_{name}": "5" for name in ("idle", "interval", "count")},
        OPENS_HOURS: "yes",
    }
    how = {"timeout": 5, "server_settings": rules}
    engine = create_async_engine(
        url, pool_size=4, max_overflow=4, pool_pre_ping=True, pool_timeout=QUEUE_S, connect_args=how
    )

    @event.listens_for(engine.sync_engine, "connect")
    def opened(connection: Any, _record: Any) -> None:
        _end_silence(connection.driver_connection._transport.get_extra_info("socket"))

    return engine


def _end_silence(taken: socket.socket) -> None:
    """Have the system end a connection whose other end is silent, for its machine died or the way is cut:
    else it is waited for by a quarter of an hour. A statement may take as long as it likes.
    """
    if taken.family == socket.AF_UNIX:
        return
    with socket.socket(fileno=os.dup(taken.fileno())) as handle:  # uvloop's own object cannot set options
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _SILENCE.items():
            if hasattr(socket, name):  # macOS has other names for some
                handle.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _open(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Connect; where that fails, end the connection's thread before the loop that it reports to may end."""
    connection = aiosqlite.connect(*arguments, **options)
    connection._thread.daemon = True  # as SQLAlchemy does: no exit waits for it
    try:
        return await connection
    except BaseException:
        connection._thread.join(1.0)  # it was told to stop: microseconds
        raise


def _sqlite(file: Path, *, writes: bool = False) -> AsyncEngine:
    url = URL.create(
        "sqlite+aiosqlite", database=f"file:{quote(str(file))}", query={"mode": "rw", "uri": "true"}
    )
    how = {"timeout": BUSY_S, "async_creator_fn": _open}
    size, more = (1, 0) if writes else (2, 6)
    engine = create_async_engine(
        url, pool_size=size, max_overflow=more, pool_timeout=QUEUE_S, connect_args=how
    )
    rules = ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"query_only={not writes:d}")

    @event.listens_for(engine.sync_engine, "connect")
    def opened(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # we write BEGIN ourselves, below
        cursor = connection.cursor()
        for pragma in rules:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        record.info["identity"] = identity(file)

    @event.listens_for(engine.sync_engine, "checkout")
    def taken(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["identity"] != identity(file):
            raise DisconnectionError("the database file was replaced")

    @event.listens_for(engine.sync_engine, "begin")
    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that knows ON CONFLICT, in the database's own dialect (PostgreSQL's has the same calls)."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415  (SQLite does not need its memory)

    return cast("sqlite.Insert", postgresql.insert(table))


async def put_new(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows of plain values, all with the same names; those whose key is there stay as they are.

    The values go to the driver as they are: SQLAlchemy's care of each costs more than the insert.
    """
    if not rows:
        return
    names = list(rows[0])
    statement = insert(connection, table).on_conflict_do_nothing()
    text = str(statement.compile(dialect=connection.dialect, column_keys=names))
    await connection.exec_driver_sql(text, list(map(itemgetter(*names), rows)))


def brief(error: Exception) -> str:
    """The driver's own words in one line, without the statement and its values."""
    text = str(getattr(error, "orig", None) or error)
    return text.splitlines()[0] if text else type(error).__name__
