"""Requests that are under way, kept where they outlive their process: each has a row, also when its gateway
dies.

A gateway writes who asks for what into a slot of a file that is mapped into memory, and over it the row once
that is made, which costs a microsecond or two and no system call; it frees the slot once the row is on disk.
A file that nobody holds was left by a gateway that died: what stands in it becomes rows, and those that had
only begun say so. Who has a row already has no second one, for rows are told apart by their ids.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict, astuple

from moduai.metering.loader import REJECTED, insert_each, keep_aside, put_usage, writer_has_left
from moduai.metering.row import UsageRow
from moduai.metering.segment import SUFFIX as SEGMENT
from moduai.store.database import Database

SUFFIX = ".taken"
SLOT = 1024
"""Bytes of a slot: the length of what stands in it in two, then that."""
SLOTS = 16_384
"""Requests of one gateway at once; what is more is served all the same, and not kept (fails open)."""
BEGUN = 11
"""Fields that are known of a request when it begins."""
DIED: dict[str, str | int | bool] = {"outcome": "failed", "error": "gateway_died", "status": 502}
"""Of a request whose gateway died while it had it."""

log = logging.getLogger(__name__)
Fields = tuple[str, int, str, str, str, str, str, str, str, str, str]
"""The first fields of a row, up to its model."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[str | int | bool]).decode
_FREE = b"\0\0"


class Taken:
    """What one gateway has under way."""

    def __init__(self, folder: Path, worker: str) -> None:
        """Raises OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{worker}-{secrets.token_hex(4)}{SUFFIX}"
        self._file = folder / name
        draft = folder / f".{name}.new"
        self._handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(self._handle, 0, SLOT * SLOTS)  # a page without room would end the process
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._map = mmap.mmap(self._handle, SLOT * SLOTS)
        draft.rename(self._file)
        self._free = list(range(SLOTS - 1, -1, -1))
        self._ended: list[int] = []

    def begin(self, fields: Fields) -> int:
        """Keep a request; its slot, or -1 where there is none left or it is too long."""
        body = _encode(fields)
        if not self._free or len(body) > SLOT - 2:
            return -1
        slot = self._free.pop()
        self._write(slot, body)
        return slot

    def _write(self, slot: int, body: bytes) -> None:
        at, size = slot * SLOT, len(body)
        if size <= SLOT - 2:
            self._map[at : at + 2] = _FREE  # what is half written does not count
            self._map[at + 2 : at + 2 + size] = body
            self._map[at : at + 2] = size.to_bytes(2, "big")

    def end(self, slot: int, row: UsageRow) -> None:
        """Its row is made, and stands in the slot until it is on disk."""
        if slot < 0:
            return
        self._ended.append(slot)
        self._write(slot, _encode(astuple(row)))

    @property
    def ended(self) -> int:
        """How many requests have their row in a slot."""
        return len(self._ended)

    def written(self, count: int) -> None:
        """The first so many rows of those that were made are on disk."""
        ended = self._ended[:count]
        for slot in ended:
            self._map[slot * SLOT : slot * SLOT + 2] = _FREE
        self._free += ended
        del self._ended[:count]

    def close(self) -> None:
        """Let go in order: where all has its row on disk the file goes too."""
        if len(self._free) == SLOTS:
            self._file.unlink(missing_ok=True)
        self._map.close()
        os.close(self._handle)


async def recover(db: Database, folder: Path) -> int:
    """Rows for what dead gateways had under way; how many. Asked right after segments were loaded: what they
    told counts first. Raises one of ``db.errors``; then the next time does it.
    """
    rows = 0
    for file in _files(folder, SUFFIX):
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if writer_has_left(handle) and not _untold(folder):
                died = [each for at in range(SLOTS) if (each := _read(handle, at))]
                if died:
                    async with db.begin() as connection:
                        refused = await insert_each(connection, died, put_usage)
                        if refused:
                            keep_aside(
                                file.with_name(file.name + REJECTED), list(map(msgspec.json.encode, refused))
                            )
                    log.warning("a gateway died with requests under way", extra={"requests": len(died)})
                rows += len(died)
                file.unlink(missing_ok=True)
        finally:
            os.close(handle)
    return rows


def _files(folder: Path, suffix: str) -> list[Path]:
    return sorted(folder.glob(f"[!.]*{suffix}"))


def _untold(folder: Path) -> bool:
    """Whether a segment of a dead writer is not loaded to its end."""
    for file in _files(folder, SEGMENT):
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if writer_has_left(handle):
                return True
        finally:
            os.close(handle)
    return False


def _read(handle: int, slot: int) -> dict[str, Any] | None:
    size = int.from_bytes(os.pread(handle, 2, slot * SLOT), "big")
    if not 0 < size <= SLOT - 2:
        return None
    try:
        values = _decode(os.pread(handle, size, slot * SLOT + 2))
        fields = dict(zip(UsageRow.__struct_fields__, values, strict=False))
        return asdict(msgspec.convert(fields | (DIED if len(values) == BEGUN else {}), UsageRow))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
