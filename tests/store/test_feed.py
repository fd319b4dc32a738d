from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import delete, insert

from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.feed import FeedState, announce, follow
from moduai.store.tables import changes
from tests.databases import Postgres


class Heard:
    """Collects what a feed tells, and waits for it with a deadline."""

    def __init__(self) -> None:
        self.topics: list[frozenset[str]] = []
        self.state = FeedState()

    async def on_change(self, topics: frozenset[str]) -> None:
        self.topics.append(topics)

    async def until(self, met: Callable[[], object], seconds: float = 10) -> float:
        start = time.monotonic()
        async with asyncio.timeout(seconds):
            while not met():  # noqa: ASYNC110  (what is watched has no event)
                await asyncio.sleep(0.002)
        return time.monotonic() - start


@asynccontextmanager
async def following(db: Database) -> AsyncIterator[Heard]:
    heard = Heard()
    looked = heard.state.looked_at
    task = asyncio.create_task(follow(db, 0.02, heard.on_change, heard.state))
    await heard.until(lambda: heard.state.looked_at > looked or task.done())
    yield heard
    await ended(task)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def tell(db: Database, *topics: str) -> None:
    async with db.begin() as connection:
        for topic in topics:
            await announce(connection, topic)


async def test_a_change_is_heard_at_once(db: Database) -> None:
    async with following(db) as heard:
        await tell(db, "keys")
        assert await heard.until(lambda: heard.topics) < 0.5
        await tell(db, "engines", "keys")
        await heard.until(lambda: len(heard.topics) == 2)
        await tell(db, "engines")
        await heard.until(lambda: len(heard.topics) == 3)
    assert heard.topics == [{"keys"}, {"engines", "keys"}, {"engines"}]


async def test_the_first_call_tells_what_was_announced_before(db: Database) -> None:
    await tell(db, "keys")
    async with following(db) as heard:
        await heard.until(lambda: heard.topics)
    assert heard.topics == [{"keys"}]


async def test_what_is_rolled_back_is_not_heard(db: Database) -> None:
    async with following(db) as heard:
        with suppress(RuntimeError):
            async with db.begin() as connection:
                await announce(connection, "keys")
                raise RuntimeError
        await tell(db, "engines")
        await heard.until(lambda: heard.topics)
    assert heard.topics == [{"engines"}]


async def test_a_change_counts_as_told_only_when_it_was_taken(db: Database) -> None:
    tries = 0
    heard = Heard()

    async def fail_once(topics: frozenset[str]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError("the database went away")
        await heard.on_change(topics)

    await tell(db, "keys")
    task = asyncio.create_task(follow(db, 0.02, fail_once, heard.state))
    await heard.until(lambda: heard.topics)
    await ended(task)
    assert (tries, heard.topics) == (2, [{"keys"}])


async def test_an_error_that_is_not_the_databases_ends_it(db: Database) -> None:
    async def fail(_: frozenset[str]) -> None:
        raise ZeroDivisionError

    await tell(db, "keys")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(follow(db, 0.02, fail), 5)


async def test_it_waits_out_a_locked_database(sqlite: Database) -> None:
    await tell(sqlite, "keys")
    await sqlite.dispose()
    locker = sqlite3.connect(sqlite.file or "", isolation_level=None)
    locker.execute("PRAGMA locking_mode=EXCLUSIVE")
    locker.execute("BEGIN EXCLUSIVE")
    heard = Heard()
    task = asyncio.create_task(follow(sqlite, 0.02, heard.on_change, heard.state))
    await heard.until(lambda: heard.state.error)
    assert heard.state.error == "database is locked"
    assert heard.topics == []
    locker.close()
    await heard.until(lambda: heard.topics)
    await ended(task)
    assert (heard.topics, heard.state.error) == ([{"keys"}], "")


async def test_a_file_that_is_away_and_back(sqlite: Database, tmp_path: Path) -> None:
    async with following(sqlite) as heard:
        (tmp_path / "modu.db").rename(tmp_path / "aside.db")
        await heard.until(lambda: heard.state.error)
        (tmp_path / "aside.db").rename(tmp_path / "modu.db")
        await heard.until(lambda: not heard.state.error)
        assert heard.topics == []
        await tell(sqlite, "keys")
        await heard.until(lambda: heard.topics)
        assert heard.state.lag_s < 1


async def test_a_notice_that_never_comes(db: Database) -> None:
    """As where the way of the connection that listens is cut, or a pooler stands on it."""
    async with following(db) as heard:
        for version in range(1, 4):
            async with db.begin() as connection:
                await connection.execute(delete(changes))
                await connection.execute(insert(changes).values(topic="keys", version=version))
            await heard.until(lambda version=version: heard.state.versions == {"keys": version}, 60)
    assert heard.topics == [{"keys"}] * 3


async def test_a_server_that_is_away_and_back() -> None:
    server = await asyncio.to_thread(Postgres)
    db = Database(await server.make())
    await migrate.upgrade(db.url.render_as_string(hide_password=False))
    async with following(db) as heard:
        await asyncio.to_thread(server.stop)
        await heard.until(lambda: heard.state.error)
        await asyncio.to_thread(server.start)
        await heard.until(lambda: not heard.state.error)
        await tell(db, "keys")
        assert await heard.until(lambda: heard.topics) < 0.9
    await db.dispose()
    await asyncio.to_thread(server.remove)
