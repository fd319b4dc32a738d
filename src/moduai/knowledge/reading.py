"""Reading, in the background, what the console and the API want to be read, and what is due by itself.

Rule: a collection that waits is read, one after the other, by one of the readers of a database; what a
reader before this one did not end, when this begins, waits too. What cannot be read keeps its documents and
the reason, until somebody wants it again or it is due.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from moduai.knowledge import connectors, store
from moduai.knowledge.due import due_at
from moduai.knowledge.errors import SourceError
from moduai.knowledge.ingest import update
from moduai.knowledge.parsing import Parsers, Read, read_file
from moduai.knowledge.store import TOPIC, Collection, KnowledgeError, State
from moduai.outbound import networks
from moduai.settings import Loaded
from moduai.store.database import Database, brief

log = logging.getLogger(__name__)

FIRST_WAIT_S, MOST_WAIT_S = 0.2, 30.0
"""Between two tries while the database is away."""
LOOK_S = 3600.0
"""Longest time between two looks at what is due."""


class Reader:
    """Reads collections that wait; ``heard`` is for ``store.feed.follow``, ``run`` is a task."""

    def __init__(self, db: Database, loaded: Loaded, read: Read = read_file) -> None:
        self._db = db
        self._home = loaded.home
        self._private = networks(loaded.settings.outbound.private)
        self._hours = loaded.settings.knowledge.update_hours
        self._keys = connectors.keys(loaded.settings.knowledge)
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
                    if one.state == "reading" or await self._passes(one, "reading"):
                        await self._one(one)
                states = {"waiting"}
                wake = await self._wake_due()
            except self._db.errors as error:
                log.warning("documents cannot be read now", extra={"why": brief(error)})
                await asyncio.sleep(wait)
                wait = min(wait * 2, MOST_WAIT_S)
            else:
                wait = FIRST_WAIT_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(wake):  # wait_for may lose a cancellation in Python 3.11
                        await self._news.wait()

    async def _wanted(self, states: set[str]) -> list[Collection]:
        async with self._db.connect() as c:
            return [one for one in await store.collections(c) if one.state in states]

    async def _wake_due(self) -> float:
        """Let what is due wait to be read. Answers after how many seconds to look again."""
        async with self._db.connect() as c:
            dues = [(one, due_at(one, self._hours)) for one in await store.collections(c)]
        now = time.time()
        for one, due in dues:
            if due and due <= now and await self._passes(one, "waiting"):
                log.info("a collection is due", extra={"collection": one.id})
        return min([LOOK_S, *(due - now for _, due in dues if due > now)])

    async def _passes(self, one: Collection, state: State) -> bool:
        async with self._db.begin() as c:
            return await store.passes(c, one, state)

    async def _one(self, collection: Collection) -> None:
        told = {"collection": collection.id}
        try:
            with Parsers(self._read) as parsers:
                report = await update(
                    self._db,
                    collection,
                    parsers,
                    home=self._home,
                    private=self._private,
                    keys=self._keys,
                )
        except (SourceError, KnowledgeError) as error:
            log.warning("a collection cannot be read", extra={**told, "why": str(error)})
        else:
            counts = {name: getattr(report, name) for name in ("added", "changed", "removed", "refused")}
            log.info("a collection was read", extra={**told, **counts})
