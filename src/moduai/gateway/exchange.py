"""One request on its way: waits in line, runs on an engine, is relayed, and is settled once.

States, in order: new, waiting, running (sent to an engine), and over. Rules: a retry elsewhere only
while no byte of an answer has gone to the client; a client that leaves cancels the engine's work;
whatever happens there is exactly one ledger row, and the place in line is given back exactly once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from moduai.accounts.principal import Principal
from moduai.engines.fleet import Replica
from moduai.engines.http import Connection, Head
from moduai.gateway.ask import Ask, Endpoint, rename
from moduai.gateway.errors import ApiError
from moduai.gateway.relay import EventRelay, is_text
from moduai.gateway.settle import NOTHING, count_tokens, spent
from moduai.gateway.sink import Sink
from moduai.gateway.usage import NOT_READ, Usage, read_whole
from moduai.metering.row import Outcome, UsageRow
from moduai.scheduling import Grant, Ticket

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from moduai.gateway.lane import Lane

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How many replicas a request is tried on before its client is told."""
MODEL_SHOWN = 128
"""Most letters of a model's name that are kept: it is the client's text until an engine knows it."""
SECOND = 1_000_000_000
JSON, EVENTS = b"application/json", b"text/event-stream"
_OUTCOMES: dict[str, Outcome] = {
    "client_left": "cancelled",
    "wait_too_long": "timeout",
    "engine_timeout": "timeout",
    "internal_error": "failed",
    "engine_failed": "failed",
    "engine_bad_answer": "failed",
}
"""Outcome of an error code; all others are refusals."""
_BUSY = frozenset({429, 503})
_RETRIED = _BUSY | {401, 403, 500, 502, 504}
"""Statuses of an engine that another replica may do better; 401 and 403 are our key, not the client's."""


