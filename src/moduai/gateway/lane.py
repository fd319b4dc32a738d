"""The hot lane: admit, send to an engine, relay, settle. Nothing here waits for a database.

Words: an *exchange* is one request on its way; the *line* (``scheduling``) says when and where it
runs; the *ledger* takes one row for each exchange, whatever became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Collection, Coroutine, Iterable, Iterator
from typing import Protocol

from moduai.accounts.principal import Principal
from moduai.engines.fleet import Fleet, Replica
from moduai.gateway.ask import MOST_BYTES_PER_TOKEN, Ask
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import ApiError
from moduai.gateway.exchange import Exchange
from moduai.gateway.policy_text import shipped
from moduai.gateway.quotas import Quotas, Shown
from moduai.gateway.sink import Sink
from moduai.gateway.stats import Stats
from moduai.gateway.supply import Supply
from moduai.gateway.switches import Switches
from moduai.gateway.tee import Tee
from moduai.history.record import NEW, TurnPlace
from moduai.history.recorder import Recorder
from moduai.metering.row import UsageRow
from moduai.metering.taken import Taken
from moduai.scheduling import (
    BusyClock,
    FairQueue,
    Grant,
    Queued,
    Refused,
    Ticket,
    Used,
)
from moduai.scheduling.policy import Policy
from moduai.scheduling.ticket import NO_TICKET
from moduai.scheduling.types import ASKED
from moduai.settings import Settings

SWEEP_S = 0.5
"""Time between two looks at deadlines: they are kept this exactly."""
TICK_S = 0.1
"""The same for the line, while someone waits."""
_REFUSALS = {"no_replica": "engine_unavailable", "line_away": "line_unavailable"}
"""Error code of a refusal, where it is not the reason itself."""

_UNKNOWN = frozenset({"cancelled", "timeout"})
"""Outcomes after which nobody knows how far an answer was that comes all at once."""
MOST_PLACES = 10_000
"""Most places of authors that are remembered: a guest's network may be anyone's."""
PAGE = "page"
"""What stands for our own pages among applications: answers' lengths are learned for each."""
SLACK = 65_536
"""Bytes of a body that are not text (tools, schemas) and may not count against the context."""


class Ledger(Protocol):
    """What the lane needs of the metering's segment writer."""

    failing: bool
    """The disk refuses rows; they are kept in memory."""
    behind_s: float
    """Age of the oldest usage that may not be in the database."""

    @property
    def full(self) -> bool:
        """No room for more rows."""

    @property
    def rows_waiting(self) -> int:
        """Rows not yet on disk."""

    def add(self, row: UsageRow) -> None:
        """Keep one row."""


