"""Keeping the index as the database has it.

Words: the *position* is the number of the last change that the index has; it is written with that change, so
what was under way when the process died is done again. Rule: the index follows from the database and nothing
is lost with it. Where it is damaged, or is of another database, the process ends and the next one builds it
anew; until that has caught up nothing is searched, for half an index would answer that there is nothing.
While it cannot be written (the disk is full, the database away), what it holds can be searched, and what is
new waits. One document that cannot be indexed is set aside, and those behind it go on.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from sqlalchemy import func, select

from moduai.knowledge.index_folder import IndexFolder, UnusableError
from moduai.knowledge.index_protocol import Index
from moduai.knowledge.store import TOPIC, Change, changed, text
from moduai.knowledge.tables import documents
from moduai.knowledge.types import Aside, Parsed, Stored
from moduai.knowledge.wire import State, Status
from moduai.settings import Loaded
from moduai.store.database import Connection, Database, brief
from moduai.store.tables import changes

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_CHANGES, MOST_CHARACTERS = 500, 4_000_000
"""What is put into the index at once: a few seconds' work, after which the process may stop."""
WRITE_AFTER_S = 1.0
"""Without a change for so long, what the index holds in memory alone goes to disk."""
FIRST_WAIT_S, MOST_WAIT_S = 0.2, 30.0
"""Between two tries while the database is away or the disk is full."""


class _UnwrittenError(RuntimeError):
    """The index could not be written; it holds what it held before."""


class _Batch(NamedTuple):
    added: list[tuple[Stored, Parsed]]
    removed: list[str]
    aside: list[Aside]
    number: int
    changes: int


