"""The change feed: a writer announces a topic, every process hears of it within milliseconds.

On SQLite a look costs microseconds: ``PRAGMA data_version`` reads shared memory and says whether
any other connection has written at all. On PostgreSQL it is LISTEN, with a look twice a second in
case a notice was missed. A topic carries no data: who hears it reads the tables again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import func, select

from moduai.store.database import Connection, Database, brief, insert
from moduai.store.files import file_address, identity
from moduai.store.tables import changes

OnChange = Callable[[frozenset[str]], Awaitable[None]]

CHANNEL = "modu_changes"
POLL_S = 0.5
"""PostgreSQL: longest time between two looks, with room for what follows: a revoked key has a second."""
MOST_WAIT_S = 2.0
"""Longest wait between two tries while the database is away."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class FeedState:
    """How well the feed follows. Give one to ``follow`` to watch it."""

    looked_at: float = field(default_factory=time.monotonic)
    """``time.monotonic()`` of the last look that succeeded."""
    error: str = ""
    """Why the last look failed; empty if it did not."""
    versions: dict[str, int] = field(default_factory=dict)

    @property
    def lag_s(self) -> float:
        """What is known may be this old, in seconds."""
        return time.monotonic() - self.looked_at


async def announce(connection: Connection, topic: str, times: int = 1) -> None:
    """Say that a topic changed, so many times; heard by others when the caller's transaction commits."""
    write = insert(connection, changes).values(topic=topic, version=times)
    counted = {"version": changes.c.version + times}
    write = write.on_conflict_do_update(index_elements=["topic"], set_=counted)
    await connection.execute(write)
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_notify(CHANNEL, topic)))


async def follow(db: Database, interval: float, on_change: OnChange, state: FeedState | None = None) -> None:
    """Call ``on_change`` with the topics that changed, until cancelled. ``interval`` is in seconds.

    The first call names every topic that was ever announced, so nothing falls between the caller's
    first reading and this one. While the database is locked or away it keeps trying, and changes
    made meanwhile are told afterwards. A topic counts as told once ``on_change`` has returned; a
    database error in it is tried again, any other error ends the feed.
    """
    state = state or FeedState()
    failures: tuple[type[Exception], ...] = (*db.errors, sqlite3.Error)
    wait = interval
    while True:
        try:
            async with AsyncExitStack() as stack:
                watch: _Watch = await (_watch_file if db.file else _watch_notices)(db, interval, stack)
                while True:
                    await _tell(await watch.look(), on_change, state)
                    wait = interval
                    await watch.sleep()
        except failures as error:
            if not state.error:
                log.warning("the database cannot be followed", extra={"why": brief(error)})
            state.error = brief(error)
        wait = min(wait * 2, MOST_WAIT_S)
        await asyncio.sleep(wait)


async def _tell(versions: dict[str, int] | None, on_change: OnChange, state: FeedState) -> None:
    """``versions`` is None where nothing at all was written since the last look."""
    if versions is not None and versions != state.versions:
        changed = {topic for topic, version in versions.items() if state.versions.get(topic) != version}
        changed |= state.versions.keys() - versions.keys()
        await on_change(frozenset(changed))
        state.versions = versions
    state.looked_at = time.monotonic()
    if state.error:
        log.warning("the database is followed again")
        state.error = ""


class _Watch(Protocol):
    async def look(self) -> dict[str, int] | None: ...

    async def sleep(self) -> None: ...


class _FileWatch:
    """One connection kept open on the event loop's thread: it never waits (timeout 0) and a look
    takes microseconds, so no thread is needed.
    """

    def __init__(self, file: Path, interval: float) -> None:
        self._file = file
        self._interval = interval
        self._identity = identity(file)
        self._seen = -1
        self._select = str(select(changes.c.topic, changes.c.version))
        self._connection = sqlite3.connect(
            file_address(file), uri=True, timeout=0, isolation_level=None, cached_statements=4
        )
        self.close = self._connection.close

    async def look(self) -> dict[str, int] | None:
        if identity(self._file) != self._identity:
            raise sqlite3.OperationalError("the database file was replaced")
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._seen:
            return None
        found = dict(self._connection.execute(self._select).fetchall())
        self._seen = version
        return found

    async def sleep(self) -> None:
        await asyncio.sleep(self._interval)


async def _watch_file(db: Database, interval: float, stack: AsyncExitStack) -> _Watch:
    assert db.file is not None  # noqa: S101  (for the type checker)
    watch = _FileWatch(db.file, interval)
    stack.callback(watch.close)
    return watch


class _NoticeWatch:
    """A connection that listens, and a look by another whenever a notice or the time comes."""

    def __init__(self, db: Database, listener: Any) -> None:
        self._db = db
        self._listener = listener
        self._noticed = asyncio.Event()

    def notice(self, *_: object) -> None:
        self._noticed.set()

    async def look(self) -> dict[str, int] | None:
        if self._listener.is_closed():
            raise ConnectionError("the listening connection was closed")
        self._noticed.clear()
        async with self._db.connect() as connection:
            rows = await connection.execute(select(changes.c.topic, changes.c.version))
            return {row.topic: row.version for row in rows}

    async def sleep(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._noticed.wait()
        except TimeoutError:
            return


async def _watch_notices(db: Database, _interval: float, stack: AsyncExitStack) -> _Watch:
    connection = await stack.enter_async_context(db.connect())
    listener = (await connection.get_raw_connection()).driver_connection
    watch = _NoticeWatch(db, listener)
    await listener.add_listener(CHANNEL, watch.notice)  # type: ignore[union-attr]
    listener.add_termination_listener(watch.notice)  # type: ignore[union-attr]
    stack.push_async_callback(_unlisten, listener, watch)
    return watch


async def _unlisten(listener: Any, watch: _NoticeWatch) -> None:
    if not listener.is_closed():
        await listener.remove_listener(CHANNEL, watch.notice)
        listener.remove_termination_listener(watch.notice)
