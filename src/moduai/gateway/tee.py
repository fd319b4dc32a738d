"""A sink between the lane and a client that keeps a copy of what passes, for a person's history."""

from __future__ import annotations

from moduai.gateway.sink import Sink
from moduai.history.record import TurnPlace
from moduai.history.recorder import Heard, Recorder
from moduai.history.text import Answer
from moduai.metering.row import UsageRow

FOLD = 256
"""Pieces of a stream that are kept as bytes before their text is taken, a few hundred microseconds' work."""


class Tee:
    """Passes an answer on and remembers it. Nothing is read here but of long streams."""

    __slots__ = ("_answer", "_asked", "_pass_on", "_pieces", "_place", "_recorder", "_row", "_sink", "framed")

    def __init__(self, sink: Sink, asked: bytes, place: TurnPlace, recorder: Recorder) -> None:
        self._sink, self._asked, self._place, self._recorder = sink, asked, place, recorder
        self.framed = sink.framed
        self._row: UsageRow | None = None
        self._pieces: list[bytes] | None = None
        self._answer: Answer | None = None

    def head(self, status: int, content_type: bytes, request_id: str) -> None:
        """Begin an answer of unknown length."""
        self._pieces, self._pass_on = [], self._sink.write
        self._sink.head(status, content_type, request_id)

    def write(self, data: bytes) -> None:
        """A part of the body."""
        pieces = self._pieces
        if pieces is not None:
            pieces.append(data)
            if len(pieces) >= FOLD:
                if self._answer is None:
                    self._answer = Answer()
                self._answer.take_events(pieces)
                pieces.clear()
        self._pass_on(data)

    def over(self, row: UsageRow) -> None:
        """The exchange is over; what its client is told follows, unless that has left."""
        if row.engine and row.outcome != "refused":  # else it was never asked of an engine
            self._row = row
            if row.outcome == "cancelled":
                self._keep(b"")

    def end(self, *, close: bool = False) -> None:
        """The answer is complete."""
        self._keep(b"")
        self._sink.end(close=close)

    def whole(self, status: int, content_type: bytes, headers: bytes, body: bytes, request_id: str) -> None:
        """A complete answer, or an error."""
        self._keep(body if status == 200 else b"")
        self._sink.whole(status, content_type, headers, body, request_id)

    def abort(self) -> None:
        """The answer broke off."""
        self._keep(b"")
        self._sink.abort()

    def _keep(self, body: bytes) -> None:
        """Hand the turn to the recorder, once."""
        row, self._row = self._row, None
        if row is not None:
            events = b"".join(self._pieces) if self._pieces else b""
            self._recorder.add(Heard(row, self._place, self._asked, body, events, self._answer))
