"""The desk for clients of the API: OpenAI's shapes over the gateway's sinks.

Citations are OpenAI's ``annotations`` of kind ``url_citation`` over the answer's text, with the stored place
beside them (``modu``). A search answers in the shape of OpenAI's vector store search.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from contextlib import aclosing
from datetime import date
from typing import Annotated, Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Meta, Struct

from moduai.accounts.principal import Principal
from moduai.desk.asking import Desk, Told
from moduai.desk.shown import address, name
from moduai.gateway.ask import Ask
from moduai.gateway.errors import ApiError
from moduai.gateway.local import Begun, Delta, Done, Failed, Place
from moduai.gateway.sink import Sink
from moduai.history.record import TurnPlace
from moduai.knowledge.answer import Citation
from moduai.knowledge.types import Found, Kind, Query, SearchAwayError

JSON, EVENTS = b"application/json", b"text/event-stream"
MOST_RESULTS = 50
_encode = msgspec.json.Encoder().encode

log = logging.getLogger(__name__)


class Wanted(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a search."""

    q: Annotated[str, Meta(min_length=1, max_length=2_000)]
    limit: Annotated[int, Meta(ge=1, le=MOST_RESULTS)] = 10
    collection: tuple[str, ...] = ()
    kind: tuple[Kind, ...] = ()
    ministry: Annotated[str, Meta(max_length=200)] = ""
    in_force_on: date | None = None
    language: Annotated[str, Meta(max_length=8)] = ""


class Counter:
    """Takes what connections hand over; each is a task that ends with its client."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def answer(self, ask: Ask, principal: Principal, sink: Sink, place: TurnPlace) -> Running:
        """Answer a chat request, whole or as a stream."""
        return Running(_Answer(self._desk, ask, sink).run(principal, place), sink)

    def search(self, query: bytes, principal: Principal, sink: Sink) -> Running:
        """Answer a search."""
        return Running(self._search(query, principal, sink), sink)

    async def _search(self, query: bytes, principal: Principal, sink: Sink) -> None:
        try:
            if "inference" not in principal.scopes:
                raise ApiError("scope_missing", "The API key may not search.")
            self._desk.check("")
            wanted = _wanted(query)
            found = await self._desk.searcher.search(
                Query(
                    wanted.q, wanted.limit, wanted.collection, wanted.kind, wanted.ministry,
                    wanted.in_force_on, wanted.language,
                )
            )  # fmt: skip
        except SearchAwayError:
            _fail(sink, ApiError("search_unavailable", retry_after_s=2))
        except ApiError as error:
            _fail(sink, error)
        else:
            body = {
                "object": "vector_store.search_results.page",
                "search_query": [wanted.q],
                "data": [_result(each) for each in found],
                "has_more": False,
                "next_page": None,
            }
            sink.whole(200, JSON, b"cache-control: no-store\r\n", _encode(body), "")


class Running:
    """A task that writes to a sink, as the connection's work."""

    def __init__(self, work: Coroutine[Any, Any, None], sink: Sink) -> None:
        self._sink = sink
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("an answer from documents failed", exc_info=error)
            self._sink.abort()

    def cancel(self) -> None:
        """The client has gone."""
        self._task.cancel()

    def pause(self) -> None:
        """The client reads slowly: an answer here is a few kilobytes, so nothing has to wait."""

    def resume(self) -> None:
        """The client has caught up."""


