"""The dispatcher of a cell: one fair queue, and the gateways that ask it.

Rules: a gateway's requests are its own, by its ids. When a gateway comes back it tells all that it has asked
and runs, and that is what counts: what is known stays as it is, what is new joins, what it does not name is
over. One that does not come back in `LOST_S` has lost what it asked; what ran there is charged for what had
come. A dispatcher that begins lets nothing run for `SETTLE_S`: until then the gateways tell what runs
already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

from moduai.cells import wire
from moduai.scheduling import FairQueue, Grant, Queued, Refused, Ticket, Used

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
SETTLE_S = 0.5
LOST_S = 2.0
MOST_PLACES = 256
"""Places that one gateway is told of in each round; then the next ones."""
MOST_CHARGES = 1024
"""Charges of failed runs of one gateway that are remembered."""
TICK_S = 0.1
"""Between two ticks of the queue, and two rounds of places."""
OPEN_EVERY, FIGURES_EVERY = 2, 10
"""Ticks between two words of the engines, and of figures."""


class Peer(Protocol):
    """A gateway's connection."""

    def send(self, message: wire.Message) -> None:
        """Say something, soon."""

    def end(self) -> None:
        """Hang up once all was said."""


class Session:
    """What one gateway has asked, by its ids; the tickets have ids of ours."""

    def __init__(self, gateway: str, peer: Peer) -> None:
        self.gateway = gateway
        self.peer: Peer | None = peer
        """None: it has gone, and may come back."""
        self.gone = 0.0
        self.waiting: dict[int, Ticket] = {}
        self.runs: dict[int, Grant] = {}
        self.tokens: dict[int, int] = {}
        """Of answers, as far as was told."""
        self.charged: dict[int, int] = {}
        """What runs were charged that failed and may be asked for again."""
        self.unnamed: set[int] | None = None
        """While a gateway tells what it has: what it has not named yet."""

    def keep_charge(self, id_: int, charged: int) -> None:
        """A run has failed; what it was charged counts when it is asked for again."""
        self.charged[id_] = charged
        if len(self.charged) > MOST_CHARGES:
            del self.charged[next(iter(self.charged))]

    def send(self, message: wire.Message) -> None:
        """Say something, if it is there."""
        if self.peer is not None:
            self.peer.send(message)


