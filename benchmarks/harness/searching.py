"""The search process on a home folder of its own, asked over its socket as a gateway asks it."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks.harness import process
from benchmarks.harness.process import StartError
from moduai import settings
from moduai.knowledge import store
from moduai.knowledge.client import Search
from moduai.knowledge.types import Parsed, SearchAwayError, Stored
from moduai.knowledge.wire import Status
from moduai.settings import Loaded
from moduai.store import migrate
from moduai.store.database import Database

Document = tuple[Stored, Parsed]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = 250
"""Documents written in one transaction."""
LONGEST_S = 1_800.0
"""How long an index may take to be built."""
TOLD_S = 10.0
"""Between two lines of progress."""


class Home:
    """A home folder with documents in its database; ``own``: also those that come with Modu and the pack."""

    def __init__(self, folder: Path, *, own: bool = False) -> None:
        (folder / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own = own
        self.loaded: Loaded = settings.load(folder, {}, {"knowledge.search_s": 30.0, "database.feed_s": 0.05})
        self.log = folder / "search.log"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        """Its database, with the schema."""
        await migrate.upgrade(self.loaded.database_url)
        db = Database(self.loaded.database_url)
        try:
            yield db
        finally:
            await db.dispose()

    async def put(self, documents: Sequence[Document]) -> None:
        """Write documents into the database."""
        async with self.database() as db:
            for at in range(0, len(documents), AT_ONCE):
                tell(f"{at:,} of {len(documents):,} documents are in the database")
                async with db.begin() as c:
                    for stored, parsed in documents[at : at + AT_ONCE]:
                        await store.put(c, stored.collection, stored.key, parsed, "", NOW)

    @contextmanager
    def searching(self, *, kiwi: bool) -> Iterator[process.Started]:
        """The search process, from the moment at which it has all that is in the database."""
        told = {
            "MODU_HOME": str(self.loaded.home),
            "MODU_KNOWLEDGE__BOX": str(self._own).lower(),
            "MODU_KNOWLEDGE__PACK": str(self._own).lower(),
            "MODU_KNOWLEDGE__KIWI": str(kiwi).lower(),
            "MODU_DATABASE__FEED_S": "0.05",
            "PYTHONPATH": ":".join(filter(None, sys.path)),
        }
        command = [sys.executable, "-m", "moduai.knowledge"]
        with process.started(command, on=set(), log=self.log, environ=told) as running:
            asyncio.run(self._ready(running))
            yield running

    async def _ready(self, running: process.Started) -> None:
        """Raises StartError."""
        search, deadline = Search(self.loaded), time.monotonic() + LONGEST_S
        while (status := await _status(search)) is None or status.state != "ready":
            if running.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"search is not ready: {process.tail(self.log)}")
            if status is not None:
                tell(f"{status.passages:,} passages are in the index, {status.behind:,} documents to come")
            await asyncio.sleep(0.25)  # a look costs the process what is measured


async def _status(search: Search) -> Status | None:
    try:
        return await search.status()
    except SearchAwayError:
        return None


def _teller() -> Callable[[str], None]:
    console, last = Console(stderr=True), [0.0]

    def tell(line: str) -> None:
        """A line of progress, now and then."""
        if time.monotonic() > last[0] + TOLD_S:
            last[0] = time.monotonic()
            console.print(f"  {line}")

    return tell


tell = _teller()
