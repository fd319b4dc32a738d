"""PostgreSQL is gone, and then another server has its address: all that uses it comes back by itself."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from moduai.accounts.organisations import create_organisation, list_organisations
from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.feed import FeedState, announce, follow
from tests.databases import Postgres
from tests.metering.test_loader import Process, fill, ids, until


@pytest.fixture
async def server() -> AsyncIterator[Postgres]:
    made = await asyncio.to_thread(Postgres)
    yield made
    await asyncio.to_thread(made.remove)


async def names(db: Database) -> list[str]:
    async with db.connect() as connection:
        return [one.name for one in await list_organisations(connection)]


async def add(db: Database, name: str) -> None:
    async with db.begin() as connection:
        await create_organisation(connection, name)
        await announce(connection, "keys")


async def test_usage_the_feed_and_accounts_come_back(server: Postgres, tmp_path: Path) -> None:
    url = await server.make()
    await migrate.upgrade(url)
    db, state, heard = Database(url), FeedState(), list[frozenset[str]]()

    async def hear(topics: frozenset[str]) -> None:
        heard.append(topics)

    feed = asyncio.create_task(follow(db, 0.02, hear, state))
    process = Process(tmp_path, MODU_DATABASE__URL=url)
    fill(tmp_path / "usage", range(10)).close()
    await add(db, "before")

    async def both() -> bool:
        return len(await ids(db)) == 10 and bool(heard)

    await until(both)
    await asyncio.gather(*(names(db) for _ in range(4)))  # a pool full of connections that will be dead
    await asyncio.to_thread(server.stop)

    fill(tmp_path / "usage", range(10, 20)).close()
    began = time.monotonic()
    for work in (names(db), add(db, "lost")):
        with pytest.raises(db.errors):
            await work
    assert time.monotonic() - began < 60, "who asks is told, and does not hang"
    await until(lambda: process.has_said("usage cannot be loaded", 1))

    async def told() -> bool:
        return bool(state.error)

    await until(told)
    assert any((tmp_path / "usage").iterdir()), "usage waits in its files"

    heard.clear()
    await asyncio.to_thread(server.replace)
    assert await names(db) == ["before"], "the first who asks has a connection to the new one"
    await add(db, "after")

    async def back() -> bool:
        return len(await ids(db)) == 20 and bool(heard) and not state.error

    await until(back)
    assert sorted(await names(db)) == ["after", "before"]
    feed.cancel()
    with suppress(asyncio.CancelledError):
        await feed
    await db.dispose()
    await until(lambda: process.has_said("usage is loaded again", 1))
    status, said = await asyncio.to_thread(process.stop)
    assert status == 0, said


async def test_a_server_that_falls_silent_is_not_waited_for(postgres: Postgres) -> None:
    """Over TCP, where nobody says that a machine has died: the system ends the connection after 15 s."""
    local = str(postgres.folder / ".s.PGSQL.5432")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(local)
        await asyncio.gather(pass_on(reader, to_server), pass_on(from_server, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        db = Database(f"postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres")
        async with db.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            taken = driver._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        await db.dispose()
