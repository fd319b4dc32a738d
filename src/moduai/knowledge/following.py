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
import hashlib
import logging
import shutil
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec
from sqlalchemy import func, select

from moduai.knowledge.store import TOPIC, changed, text
from moduai.knowledge.tables import documents
from moduai.knowledge.types import Aside, Found, Parsed, Query, Stored
from moduai.knowledge.wire import State, Status
from moduai.settings import Loaded
from moduai.store.database import Connection, Database, brief
from moduai.store.files import write
from moduai.store.tables import changes

log = logging.getLogger(__name__)
T = TypeVar("T")

MOST_CHANGES, MOST_CHARACTERS = 500, 4_000_000
"""What is put into the index at once: a few seconds' work, after which the process may stop."""
WRITE_AFTER_S = 1.0
"""Without a change for so long, what the index holds in memory alone goes to disk."""
FIRST_WAIT_S, MOST_WAIT_S = 0.2, 30.0
"""Between two tries while the database is away or the disk is full."""
CHECK_EVERY_S = 5.0
"""Between two looks at the files, which read all of them: failing searches may come in numbers."""
LEAST_FREE_BYTES = 64 << 20
"""With less space than this on its disk an index that cannot be written is not its document's fault."""


class Held(Protocol):
    """How much an index holds."""

    @property
    def documents(self) -> int:
        """All of them."""

    @property
    def passages(self) -> int:
        """Of all documents."""

    @property
    def waiting(self) -> int:
        """Passages whose morphemes are still to be filled in."""

    @property
    def aside(self) -> tuple[Aside, ...]:
        """Documents that were set aside."""

    @property
    def position(self) -> int:
        """The number of the last change that it has; 0: none."""

    @property
    def rebuilt(self) -> str:
        """Why what was there was thrown away when it was opened; empty: it was not."""


class Morphemes(Protocol):
    """Kiwi."""

    def load(self) -> None:
        """Bring it into memory."""


class Index(Protocol):
    """``knowledge.search.index.Index``, or another. It is written from one thread, searched from several, and
    a third one fills in morphemes.
    """

    @property
    def morphemes(self) -> Morphemes:
        """What finds them."""

    def add(self, documents: Iterable[tuple[Stored, Parsed]], *, position: int | None) -> object:
        """Hold these, each instead of its earlier version, and the position with them."""

    def remove(self, documents: Iterable[str], *, position: int | None) -> object:
        """Hold these no longer."""

    def set_aside(self, documents: Iterable[Aside], *, position: int | None) -> object:
        """Hold of these only why they are left out."""

    @property
    def unwritten(self) -> bool:
        """Whether something of it stands in memory alone."""

    def write(self) -> None:
        """Have all of it on disk."""

    def fill(self) -> int:
        """Fill in morphemes for a while; how many passages wait then."""

    def search(self, query: Query, allowed: frozenset[str] | None) -> list[Found]:
        """The best passages, best first."""

    def status(self) -> Held:
        """How much is in it."""

    def damage(self) -> str:
        """The file that is not as it was written; empty: all are."""

    def close(self) -> None:
        """End what runs in it."""


