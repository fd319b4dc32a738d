"""A head that repeats: recognised by its bytes instead of read again.

On a kept connection, clients and engines send the same head each time, but for the digits of its
Content-Length. What a parser has read once need not be read again: a head is taken for the same
only if every byte around those digits is, and the read holds exactly the body that they announce.
Anything else goes to the parser (fails closed).
"""

from __future__ import annotations

import re

DIGITS = 8
"""Most digits of a length: more than any body that is taken."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,%d})\r\n" % DIGITS, re.IGNORECASE)


class RepeatedHead:
    """One head, in two parts around the digits."""

    __slots__ = ("_after", "_before", "_size", "_stop")

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before, self._after = before, after
        self._size = len(before)
        self._stop = self._size + DIGITS + len(after)

    @classmethod
    def of(cls, data: bytes) -> RepeatedHead | None:
        """Learn from a message that a parser has accepted; None unless it came whole in one read."""
        end = data.find(b"\r\n\r\n") + 4
        found = _LENGTH.search(data, 0, end - 2)
        if found is None or len(data) != end + int(found[1]):
            return None
        return cls(data[: found.start(1)], data[found.end(1) : end])

    def body(self, data: bytes) -> bytes | None:
        """The body of a whole message with this head; None for anything else."""
        size, after = self._size, self._after
        end = data.find(after, size, self._stop)
        if end > 0 and data.startswith(self._before):
            body = data[end + len(after) :]
            if data[size:end] == b"%d" % len(body):
                return body
        return None
