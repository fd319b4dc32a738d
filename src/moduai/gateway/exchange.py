"""One request on its way: waits in line, runs on an engine, is relayed, and is settled once.

States, in order: new, waiting, running (sent to an engine), and over. Rules: a retry elsewhere only
while no byte of an answer has gone to the client; a client that leaves cancels the engine's work;
whatever happens there is exactly one ledger row, and the place in line is given back exactly once.

Races, and why no place leaks: an exchange either stands in the lane's line (``_waiting``) or holds one
``grant``, never both, and each passes in one turn of the loop, without an ``await``.

* *A grant is on its way and the client leaves*: there is no way; who is granted runs before anything else
  does. A client that leaves while the connection opens has given the place back, and `_connect` finds
  ``over`` and keeps the connection for another.
* *The engine fails while the line is filled*: the failing one gives up its place (`_stop_clock` takes the
  grant, so nobody else can), then the line fills it, then it asks again, avoiding that engine.
* *An engine closes or is removed*: what runs there ends as it would, and its place goes with it; what waits
  and may run nowhere waits for another one until its time is over.
* *Two ends of one answer* (the last byte, a time-out, the client's leaving): the first one sets ``over``.
* *The policy changes*: counts stay, only caps and weights are other ones; nothing that runs is stopped.
* *A lighter model*: once the other line has taken a new ticket it leaves the first, in the same turn.
* *The tree wakes* while some run without a ticket: they get one before the one that waits is asked about.
* *A drain or a stop* takes those who wait out of the line first, so no place that gets free is given away.

The queue itself never leaves a place free beside one who could take it for longer than a tick of the lane.
Both are tested in many orders: ``tests/scheduling/test_races.py``, ``tests/gateway/test_races.py``.
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
from moduai.gateway.ask import Ask, rename
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import ApiError
from moduai.gateway.relay import EventRelay, is_text
from moduai.gateway.settle import NOTHING, count_tokens, spent
from moduai.gateway.sink import Sink
from moduai.gateway.usage import NOT_READ, Usage, read_whole
from moduai.metering.row import Outcome, Step, UsageRow
from moduai.metering.taken import Fields
from moduai.scheduling import Grant, Queued
from moduai.scheduling.ticket import NO_TICKET

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from moduai.gateway.lane import Lane
    from moduai.gateway.quotas import Hold

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
STEPS = {step: b"modu-step: %b\r\n" % step.encode() for step in ("queued", "shortened", "lighter")}
"""Header line that says what the pressure has done to a request."""
SOFT_STEPS = frozenset({"shortened", "lighter"})
"""Of these a stream is told in a comment."""
_BUSY = frozenset({429, 503})
_NOT_RUN = _BUSY | {401, 403}
"""Statuses of an engine that has run nothing; 401 and 403 are our key, not the client's."""
_RETRIED = _NOT_RUN | {502, 504}
"""Statuses that another replica may do better."""
_FAULT = 500
"""The engine's fault or the request's, which nobody knows from one answer: many engines say so of a field of
the wrong type. So it counts against an engine only once another one has answered the same request well; one
other is asked, of those that have not said so of others lately, and if it says so too the client is told.
"""
_UNREACHED = 503
"""What stands for the status of an engine to which there was no connection."""


