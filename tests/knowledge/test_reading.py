"""Reading in the background: what waits is read, what was broken off goes on, what is away harms nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from moduai import settings
from moduai.knowledge import store
from moduai.knowledge.due import due_at
from moduai.knowledge.reading import Reader
from moduai.knowledge.store import Collection, Source, State
from moduai.knowledge.tables import collections
from moduai.store.database import Database
from moduai.store.feed import follow

from . import plain


@contextlib.asynccontextmanager
async def running(db: Database, home: Path, **given: object) -> AsyncIterator[None]:
    """A reader that follows the database, as the search process runs it."""
    told = {f"knowledge.{name}": value for name, value in given.items()}
    told["outbound.private"] = ("127.0.0.1",)
    reader = Reader(db, settings.load(home, {}, told), plain.read)
    tasks = [asyncio.create_task(reader.run()), asyncio.create_task(follow(db, 0.02, reader.heard))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(db: Database, what: str, state: State, documents: int = 0) -> Collection:
    """The collection, once it is in a state, with so many documents or more."""
    async with asyncio.timeout(60):
        while True:
            async with db.connect() as c:
                found = await store.collection(c, what)
            if found.state == state and found.documents >= documents:
                return found
            await asyncio.sleep(0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "문서"
    made.mkdir()
    (made / "a.md").write_text("하나", encoding="utf-8")
    return made


async def add(db: Database, address: Path, state: State = "waiting") -> None:
    new = Collection(id="", name=address.name, kind="folder", address=str(address), state=state)
    async with db.begin() as c:
        await store.create(c, new)


async def test_what_waits_is_read_and_what_changed_is_read_again(
    sqlite: Database, folder: Path, tmp_path: Path
) -> None:
    async with running(sqlite, tmp_path / "home"):
        await add(sqlite, folder)
        found = await until(sqlite, folder.name, "ready")
        assert (found.documents, found.done, found.total) == (1, 1, 1)
        (folder / "b.md").write_text("둘", encoding="utf-8")
        async with sqlite.begin() as c:
            await store.set_state(c, found.id, "waiting")
        await until(sqlite, folder.name, "ready", documents=2)


async def test_what_another_did_not_end_goes_on(sqlite: Database, folder: Path, tmp_path: Path) -> None:
    await add(sqlite, folder, "reading")
    async with running(sqlite, tmp_path / "home"):
        assert (await until(sqlite, folder.name, "ready")).documents == 1


async def test_a_source_that_is_away_keeps_no_other_from_being_read(
    sqlite: Database, folder: Path, tmp_path: Path
) -> None:
    await add(sqlite, tmp_path / "away")
    await add(sqlite, folder)
    async with running(sqlite, tmp_path / "home"):
        assert "there is no folder" in (await until(sqlite, "away", "failed")).error
        assert (await until(sqlite, folder.name, "ready")).documents == 1


async def test_one_that_is_stopped_leaves_the_collection_waiting(
    sqlite: Database, folder: Path, tmp_path: Path
) -> None:
    (folder / "a.md").write_text("SPIN", encoding="utf-8")
    await add(sqlite, folder)
    async with running(sqlite, tmp_path / "home"):
        await until(sqlite, folder.name, "reading")
    await until(sqlite, folder.name, "waiting")


@pytest.fixture
async def page() -> AsyncIterator[tuple[str, list[int]]]:
    """The address of a page on the loopback, and the status of its next answers; none left: 200."""
    statuses: list[int] = []
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.readuntil(b"\r\n\r\n")
        status, body = statuses.pop(0) if statuses else 200, f"asked {asked}".encode()
        head = f"HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.txt", statuses


async def made(db: Database, kind: Source, address: str, *, tried_at: int, state: State = "ready") -> str:
    """A collection that was tried some time ago; its id."""
    new = Collection(id="", name=address, kind=kind, address=address, state=state, tried_at=tried_at)
    async with db.begin() as c:
        return (await store.create(c, new)).id


async def tried(db: Database, what: str, after: int, state: State) -> Collection:
    """The collection, once it was tried again after a time and is in a state."""
    async with asyncio.timeout(60):
        while True:
            async with db.connect() as c:
                found = await store.collection(c, what)
            if found.tried_at > after and found.state == state:
                return found
            await asyncio.sleep(0.02)


async def test_what_is_due_is_read_by_itself_and_by_one_reader_alone(
    sqlite: Database, page: tuple[str, list[int]], tmp_path: Path
) -> None:
    long_ago = int(time.time()) - 100_000
    what = await made(sqlite, "web", page[0], tried_at=long_ago)
    fresh = await made(sqlite, "web", f"{page[0]}?b", tried_at=int(time.time()))
    still = await made(sqlite, "folder", str(tmp_path), tried_at=long_ago)
    home = tmp_path / "home"
    async with running(sqlite, home), running(sqlite, home):
        found = await tried(sqlite, what, long_ago, "ready")
        assert (found.documents, found.error) == (1, "")
        async with sqlite.connect() as c:
            (one,) = await store.listed(c, what)
            assert (one.facts.title, one.version) == ("asked 1", 1)
            assert (await store.collection(c, fresh)).documents == 0
            assert (await store.collection(c, still)).documents == 0


async def test_a_source_that_is_away_keeps_its_documents_says_why_and_is_tried_sooner(
    sqlite: Database, page: tuple[str, list[int]], tmp_path: Path
) -> None:
    long_ago = int(time.time()) - 100_000
    what = await made(sqlite, "web", page[0], tried_at=long_ago)
    async with running(sqlite, tmp_path / "home"):
        await tried(sqlite, what, long_ago, "ready")
    page[1].append(503)
    async with sqlite.begin() as c:
        await c.execute(collections.update().values(tried_at=long_ago))
    async with running(sqlite, tmp_path / "home"):
        found = await tried(sqlite, what, long_ago, "failed")
    assert (found.documents, "status 503" in found.error) == (1, True)
    due = due_at(found, 24.0)
    assert found.tried_at + 2 * 3600 < due < found.tried_at + 4 * 3600
    async with sqlite.begin() as c:
        await c.execute(collections.update().values(tried_at=long_ago))
    async with running(sqlite, tmp_path / "home"):
        found = await tried(sqlite, what, long_ago, "ready")
    assert (found.documents, found.error) == (1, "")


async def test_nothing_is_due_where_that_is_not_wished(
    sqlite: Database, page: tuple[str, list[int]], folder: Path, tmp_path: Path
) -> None:
    what = await made(sqlite, "web", page[0], tried_at=1)
    async with running(sqlite, tmp_path / "home", update_hours=0.0):
        await add(sqlite, folder)
        await until(sqlite, folder.name, "ready")
        async with sqlite.connect() as c:
            assert (await store.collection(c, what)).tried_at == 1


def test_when_a_collection_is_due() -> None:
    one = Collection(id="col_1", name="a", kind="git", address="a", state="ready", tried_at=1_000_000)
    day = due_at(one, 24.0) - one.tried_at
    assert 0.9 * 86_400 <= day <= 1.1 * 86_400
    assert due_at(replace(one, id="col_2"), 24.0) != due_at(one, 24.0)
    assert due_at(replace(one, state="failed"), 24.0) - one.tried_at == pytest.approx(day / 8, abs=1)
    assert [due_at(replace(one, kind=kind), 24.0) for kind in ("folder", "file", "box")] == [0, 0, 0]
    assert [due_at(replace(one, state=state), 24.0) for state in ("waiting", "reading")] == [0, 0]
    assert due_at(one, 0.0) == 0


async def test_of_several_that_want_it_one_passes(db: Database) -> None:
    what = await made(db, "web", "http://a.example/", tried_at=5, state="waiting")
    async with db.connect() as c:
        one = await store.collection(c, what)
    async with db.begin() as c:
        assert await store.passes(c, one, "reading")
    async with db.begin() as c:
        assert not await store.passes(c, one, "reading")