class Follower:
    """The index of one folder, and what keeps it up."""

    def __init__(self, db: Database, loaded: Loaded, make: Callable[[Path], Index]) -> None:
        """``make`` opens the index in a folder, or begins one there."""
        self._db = db
        self.errors: tuple[type[Exception], ...] = (*db.errors, _UnwrittenError)
        """What ``catch_up`` raises where it is worth trying again later."""
        self.folder = IndexFolder(loaded, db.url.render_as_string(hide_password=True), make)
        self._writer = ThreadPoolExecutor(1, "index")
        self._busy = asyncio.Lock()
        self._news = asyncio.Event()
        self._added = asyncio.Event()
        self._number = 0
        self._behind = 0
        self._state: State = "building"
        self._error = ""
        self._stopping = False
        self.index: Index

    async def open(self) -> None:
        """Open the index. Raises OSError, or what opening raises."""
        self.index = await self._in_writer(self.folder.open)
        self._number = self.index.status().position

    async def stop(self, within_s: float) -> None:
        """Let the part of the building that is under way come to its end, but wait no longer than this."""
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._busy:
                await self._in_writer(self.index.close)

    def status(self) -> Status:
        """How it is now."""
        held = self.index.status()
        filled = 1 - held.waiting / held.passages if held.passages else 0.0
        return Status(
            self._state,
            held.documents,
            held.passages,
            self._behind,
            filled,
            self._error,
            waiting=held.waiting,
            anew=self.folder.anew,
            aside=held.aside,
        )

    async def heard(self, topics: frozenset[str]) -> None:
        """For ``store.feed.follow``."""
        if TOPIC in topics:
            self._news.set()

    async def run(self) -> None:
        """Follow the database until cancelled. Raises UnusableError."""
        wait, write = FIRST_WAIT_S, False
        while True:
            self._news.clear()
            try:
                await self.catch_up()
                if write:
                    await self._to_disk()
            except self.errors:
                await asyncio.sleep(wait)
                wait = min(wait * 2, MOST_WAIT_S)
            else:
                wait, write = FIRST_WAIT_S, not await self._more()

    async def _more(self) -> bool:
        """Wait for news; False where there was none for a while, and something is to be written meanwhile."""
        try:
            async with asyncio.timeout(WRITE_AFTER_S if self.index.unwritten else None):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def catch_up(self) -> Status:
        """Return once the index has all that the database has now. Raises one of the database's errors,
        UnusableError, or RuntimeError where the index cannot be written.
        """
        async with self._busy:
            try:
                while not self._stopping and (batch := await self._next()):
                    await self._put(batch)
                    if not self._behind:
                        break  # what was written before we were asked
            except self.errors as error:
                await self._failed(error)
                raise
            self._worked()
            if self._state == "building" and not self._stopping:
                self._state = "ready"
                self.folder.whole()
                held = self.index.status()
                log.info("search is ready", extra={"documents": held.documents, "passages": held.passages})
        return self.status()

    async def _to_disk(self) -> None:
        """Write what stands in memory, while changes go on. Raises RuntimeError."""
        try:
            await asyncio.to_thread(self._tried, self.index.write)
        except self.errors as error:
            await self._failed(error)
            raise
        self._added.set()
        self._worked()

    async def _failed(self, error: Exception) -> None:
        if not self._error:
            log.warning("the index cannot follow the database", extra={"why": brief(error)})
        self._error = brief(error)
        if isinstance(error, _UnwrittenError):
            await self.folder.look()

    def _worked(self) -> None:
        if self._error and not self.index.unwritten:
            log.warning("the index follows the database again")
            self._error = ""

    async def _next(self) -> _Batch | None:
        """The next changes, with their texts; None when there are none."""
        async with self._db.connect() as connection:
            newest = await connection.scalar(select(changes.c.version).where(changes.c.topic == TOPIC))
            if (newest or 0) < self._number:
                self.folder.forget("the database is an older one than the index")
                raise UnusableError(self.folder.anew)
            ahead = await changed(connection, self._number, MOST_CHANGES)
            self._behind = len(ahead)
            if self._behind == MOST_CHANGES:  # and more, perhaps
                later = select(func.count()).select_from(documents).where(documents.c.changed > self._number)
                self._behind = await connection.scalar(later) or 0
            return await self._batch(connection, ahead) if ahead else None

    async def _batch(self, connection: Connection, ahead: list[Change]) -> _Batch:
        batch = _Batch([], [], [], 0, 0)
        size = 0
        for change in ahead:
            try:
                found = await text(connection, change.document, change.version) if change.version else None
            except (zlib.error, ValueError, msgspec.MsgspecError) as error:
                reason = f"what is stored of it cannot be read: {brief(error)}"
                batch.aside.append(Aside(change.document, change.version, reason))
            else:
                if found is None:
                    batch.removed.append(change.document)
                else:
                    stored, whole, passages = found
                    batch.added.append((stored, Parsed(stored.facts, whole, passages)))
                    size += len(whole)
            batch = batch._replace(number=change.number, changes=batch.changes + 1)
            if size >= MOST_CHARACTERS:
                break
        return batch

    async def _put(self, batch: _Batch) -> None:
        await self._in_writer(lambda: self._write(batch))
        self._behind -= batch.changes
        self._added.set()
        if self._behind:
            log.info("indexing", extra={"behind": self._behind})

    def _write(self, batch: _Batch) -> None:
        """In the writer's thread. Raises _UnwrittenError."""
        try:
            self._written(batch.removed, batch.aside, batch.added, batch.number)
        except _UnwrittenError as error:
            self._one_by_one(batch, error)
        self._number = batch.number

    def _one_by_one(self, batch: _Batch, error: _UnwrittenError) -> None:
        """Is it one of the documents? Then it alone is set aside. Where not even that can be written, or
        where the disk is at fault, all of them wait.
        """
        disk = isinstance(error.__cause__, OSError) or "os error" in str(error)
        if disk or self.folder.full or self.index.damage():
            raise error
        aside = list(batch.aside)
        for stored, parsed in batch.added:
            try:
                self._written([], [], [(stored, parsed)], None)
            except _UnwrittenError as why:
                aside.append(Aside(stored.id, stored.version, f"it cannot be indexed: {why}"))
                self._written([], aside[-1:], [], None)
                log.warning("a document cannot be indexed", extra={"document": stored.id, "why": str(why)})
        self._written(batch.removed, aside, [], batch.number)

    def _written(
        self,
        removed: list[str],
        aside: list[Aside],
        added: list[tuple[Stored, Parsed]],
        position: int | None,
    ) -> None:
        """The position goes with the last of them. Raises _UnwrittenError."""
        if removed or not (aside or added):
            self._tried(lambda: self.index.remove(removed, position=None if aside or added else position))
        if aside:
            self._tried(lambda: self.index.set_aside(aside, position=None if added else position))
        if added:
            self._tried(lambda: self.index.add(added, position=position))

    @staticmethod
    def _tried(change: Callable[[], object]) -> None:
        """Raises _UnwrittenError."""
        try:
            change()
        except Exception as error:
            raise _UnwrittenError(brief(error)) from error
        except BaseException as error:  # noqa: BLE001  (a panic of native code is no Exception)
            raise _UnwrittenError(type(error).__name__) from None

    async def load(self) -> bool:
        """Bring Kiwi into memory, which holds up everything else for a second. Where it cannot be had the
        index goes on without: fails open.
        """
        try:
            await self._in_writer(self.index.morphemes.load)
        except (ImportError, MemoryError, OSError, RuntimeError) as error:
            log.warning(
                "Kiwi cannot be used, so Korean is searched by pairs of letters", extra={"why": str(error)}
            )
            return False
        return True

    async def fill(self) -> None:
        """Fill in morphemes in the background, until cancelled."""
        loop, filler = asyncio.get_running_loop(), ThreadPoolExecutor(1, "fill")
        while True:
            self._added.clear()
            try:
                while await loop.run_in_executor(filler, self._fill):
                    pass
            except RuntimeError as error:
                log.warning("morphemes cannot be filled in now", extra={"why": str(error)})
                await self.folder.look()
                await asyncio.sleep(MOST_WAIT_S)
            else:
                await self._added.wait()

    def _fill(self) -> int:
        """In the filler's thread. Raises RuntimeError."""
        try:
            return self.index.fill()
        except Exception as error:
            raise RuntimeError(brief(error)) from error
        except BaseException as error:  # noqa: BLE001  (a panic of native code is no Exception)
            raise RuntimeError(type(error).__name__) from None

    async def _in_writer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)
