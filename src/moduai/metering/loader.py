"""Segments into the database. May be stopped, killed or run twice at once: each row counts once."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from moduai.metering.hours import open_up
from moduai.metering.retention import closed_before
from moduai.metering.row import UsageRow
from moduai.metering.segment import SUFFIX
from moduai.metering.tables import segments, usage
from moduai.store.database import Connection, Database, insert, put_new

BATCH_BYTES = 1 << 20
"""Bytes read, and then loaded in one transaction."""
REJECTED = ".rejected"

log = logging.getLogger(__name__)
Rows = list[dict[str, Any]]
Put = Callable[[Connection, Rows], Awaitable[Rows]]


@dataclass(slots=True)
class Batch:
    """A piece of a segment that is whole."""

    rows: Rows
    rejected: list[bytes]
    """What was not understood."""
    end: int
    """Offset after it."""


class Kind(NamedTuple):
    """What is in a folder's segments, and where it goes."""

    name: str
    """For the log."""
    suffix: str
    """Of the segments' names."""
    read: Callable[[int, int], Batch | None]
    """What stands whole in a file from an offset on; None if there is nothing yet."""
    put: Put
    """Rows into the database; those that are there already stay as they are. Returns those it refuses."""


async def put_usage(connection: Connection, rows: Rows) -> Rows:
    """Rows into the ledger. Refused are those of a time whose rows are deleted: whether such a row was
    counted cannot be known any more (they are kept aside, and told).
    """
    closed = await closed_before(connection)
    refused = [row for row in rows if row["at"] < closed]
    if taken := [row for row in rows if row["at"] >= closed]:
        await put_new(connection, usage, taken)
        await open_up(connection, {row["at"] for row in taken})
    return refused


def _read_usage(handle: int, offset: int) -> Batch | None:
    """The next whole lines."""
    size = BATCH_BYTES
    while True:
        piece = os.pread(handle, size, offset)
        end = piece.rfind(b"\n") + 1
        if end or len(piece) < size:
            break
        size *= 2  # one line is longer than the piece
    if not end:
        return None
    batch = Batch([], [], offset + end)
    for line in piece[: end - 1].split(b"\n"):
        try:
            batch.rows.append(msgspec.structs.asdict(_decode(line)))
        except (msgspec.DecodeError, UnicodeDecodeError):
            batch.rejected.append(line)
    return batch


_decode = msgspec.json.Decoder(UsageRow).decode
USAGE = Kind("usage rows", SUFFIX, _read_usage, put_usage)


class Loader:
    """Loads the segments of one folder. ``load_once`` is called again and again."""

    def __init__(self, db: Database, folder: Path, machine: str = "", kind: Kind = USAGE) -> None:
        """``folder`` need not exist yet. Of offsets in the database, only those of segments whose name
        begins with ``machine`` are this loader's to delete (empty: all), for others may share it.
        """
        self._db = db
        self._folder = folder
        self._machine = machine
        self._kind = kind
        self.torn = 0
        """Half lines (or batches) that killed writers left."""
        self.rejected = 0
        """Lines that were not understood; they are kept in ``<segment>.rejected``."""

    async def load_once(self) -> int:
        """Load what is there and return the rows read. Raises one of ``db.errors``; what was loaded
        until then stays, and the rest is found again.
        """
        offsets = await self._offsets()  # before the names: what has an offset and no file is finished
        names = sorted(file.name for file in self._folder.glob(f"[!.]*{self._kind.suffix}"))
        own = {name for name in offsets if name.startswith(self._machine)}
        if left := own - set(names):
            async with self._db.begin() as connection:
                await connection.execute(delete(segments).where(segments.c.name.in_(left)))
        return sum([await self._load(name, offsets.get(name, 0)) for name in names])

    async def _offsets(self) -> dict[str, int]:
        async with self._db.connect() as connection:
            rows = await connection.execute(select(segments.c.name, segments.c.offset))
            return {row.name: row.offset for row in rows if row.name.endswith(self._kind.suffix)}

    async def _load(self, name: str, offset: int) -> int:
        file = self._folder / name
        loaded = 0
        try:
            handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0  # another loader was first
        with _closing(handle):
            left = writer_has_left(handle)  # before reading: then nothing can come after what we read
            there = os.fstat(handle).st_size  # what comes meanwhile is for the next round: others wait too
            while offset < there and (batch := self._kind.read(handle, offset)):
                if not await self._store(file, offset, batch):
                    return loaded  # another loader is at it; the next round sees how far it came
                loaded += len(batch.rows)
                offset = batch.end
            if left:
                self._finish(file, os.fstat(handle).st_size - offset)
        return loaded

    async def _store(self, file: Path, start: int, batch: Batch) -> bool:
        """One transaction: the rows and the new offset. False if another loader has moved the offset."""
        async with self._db.begin() as connection:
            if not await _claim(connection, file.name, start, batch.end):
                return False
            refused = await insert_each(connection, batch.rows, self._kind.put) if batch.rows else []
            rejected = batch.rejected + [msgspec.json.encode(row) for row in refused]
            if rejected:
                keep_aside(file.with_name(file.name + REJECTED), rejected)
        if rejected:
            self.rejected += len(rejected)
            kept = {"kept": file.name + REJECTED, "lines": len(rejected), "kind": self._kind.name}
            log.warning("lines could not be loaded", extra=kept)
        return True

    def _finish(self, file: Path, rest: int) -> None:
        if rest > 0:  # less than 0: a restored segment that the database had more of
            self.torn += 1
            log.warning("a writer was killed in a line", extra={"segment": file.name, "dropped": rest})
        file.unlink(missing_ok=True)


async def _claim(connection: Connection, name: str, start: int, end: int) -> bool:
    """Move the segment's offset from ``start`` to ``end``; False if it no longer stands at ``start``.

    The row stays locked until the transaction ends, so of two loaders one waits here and then finds
    the offset moved.
    """
    first = insert(connection, segments).values(name=name, offset=0)
    await connection.execute(first.on_conflict_do_nothing(index_elements=["name"]))
    moved = await connection.execute(
        update(segments).where(segments.c.name == name, segments.c.offset == start).values(offset=end)
    )
    return bool(moved.rowcount)


async def insert_each(connection: Connection, rows: Rows, put: Put) -> Rows:
    """Put rows in; returns those that are refused, or that the database cannot hold (such as 2**70)."""
    try:
        async with connection.begin_nested():
            return await put(connection, rows)
    except (DBAPIError, OverflowError) as error:
        if not _is_of_a_row(error):
            raise
        if len(rows) == 1:
            return rows
        middle = len(rows) // 2
        return await insert_each(connection, rows[:middle], put) + await insert_each(
            connection, rows[middle:], put
        )


def _is_of_a_row(error: DBAPIError | OverflowError) -> bool:
    """Whether a value is at fault; any other error is the database's, and must not cost a row."""
    if isinstance(error, DataError | IntegrityError | OverflowError):
        return True
    return str(getattr(error.orig, "sqlstate", None) or "")[:2] in {"22", "23"}


def writer_has_left(handle: int) -> bool:
    """A writer holds the segment's lock for as long as it lives and can append."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def keep_aside(file: Path, lines: list[bytes]) -> None:
    """Keep lines that could not be loaded. Raises OSError."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with _closing(handle):
        os.write(handle, b"".join(line + b"\n" for line in lines))


@contextmanager
def _closing(handle: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(handle)