class Dispatcher:
    """The queue and its sessions. Nothing here waits; ``clock`` is monotonic, in ns."""

    def __init__(
        self,
        line: FairQueue,
        seen: Callable[[str, bool], None],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        restored: int = -1,
    ) -> None:
        """``seen`` hears what gateways saw of engines. ``restored``: age (ns) of the state that the line took
        back; below 0: of none.
        """
        self.line = line
        self.sessions: dict[str, Session] = {}
        self.degraded = False
        """The lease cannot be renewed now."""
        self.cells: Callable[[], dict[str, int]] = dict
        """How old (ns) is what other cells have told."""
        self._seen, self._clock = seen, clock
        began = clock()
        self._settled = began + int(SETTLE_S * SECOND)
        self._saved = began - restored if restored >= 0 else None
        self._early: list[tuple[Session, wire.Ask]] = []
        """Asked before all had told what runs."""
        self._whose: dict[int, tuple[Session, int]] = {}
        self._ids = 0
        self._ticks = 0

    # gateways come and go

    def enter(self, gateway: str, peer: Peer) -> Session:
        """A gateway is there, or there again."""
        session = self.sessions.get(gateway)
        if session is None:
            session = self.sessions[gateway] = Session(gateway, peer)
        else:
            if session.peer is not None:
                session.peer.end()
            session.peer = peer
        self._early = [one for one in self._early if one[0] is not session]  # they are told again
        session.unnamed = {*session.waiting, *session.runs}
        return session

    def leave(self, session: Session, peer: Peer) -> None:
        """A connection has ended."""
        if session.peer is peer:
            session.peer, session.gone = None, self._clock() / SECOND

    def hear(self, session: Session, message: wire.Message) -> None:
        """What a gateway says."""
        match message:
            case wire.Ask():
                self._ask(session, message)
            case wire.Over():
                self._over(session, message)
            case wire.Came():
                self._came(session, message)
            case wire.Leaves():
                self._leaves(session, message.id)
            case wire.Runs():
                self._runs(session, message)
            case wire.Told():
                self._told(session)
            case wire.Seen():
                self._seen(message.engine, message.ok)
            case _:
                pass

    def _ask(self, session: Session, ask: wire.Ask) -> None:
        if session.unnamed is not None and ask.id in session.unnamed:
            session.unnamed.discard(ask.id)
            grant = session.runs.get(ask.id)
            if grant is None:
                return
            if grant.replica not in ask.avoid:  # it never heard of it
                session.send(self._grant(ask.id, grant))
                return
            self._failed(session, ask.id, grant)  # it failed there, and that was never heard
        if ask.id in session.waiting or ask.id in session.runs:
            return  # it was asked before
        if self._clock() < self._settled:
            self._early.append((session, ask))
            return
        self._submit(session, ask)

    def _submit(self, session: Session, ask: wire.Ask) -> None:
        now = self._clock()
        ticket = self._ticket(session, ask, now)
        if ask.again:
            ticket.charged = session.charged.pop(ask.id, 0)
        decision = self.line.submit(ticket, now, again=ask.again, kept=ask.waited)
        if isinstance(decision, Grant):
            self._granted(session, ask.id, decision)
            return
        if isinstance(decision, Refused):
            del self._whose[ticket.id]
            session.send(wire.Turned(ask.id, decision.reason, decision.retry_after))
            return
        session.waiting[ask.id] = ticket
        self._tell_place(session, ask.id, ticket, now)

    def _ticket(self, session: Session, ask: wire.Ask, now: int) -> Ticket:
        self._ids += 1
        self._whose[self._ids] = session, ask.id
        return Ticket(
            self._ids,
            ask.pool,
            ask.path,
            ask.app,
            ask.tokens_in,
            ask.max_out,
            now - ask.age,
            ask.blocks,
            ask.avoid,
            ask.weight,
        )

    def _runs(self, session: Session, run: wire.Runs) -> None:
        id_ = run.ask.id
        session.tokens[id_] = run.tokens
        if session.unnamed is not None and id_ in session.unnamed:
            session.unnamed.discard(id_)
            return
        now = self._clock()
        paid = self._saved is not None and now - run.age < self._saved
        ticket = self._ticket(session, run.ask, now)
        ticket.uncached = run.uncached
        grant = self.line.adopt(ticket, run.replica, now, paid=paid, came=run.tokens)
        if grant is None:
            del self._whose[ticket.id]
        else:
            session.runs[id_] = grant

    def _told(self, session: Session) -> None:
        unnamed, session.unnamed = session.unnamed or set(), None
        for id_ in unnamed:
            self._drop(session, id_)

    def _came(self, session: Session, message: wire.Came) -> None:
        grant = session.runs.get(message.id)
        if grant is not None:
            session.tokens[message.id] = message.tokens
            self.start(self.line.progress(grant, message.tokens, self._clock()))

    def _over(self, session: Session, message: wire.Over) -> None:
        grant = self._end(session, message.id)
        if grant is None:
            return
        used = Used(*message.used) if message.used else None
        self.start(self.line.finish(grant, used, message.first, message.ran, self._clock()))
        if message.ran < 0:
            session.keep_charge(message.id, grant.ticket.charged)

    def _leaves(self, session: Session, id_: int) -> None:
        self._early = [one for one in self._early if one[0] is not session or one[1].id != id_]
        self._drop(session, id_)

    def _drop(self, session: Session, id_: int) -> None:
        """A request is over for its gateway, whether it waits or runs here."""
        ticket = session.waiting.pop(id_, None)
        if ticket is not None:
            del self._whose[ticket.id]
            self.line.cancel(ticket, self._clock())
        grant = session.runs.get(id_)
        if grant is not None:
            self._failed(session, id_, grant)

    def _failed(self, session: Session, id_: int, grant: Grant) -> None:
        """A run is over, and nobody says what it used: what had come."""
        came = session.tokens.get(id_, 0)
        self._end(session, id_)
        used = Used(grant.ticket.uncached, 0, came) if came else None
        self.start(self.line.finish(grant, used, 0, -1, self._clock()))
        session.keep_charge(id_, grant.ticket.charged)

    def _end(self, session: Session, id_: int) -> Grant | None:
        session.tokens.pop(id_, None)
        grant = session.runs.pop(id_, None)
        if grant is not None:
            del self._whose[grant.ticket.id]
        return grant

    # what gateways are told

    def start(self, grants: Iterable[Grant]) -> None:
        """Tell the gateways what may run."""
        for grant in grants:
            session, id_ = self._whose[grant.ticket.id]
            del session.waiting[id_]
            self._granted(session, id_, grant)

    def _granted(self, session: Session, id_: int, grant: Grant) -> None:
        session.runs[id_] = grant
        session.send(self._grant(id_, grant))

    def _grant(self, id_: int, grant: Grant) -> wire.Granted:
        ticket, (first, step) = grant.ticket, self.line.pace(grant)
        return wire.Granted(id_, grant.replica, grant.max_out, ticket.out, first, step, ticket.uncached)

    def _tell_place(self, session: Session, id_: int, ticket: Ticket, now: int) -> None:
        place = self.line.place(ticket, now)
        if isinstance(place, Queued):
            where = wire.Waits(
                id_, place.position, place.wait, place.low, place.high, place.step, place.lighter
            )
            session.send(where)

    def tick(self, engines: Iterable[tuple[str, bool]]) -> None:
        """Housekeeping, every `TICK_S`; ``engines``: those that are known, and whether they take requests."""
        now = self._clock()
        if now >= self._settled:
            early, self._early = self._early, []
            for session, ask in early:
                self._submit(session, ask)
            self.start(self.line.tick(now))
        self._ticks += 1
        told: list[wire.Message] = []
        if self._ticks % OPEN_EVERY == 1:
            told.append(self._open(engines))
        if self._ticks % FIGURES_EVERY == 1:
            line = self.line
            told.append(
                wire.Figures(line.waiting(), line.shares(), line.figures(), line.expected(), self.cells())
            )
        for session in list(self.sessions.values()):
            if session.peer is None and now / SECOND - session.gone > LOST_S:
                self._forget(session)
                continue
            for message in told:
                session.send(message)
            self._tell_places(session, now)

    def _open(self, engines: Iterable[tuple[str, bool]]) -> wire.Open:
        known = dict(engines)
        running = self.line.running()
        away = tuple(name for name, is_open in known.items() if not is_open)
        return wire.Open({name: running.get(name, 0) for name in known}, away, self.degraded)

    def _tell_places(self, session: Session, now: int) -> None:
        """The places of some who wait; they go to the end, so that the next ones follow."""
        if session.peer is None:
            return
        for id_ in list(islice(session.waiting, MOST_PLACES)):
            ticket = session.waiting.pop(id_)
            session.waiting[id_] = ticket
            self._tell_place(session, id_, ticket, now)

    def _forget(self, session: Session) -> None:
        log.warning(
            "a gateway did not come back", extra={"gateway": session.gateway, "ran": len(session.runs)}
        )
        del self.sessions[session.gateway]
        self._early = [one for one in self._early if one[0] is not session]
        for id_ in [*session.waiting, *session.runs]:
            self._drop(session, id_)

    def end(self) -> None:
        """Say good-bye: there will be another dispatcher."""
        for session in self.sessions.values():
            if session.peer is not None:
                session.peer.send(wire.Bye())
                session.peer.end()