class Exchange:
    """One request, its place, its engine and its answer. Also the receiver of the engine's answer."""

    # Slots, all set at once: what stands in the class or comes later is read several times slower.
    __slots__ = (
        "_attempts", "_body", "_connection", "_doubted", "_first", "_granted", "_head_sent", "_lane", "_mark",
        "_paused", "_quiet_since", "_relay", "_relaying", "_reused", "_seen", "_seen_before", "_share",
        "_status", "_timer", "_unix_us", "arrived", "ask", "before", "endpoint", "grant", "hold", "id",
        "model", "over", "passing", "principal", "replica", "sink", "slot", "step", "ticket", "usage",
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
        self.step: Step = ""
        """The farthest that the pressure has gone with it."""
        self.ask: Ask | None = None
        self.ticket = NO_TICKET
        self._doubted = ""
        """An engine that called this request its own fault."""
        self.grant: Grant | None = None
        self.hold: Hold | None = None
        """What was taken for it out of what its author may use in a day or a month."""
        self.replica: Replica | None = None
        self.usage: Usage | None = None
        self.passing: Callable[[bytes], bool] | None = None
        """Passes chunks on as they are, while a stream goes to a client that takes them framed."""
        self._connection: Connection | None = None
        self._relay: EventRelay | None = None
        self._timer: TimerHandle | None = None
        self.before: Ask | None = None
        """What was asked before a lighter model was asked for instead, while that may still refuse."""
        self.slot = -1
        """Where it stands among what is taken."""

    @property
    def ran(self) -> bool:
        """Whether an engine was given it, once at least."""
        return self._attempts > 0

    # the way in

    def begin(self, ask: Ask) -> None:
        """Check, and ask the line for a place."""
        self.ask = ask
        lane = self._lane
        lane.exchanges.add(self)
        if lane.taken is not None:
            self.slot = lane.taken.begin(self._named())
        try:
            lane.enter(self, ask)
        except ApiError as error:
            self.fail(error)

    def wait(self) -> None:
        """It waits now: a stream is told its place once its head has been held long enough."""
        self.step = self.step or "queued"
        if self.ask is not None and self.ask.stream and self._timer is None:
            self._timer = self._lane.loop.call_later(self._lane.settings.line.hold_s, self._notice)

    def _notice(self) -> None:
        place = self._lane.place(self)
        if place is None:
            self._timer = None
            return
        self._stream().comment(told(place))
        self._timer = self._lane.loop.call_later(self._lane.settings.line.notice_s, self._notice)

    # running

    def run(self, grant: Grant) -> None:
        """A place: send to the engine."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lane, engine = self._lane, grant.replica
        self.grant = grant
        if grant.max_out:
            self._shorten(grant.max_out)
        self._attempts += 1
        self._status = 0  # until now it says how the last run ended, should none follow
        self._granted = self._quiet_since = now = time.monotonic_ns()
        self._mark = lane.clocks[engine].start(now)
        self.replica = replica = lane.fleet.replicas[engine]
        connection = replica.pool.take(now)
        if connection is not None:
            self._reused = True
            self._send(connection, replica)
        else:
            lane.spawn(self._connect(replica))

    def _shorten(self, most: int) -> None:
        if self.ask is not None and self.ask.shorten(max(1, most // self.ask.choices)):
            self.step = "shortened"
            if self._head_sent:
                self._tell_step()

    async def _connect(self, replica: Replica) -> None:
        try:
            connection = await replica.pool.connect()
        except (OSError, TimeoutError) as error:
            if not self.over and self.replica is replica:
                self._status = _UNREACHED
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
            self._first = now = time.monotonic_ns()
            if self._relaying:
                self._lane.progress(self, 1, now)
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
            if self._doubted:
                self._lane.blame(self._doubted)
            self._settle("ok", 200)
        self.sink.end()

    def _end_whole(self, body: bytes) -> None:
        status = self._status
        if status in _RETRIED:
            self._retry_or_fail(
                "engine_unavailable" if status in _BUSY else "engine_failed", f"status {status}"
            )
            return
        if status == _FAULT:
            self._fault(body)
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
        if self._doubted:
            self._lane.blame(self._doubted)
        self._settle("ok", 200)
        if self._head_sent:
            self._stream().event(body)
            self.sink.end(close=True)
        else:
            self.sink.whole(200, JSON, STEPS[self.step] if self.step else b"", body, self.id)

    # when it goes wrong

    def _not_understood(self) -> None:
        self._break_off("engine_bad_answer", "the stream is not understandable")

    def _break_off(self, code: str, reason: str) -> None:
        """The engine sends what we cannot pass on: stop it and say so."""
        self._stop_engine()
        self._retry_or_fail(code, reason)

    def _fault(self, body: bytes) -> None:
        """The engine says 500."""
        grant, ask = self.grant, self.ask
        if grant is None or ask is None:
            return
        error = ApiError("engine_failed", sentence(body))
        engine, again = grant.replica, bool(self._doubted)
        log.warning("engine failed", extra={"request": self.id, "engine": engine, "reason": "status 500"})
        self._lane.engine_failed(engine, counts=False)
        avoid = self._lane.doubt(engine, ask.model)
        if again or self._attempts >= ATTEMPTS:
            self.fail(error)
            return
        self._doubted = engine
        self._retry(error, avoid)

    def _retry_or_fail(self, code: str, reason: str) -> None:
        if self.grant is None:
            return
        engine = self.grant.replica
        log.warning("engine failed", extra={"request": self.id, "engine": engine, "reason": reason})
        self._lane.engine_failed(engine, counts=code != "engine_unavailable")
        if (self._relay is not None and self._relay.begun) or self._attempts >= ATTEMPTS:
            self.fail(ApiError(code))
            return
        self._retry(ApiError(code, retry_after_s=2 if code == "engine_unavailable" else None), (engine,))

    def _retry(self, error: ApiError, avoid: tuple[str, ...]) -> None:
        """Ask for a place on an engine that is not to be avoided; without one the client hears the error."""
        now = time.monotonic_ns()
        grant = self._stop_clock(now)
        if grant is not None:
            self._lane.failed(self, grant, self._used(), avoid, now)
        self._seen = self._first = 0
        self._paused = self._reused = False
        self._body = []
        self._relaying, self.passing = False, None
        if self._relay is not None:
            self._relay.start_again()
        self._lane.stats.retries += 1
        try:
            self._lane.admit(self, again=True)
        except ApiError:
            self.fail(error)

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
            if relay is not None and relay.pieces > 1:
                self._lane.progress(self, relay.pieces, now)
        if self.ask is not None and not self.ask.stream:
            self._lane.still_running(self, now)
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
            if self.step in SOFT_STEPS:
                self._tell_step()
        return self._relay

    def _tell_step(self) -> None:
        most = (
            f" max_tokens={self.ask.max_tokens}" if self.step == "shortened" and self.ask is not None else ""
        )
        self._stream().comment(f"step={self.step} model={self.model}{most}")

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
            share = self._lane.clocks[grant.replica].stop(self._mark, now)
            if self._status == 200 or self._status not in _NOT_RUN:
                self._share += share
        return grant

    def _settle(self, outcome: Outcome, status: int, code: str = "") -> None:
        """Write the one ledger row and give the place back."""
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
        now = time.monotonic_ns()
        grant = self._stop_clock(now) if self.grant is not None else None
        used = NOTHING if self.replica is None else self._used()
        self._lane.settle(self, self._row(now, used, outcome, status, code), grant, used, now)

    @property
    def first(self) -> int:
        """From the grant to the first token in ns; 0 if none came, or all at once."""
        return self._first - self._granted if self._first and self._relaying else 0

    @property
    def granted(self) -> int:
        """When its last run began, monotonic, in ns."""
        return self._granted

    def _used(self) -> Usage:
        if self.usage is not None:
            return self.usage
        relay = self._relay if self._relaying else None
        if relay is not None and relay.usage is not None:
            return relay.usage
        if self._status in _NOT_RUN:
            return NOTHING
        return count_tokens(
            asked_bytes=self.ask.size if self.ask is not None else 0,
            answered_bytes=self._seen if self._status == 200 else 0,  # an error's words are no answer
            events=None if relay is None else relay.pieces,
        )

    def _named(self) -> Fields:
        """The first fields of its row: what is known from the beginning."""
        who = self.principal
        return (
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
        )

    def _row(self, now: int, used: Usage, outcome: Outcome, status: int, code: str) -> UsageRow:
        replica = self.replica
        accelerator_us = energy_mj = 0
        if replica is not None:
            accelerator_us, energy_mj = spent(
                self._share, replica.engine.hardware, self._lane.settings.ledger.pue
            )
        return UsageRow(
            *self._named(),
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
            self.step,
        )


def told(place: Queued) -> str:
    """A place in line as a comment of a stream: times in seconds."""
    text = f"queue position={place.position}"
    if place.wait >= 0:
        text += f" eta={place.wait / SECOND:.1f}"
    if place.high >= 0:
        text += f" from={place.low / SECOND:.1f} to={place.high / SECOND:.1f}"
    return text + (f" lighter={place.lighter}" if place.lighter else "")


def rejection(status: int, body: bytes) -> ApiError:
    """What to tell the client when an engine says the request is wrong: the engine's own sentence."""
    message = sentence(body) or f"The engine answered with status {status}."
    too_long = "context" in message.lower() and status in (400, 413)
    return ApiError("context_length_exceeded" if too_long else "engine_rejected", message)


def sentence(body: bytes) -> str:
    """What an engine's error says, or nothing where it is not OpenAI's shape."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    error = said.get("error", said) if isinstance(said, dict) else None
    text = error.get("message") if isinstance(error, dict) else error
    return text[:2000] if isinstance(text, str) else ""
