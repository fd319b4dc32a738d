"""A home folder with documents, and the search process on it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from moduai import settings
from moduai.knowledge import store
from moduai.knowledge.client import Search
from moduai.knowledge.tables import documents, versions
from moduai.knowledge.types import Facts, Parsed, Passage, Query, SearchAwayError, Stored
from moduai.settings import Loaded
from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.tables import changes

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def parsed(text: str) -> Parsed:
    return Parsed(Facts(title="t"), text, (Passage(0, len(text)),))


async def put(db: Database, *texts: str, collection: str = "col_a", key: str = "") -> list[Stored]:
    """Documents in the database, each with its text as its key."""
    async with db.begin() as c:
        return [
            await store.put(c, collection, key or text, parsed(text), f"{hash(text)}", NOW) for text in texts
        ]


async def put_many(db: Database, count: int) -> None:
    """So many documents into an empty database, quickly."""
    numbers = range(1, count + 1)
    rows = [
        {
            "id": f"doc_{number}",
            "collection": "col_a",
            "key": f"{number}",
            "version": 1,
            "passages": 1,
            "digest": "",
            "removed_at": 0,
            "changed": number,
        }
        for number in numbers
    ]
    texts = [store._version(f"doc_{number}", 1, parsed(f"text {number}"), "", 0) for number in numbers]
    async with db.begin() as c:
        await c.execute(documents.insert(), rows)
        await c.execute(versions.insert(), texts)
        await c.execute(changes.insert().values(topic=store.TOPIC, version=count))


async def remove(db: Database, *documents: str) -> None:
    async with db.begin() as c:
        await store.remove(c, documents)


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    given = {"knowledge.kiwi": False, "knowledge.search_s": 5.0, "database.feed_s": 0.01}
    return settings.load(tmp_path / "home", {}, given)


@pytest.fixture
async def db(loaded: Loaded) -> AsyncIterator[Database]:
    (loaded.home / "run").mkdir(parents=True, mode=0o700)
    await migrate.upgrade(loaded.database_url)
    made = Database(loaded.database_url)
    yield made
    await made.dispose()


async def until(look: Callable[[], Awaitable[Any]], within_s: float = 60.0) -> Any:
    """What ``look`` gives, once it is true; search may be away meanwhile."""
    deadline = time.monotonic() + within_s
    while True:
        with suppress(SearchAwayError):
            if found := await look():
                return found
        assert time.monotonic() < deadline, f"not within {within_s} s"
        await asyncio.sleep(0.02)


class Process:
    """A search process of its own."""

    def __init__(self, loaded: Loaded, module: str, **environ: str) -> None:
        self.loaded = loaded
        self.search = Search(loaded)
        self.log = loaded.home / "search.log"
        told = {
            "MODU_HOME": str(loaded.home),
            "MODU_KNOWLEDGE__KIWI": "false",
            "MODU_KNOWLEDGE__BOX": "false",
            "MODU_KNOWLEDGE__PACK": "false",
            "MODU_DATABASE__FEED_S": "0.01",
        }
        with self.log.open("ab") as out:
            self.running = subprocess.Popen(
                [sys.executable, "-m", module],
                env={**os.environ, **told, **environ},
                stdout=out,
                stderr=out,
            )

    async def ready(self) -> None:
        async def look() -> bool:
            assert self.running.poll() is None, self.told()
            return (await self.search.status()).state == "ready"

        await until(look, 60.0)

    async def finds(self, text: str) -> list[str]:
        return [one.text for one in await self.search.search(Query(text))]

    def told(self) -> str:
        return self.log.read_text("utf-8")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.running.send_signal(number)
        return self.running.wait(15)


@pytest.fixture
def start(loaded: Loaded, db: Database) -> Iterator[Callable[..., Process]]:
    """Starts search processes on the home folder, with the small index unless another module is named; those
    that still run are ended.
    """
    started: list[Process] = []

    def begin(module: str = "tests.knowledge.process.shelf", **environ: str) -> Process:
        started.append(Process(loaded, module, **environ))
        return started[-1]

    yield begin
    for one in started:
        if one.running.poll() is None:
            one.running.kill()
            one.running.wait()
