"""Where an answer goes: a client's connection, or a part of this process (a page)."""

from __future__ import annotations

from typing import Protocol


class Sink(Protocol):
    """Takes one answer. Calls come in order: ``head``, any number of ``write``, then ``end``.

    ``whole`` stands for all three. After ``end``, ``whole`` or ``abort`` nothing follows.
    """

    framed: bool
    """True if ``write`` takes bodies in chunked coding; then engines' chunks pass as they are."""

    def head(self, status: int, content_type: bytes, request_id: str) -> None:
        """Begin an answer of unknown length."""

    def write(self, data: bytes) -> None:
        """A part of the body: payload, or chunks where ``framed``."""

    def end(self, *, close: bool = False) -> None:
        """The answer is complete; ``close``: with an error, so the connection should go."""

    def whole(self, status: int, content_type: bytes, headers: bytes, body: bytes, request_id: str) -> None:
        """A complete answer at once; ``headers`` are further header lines."""

    def abort(self) -> None:
        """The answer broke off in a way that only a broken connection can say."""
