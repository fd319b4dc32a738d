"""An answer as the page shows it: events of the gateway become a few page events, paced for people.

Rule: whoever stops reading stops the answer. Closing the iterator closes the gateway's, and that
cancels upstream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from moduai.accounts.principal import Principal
from moduai.engines.record import Model
from moduai.gateway.local import Begun, Delta, Done, Failed, Place
from moduai.gateway.public import PUBLIC
from moduai.history.record import NEW, TurnPlace
from moduai.web import words
from moduai.web.conversation import Said, request_body
from moduai.web.language import Language
from moduai.web.markdown import Stream
from moduai.web.services import Ask

FRAME_S = 0.08
"""Shortest time between two looks at a growing answer."""
REST = 10
"""Rendering takes at most one part in so many of the time: other requests share the processor."""
GROWING_BYTES_S = 24_000
"""Most bytes a second that are spent on sending a growing block again; long ones come less often."""


class Started(Struct, frozen=True, tag="begin", tag_field="event"):
    """The question was taken."""

    turn: str
    """Id of the request, and of the turn where it is kept."""
    conversation: str
    """Where it is kept; empty: nowhere."""


class Waiting(Struct, frozen=True, tag="place", tag_field="event"):
    """The place in line, from 1, and the expected wait in seconds if it is known."""

    position: int
    wait_s: float | None
    text: str
    lighter: str = ""
    """A lighter model that can be asked instead."""
    offer: str = ""
    """What its button says."""


class Written(Struct, frozen=True, tag="block", tag_field="event"):
    """One block of the answer as safe HTML; an unfinished one will come again."""

    index: int
    html: str
    finished: bool


class Finished(Struct, frozen=True, tag="done", tag_field="event"):
    """The whole answer is there."""

    model: str
    origin: str
    """Model and maker in words."""
    tokens: int
    seconds: float
    figures: str
    remarks: list[str]
    text: str
    """The answer as Markdown, to copy and to send along with the next question."""


class Broken(Struct, frozen=True, tag="error", tag_field="event"):
    """There is no answer, or no more of it."""

    code: str
    message: str
    retry_after_s: int | None = None


PageEvent = Started | Waiting | Written | Finished | Broken


@dataclass(frozen=True)
class Question:
    """One question with all that its answer needs."""

    text: str
    turns: Sequence[Said]
    model: Model
    principal: Principal
    language: Language
    place: TurnPlace = NEW
    makers: Mapping[str, str] = field(default_factory=dict)
    """Maker of each model that can be talked to now, by its name."""
    ended: Callable[[Started, str, str, str], None] = lambda started, model, text, outcome: None
    """Told once, also of an answer that is left: who wrote it, how far it came, and whether that is ok."""


async def answer(ask: Ask, question: Question) -> AsyncGenerator[PageEvent, None]:
    """Ask, and give page events until Finished or Broken."""
    started, text, outcome, model = None, "", "cancelled", question.model.name
    try:
        async with aclosing(_answer(ask, question)) as events:
            async for event in events:
                match event:
                    case Started():
                        started = event
                    case Delta():
                        text += event.text
                        continue
                    case Finished():
                        outcome, model = "ok", event.model
                    case Broken():
                        outcome = "failed"
                yield event
    finally:
        if started:
            question.ended(started, model, text, outcome)


async def _answer(ask: Ask, question: Question) -> AsyncGenerator[PageEvent | Delta, None]:
    body, left_out = request_body(
        question.turns, question.text, question.model.name, question.model.capability.context
    )
    began = time.monotonic()
    t = question.language.words
    stream = Stream(t.gettext("Copy code"), sources=question.model.name.endswith(PUBLIC))
    text = ""
    place = question.place
    events = ask(body, question.principal, conversation=place.conversation, parent=place.parent)
    async with _Paced(events) as paced:
        async for event in paced:
            match event:
                case None:
                    blocks = _written(stream)
                    paced.drawn(sum(len(block.html) for block in blocks))
                    for block in blocks:
                        yield block
                case Begun():
                    yield Started(event.id, event.conversation)
                case Place():
                    yield _waiting(question, event)
                case Delta():
                    text += event.text
                    stream.feed(event.text)
                    paced.wants_frame()
                    yield event
                case Done():
                    for block in _written(stream, end=True):
                        yield block
                    yield _finished(question, event, text, time.monotonic() - began, left_out=left_out)
                    return
                case Failed():
                    for block in _written(stream, end=True):
                        yield block
                    code = words.known(event.code)
                    told = words.error(t, code, event.retry_after_s, event.message)
                    yield Broken(code, told, event.retry_after_s)
                    return
    yield Broken("engine_failed", words.error(t, "engine_failed"))


def _waiting(question: Question, place: Place) -> Waiting:
    t = question.language.words
    lighter = place.lighter if place.lighter in question.makers else ""
    text = words.place(t, place)
    return Waiting(place.position, place.wait_s, text, lighter, words.offer(t, lighter) if lighter else "")


def _written(stream: Stream, *, end: bool = False) -> list[Written]:
    return [Written(b.index, b.html, b.finished) for b in stream.blocks(end=end)]


def _finished(question: Question, done: Done, text: str, spent_s: float, *, left_out: bool) -> Finished:
    t = question.language.words
    asked = question.model
    maker = asked.capability.origin
    if done.model != asked.name:
        maker = question.makers.get(done.model.removesuffix(PUBLIC), "")
    return Finished(
        model=done.model,
        origin=words.origin(t, done.model, maker),
        tokens=done.tokens_out,
        seconds=round(spent_s, 1),
        figures=words.figures(t, done.tokens_out, spent_s),
        remarks=words.remarks(t, done, asked.name, left_out=left_out),
        text=text,
    )


class _Paced:
    """The gateway's events, with None between them whenever it is time for a frame."""

    def __init__(self, events: AsyncIterator[Any]) -> None:
        self._events = events
        self._next: asyncio.Future[Any] | None = None
        self._due: float | None = None
        self._earliest = 0.0
        self._began = 0.0

    async def __aenter__(self) -> _Paced:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._next and not self._next.done():
            self._next.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await self._next
        close = getattr(self._events, "aclose", None)
        if close:
            await close()

    def wants_frame(self) -> None:
        """There is something new to show."""
        if self._due is None:
            self._due = max(self._earliest, time.monotonic())

    def drawn(self, size: int) -> None:
        """A frame of this size was drawn just now; the next one waits accordingly."""
        now = time.monotonic()
        self._earliest = now + max(FRAME_S, size / GROWING_BYTES_S, REST * (now - self._began))

    def __aiter__(self) -> _Paced:
        return self

    async def __anext__(self) -> Any:
        if self._next is None:
            self._next = asyncio.ensure_future(self._events.__anext__())
        timeout = None if self._due is None else max(0.0, self._due - time.monotonic())
        done, _ = await asyncio.wait((self._next,), timeout=timeout)
        if self._due is not None and time.monotonic() >= self._due:
            self._due = None
            self._began = time.monotonic()
            return None
        if not done:
            return await self.__anext__()
        event, self._next = self._next, None
        return event.result()
