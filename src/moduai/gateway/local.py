"""Asking from inside this process: a page asks the same lane as every client.

``LocalAsk`` turns one chat request into events; closing the iterator cancels the request upstream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from moduai.accounts.principal import Principal
from moduai.gateway.ask import look
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import ApiError
from moduai.gateway.lane import Lane
from moduai.gateway.usage import NOT_READ, read
from moduai.history.record import TurnPlace
from moduai.metering.row import Step


class Begun(Struct, frozen=True):
    """It was taken: the first event of all that are not refused at once."""

    id: str
    """The request's id, and the turn's where it is kept."""
    conversation: str = ""
    """Where the turn goes; empty: nothing is kept."""


class Place(Struct, frozen=True):
    """Still in line. Times are expected and from now on; None where nothing is known to judge by."""

    position: int
    wait_s: float | None
    low_s: float | None = None
    """It will be longer than this in nine of ten cases."""
    high_s: float | None = None
    lighter: str = ""
    """A lighter model that the operator offers instead."""


class Delta(Struct, frozen=True):
    """A piece of the answer's text."""

    text: str


class Done(Struct, frozen=True):
    """The answer is complete."""

    finish_reason: str
    model: str
    """Who answered: not always who was asked."""
    tokens_in: int
    tokens_out: int
    id: str = ""
    """The turn's id."""
    step: Step = ""
    """How far the pressure went with it."""


class Failed(Struct, frozen=True):
    """It failed or was refused; what came before stays."""

    code: str
    message: str
    status: int
    retry_after_s: int | None = None


Event = Begun | Place | Delta | Done | Failed


class _Message(Struct):
    content: str | None = None


class _Choice(Struct):
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Error(Struct):
    message: str = ""
    code: str | int | None = None


class _Chunk(Struct):
    choices: list[_Choice] = []
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Chunk).decode
_decode_error = msgspec.json.Decoder(dict[str, _Error]).decode
HIGH_WATER = 256
"""Events that may wait for the page before the engine is read no more."""


class _PageSink:
    """Takes an answer's bytes and queues events."""

    framed = False

    def __init__(self, model: str) -> None:
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._model = model
        self._id = ""
        self._rest = b""
        self._finish = ""
        self._usage = (0, 0)
        self._failed = False
        self.pause: Callable[[], None] = lambda: None
        """Called when the page takes events more slowly than they come."""

    def head(self, status: int, content_type: bytes, request_id: str) -> None:
        """A stream begins."""
        self._id = request_id

    def write(self, data: bytes) -> None:
        """Whole or broken events of the stream."""
        *events, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            for line in event.split(b"\n"):
                self._line(line)
        if self.events.qsize() > HIGH_WATER:
            self.pause()

    def _line(self, line: bytes) -> None:
        if line.startswith(b": queue position="):
            self._place(line.decode())
        elif line.startswith(b"data:") and (document := line[5:].strip()).startswith(b"{"):
            self._chunk(document)

    def _place(self, line: str) -> None:
        line, _, lighter = line.partition(" lighter=")
        words = dict(word.split("=", 1) for word in line.split() if "=" in word)
        wait, low, high = (float(words[each]) if each in words else None for each in ("eta", "from", "to"))
        self.events.put_nowait(Place(int(words["position"]), wait, low, high, lighter))

    def _chunk(self, document: bytes) -> None:
        try:
            chunk = _decode(document)
            usage = read(document).usage
        except NOT_READ:
            self._fail(ApiError("engine_bad_answer"))
            return
        if usage is not None:
            self._usage = (usage.tokens_in, usage.tokens_out)
        if chunk.error is not None:
            self._fail(ApiError("engine_failed", chunk.error.message), code=str(chunk.error.code or ""))
        for choice in chunk.choices:
            if choice.delta is not None and choice.delta.content:
                self.events.put_nowait(Delta(choice.delta.content))
            self._finish = choice.finish_reason or self._finish

    def end(self, *, close: bool = False) -> None:
        """The stream is complete."""
        if not self._failed:
            self.events.put_nowait(Done(self._finish or "stop", self._model, *self._usage, self._id))
        self.events.put_nowait(None)

    def whole(self, status: int, content_type: bytes, headers: bytes, body: bytes, request_id: str) -> None:
        """An error, or an engine that does not stream."""
        self._id = request_id
        if status == 200:
            self._whole(body)
            return
        error = _decode_error(body)["error"]
        retry = headers.lower().partition(b"retry-after: ")[2].partition(b"\r\n")[0]
        failed = Failed(str(error.code or ""), error.message, status, int(retry) if retry else None)
        self._failed = True
        self.events.put_nowait(failed)
        self.events.put_nowait(None)

    def _whole(self, body: bytes) -> None:
        try:
            choices = _decode(body).choices
        except NOT_READ:
            self.abort()
            return
        message = choices[0].message if choices else None
        self.events.put_nowait(Delta((message.content if message is not None else "") or ""))
        self.end()

    def _fail(self, error: ApiError, code: str = "") -> None:
        if not self._failed:
            self._failed = True
            self.events.put_nowait(
                Failed(code or error.code, error.message, error.status, error.retry_after_s)
            )

    def abort(self) -> None:
        """Broken off."""
        self._fail(ApiError("engine_failed"))
        self.events.put_nowait(None)


def _seconds(nanoseconds: int) -> float | None:
    return None if nanoseconds < 0 else nanoseconds / 1e9


class LocalAsk:
    """Asks one lane."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def __call__(
        self, body: dict[str, Any], principal: Principal, *, conversation: str = "", parent: str = ""
    ) -> AsyncIterator[Event]:
        """Events of one chat request. Closing the iterator cancels it.

        ``conversation`` and ``parent`` say where its turn goes if the person's history is on (see
        ``TurnPlace``). Raises PlaceError where they are no ids.
        """
        goes = TurnPlace.of(conversation, parent)
        sink = _PageSink(str(body.get("model", "")))
        raw = msgspec.json.encode({**body, "stream": True, "stream_options": {"include_usage": True}})
        try:
            ask = look(raw, Endpoint.CHAT, 1, frozenset())
        except ApiError as error:
            yield Failed(error.code, error.message, error.status, error.retry_after_s)
            return
        exchange = self._lane.submit(ask, principal, sink, goes)
        try:
            if not exchange.over:
                yield Begun(exchange.id, goes.conversation_of(exchange.id) if principal.history else "")
            if not exchange.over and (place := self._lane.place(exchange)):
                yield Place(
                    place.position,
                    _seconds(place.wait),
                    _seconds(place.low),
                    _seconds(place.high),
                    place.lighter,
                )
            sink.pause = exchange.pause
            while (event := await sink.events.get()) is not None:
                if isinstance(event, Done):
                    model = exchange.ask.model if exchange.ask is not None else event.model
                    event = replace(event, model=model, step=exchange.step)
                yield event
                if sink.events.empty():
                    exchange.resume()
        finally:
            exchange.cancel()