class UnusableError(RuntimeError):
    """The index cannot be used any more: the process has to begin anew, and with it the index."""


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
        self._folder = loaded.index_folder
        self._source = loaded.index_source
        self._make = make
        self._writer = ThreadPoolExecutor(1, "index")
        self._busy = asyncio.Lock()
        self._news = asyncio.Event()
        self._added = asyncio.Event()
        self._number = 0
        self._behind = 0
        self._state: State = "building"
        self._error = ""
        self._stopping = False
        self._looked = -CHECK_EVERY_S
        self._broken = asyncio.Event()
        self.anew = ""
        """Why the index is being built anew, in words; empty: it can be searched."""
        self.index: Index

    async def open(self) -> None:
        """Open the index; one that the process before could not open, or that is of another database, is
        thrown away first. Raises OSError, or what opening raises.
        """
        self.index = await self._in_writer(self._open)

    def _open(self) -> Index:
        """A mark stands while it is opened: who finds it there knows that the last opening did not end. The
        other one says why it is built anew, until it has caught up.
        """
        mark, place, anew = self._folder / "opening", self._folder / "index", self._folder / "anew"
        url = self._db.url.render_as_string(hide_password=True)
        source = hashlib.sha256(url.encode()).hexdigest()
        if mark.exists() or not self._source.exists() or self._source.read_text("utf-8") != source:
            if place.exists():
                log.warning("the index cannot be used as it is, and is built anew")
                shutil.rmtree(place)
            write(self._source, source)
        write(mark, "the index is being opened\n")
        place.mkdir(mode=0o700, exist_ok=True)
        index = self._make(place)
        held = index.status()
        self._number = held.position
        if held.rebuilt:
            log.warning("the index cannot be used, and is built anew", extra={"why": held.rebuilt})
        if held.rebuilt or not (held.position or anew.exists()):
            write(anew, held.rebuilt or "there is none yet")
        self.anew = anew.read_text("utf-8") if anew.exists() else ""
        mark.unlink()
        return index

    def _forget(self, why: str) -> None:
        """Have the index built anew at the next start."""
        self.anew = why
        self._source.unlink(missing_ok=True)
        with suppress(OSError):  # a full disk may not keep a damaged index in use
            write(self._folder / "anew", why)
        self._broken.set()

    async def watch(self) -> None:
        """Return never. Raises UnusableError once the index has turned out to be damaged."""
        await self._broken.wait()
        raise UnusableError(self.anew)

    async def look(self) -> None:
        """Something failed in the index: is it damaged? Then nothing is searched from now on (fails closed)
        until it was built anew.
        """
        now = time.monotonic()
        if now - self._looked < CHECK_EVERY_S or self._broken.is_set():
            return
        self._looked = now
        if found := await asyncio.to_thread(self.index.damage):
            self._forget(f"its file {found} is damaged")

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
            anew=self.anew,
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
                await self.catch_up(write=write)
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

    async def catch_up(self, *, write: bool = False) -> Status:
        """Return once the index has all that the database has now; ``write``: on disk too. Raises one of the
        database's errors, UnusableError, or RuntimeError where the index cannot be written.
        """
        async with self._busy:
            try:
                while not self._stopping and (batch := await self._next()):
                    await self._put(batch)
                if write and not self._stopping:
                    await self._in_writer(lambda: self._tried(self.index.write))
                    self._added.set()
            except self.errors as error:
                if not self._error:
                    log.warning("the index cannot follow the database", extra={"why": brief(error)})
                self._error = brief(error)
                if isinstance(error, _UnwrittenError):
                    await self.look()
                raise
            if self._error and not self.index.unwritten:
                log.warning("the index follows the database again")
                self._error = ""
            if self._state == "building" and not self._stopping:
                self._state = "ready"
                if not self._broken.is_set():
                    self.anew = ""
                    (self._folder / "anew").unlink(missing_ok=True)
                held = self.index.status()
                log.info("search is ready", extra={"documents": held.documents, "passages": held.passages})
        return self.status()

    async def _next(self) -> _Batch | None:
        """The next changes, with their texts; None when there are none."""
        async with self._db.connect() as connection:
            newest = await connection.scalar(select(changes.c.version).where(changes.c.topic == TOPIC))
            if (newest or 0) < self._number:
                self._forget("the database is an older one than the index")
                raise UnusableError(self.anew)
            later = select(func.count()).select_from(documents).where(documents.c.changed > self._number)
            self._behind = await connection.scalar(later) or 0
            return await self._batch(connection) if self._behind else None

    async def _batch(self, connection: Connection) -> _Batch:
        batch = _Batch([], [], [], 0, 0)
        size = 0
        for change in await changed(connection, self._number, MOST_CHANGES):
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
        if disk or shutil.disk_usage(self._folder).free < LEAST_FREE_BYTES or self.index.damage():
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
                await self.look()
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
