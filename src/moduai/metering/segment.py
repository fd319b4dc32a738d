"""Usage rows, and other lines, on their way to the database: appended to a file, the segment.

A writer holds a lock (flock) on its segment, so that the loader knows whether more can come; it
never opens an old segment again. A row is safe from a crash of the process once ``flush`` has
returned (the kernel has it); a power cut may cost the last seconds, for there is no fsync.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from moduai.metering.row import UsageRow
from moduai.settings import Ledger

SUFFIX = ".jsonl"

log = logging.getLogger(__name__)
Item = TypeVar("Item")
_encoder = msgspec.json.Encoder()


class Appender(Generic[Item]):
    """What one worker has to keep, appended to its segments. ``add`` is for the hot lane; ``flush`` is
    called every ``ledger.flush_s``, in a thread: a slow disk may keep that waiting, but nobody else.

    While the disk refuses (``failing``), rows stay in memory and each flush tries again at the very
    byte where the last one stopped, so a line is neither lost nor written twice. ``full`` says that
    the memory set aside for this is used up.
    """

    suffix: str
    what: str
    """What they are, for the log."""

    def __init__(
        self, folder: Path, settings: Ledger, worker: str, encode: Callable[[list[Item]], bytes]
    ) -> None:
        """``worker`` is part of the file's name; nothing is opened until there is a row. ``encode`` makes
        whole lines, or other whole pieces, of them.
        """
        self._folder = folder
        self._settings = settings
        self._name = f"{worker}-{secrets.token_hex(4)}"
        self._segment = 0
        self._file: int | None = None
        self._size = 0
        self._encode = encode
        self._rows: list[Item] = []
        self._unwritten = b""
        """Encoded lines that the disk has not taken, or not all of them."""
        self._unwritten_rows = 0
        self._done = 0
        """How much of ``_unwritten`` the disk has."""
        self._writing = threading.Lock()
        self.add = self._rows.append
        """Keep a row until the next flush."""
        self.failing = False

    @property
    def rows_waiting(self) -> int:
        """Rows that are not yet on disk."""
        return len(self._rows) + self._unwritten_rows

    @property
    def waiting(self) -> tuple[Sequence[Item], int]:
        """What is not encoded yet, and the bytes of what is."""
        return self._rows, len(self._unwritten)

    @property
    def full(self) -> bool:
        """No room for more rows: refuse what would make one."""
        return self.rows_waiting >= self._settings.buffer_rows

    def flush(self) -> None:
        """Write every row that waits. Never raises for the disk: sets ``failing`` and keeps the rows."""
        with self._writing:
            self._flush()

    def encode(self) -> None:
        """Encode what waits here and now; the next flush writes it."""
        with self._writing:
            if not self._unwritten:
                self._encode_rows()

    def _encode_rows(self) -> None:
        if taken := self._rows[:]:
            encoded = self._encode(taken)
            del self._rows[: len(taken)]  # others may have been added meanwhile
            self._unwritten, self._unwritten_rows = encoded, len(taken)

    def _flush(self) -> None:
        if not self._rows and not self._unwritten:
            return
        try:
            self._write_unwritten()
            self._encode_rows()
            self._write_unwritten()
        except OSError as error:
            if not self.failing:
                log.warning(
                    f"{self.what} cannot be written",  # noqa: G004  (one of two texts)
                    extra={"why": error.strerror, "rows": self.rows_waiting},
                )
            self.failing = True
            return
        if self.failing:
            log.warning(f"{self.what} is written again")  # noqa: G004
            self.failing = False

    def close(self) -> None:
        """Write what waits and give up the segment; rows that cannot be written are lost, with an error."""
        self.flush()
        if self.rows_waiting:
            why = f"{self.what} is lost: the disk does not take it"
            log.error(why, extra={"rows": self.rows_waiting})
        self._release()

    def _write_unwritten(self) -> None:
        while self._done < len(self._unwritten):
            written = os.write(self._opened(), memoryview(self._unwritten)[self._done :])
            self._done += written
            self._size += written
        self._unwritten, self._unwritten_rows, self._done = b"", 0, 0

    def _opened(self) -> int:
        """The segment to append to: a new one at first, at the size limit, or if ours was deleted."""
        if self._file is not None:
            if not os.fstat(self._file).st_nlink:
                self._release()
                self._done = self._whole(self._done)
            elif self._done == 0 and self._size >= self._settings.segment_bytes:
                self._release()
        if self._file is None:
            self._file, self._size = self._create(), 0
        return self._file

    def _whole(self, done: int) -> int:
        """Where writing goes on in another file after ``done`` bytes: a half line goes whole again."""
        return self._unwritten.rfind(b"\n", 0, done) + 1

    def _create(self) -> int:
        """A new, locked file. It gets its name only when locked, or the loader could take it for left."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{self._name}-{self._segment:06d}{self.suffix}"
        draft = self._folder / f".{name}.new"
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(self._folder / name)
        except OSError:
            os.close(handle)
            draft.unlink(missing_ok=True)
            raise
        self._segment += 1
        return handle

    def _release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class SegmentWriter(Appender[UsageRow]):
    """Usage rows. When it is ``full`` the lane refuses requests (fails closed), because it could not
    account for them.
    """

    suffix = SUFFIX
    what = "usage"

    def __init__(self, folder: Path, settings: Ledger, worker: str) -> None:
        super().__init__(folder, settings, worker, _encode)
        self.behind_s = 0.0
        """Age of the oldest usage that may not be in the database, as whoever watches it says."""


def _encode(rows: list[UsageRow]) -> bytes:
    """One JSON line a row. A row that cannot be text in UTF-8 is repaired, not lost."""
    try:
        return _encoder.encode_lines(rows)
    except UnicodeEncodeError:
        return _encoder.encode_lines([_repaired(row) for row in rows])


def _repaired(row: UsageRow) -> UsageRow:
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    texts = {name: v.encode("utf-8", "replace").decode() for name, v in fields.items() if isinstance(v, str)}
    return msgspec.structs.replace(row, **texts)
