"""Taking documents in: a collection is read from its source, and what changed since is kept.

Rule: a file whose bytes, or whose mark in its source, are as they were is not read again, so a reading that
was broken off goes on where it was. What is no longer in the source is removed; a file that cannot be read
is refused with a reason, and its document stays as it was. Each transaction holds at most 50 documents, and
how far it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from moduai.knowledge import sources, store
from moduai.knowledge.connectors import Keys
from moduai.knowledge.errors import SourceAwayError, SourceError
from moduai.knowledge.item import Item
from moduai.knowledge.parsing import Parsers
from moduai.knowledge.store import Collection, KnowledgeError, Known, Refused, State
from moduai.knowledge.types import Facts, Parsed, ReadError
from moduai.outbound import Network
from moduai.store.database import Connection, Database

MOST_DOCUMENTS = 50
"""In one transaction."""
MOST_CHARACTERS = 20_000_000
"""Of text that waits to be written, about."""
WRITE_S = 1.0
"""Longest time between two transactions while files are read: so fresh is the progress."""
PARTLY = "partly"
"""Code of what could not be read of a document that was taken in."""

Progress = Callable[[int, int, str], None]
"""Files done, of how many, and the one that was just read."""


class Report(Struct, kw_only=True):
    """What a reading did, in documents."""

    collection: str
    name: str
    added: int = 0
    changed: int = 0
    same: int = 0
    """Files whose bytes, and documents whose text, are as they were."""
    removed: int = 0
    refused: int = 0
    """Files that could not be read."""
    partly: int = 0
    """Documents of which a part could not be read."""
    problems: list[Refused] = []
    """Why a file was refused, and after those what could not be read of documents: at most
    ``store.MOST_REFUSED``.
    """


class _Outcome(NamedTuple):
    """What became of one file; without digest, documents and problem: it is as it was."""

    item: Item
    retrieved_at: datetime
    digest: str = ""
    documents: Sequence[tuple[str, Parsed]] = ()
    problem: Refused | None = None


def silent(done: int, total: int, name: str) -> None:
    """Progress that nobody watches."""


async def update(
    db: Database,
    collection: Collection,
    parsers: Parsers,
    *,
    home: Path,
    private: Iterable[Network] = (),
    keys: Keys = sources.NO_KEYS,
    progress: Progress = silent,
    again: bool = False,
) -> Report:
    """Read a collection's source and keep what changed; ``again`` reads also what did not. Raises
    SourceError where the source as a whole cannot be read (its documents stay), KnowledgeError where the
    collection is removed meanwhile. One that is cancelled leaves it waiting, for another to go on.
    """
    try:
        async with sources.opened(collection.kind, collection.address, home, private, keys) as items:
            return await _Reading(db, collection, parsers, progress).run(items, again=again)
    except SourceError as error:
        await _ended(db, collection, "failed", str(error))
        raise
    except asyncio.CancelledError:
        with suppress(*db.errors):
            await asyncio.shield(_ended(db, collection, "waiting", ""))
        raise


async def _ended(db: Database, collection: Collection, state: State, why: str) -> None:
    async with db.begin() as c:
        await store.set_state(c, collection.id, state, error=why)


class _Reading:
    """One reading of one collection."""

    def __init__(self, db: Database, collection: Collection, parsers: Parsers, progress: Progress) -> None:
        self._db = db
        self._collection = collection
        self._parsers = parsers
        self._progress = progress
        self._known: dict[str, dict[str, Known]] = {}
        """Documents that were there and did not come up yet: by file, then by key."""
        self._report = Report(collection=collection.id, name=collection.name)
        self._notes: list[Refused] = []
        self._done = 0

    async def run(self, items: list[Item], *, again: bool) -> Report:
        """Read the items of the source."""
        whole = await self._begin(items)
        same = {} if again else {file: _digest(there, whole=whole) for file, there in self._known.items()}
        waiting: list[_Outcome] = []
        written = time.monotonic()
        try:
            async for outcome in self._outcomes(items, same):
                self._done += 1
                self._progress(self._done, len(items), outcome.item.name)
                waiting.append(outcome)
                if _full(waiting) or time.monotonic() - written >= WRITE_S:
                    await self._write(waiting)
                    waiting, written = [], time.monotonic()
        except SourceAwayError:
            await self._write(waiting)
            raise
        await self._write(waiting)
        await self._end()
        return self._report

    async def _begin(self, items: list[Item]) -> bool:
        """Whether the reading before this one came to its end."""
        async with self._db.begin() as c:
            before = await store.collection(c, self._collection.id)
            for key, there in (await store.known(c, self._collection.id)).items():
                self._known.setdefault(_file(key), {})[key] = there
            if self._known and not items:
                raise SourceError("empty", "the source is empty now: nothing was removed")
            await self._state(c, "reading", done=0, total=len(items), error="", refused=())
        return before.state == "ready"

    async def _outcomes(self, items: list[Item], same: dict[str, str]) -> AsyncIterator[_Outcome]:
        """What becomes of each file, in order; some are read at once."""
        running: deque[asyncio.Task[_Outcome]] = deque()
        left = iter(items)
        try:
            while True:
                while len(running) < 2 * self._parsers.at_once and (item := next(left, None)):
                    running.append(asyncio.create_task(self._one(item, same.get(item.key, ""))))
                if not running:
                    return
                yield await running[0]
                running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, item: Item, same: str) -> _Outcome:
        """Read one file, unless its digest is the ``same`` as before."""
        now = datetime.now(UTC)
        if item.mark and item.mark == same:
            return _Outcome(item, now)
        try:
            data = await item.data()
            digest = item.mark or hashlib.sha256(data).hexdigest()
            if digest == same:
                return _Outcome(item, now)
            return _Outcome(item, now, digest, await self._parsers.parse(item.name, data))
        except SourceAwayError:
            raise
        except (ReadError, SourceError) as error:
            return _Outcome(item, now, problem=Refused(item.key, error.code, str(error)))
        except OSError as error:
            return _Outcome(
                item, now, problem=Refused(item.key, "not_readable", error.strerror or str(error))
            )

    async def _write(self, outcomes: list[_Outcome]) -> None:
        """Keep what was read."""
        for outcome in outcomes:
            if outcome.problem or not outcome.digest:
                self._known.pop(outcome.item.key, None)  # its documents stay as they were
                self._report.same += not outcome.problem
            if outcome.problem:
                self._report.refused += 1
                _remember(self._report.problems, outcome.problem)
        documents = [(outcome, *one) for outcome in outcomes for one in outcome.documents]
        for start in range(0, max(len(documents), 1), MOST_DOCUMENTS):
            async with self._db.begin() as c:
                await self._state(c, "reading", done=self._done)
                for outcome, part, parsed in documents[start : start + MOST_DOCUMENTS]:
                    await self._put(c, outcome, part, parsed)

    async def _put(self, c: Connection, outcome: _Outcome, part: str, parsed: Parsed) -> None:
        """Keep one document of a file."""
        item, report = outcome.item, self._report
        key = f"{item.key}#{part}" if part else item.key
        whole = replace(parsed, facts=self._facts(parsed.facts, item))
        stored = await store.put(c, self._collection.id, key, whole, outcome.digest, outcome.retrieved_at)
        before = self._known.get(item.key, {}).pop(key, None)
        if before is None:
            report.added += 1
        elif before.version == stored.version:
            report.same += 1
        else:
            report.changed += 1
        report.partly += bool(parsed.notes)
        for note in parsed.notes:
            _remember(self._notes, Refused(key, PARTLY, note))

    async def _end(self) -> None:
        """Remove what did not come up, and say that the collection is read."""
        gone = [one.document for there in self._known.values() for one in there.values()]
        for start in range(0, len(gone), MOST_DOCUMENTS):
            async with self._db.begin() as c:
                self._report.removed += await store.remove(c, gone[start : start + MOST_DOCUMENTS])
        for note in self._notes:
            _remember(self._report.problems, note)
        async with self._db.begin() as c:
            await self._state(c, "ready", refused=self._report.problems)

    async def _state(self, c: Connection, state: State, **values: Any) -> None:
        if not await store.set_state(c, self._collection.id, state, **values):
            raise KnowledgeError(f"the collection {self._collection.name!r} was removed meanwhile")

    def _facts(self, facts: Facts, item: Item) -> Facts:
        """What the document says of itself, and where it says nothing, what is known of its source."""
        address = facts.address or item.address
        return replace(
            facts,
            title=facts.title or item.name,
            address=address if address.startswith(("https://", "http://")) else "",
            licence=facts.licence or self._collection.licence,
            ministry=facts.ministry or self._collection.ministry,
            in_force_until=facts.in_force_until or item.until,
        )


def _remember(problems: list[Refused], problem: Refused) -> None:
    if len(problems) < store.MOST_REFUSED:
        problems.append(problem)


def _file(key: str) -> str:
    """The file of a document's key."""
    return key.partition("#")[0]


def _digest(documents: dict[str, Known], *, whole: bool) -> str:
    """Of the file that some documents are from; empty where it has to be read again: several documents of
    one file may be written in several transactions, so some may be missing where the reading did not end.
    """
    found = {one.digest for one in documents.values()}
    sure = len(found) == 1 and (whole or not any("#" in key for key in documents))
    return found.pop() if sure else ""


def _full(waiting: Sequence[_Outcome]) -> bool:
    """Whether it is time to write, by what there is."""
    documents = [parsed for outcome in waiting for _, parsed in outcome.documents]
    return len(documents) >= MOST_DOCUMENTS or sum(len(one.text) for one in documents) >= MOST_CHARACTERS
