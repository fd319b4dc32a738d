"""A sink between the lane and a client that keeps a copy of what passes, for a person's history."""

from __future__ import annotations

from moduai.gateway.sink import Sink
from moduai.history.record import Passed, Text, TurnPlace
from moduai.history.recorder import Recorder
from moduai.history.text import Answer, compose
from moduai.metering.row import UsageRow

FOLD = 256
"""Pieces of a stream that are kept as bytes before their text is taken, a few hundred microseconds' work."""
SMALL = 32_768
"""Bytes up to which a turn is recorded as it passed; of a larger one the text is taken here, because to
seal and write all of it would cost more.
"""


class Tee:
    """Passes an answer on and remembers it. Nothing is read before it is recorded, but long streams."""

    __slots__ = (
        "_answer", "_asked", "_body", "_pass_on", "_pieces", "_recorder", "_sink", "framed", "place",
    )  # fmt: skip

    def __init__(self, sink: Sink, asked: bytes, place: TurnPlace, recorder: Recorder) -> None:
        self._sink, self._asked, self.place, self._recorder = sink, asked, place, recorder
        self.framed = sink.framed
        self._pieces: list[bytes] = []
        self._answer: Answer | None = None
        self._body = b""

    @property
    def size(self) -> int:
        """About how many bytes it holds."""
        return len(self._asked) + len(self._body) + sum(map(len, self._pieces))

    def head(self, status: int, content_type: bytes, request_id: str) -> None:
        """Begin an answer of unknown length."""
        self._pass_on = self._sink.write
        self._sink.head(status, content_type, request_id)

    def write(self, data: bytes) -> None:
        """A part of the body."""
        pieces = self._pieces
        pieces.append(data)
        if len(pieces) >= FOLD:
            self._fold()
        self._pass_on(data)

    def end(self, *, close: bool = False) -> None:
        """The answer is complete."""
        self._sink.end(close=close)

    def whole(self, status: int, content_type: bytes, headers: bytes, body: bytes, request_id: str) -> None:
        """A complete answer."""
        if status == 200:
            self._body = body
        self._sink.whole(status, content_type, headers, body, request_id)

    def abort(self) -> None:
        """The answer broke off."""
        self._sink.abort()

    def over(self, row: UsageRow) -> None:
        """The exchange is over: keep the turn, if an engine had taken it. A whole answer may still follow
        in this moment, which is before a flush.
        """
        if row.engine and row.outcome != "refused":
            self._recorder.add(self, row)

    def heard(self) -> Passed | Text:
        """Question and answer as far as they came; may be asked for again."""
        if self._answer is None and self.size <= SMALL:
            return Passed(self._asked, self._body, b"".join(self._pieces))
        answer = self._fold()
        if self._body:
            answer.take(self._body)
            self._body = b""
        return compose(self._asked, answer)

    def _fold(self) -> Answer:
        if self._answer is None:
            self._answer = Answer()
        if self._pieces:
            self._answer.take_events(self._pieces)
            self._pieces.clear()
        return self._answer
