"""Streams of an OLE compound file ([MS-CFB]), read within bounds.

A chain of sectors that comes back to itself, a sector outside the file or a stream larger than the file is a
damaged file: every check fails closed.
"""

from __future__ import annotations

import struct
import sys
from array import array

from moduai.knowledge.readers.limits import Limits, check_size
from moduai.knowledge.types import ReadError

SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_HEADER = struct.Struct("<8s16s5H6x9I")
_ENTRY = struct.Struct("<64sHBBIII16sI16xIQ")
_HEADER_FAT = 109
"""Sectors of the allocation table that the header itself lists."""
_LAST_SECTOR = 0xFFFFFFFA
"""What is above is no sector: end of a chain, free, or the table itself."""
_NOTHING = 0xFFFFFFFF
_STORAGES = (1, 5)
_STREAM = 2


class Compound:
    """An open compound file: streams by their path, "BodyText/Section0"."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        check_size(data, limits)
        if len(data) < 512 or not data.startswith(SIGNATURE):
            raise ReadError("broken", "The file is damaged: it is not a compound file.")
        self._data = data
        header = _HEADER.unpack_from(data)
        shift, mini_shift = header[5], header[6]
        if shift not in {9, 12} or mini_shift != 6:
            raise ReadError("broken", "The file is damaged: its sectors have no size.")
        self._size, self._mini_size = 1 << shift, 1 << mini_shift
        directory, _, self._cutoff, mini_fat, _, more = header[9:15]
        self._fat = self._table(self._fat_sectors(more))
        self._mini_fat = self._table(self._chain(mini_fat, self._fat))
        self._mini = b""
        self._streams = self._directory(directory, limits)

    def __contains__(self, path: str) -> bool:
        return path in self._streams

    @property
    def paths(self) -> tuple[str, ...]:
        """Of all streams."""
        return tuple(self._streams)

    def stream(self, path: str) -> bytes:
        """All of one stream; a missing one is a damaged file."""
        if path not in self._streams:
            raise ReadError("broken", f"The file is damaged: it has no stream {path!r}.")
        start, size = self._streams[path]
        if size > len(self._data):
            raise broken("a stream is larger than the file")
        if size >= self._cutoff:
            return self._join(self._chain(start, self._fat, -(-size // self._size)), size)
        sectors = self._chain(start, self._mini_fat, -(-size // self._mini_size))
        mini = self._mini_size
        found = b"".join(self._mini[sector * mini : (sector + 1) * mini] for sector in sectors)[:size]
        if len(found) < size:
            raise broken("a stream is cut short")
        return found

    def _sector(self, number: int) -> bytes:
        return self._data[(number + 1) * self._size : (number + 2) * self._size]

    def _join(self, sectors: list[int], size: int) -> bytes:
        found = b"".join(map(self._sector, sectors))[:size]
        if len(found) < size:
            raise broken("a stream is cut short")
        return found

    def _fat_sectors(self, more: int) -> list[int]:
        """Where the allocation table is: the header's list, then a chain of sectors with further lists."""
        listed = list(struct.unpack_from(f"<{_HEADER_FAT}I", self._data, 76))
        seen: set[int] = set()
        while more <= _LAST_SECTOR:
            sector = self._sector(more)
            if more in seen or len(sector) < self._size:
                raise broken("its table of sectors runs in a circle or out of the file")
            seen.add(more)
            *numbers, more = struct.unpack(f"<{self._size // 4}I", sector)
            listed += numbers
        sectors = [number for number in listed if number <= _LAST_SECTOR]
        if len(sectors) > len(self._data) // self._size:
            raise broken("its table of sectors is larger than the file")
        return sectors

    def _table(self, sectors: list[int]) -> array[int]:
        """Which sector follows which."""
        joined = b"".join(map(self._sector, sectors))
        table = array("I")
        table.frombytes(joined[: len(joined) // 4 * 4])
        if sys.byteorder == "big":
            table.byteswap()
        return table

    def _chain(self, start: int, table: array[int], most: int | None = None) -> list[int]:
        """Sectors from ``start`` on, ``most`` of them if it is given."""
        chain: list[int] = []
        seen = bytearray(len(table))
        while start <= _LAST_SECTOR and (most is None or len(chain) < most):
            if start >= len(table) or seen[start]:
                raise broken("a chain of sectors runs in a circle or out of the file")
            seen[start] = 1
            chain.append(start)
            start = table[start]
        return chain

    def _directory(self, start: int, limits: Limits) -> dict[str, tuple[int, int]]:
        """First sector and size of each stream."""
        listed = b"".join(map(self._sector, self._chain(start, self._fat)))
        if len(listed) // _ENTRY.size > limits.parts:
            raise ReadError("too_large", f"The file holds more than {limits.parts:,} streams.")
        entries = list(_ENTRY.iter_unpack(listed[: len(listed) // _ENTRY.size * _ENTRY.size]))
        if not entries or entries[0][2] != _STORAGES[1]:
            raise broken("it has no root")
        root_size = min(entries[0][10], len(self._data))
        self._mini = b"".join(map(self._sector, self._chain(entries[0][9], self._fat)))[:root_size]
        streams: dict[str, tuple[int, int]] = {}
        seen = {0}
        waiting = [(entries[0][6], "", 1)]
        while waiting:
            number, folder, depth = waiting.pop()
            if number == _NOTHING:
                continue
            if number >= len(entries) or number in seen or depth > limits.depth:
                raise broken("its list of streams runs in a circle, out of the file or too deep")
            seen.add(number)
            raw, length, kind, _, left, right, child, _, _, first, size = entries[number]
            path = folder + raw[: max(min(length, 64) - 2, 0)].decode("utf-16-le", "replace")
            waiting += [(left, folder, depth), (right, folder, depth)]
            if kind in _STORAGES:
                waiting.append((child, path + "/", depth + 1))
            elif kind == _STREAM:
                streams[path] = (first, size & 0xFFFFFFFF if self._size == 512 else size)
        return streams


def broken(what: str) -> ReadError:
    """What to raise for a damaged file."""
    return ReadError("broken", f"The file is damaged: {what}.")
