"""A line whose tree stands in another process: what a gateway's lane sees of its cell.

Rules: nothing here waits. A ticket is asked for and the answer comes later; what was asked and what runs is
kept here until it is over, and is told again to each dispatcher that takes over, so none is lost with the one
before. While no dispatcher is there for `AWAY` what is new is refused (fails closed); what waits goes on
waiting for as long as it may, and what runs ends as it would.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from moduai.cells import wire
from moduai.scheduling import FairQueue, Grant, Queued, Refused, ReplicaSpec, Share, Telemetry, Ticket, Used
from moduai.scheduling.policy import Policy
from moduai.scheduling.queue import Moved
from moduai.scheduling.state import MOST
from moduai.scheduling.types import ASKED, Decision, Figure

AWAY = 5_000_000_000
"""How long (ns) new requests are taken while there is no dispatcher: a new one is there much sooner."""
BACK = 2_000_000_000
"""When it is worth asking again then, in ns."""


class Lane(Protocol):
    """Whom the line tells what has become of a ticket."""

    def start(self, grants: list[Grant]) -> None:
        """These run now."""

    def queued(self, ticket: Ticket, place: Queued) -> None:
        """It waits."""

    def turned(self, ticket: Ticket, refused: Refused) -> None:
        """It was not taken."""

    def led(self, running: dict[str, int], away: Collection[str]) -> None:
        """How many run on each engine that takes requests, of all gateways; and engines that take none."""


@dataclass(slots=True)
class _Run:
    grant: Grant
    since: int
    pace: tuple[int, int]
    tokens: int = 0


class RemoteLine(FairQueue):
    """Asks a dispatcher; ``send`` takes what it is to hear, and loses it while there is none."""

    def __init__(self, policy: Policy, send: Callable[[wire.Message], None]) -> None:
        super().__init__(policy)
        self._send = send
        self.lane: Lane
        """Set by whoever makes both."""
        self._asked: dict[int, Ticket] = {}
        self._under_way: dict[int, _Run] = {}
        self._places: dict[int, Queued] = {}
        self._serving: dict[str, frozenset[str]] = {}
        """Models of the replicas that are known."""
        self._told = wire.Figures({}, [], {}, {})
        self._running: dict[str, int] = {}
        self._lost = time.monotonic_ns()
        """Since when there is no dispatcher; 0: there is one."""
        self._degraded = False

    # the dispatcher

    @property
    def there(self) -> bool:
        """There is a dispatcher."""
        return not self._lost

    @property
    def unsure(self) -> bool:
        """It cannot ask whether it is still the one."""
        return self._degraded

    def found(self) -> None:
        """There is one now: tell it everything."""
        self._lost, now = 0, time.monotonic_ns()
        for run in self._under_way.values():
            ask = _ask(run.grant.ticket, now)
            uncached = run.grant.ticket.uncached
            self._send(wire.Runs(ask, run.grant.replica, now - run.since, run.tokens, uncached))
        for ticket in self._asked.values():
            self._send(_ask(ticket, now, again=ticket.state == 1, waited=ticket.id in self._places))
        self._send(wire.Told())

    def lost(self) -> None:
        """There is none now."""
        self._lost, self._degraded = self._lost or time.monotonic_ns(), False

    def hear(self, message: wire.Message) -> None:
        """What it says."""
        match message:
            case wire.Granted():
                self._granted(message)
            case wire.Waits(id=id_) if id_ in self._asked:
                known = id_ in self._places
                place = Queued(
                    message.position, message.wait, message.low, message.high, message.step, message.lighter
                )
                self._places[id_] = place
                if not known or place.lighter:
                    self.lane.queued(self._asked[id_], place)
            case wire.Turned(id=id_) if id_ in self._asked:
                self._places.pop(id_, None)
                self.lane.turned(self._asked.pop(id_), Refused(message.reason, message.retry_after))
            case wire.Open():
                self._running, self._degraded = message.running, message.degraded
                self.lane.led(message.running, message.away)
            case wire.Figures():
                self._told = message
            case _:
                pass

    def _granted(self, message: wire.Granted) -> None:
        ticket = self._asked.pop(message.id, None)
        if ticket is None:
            return  # it left while the grant was on its way
        self._places.pop(message.id, None)
        now = time.monotonic_ns()
        grant = Grant(ticket, message.replica, message.most)
        if ticket.pool not in self._serving.get(message.replica, ()):  # our feed is behind: elsewhere, then
            self._send(wire.Over(ticket.id, None, 0, -1))
            ticket.avoid = (*ticket.avoid, message.replica)
            self._asked[ticket.id] = ticket
            self._send(_ask(ticket, now, again=True))
            return
        ticket.state, ticket.out, ticket.uncached = 2, message.out, message.uncached
        self._under_way[ticket.id] = _Run(grant, now, (message.first, message.step))
        self.lane.start([grant])

    def seen(self, engine: str, ok: bool) -> None:
        """An engine did well or failed."""
        self._send(wire.Seen(engine, ok))

    # what the lane asks, as in the queue

    def set_policy(self, policy: Policy, now: int) -> list[Grant]:  # noqa: D102
        self.policy = policy
        return []

    def set_replica(  # noqa: D102
        self, name: str, spec: ReplicaSpec, *, is_open: bool, now: int
    ) -> list[Grant]:
        self._serving[name] = spec.pools
        return []

    def remove_replica(self, name: str) -> None:  # noqa: D102
        self._serving.pop(name, None)

    def routes(self, pool: str) -> bool:  # noqa: D102
        return sum(pool in served for served in self._serving.values()) > 1

    def slip(self, name: str, class_name: str, tokens: int) -> Grant | None:
        """Everybody asks with a ticket."""

    def submit(self, ticket: Ticket, now: int, *, again: bool = False, kept: bool = False) -> Decision:  # noqa: D102
        if self._lost and now - self._lost > AWAY and not again:
            return Refused("line_away", BACK)
        ticket.state = int(again)
        self._asked[ticket.id] = ticket
        self._send(_ask(ticket, now, again=again))
        return ASKED

    def cancel(self, ticket: Ticket, now: int) -> bool:  # noqa: D102
        if self._asked.pop(ticket.id, None) is None:
            return False
        self._places.pop(ticket.id, None)
        self._send(wire.Leaves(ticket.id))
        return True

    def finish(  # noqa: D102
        self, grant: Grant, used: Used | None, first: int, ran: int, now: int
    ) -> list[Grant]:
        if self._under_way.pop(grant.ticket.id, None) is not None:
            told = (used.tokens_in, used.tokens_cached, used.tokens_out) if used else None
            took = (_sent(told[0]), _sent(told[1]), _sent(told[2])) if told else None
            self._send(wire.Over(grant.ticket.id, took, first, ran))
        return []

    def progress(self, grant: Grant, tokens_out: int, now: int) -> list[Grant]:  # noqa: D102
        run = self._under_way.get(grant.ticket.id)
        if run is not None:
            run.tokens = tokens_out
            self._send(wire.Came(grant.ticket.id, tokens_out))
        return []

    def pace(self, grant: Grant) -> tuple[int, int]:  # noqa: D102
        run = self._under_way.get(grant.ticket.id)
        return run.pace if run is not None else (0, 0)

    def place(self, ticket: Ticket, now: int) -> Queued | None:  # noqa: D102
        return self._places.get(ticket.id)

    def observe(self, replica: str, telemetry: Telemetry, now: int) -> None:
        """The dispatcher asks the engines itself."""

    def tick(self, now: int) -> list[Grant]:  # noqa: D102
        return []

    def move(self, moved: Moved, ahead: Moved, now: int) -> None:
        """The dispatcher asks the other cells itself."""

    # what is shown, of the whole cell

    def waiting(self) -> dict[str, int]:  # noqa: D102
        return self._told.waiting

    def expected(self) -> dict[str, int]:  # noqa: D102
        return self._told.expected

    def running(self) -> dict[str, int]:  # noqa: D102
        return self._running

    def figures(self) -> dict[str, list[Figure]]:  # noqa: D102
        return self._told.figures

    def shares(self) -> list[Share]:  # noqa: D102
        return self._told.shares

    def cells(self) -> dict[str, int]:  # noqa: D102
        return self._told.cells


def _sent(count: int) -> int:
    """A number that a client or an engine said, as it can be sent."""
    return min(max(count, 0), MOST)


def _ask(ticket: Ticket, now: int, *, again: bool = False, waited: bool = False) -> wire.Ask:
    return wire.Ask(
        ticket.id,
        ticket.pool,
        ticket.path,
        ticket.app,
        ticket.tokens_in,
        _sent(ticket.max_out),
        now - ticket.arrived,
        ticket.blocks,
        ticket.avoid,
        ticket.weight,
        again,
        waited,
    )
