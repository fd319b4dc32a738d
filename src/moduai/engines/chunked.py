"""Chunked transfer coding of engines' answers (RFC 9112, 7.1), read strictly (fails closed).

``Decoder`` takes any split; ``HEADS`` serves the common case, a read that is exactly one ordinary
chunk, whose bytes can be passed on as they are. Both accept only plain hexadecimal sizes: framing
that another reader could understand otherwise is never passed on.
"""

from __future__ import annotations

import re

ORDINARY = 2048
"""Reads shorter than this may be recognised as one chunk."""
HEADS = [b"\n"] * ORDINARY
"""The size line that a read of so many bytes begins with if it is exactly one chunk (no size line is a
bare line feed). Looking it up is faster than reading a size, and stricter."""
for _size in range(1, ORDINARY):
    _line = b"%x\r\n" % _size
    if len(_line) + _size + 2 < ORDINARY:
        HEADS[len(_line) + _size + 2] = _line
LINE_LIMIT = 256
_SIZE_LINE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[\t\x20-\x7e]*)?")


class FramingError(ValueError):
    """The engine's framing is broken."""


class Decoder:
    """Takes chunked bytes in any split and gives the payload."""

    __slots__ = ("_buffer", "_left", "_trailer", "done")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = -1
        """Payload bytes of the current chunk still to come; -1 before a size line."""
        self._trailer = False
        self.done = False

    @property
    def between(self) -> bool:
        """True where a chunk may begin and nothing is held back."""
        return self._left < 0 and not self._buffer and not self._trailer and not self.done

    def feed(self, data: bytes) -> bytes:
        """Payload in ``data``. Raises FramingError; bytes after the last chunk are an error too."""
        if self.done:
            raise FramingError("bytes after the end of the answer")
        data = self._buffer + data
        self._buffer = b""
        pieces: list[bytes] = []
        position = 0
        while not self.done:
            if self._left > 0:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            step = self._line(data, position)
            if step < 0:
                self._buffer = data[position:]
                break
            position = step
        if self.done and position < len(data):
            raise FramingError("bytes after the end of the answer")
        return b"".join(pieces)

    def _line(self, data: bytes, position: int) -> int:
        """Take one line (a chunk's end, a size or a trailer); the offset after it, -1 if it is not whole."""
        end = data.find(b"\r\n", position)
        if end < 0:
            if len(data) - position > LINE_LIMIT:
                raise FramingError("a chunk's size line is too long")
            return -1
        line = data[position:end]
        if self._left == 0:
            if line:
                raise FramingError("a chunk is longer than its size")
            self._left = -1
        elif self._trailer:
            self.done = not line
        else:
            match = _SIZE_LINE.fullmatch(line)
            if match is None:
                raise FramingError("a chunk's size is not a hexadecimal number")
            self._left = int(match[1], 16)
            if not self._left:
                self._left, self._trailer = -1, True
        return end + 2