class Exchange:
    """One request, its place, its engine and its answer. Also the receiver of the engine's answer."""

    # Slots, all set at once: what stands in the class or comes later is read several times slower.
    __slots__ = (
        "_attempts", "_body", "_connection", "_first", "_granted", "_head_sent", "_lane", "_mark", "_paused",
        "_quiet_since", "_relay", "_relaying", "_reused", "_seen", "_seen_before", "_share", "_status",
        "_timer", "_unix_us", "arrived", "ask", "endpoint", "grant", "id", "model", "over", "passing",
        "principal", "replica", "sink", "ticket", "usage",
    )  # fmt: skip

    def __init__(self, lane: Lane, endpoint: Endpoint, model: str, principal: Principal, sink: Sink) -> None:
        self._lane = lane
        self.endpoint, self.model, self.principal, self.sink = endpoint, model[:MODEL_SHOWN], principal, sink
        lane.count += 1
        # What nobody can guess: whoever knew the next id could take the place of another's conversation.
        self.id = f"{lane.boot}-{lane.count:x}-{next(lane.secrets)}"
        self.arrived = time.monotonic_ns()
        self._unix_us = time.time_ns() // 1000
        self.over = self._paused = self._reused = self._head_sent = self._relaying = False
        self._attempts = self._mark = self._granted = self._first = self._status = self._share = 0
        self._seen = self._seen_before = self._quiet_since = 0
        self._body: list[bytes] = []
        self.ask: Ask | None = None
        self.ticket: Ticket
        self.grant: Grant | None = None
        self.replica: Replica | None = None
        self.usage: Usage | None = None
        self.passing: Callable[[bytes], bool] | None = None
        """Passes chunks on as they are, while a stream goes to a client that takes them framed."""
        self._connection: Connection | None = None
        self._relay: EventRelay | None = None
        self._timer: TimerHandle | None = None

    # the way in

    def begin(self, ask: Ask) -> None:
        """Check, and ask the line for a place."""
        self.ask = ask
        who = self.principal
        self.ticket = Ticket(
            self._lane.count,
            ask.model,
            (who.service_class, who.organisation, who.subject),
            who.key or "page",
            ask.size // 4,
            (ask.max_tokens or 0) * ask.choices,
            self.arrived,
        )
        self._lane.exchanges.add(self)
        try:
            self.ticket.avoid = self._lane.check(ask)
            self._lane.admit(self)
        except ApiError as error:
            self.fail(error)

    def wait(self) -> None:
        """It waits now: a stream is told its place once its head has been held long enough."""
        if self.ask is not None and self.ask.stream and self._timer is None:
            self._timer = self._lane.loop.call_later(self._lane.settings.line.hold_s, self._notice)

    def _notice(self) -> None:
        place = self._lane.line.place(self.ticket)
        if place is None:
            self._timer = None
            return
        wait = "" if place.wait < 0 else f" eta={place.wait / SECOND:.1f}"
        self._stream().comment(f"queue position={place.position}{wait}")
        self._timer = self._lane.loop.call_later(self._lane.settings.line.notice_s, self._notice)

    # running

    def run(self, grant: Grant) -> None:
        """A place: send to the engine."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lane, engine = self._lane, grant.replica
        self.grant = grant
        self._attempts += 1
        self._granted = self._quiet_since = now = time.monotonic_ns()
        self._mark = lane.clocks[engine].start(now)
        self.replica = replica = lane.fleet.replicas[engine]
        connection = replica.pool.take(now)
        if connection is not None:
            self._reused = True
            self._send(connection, replica)
        else:
            lane.spawn(self._connect(replica))

    async def _connect(self, replica: Replica) -> None:
        try:
            connection = await replica.pool.connect()
        except (OSError, TimeoutError) as error:
            if not self.over and self.replica is replica:
                self.broken(f"no connection: {error}")
            return
        if self.over or self.replica is not replica:
            replica.pool.give(connection)
        else:
            self._send(connection, replica)

    def _send(self, connection: Connection, replica: Replica) -> None:
        ask = self.ask
        if ask is None:
            return
        self._connection = connection
        body, model = ask.body, ask.model
        upstream = replica.models[model].upstream_name
        if upstream != model:
            body = rename(body, upstream)
        connection.send(replica.heads[ask.endpoint.path] + b"%d\r\n\r\n" % len(body) + body, self)

    # the engine's answer

    def head(self, head: Head) -> None:
        """The engine answers."""
        self._status = head.status
        if head.status == 200 and head.kind.startswith(EVENTS):
            self._relaying = True
            relay = self._stream()
            if self.sink.framed:
                self.passing = relay.passing

    def piece(self, data: bytes) -> None:
        """A part of the body, without framing."""
        if not self._first:
            self._first = time.monotonic_ns()
        if self._relaying:
            self._stream().feed(data)
            return
        self._body.append(data)
        self._seen += len(data)
        if self._seen > self._lane.settings.limits.answer_bytes:
            self._break_off("engine_bad_answer", "the answer is too large")

    def whole(self, body: bytes) -> None:
        """A complete JSON answer at once."""
        self._connection = None
        self._status = 200
        self._first = time.monotonic_ns()
        self._seen = len(body)
        self._deliver(body)

    def end(self, let_go: Callable[[], None]) -> None:
        """The engine's answer is complete."""
        self._connection = None
        let_go()
        if self._relaying:
            self._end_stream(self._stream())
        else:
            self._end_whole(b"".join(self._body))

    def broken(self, reason: str) -> None:
        """The connection or its answer broke."""
        self._connection = None
        if self._reused and not self._status and self.replica is not None:
            self._reused = False  # a kept connection had gone stale: nothing has run yet
            self._lane.spawn(self._connect(self.replica))
        else:
            self._retry_or_fail("engine_failed", reason)

    def _end_stream(self, relay: EventRelay) -> None:
        if not relay.finish():
            self._retry_or_fail("engine_bad_answer", "the stream ended inside a character")
            return
        if relay.error_seen:
            self._settle("failed", 200, "engine_failed")
        else:
            self._lane.engine_answered(self.grant)
            self._settle("ok", 200)
        self.sink.end()

    def _end_whole(self, body: bytes) -> None:
        status = self._status
        if status in _RETRIED:
            self._retry_or_fail(
                "engine_unavailable" if status in _BUSY else "engine_failed", f"status {status}"
            )
            return
        if status != 200:
            self._lane.engine_answered(self.grant)
            self.fail(rejection(status, body))
            return
        self._deliver(body)

    def _deliver(self, body: bytes) -> None:
        """Pass a good answer on, if it is one."""
        try:
            self.usage = read_whole(body)
        except NOT_READ:
            self._retry_or_fail("engine_bad_answer", "the answer is not the JSON it should be")
            return
        if not is_text(body):
            self._retry_or_fail("engine_bad_answer", "the answer is not UTF-8")
            return
        if self.replica is not None and self.replica.breaker.troubled:
            self._lane.engine_answered(self.grant)
        self._settle("ok", 200)
        if self._head_sent:
            self._stream().event(body)
            self.sink.end(close=True)
        else:
            self.sink.whole(200, JSON, b"", body, self.id)

    # when it goes wrong

    def _not_understood(self) -> None:
        self._break_off("engine_bad_answer", "the stream is not understandable")

    def _break_off(self, code: str, reason: str) -> None:
        """The engine sends what we cannot pass on: stop it and say so."""
        self._stop_engine()
        self._retry_or_fail(code, reason)

    def _retry_or_fail(self, code: str, reason: str) -> None:
        if self.grant is None:
            return
        engine = self.grant.replica
        log.warning("engine failed", extra={"request": self.id, "engine": engine, "reason": reason})
        self._lane.engine_failed(engine, counts=code != "engine_unavailable")
        if (self._relay is not None and self._relay.begun) or self._attempts >= ATTEMPTS:
            self.fail(ApiError(code))
            return
        grant = self._stop_clock(time.monotonic_ns())
        self.ticket.avoid = (*self.ticket.avoid, engine)
        self._status = self._seen = self._first = 0
        self._paused = self._reused = False
        self._body = []
        self._relaying, self.passing = False, None
        if self._relay is not None:
            self._relay.start_again()
        self._lane.stats.retries += 1
        try:
            self._lane.admit(self, again=True)
        except ApiError:
            self.fail(ApiError(code, retry_after_s=2 if code == "engine_unavailable" else None))
        if grant is not None:
            self._lane.freed(grant, -1)

    def fail(self, error: ApiError) -> None:
        """Tell the client, once, and settle."""
        if self.over:
            return
        self._stop_engine()
        self._settle(_OUTCOMES.get(error.code, "refused"), error.status, error.code)
        if self._head_sent:
            self._stream().event(error.body())
            self.sink.end(close=True)
        else:
            self.sink.whole(error.status, JSON, error.headers(), error.body(), self.id)

    def cancel(self) -> None:
        """The client has left: free the place, stop the engine."""
        if self.over:
            return
        self._stop_engine()
        if self.grant is None:
            self._lane.leave_line(self)
        self._settle("cancelled", 200 if self._head_sent else 499, "client_left")

    def check_time(self, now: int) -> None:
        """Called twice a second: waited or silent for too long? Fails closed."""
        settings = self._lane.settings
        if self.grant is None:
            if now - self.arrived > settings.line.max_wait_s * SECOND:
                self._lane.leave_line(self)
                self.fail(ApiError("wait_too_long", retry_after_s=60))
            return
        relay = self._relay if self._relaying else None
        seen = self._seen if relay is None else relay.pieces + relay.reads
        if seen != self._seen_before:
            self._seen_before, self._quiet_since = seen, now
        limit = settings.upstream.idle_s if self._first or self._relaying else settings.upstream.first_byte_s
        if not self._paused and now - self._quiet_since > limit * SECOND:
            self._lane.engine_failed(self.grant.replica)
            self.fail(ApiError("engine_timeout"))

    def pause(self) -> None:
        """The client is slow: read no more from the engine."""
        if self._connection is not None and not self._paused:
            self._paused, self._quiet_since = True, time.monotonic_ns()
            self._connection.pause()

    def resume(self) -> None:
        """The client has caught up."""
        if self._connection is not None and self._paused:
            self._paused, self._quiet_since = False, time.monotonic_ns()
            self._connection.resume()

    # parts

    def _stream(self) -> EventRelay:
        """The stream to the client, begun if it was not."""
        if self._relay is None:
            wanted = self.ask is None or self.ask.usage_wanted
            self._relay = EventRelay(self.sink, self._not_understood, usage_wanted=wanted)
            self._head_sent = True
            self.sink.head(200, EVENTS, self.id)
        return self._relay

    def _stop_engine(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    def _stop_clock(self, now: int) -> Grant | None:
        """The engine works on it no more: count its share of the engine's time."""
        if self._relay is not None and self._relaying:
            self._first = self._first or self._relay.first
        grant, self.grant = self.grant, None
        if grant is not None:
            self._share += self._lane.clocks[grant.replica].stop(self._mark, now)
        return grant

    def _settle(self, outcome: Outcome, status: int, code: str = "") -> None:
        """Write the one ledger row and give the place back."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic_ns()
        grant = self._stop_clock(now) if self.grant is not None else None
        ran = now - self._granted if outcome == "ok" else -1
        self._lane.settle(self, self._row(now, outcome, status, code), grant, ran)

    def _count_tokens(self) -> Usage:
        relay = self._relay if self._relaying else None
        if relay is not None and relay.usage is not None:
            return relay.usage
        return count_tokens(
            asked_bytes=self.ask.size if self.ask is not None else 0,
            answered_bytes=self._seen,
            events=None if relay is None else relay.pieces,
        )

    def _row(self, now: int, outcome: Outcome, status: int, code: str) -> UsageRow:
        who, replica = self.principal, self.replica
        used, accelerator_us, energy_mj = NOTHING, 0, 0
        if replica is not None:
            accelerator_us, energy_mj = spent(
                self._share, replica.engine.hardware, self._lane.settings.ledger.pue
            )
            used = self.usage or self._count_tokens()
        return UsageRow(
            self.id,
            self._unix_us,
            who.subject,
            who.organisation,
            who.key,
            who.service_class,
            who.region,
            who.zone,
            who.group,
            self.endpoint.word,
            self.model,
            replica.engine.id if replica is not None else "",
            self.ask is not None and self.ask.stream,
            used.tokens_in,
            used.tokens_cached,
            used.tokens_out,
            used.source,
            ((self._granted or now) - self.arrived) // 1000,
            (self._first - self.arrived) // 1000 if self._first else 0,
            (now - self.arrived) // 1000,
            accelerator_us,
            energy_mj,
            status,
            outcome,
            code,
        )


def rejection(status: int, body: bytes) -> ApiError:
    """What to tell the client when an engine says the request is wrong: the engine's own sentence."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    error = said.get("error", said) if isinstance(said, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    message = text[:2000] if isinstance(text, str) and text else f"The engine answered with status {status}."
    too_long = "context" in message.lower() and status in (400, 413)
    return ApiError("context_length_exceeded" if too_long else "engine_rejected", message)
