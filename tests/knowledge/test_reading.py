"""Reading in the background: what waits is read, what was broken off goes on, what is away harms nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moduai import settings
from moduai.knowledge import store
from moduai.knowledge.reading import Reader
from moduai.knowledge.store import Collection, State
from moduai.store.database import Database
from moduai.store.feed import follow

from . import plain


@contextlib.asynccontextmanager
async def running(db: Database, home: Path) -> AsyncIterator[None]:
    """A reader that follows the database, as the search process runs it."""
    reader = Reader(db, settings.load(home, {}), plain.read)
    tasks = [asyncio.create_task(reader.run()), asyncio.create_task(follow(db, 0.02, reader.heard))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(db: Database, what: str, state: State, documents: int = 0) -> Collection:
    """The collection, once it is in a state, with so many documents or more."""
    async with asyncio.timeout(30):
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