class _Answer:
    """One chat request, answered in OpenAI's shape."""

    def __init__(self, desk: Desk, ask: Ask, sink: Sink) -> None:
        self._desk, self._ask, self._sink = desk, ask, sink
        self._body = msgspec.json.decode(ask.body)
        self._text, self._annotations = "", list[dict[str, Any]]()
        self._id, self._begun = "", False
        self._created = int(time.time())

    async def run(self, principal: Principal, place: TurnPlace) -> None:
        made = self._desk(self._body, principal, conversation=place.conversation, parent=place.parent)
        async with aclosing(made) as events:
            async for event in events:
                match event:
                    case Begun():
                        self._id = event.id
                    case Place() if self._ask.stream:
                        wait = "" if event.wait_s is None else f" eta={event.wait_s:.1f}"
                        self._write(f": queue position={event.position}{wait}\n\n".encode())
                    case Delta():
                        self._delta(event)
                    case Done():
                        self._done(event)
                    case Failed():
                        self._failed(event)

    def _delta(self, event: Delta) -> None:
        start, self._text = len(self._text), self._text + event.text
        notes = []
        if isinstance(event, Told):
            notes = [_annotation(each, event.kind, start, len(self._text)) for each in event.citations]
        self._annotations += notes
        if self._ask.stream:
            self._chunk({"content": event.text, **({"annotations": notes} if notes else {})})

    def _done(self, event: Done) -> None:
        usage = {
            "prompt_tokens": event.tokens_in,
            "completion_tokens": event.tokens_out,
            "total_tokens": event.tokens_in + event.tokens_out,
        }
        if not self._ask.stream:
            message = {"role": "assistant", "content": self._text, "annotations": self._annotations}
            choice = {"index": 0, "message": message, "finish_reason": event.finish_reason}
            body = self._shape("chat.completion", [choice]) | {"usage": usage}
            self._sink.whole(200, JSON, b"x-ai-generated: true\r\n", _encode(body), self._id)
            return
        self._chunk({}, event.finish_reason)
        if self._ask.usage_wanted:
            last = self._shape("chat.completion.chunk", []) | {"usage": usage}
            self._write(b"data: " + _encode(last) + b"\n\n")
        self._write(b"data: [DONE]\n\n")
        self._sink.end()

    def _failed(self, event: Failed) -> None:
        error = ApiError(event.code, event.message, retry_after_s=event.retry_after_s)
        if not self._begun:
            _fail(self._sink, error)
            return
        self._write(b"data: " + error.body() + b"\n\n")
        self._sink.end(close=True)

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        self._write(b"data: " + _encode(self._shape("chat.completion.chunk", [choice])) + b"\n\n")

    def _shape(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._ask.model,
            "choices": choices,
        }

    def _write(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._sink.head(200, EVENTS, self._id)
        self._sink.write(b"%x\r\n%b\r\n" % (len(data), data) if self._sink.framed else data)


def _annotation(citation: Citation, kind: str, start: int, end: int) -> dict[str, Any]:
    return {
        "type": "url_citation",
        "url_citation": {
            "url": address(citation),
            "title": name(citation),
            "start_index": start,
            "end_index": end,
        },
        "modu": {
            "document": citation.document,
            "version": citation.version,
            "from": citation.start,
            "to": citation.end,
            "kind": kind,
            "quote": citation.quote,
        },
    }


def _result(found: Found) -> dict[str, Any]:
    passage = found.passage
    place = Citation(
        found.document, found.version, passage.start, passage.end, found.text, passage.label, found.facts
    )
    return {
        "file_id": found.document,
        "filename": found.facts.title,
        "score": found.score,
        "attributes": msgspec.to_builtins(found.facts) | {"collection": found.collection},
        "content": [{"type": "text", "text": found.text}],
        "modu": {
            "version": found.version,
            "from": passage.start,
            "to": passage.end,
            "path": passage.path,
            "label": passage.label,
            "page": passage.page,
            "url": address(place),
        },
    }


def _wanted(query: bytes) -> Wanted:
    """The parameters. Raises ApiError."""
    try:
        given = parse_qs(query.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict")
        many: dict[str, list[str]] = {
            each: given.pop(each) for each in ("collection", "kind") if each in given
        }
        single = {each: values[0] for each, values in given.items() if len(values) == 1}
        if len(single) < len(given):
            raise ApiError("invalid_parameter", "A parameter stands twice.")
        return msgspec.convert({**single, **many}, Wanted, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise ApiError("invalid_parameter", f"The search cannot be read: {error}.") from None


def _fail(sink: Sink, error: ApiError) -> None:
    sink.whole(error.status, JSON, error.headers(), error.body(), "")
