"""Server-sent events on their way through: passed on as they are, looked at only where they concern us.

What concerns us: the usage event (wanted for the ledger, passed on only if the client asked for it),
an engine's own error event, bytes that are not UTF-8, and text that is not an event stream. No JSON is
parsed and nothing is rebuilt for an ordinary event. What is not understandable is refused (fails closed).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from moduai.engines.chunked import HEADS, ORDINARY
from moduai.gateway.sink import Sink
from moduai.gateway.usage import NOT_READ, Usage, read

EVENT_LIMIT = 4_194_304
"""Most bytes of one event that are held back until its end arrives."""
_EVENT = re.compile(rb".*?(?:\r\n\r\n|\n\n)", re.DOTALL)
_ERRORS = (b'data: {"error":', b'data: {"type":"error"')
_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:", b"data\n")


def is_text(data: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


class EventRelay:
    """One event stream from an engine to a sink. ``refuse`` is called when it is not understandable."""

    __slots__ = (
        "_last", "_refuse", "_sink", "_tail", "_usage_wanted", "_write_framed", "begun", "error_seen",
        "first", "pieces", "reads", "usage",
    )  # fmt: skip

    def __init__(self, sink: Sink, refuse: Callable[[], None], *, usage_wanted: bool) -> None:
        self._sink = sink
        self._write_framed = sink.write
        self._last = b""
        self._refuse = refuse
        self._usage_wanted = usage_wanted
        self._tail = bytearray()
        self.begun = False
        """True once an event of the engine has gone to the client: no other engine may answer then."""
        self.first = 0
        """When the first event came, monotonic, in ns."""
        self.pieces = 0
        """Events with data so far: what the ledger counts where the engine names no usage."""
        self.reads = 0
        """Reads that were looked at; with ``pieces``, a sign of life."""
        self.usage: Usage | None = None
        self.error_seen = False

    def passing(self, data: bytes) -> bool:
        """Pass on a read that is one chunk with one ordinary event; False: it needs a closer look.

        ``find`` stands for ``in`` here: on bytes ``in`` first fails to read its operand as a number.
        """
        size = len(data)
        if (
            size >= ORDINARY
            or not data.startswith(HEADS[size])
            or not data.endswith(b"}\n\n\r\n")
            or (data.find(b'"usage"') >= 0 and data.find(b'"usage":null') < 0)
            or self._tail
            or not self.begun
            or not (data.isascii() or is_text(data))
        ):
            return False
        self.pieces += 1
        self._last = data
        self._write_framed(data)
        return True

    def feed(self, payload: bytes) -> None:
        """A part of the stream in any split."""
        if not self.first:
            self.first = time.monotonic_ns()
        self.reads += 1
        self._look_back()
        tail = self._tail
        start = max(0, len(tail) - 3)
        tail += payload
        cut = max(tail.rfind(b"\n\n", start) + 2, tail.rfind(b"\r\n\r\n", start) + 4)
        events = bytes(tail[:cut]) if cut > 3 else b""
        del tail[: len(events)]
        if len(tail) > EVENT_LIMIT or not self._pass(events):
            self._refuse()

    def finish(self) -> bool:
        """The stream has ended; a whole last event may lack its blank line. False: it is cut off."""
        self._look_back()
        tail = bytes(self._tail).strip(b"\r\n")
        self._tail.clear()
        document = tail.removeprefix(b"data:").strip()
        if tail.startswith(b"data:") and document != b"[DONE]":
            try:
                read(document)
            except NOT_READ:
                return False
        return not tail or self._pass(tail + b"\n\n")

    def _pass(self, events: bytes) -> bool:
        """Pass whole events on; False if they are not understandable."""
        if not events:
            return True
        if not is_text(events) or not events.lstrip(b"\r\n").startswith(_FIELDS):
            return False
        if b'"usage"' in events or b'"error":' in events:
            try:
                events = b"".join(event for event in _EVENT.findall(events) if self._passes(event))
            except NOT_READ:
                return False
        # JSON has no bare line breaks, so a line that begins so is a field and not text in one.
        self.begun = True
        self.pieces += (b"\n" + events).count(b"\ndata:") - events.count(b"data: [DONE]\n")
        self._write(events)
        return True

    def _look_back(self) -> None:
        """An engine's error event is its last one: only the last that was passed on may be it."""
        self.error_seen |= self._last.partition(b"\r\n")[2].startswith(_ERRORS)
        self._last = b""

    def start_again(self) -> None:
        """Another engine begins the answer anew; nothing of this one has been passed on."""
        self._tail.clear()
        self.first, self.pieces, self.usage, self.error_seen = 0, 0, None, False

    def comment(self, text: str) -> None:
        """A line that every client ignores, between events."""
        self._write(f": {text}\n\n".encode())

    def event(self, document: bytes) -> None:
        """An event of our own: a JSON document, whose line breaks can only be white space."""
        self._tail.clear()
        self._write(b"data: %b\n\n" % document.replace(b"\r", b" ").replace(b"\n", b" "))

    def _write(self, payload: bytes) -> None:
        if payload:
            self._sink.write(b"%x\r\n%b\r\n" % (len(payload), payload) if self._sink.framed else payload)

    def _passes(self, event: bytes) -> bool:
        """Read an event that may concern us; whether it is passed on."""
        lines = event.replace(b"\r\n", b"\n").split(b"\n")
        document = b"".join(line[5:] for line in lines if line.startswith(b"data:")).strip()
        if not document.startswith(b"{"):
            return True
        if event.startswith(_ERRORS):
            self.error_seen = True
            return True
        found = read(document)
        self.usage = found.usage or self.usage
        return self._usage_wanted or not found.only_usage
