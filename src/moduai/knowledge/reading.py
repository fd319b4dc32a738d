"""Reading, in the background, what the console and the API want to be read.

Rule: a collection that waits is read, one after the other; what a reader before this one did not end, when
this begins, waits too. What cannot be read is left alone with the reason until somebody wants it again.
"""

from __future__ import annotations

import asyncio
import logging

from moduai.knowledge import store
from moduai.knowledge.errors import SourceError
from moduai.knowledge.ingest import update
from moduai.knowledge.parsing import Parsers, Read, read_file
from moduai.knowledge.store import TOPIC, Collection, KnowledgeError
from moduai.outbound import networks
from moduai.settings import Loaded
from moduai.store.database import Database, brief

log = logging.getLogger(__name__)

FIRST_WAIT_S, MOST_WAIT_S = 0.2, 30.0
"""Between two tries while the database is away."""


class Reader:
    """Reads collections that wait; ``heard`` is for ``store.feed.follow``, ``run`` is a task."""

    def __init__(self, db: Database, loaded: Loaded, read: Read = read_file) -> None:
        self._db = db
        self._home = loaded.home
        self._private = networks(loaded.settings.outbound.private)
        self._read = read
        self._news = asyncio.Event()

    async def heard(self, topics: frozenset[str]) -> None:
        """Look again, if the topics say that something of ours changed."""
        if TOPIC in topics:
            self._news.set()

    async def run(self) -> None:
        """Read until cancelled."""
        wait, states = FIRST_WAIT_S, {"waiting", "reading"}
        while True:
            self._news.clear()
            try:
                for one in await self._wanted(states):
                    await self._one(one)
                states = {"waiting"}
            except self._db.errors as error:
                log.warning("documents cannot be read now", extra={"why": brief(error)})
                await asyncio.sleep(wait)
                wait = min(wait * 2, MOST_WAIT_S)
            else:
                wait = FIRST_WAIT_S
                await self._news.wait()

    async def _wanted(self, states: set[str]) -> list[Collection]:
        async with self._db.connect() as c:
            return [one for one in await store.collections(c) if one.state in states]

    async def _one(self, collection: Collection) -> None:
        told = {"collection": collection.id}
        try:
            with Parsers(self._read) as parsers:
                report = await update(self._db, collection, parsers, home=self._home, private=self._private)
        except (SourceError, KnowledgeError) as error:
            log.warning("a collection cannot be read", extra={**told, "why": str(error)})
        else:
            counts = {name: getattr(report, name) for name in ("added", "changed", "removed", "refused")}
            log.info("a collection was read", extra={**told, **counts})