class Lane:
    """All exchanges of one worker."""

    def __init__(
        self, settings: Settings, fleet: Fleet, ledger: Ledger, boot: str, line: FairQueue | None = None
    ) -> None:
        """``line``: who runs when; by the shipped policy if none is given."""
        self.settings = settings
        self.fleet = fleet
        self.ledger = ledger
        self.taken: Taken | None = None
        """Where requests under way are kept, should this process die."""
        self.recorder: Recorder | None = None
        """Keeps turns of people who want that."""
        self.line = line or FairQueue(shipped())
        self.loop = asyncio.get_running_loop()
        self.stats = Stats()
        self.switches = Switches()
        self.quotas: Quotas | None = None
        """What people may use in a day or a month; None: nobody has a limit."""
        self.leaving = False
        """All is served still, but nobody should come any more."""
        self.draining = False
        self.clocks: dict[str, BusyClock] = {}
        self.exchanges: set[Exchange] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[int, Exchange] = {}
        self._tickets = 0
        self._places: dict[tuple[str, str, str, str], tuple[str, str, int]] = {}
        """Where authors stand in the policy, as it was found before."""
        self.line.recall = self._recall
        self.supply = Supply(fleet, self.line, self.start)
        self._empty = asyncio.Event()
        self.boot = boot
        self.count = 0
        """Requests so far: with ``boot``, what makes an id unique."""
        self.secrets = _secrets()
        self.prefix_key = os.urandom(32)
        """For the hashes of prompts; gateways that share a line have one."""
        fleet.listener = self._fleet_changed
        self.switches.listener = self._switched
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        self._ticker = self.loop.call_later(SWEEP_S, self._tick)

    def submit(self, ask: Ask, principal: Principal, sink: Sink, place: TurnPlace = NEW) -> Exchange:
        """Take a request; the sink hears all that follows. ``place``: where its turn goes, if kept."""
        if principal.history and self.recorder is not None and ask.endpoint is not Endpoint.EMBEDDINGS:
            sink = Tee(sink, ask.body, place, self.recorder)
        exchange = Exchange(self, ask.endpoint, ask.model, principal, sink)
        exchange.begin(ask)
        return exchange

    def refuse(self, endpoint: Endpoint, principal: Principal, sink: Sink, error: ApiError) -> None:
        """Answer a request whose body was not accepted; it leaves a row too."""
        Exchange(self, endpoint, "", principal, sink).fail(error)

    def enter(self, exchange: Exchange, ask: Ask) -> None:
        """Let a request run at once if nobody waits, or ask the line. Raises ApiError. Fails closed."""
        avoid = self._check(ask)
        if self.quotas is not None:
            who = exchange.principal
            most = ask.max_tokens * ask.choices
            exchange.hold = self.quotas.admit(who, self._place(who)[0], ask.tokens, most)
        if not avoid:
            grant = self.line.slip(ask.model, self._place(exchange.principal)[0], ask.tokens)
            if grant is not None:
                exchange.run(grant)
                return
        exchange.ticket = self.ticket(ask, exchange.principal, exchange.arrived, avoid)
        self.admit(exchange)

    def ticket(self, ask: Ask, who: Principal, now: int, avoid: tuple[str, ...]) -> Ticket:
        """What the line is told of a request."""
        class_name, organisation, weight = self._place(who)
        self._tickets += 1
        return Ticket(
            self._tickets,
            ask.model,
            (class_name, organisation, who.subject),
            who.key or PAGE,
            ask.tokens,
            ask.max_tokens * ask.choices,
            now,
            ask.blocks(organisation, self.prefix_key) if self.line.routes(ask.model) else (),
            avoid,
            weight,
        )

    def _place(self, who: Principal) -> tuple[str, str, int]:
        """The class of an author, what stands below it, and the author's weight."""
        key = who.service_class, who.network or who.organisation, who.group, who.zone
        found = self._places.get(key)
        if found is None:
            placed = self.line.policy.place(*key)
            found = placed.class_name, placed.organisation, placed.weight
            if len(self._places) >= MOST_PLACES:
                self._places.clear()
            self._places[key] = found
        return found

    def _recall(self, pool: str) -> Iterator[tuple[Ticket, bool]]:
        """Tickets for those that slipped into a pool while nobody waited, and still run."""
        slipped = [e for e in self.exchanges if e.grant is not None and e.grant.ticket is NO_TICKET]
        for exchange in sorted(slipped, key=_granted):
            ask, grant = exchange.ask, exchange.grant
            if ask is not None and grant is not None and ask.model == pool:
                ticket = self.ticket(ask, exchange.principal, exchange.arrived, ())
                exchange.ticket, exchange.grant = ticket, Grant(ticket, grant.replica)
                yield ticket, exchange.first > 0

    def admit(self, exchange: Exchange, *, again: bool = False) -> None:
        """Ask the line for a place. Raises ApiError when it is refused. Fails closed."""
        decision = self.line.submit(exchange.ticket, time.monotonic_ns(), again=again)
        if isinstance(decision, Refused):
            raise _refusal(decision)
        if not self._lightened(exchange, decision):
            self._admitted(exchange, decision)

    def _admitted(self, exchange: Exchange, decision: Grant | Queued) -> None:
        if isinstance(decision, Grant):
            exchange.run(decision)
            return
        self._waiting[exchange.ticket.id] = exchange
        if decision is not ASKED:
            exchange.wait()

    def _lightened(self, exchange: Exchange, decision: Grant | Queued) -> bool:
        """Where the policy says so, a lighter model answers instead of a long wait."""
        auto = self.line.policy.pressure.lighter_mode == "auto"
        return auto and isinstance(decision, Queued) and self._lighten(exchange)

    def queued(self, ticket: Ticket, place: Queued) -> None:
        """The cell's dispatcher says that a request waits."""
        exchange = self._waiting.get(ticket.id)
        if exchange is None:
            return
        if self._lightened(exchange, place):
            del self._waiting[ticket.id]
        else:
            exchange.wait()

    def turned(self, ticket: Ticket, refused: Refused) -> None:
        """The cell's dispatcher did not take a request."""
        exchange = self._waiting.pop(ticket.id, None)
        if exchange is None:
            return
        before = exchange.before
        if before is None or before is exchange.ask:
            exchange.fail(_refusal(refused))
            return
        exchange.ask, exchange.model, exchange.step = before, before.model, "queued"
        try:  # the lighter model's line is full: back to the front of the line that was left
            exchange.ticket = self.ticket(before, exchange.principal, exchange.arrived, self._check(before))
            self.admit(exchange, again=True)
        except ApiError as error:
            exchange.fail(error)

    def led(self, running: dict[str, int], away: Collection[str]) -> None:
        """The cell's dispatcher says how many run on each engine, of all gateways, and which take none."""
        self.fleet.led(away)
        now = time.monotonic_ns()
        for engine, count in running.items():
            clock = self.clocks.get(engine)
            if clock is not None:
                clock.beside(max(0, count - clock.running), now)

    def _lighten(self, exchange: Exchange) -> bool:
        """Let a lighter model answer instead, if the wait has come to that and it can; a place in line is
        given up only for another one. It is charged in full, whatever was charged for a run that failed:
        that was taken from those who wait for the other model, and carried over it would be a credit here.
        """
        ask, place = exchange.ask, self.place(exchange)
        if ask is None or place is None or not place.lighter or exchange.step == "lighter" or exchange.before:
            return False
        model, now = place.lighter, time.monotonic_ns()
        if ask.has_media and not any(r.models[model].capability.vision for r in self.fleet.serving(model)):
            return False
        try:
            lighter = ask.lighter(model)
            ticket = self.ticket(lighter, exchange.principal, exchange.arrived, self._check(lighter))
        except ApiError:
            return False
        decision = self.line.submit(ticket, now)
        if isinstance(decision, Refused):
            return False
        self.line.cancel(exchange.ticket, now)
        exchange.before = ask if decision is ASKED else None
        exchange.ask, exchange.ticket, exchange.model, exchange.step = lighter, ticket, model, "lighter"
        self._admitted(exchange, decision)
        return True

    def _check(self, ask: Ask) -> tuple[str, ...]:
        """Whether the request can be served at all; engines to avoid. Raises ApiError. Fails closed."""
        if self.draining:
            raise ApiError("draining", retry_after_s=2, begun=False)
        if self.switches.stops:
            self.switches.check(ask.model)
        if self.ledger.failing and self.ledger.full:  # flushing that stops otherwise stops the worker
            raise ApiError("ledger_unavailable", retry_after_s=5)
        route = self.fleet.route(ask.model, ask.endpoint.word)
        if route is None:
            if not self.fleet.replicas:
                raise ApiError("no_engine", retry_after_s=30)
            raise ApiError("model_not_found", f"No engine serves {ask.model[:128]!r}.", param="model")
        if not route.able:
            raise ApiError("endpoint_not_supported", f"{ask.model} does not have {ask.endpoint.path} here.")
        if route.context and ask.size > route.context * MOST_BYTES_PER_TOKEN + SLACK and not ask.has_media:
            raise ApiError(
                "context_length_exceeded", f"{ask.model} takes {route.context} tokens; this is far more."
            )
        if route.context and ask.tokens > route.context:  # the rest is no text: media, or nothing at all
            ask.tokens = route.context
        return route.lacking

    def settle(self, exchange: Exchange, row: UsageRow, grant: Grant | None, used: Used, now: int) -> None:
        """An exchange is over: keep its row, and let the next one run if it had a place."""
        if row.engine or not self.ledger.full:  # a refusal used nothing: it may not fill what is full
            self.ledger.add(row)
        self.stats.count(row)
        if exchange.hold is not None:
            exchange.hold.settle(row)
        if isinstance(exchange.sink, Tee):
            exchange.sink.over(row)
        self.exchanges.discard(exchange)
        if self.taken is not None:
            self.taken.end(exchange.slot, row)
        if grant is not None:
            ran = -1
            if row.outcome == "ok":
                ran = now - exchange.granted
            elif not row.stream and row.outcome in _UNKNOWN:
                out = max(used.tokens_out, grant.ticket.out, self._presumed(exchange, grant, now))
                used = Used(used.tokens_in, used.tokens_cached, out)
            self._over(exchange, grant, used, ran, now)
        if self.draining and not self.exchanges:
            self._empty.set()

    def leave_line(self, exchange: Exchange) -> None:
        """A waiting exchange goes."""
        self._waiting.pop(exchange.ticket.id, None)
        self.line.cancel(exchange.ticket, time.monotonic_ns())

    def start(self, grants: Iterable[Grant]) -> None:
        """Run what the line has let go."""
        for grant in grants:
            self._waiting.pop(grant.ticket.id).run(grant)

    def quotas_of(self, principal: Principal) -> list[Shown]:
        """What one key or person may use in a day or a month, and what is left."""
        return self.quotas.shown(principal, self._place(principal)[0]) if self.quotas is not None else []

    def queue_of(self, principal: Principal) -> list[tuple[Exchange, Queued]]:
        """What one key or person has waiting, in order of arrival."""
        mine = [e for e in self._waiting.values() if e.principal.subject == principal.subject]
        return [(e, place) for e in mine if (place := self.place(e))]

    def place(self, exchange: Exchange) -> Queued | None:
        """Where a waiting exchange stands now; None if it does not wait."""
        return self.line.place(exchange.ticket, time.monotonic_ns())

    def failed(self, exchange: Exchange, grant: Grant, used: Used, avoid: tuple[str, ...], now: int) -> None:
        """A run has failed and its place is free; the next in line runs, and this one asks with a ticket that
        avoids some engines. It is a new one, for the queue's notes on the old one are of another time; it
        keeps its id and what it was charged.
        """
        self._over(exchange, grant, used, -1, now)
        old, ask = exchange.ticket, exchange.ask
        if grant.ticket is NO_TICKET and ask is not None:
            exchange.ticket = self.ticket(ask, exchange.principal, exchange.arrived, avoid)
        else:
            exchange.ticket = Ticket(
                old.id,
                old.pool,
                old.path,
                old.app,
                old.tokens_in,
                old.max_out,
                old.arrived,
                old.blocks,
                (*old.avoid, *avoid),
                old.weight,
            )
            exchange.ticket.charged = old.charged

    def _over(self, exchange: Exchange, grant: Grant, used: Used, ran: int, now: int) -> None:
        """A place is free after ``ran`` ns; below 0: it failed."""
        if grant.ticket is NO_TICKET:
            unseen = 0 if exchange.first or exchange.ask is None else exchange.ask.tokens
            grants = self.line.slip_over(grant, unseen, now)
        else:
            grants = self.line.finish(grant, used, exchange.first, ran, now)
        if grants:
            self.start(grants)

    def progress(self, exchange: Exchange, tokens: int, now: int) -> None:
        """So many tokens of a stream have come, first one, then now and then: its prompt is known to be
        computed, and the line charges what exceeds its estimate.
        """
        grant, ask = exchange.grant, exchange.ask
        if grant is None or ask is None:
            return
        if grant.ticket is not NO_TICKET:
            grants = self.line.progress(grant, tokens, now)
        elif tokens == 1:
            grants = self.line.slip_seen(grant, ask.tokens, now)
        else:
            return
        if grants:
            self.start(grants)

    def still_running(self, exchange: Exchange, now: int) -> None:
        """An answer that comes all at once takes its time: what exceeds its estimate is charged as if it
        came, as a stream's is. Its prompt has been computed then.
        """
        grant = exchange.grant
        if grant is None:
            return
        out = self._presumed(exchange, grant, now)
        if out > grant.ticket.out:
            self.progress(exchange, out, now)

    def _presumed(self, exchange: Exchange, grant: Grant, now: int) -> int:
        """Tokens that an answer should have by now, at the pace of its engine. Not by the share of the
        engine's time: a price that the operator sets need not be what the time costs.
        """
        ask, ticket = exchange.ask, grant.ticket
        if ask is None or ticket is NO_TICKET:  # it is charged nothing
            return 0
        first, step = self.line.pace(grant)
        if not step:
            return 0
        tokens = max(0, now - exchange.granted - first) // step * ask.choices
        return min(tokens, ticket.max_out) if ticket.max_out else tokens

    def set_policy(self, policy: Policy) -> None:
        """Share by other rules from now on."""
        self._places.clear()
        self.start(self.line.set_policy(policy, time.monotonic_ns()))

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a task of an exchange and keep it alive."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def engine_answered(self, grant: Grant | None) -> None:
        """An exchange saw its engine do well: news only if it had failed before."""
        replica = self.fleet.replicas.get(grant.replica) if grant is not None else None
        if grant is not None and replica is not None and replica.breaker.troubled:
            self.fleet.report(grant.replica, ok=True, now=time.monotonic_ns())

    def engine_failed(self, engine: str, *, counts: bool = True) -> None:
        """An exchange saw its engine fail; ``counts`` False: it was only busy."""
        self.stats.engine_failures[engine] += 1
        if counts:
            self.fleet.report(engine, ok=False, now=time.monotonic_ns())

    def doubt(self, engine: str, model: str) -> tuple[str, ...]:
        """An engine has called a request its own fault. Engines that another try avoids: this one, and all
        that said so lately, unless no other takes requests: else several broken ones would hide each other.
        """
        serving = self.fleet.serving(model)
        for replica in serving:
            if replica.engine.id == engine:
                replica.breaker.doubted = True
        if [replica for replica in serving if replica.is_open and not replica.breaker.doubted]:
            return tuple([replica.engine.id for replica in serving if replica.breaker.doubted])
        return (engine,)

    def blame(self, engine: str) -> None:
        """Another engine has answered well what this one had called its own fault: it counts."""
        self.fleet.report(engine, ok=False, now=time.monotonic_ns())

    async def drain(self, seconds_left: float) -> int:
        """Take nothing new, refuse who waits, let who runs end; returns how many were cut off."""
        self.leaving = self.draining = True
        for exchange in list(self._waiting.values()):
            self.leave_line(exchange)
            exchange.fail(ApiError("draining", retry_after_s=2, begun=exchange.ran))
        if self.exchanges:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds_left):
                    await self._empty.wait()
        rest = list(self.exchanges)
        for exchange in rest:
            self.leave_line(exchange)
            exchange.fail(ApiError("draining", retry_after_s=2))
        self._sweeper.cancel()
        self._ticker.cancel()
        return len(rest)

    def _switched(self) -> None:
        """What waits for something that was stopped is refused; what runs ends as it would."""
        for exchange in list(self._waiting.values()):
            try:
                self.switches.check(exchange.model)
            except ApiError as error:
                self.leave_line(exchange)
                exchange.fail(error)

    def _fleet_changed(self, engine: str, replica: Replica | None) -> None:
        if replica is not None:
            self.clocks.setdefault(engine, BusyClock())
        self.supply.changed(engine, replica)

    def _sweep(self) -> None:
        now = time.monotonic_ns()
        for exchange in list(self.exchanges):
            exchange.check_time(now)
        for engine in [name for name, clock in self.clocks.items() if not clock.running]:
            if engine not in self.fleet.replicas:  # it has gone, and what it ran has ended
                del self.clocks[engine]
                self.stats.forget(engine)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    def _tick(self) -> None:
        self.start(self.line.tick(time.monotonic_ns()))
        self._ticker = self.loop.call_later(TICK_S if self._waiting else SWEEP_S, self._tick)

    def running(self) -> Counter[str]:
        """Requests under way by engine."""
        return Counter(e.grant.replica for e in self.exchanges if e.grant is not None)


def _granted(exchange: Exchange) -> int:
    return exchange.granted


def _refusal(refused: Refused) -> ApiError:
    code = _REFUSALS.get(refused.reason, refused.reason)
    return ApiError(code, retry_after_s=seconds(refused.retry_after))


def _secrets() -> Iterator[str]:
    """48 random bits each, in hexadecimal; asked of the system for many at once, for each asking costs a
    microsecond.
    """
    while True:
        many = os.urandom(6 * 256).hex()
        for at in range(0, len(many), 12):
            yield many[at : at + 12]


def seconds(nanoseconds: int) -> int:
    """Whole seconds, rounded up, at least one: for Retry-After."""
    return max(1, -(-nanoseconds // 1_000_000_000))
