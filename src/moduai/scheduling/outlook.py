"""The waits of one pool: foretold from its tree, remembered, and compared with what came.

A forecast takes as long as some ten dispatches, so of those who join the line only some are remembered to
learn from, one in `GAP` at most, and fewer are judged; whoever asks is told at any time. The model is in
`wait`, the correction and the interval in `calibration`.

What a sibling's tickets cost is judged by the first one of a person, and of a branch by the first ones of a
few people in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from moduai.scheduling.calibration import FEW, Calibration, Forecast
from moduai.scheduling.price import Price
from moduai.scheduling.ticket import Ticket
from moduai.scheduling.tree import Branch, Node, first
from moduai.scheduling.types import WHOLE, Queued
from moduai.scheduling.wait import Ahead, Flow, Level, Peer, ahead

GAP = 20_000_000
LIGHT_GAP = 50_000_000
HEAVY_PART = 32
"""Of light people one in so many ns is judged, of heavy ones one in this part of the wait foretold: what a
few have waiting turns out alike, and more of it would teach the calibration a passing mood.
"""
MOST_REMEMBERED = 4096
SAMPLE = 64
"""Siblings that are looked at, at each level."""
INSIDE = 4
"""Children of a branch that tell what its tickets cost."""


class _Remembered(NamedTuple):
    forecast: Forecast
    depth: int
    """Cost that was to go before it."""
    newcomer: bool
    """Nothing else of its person waited."""
    joined: int
    judged: bool


class Outlook:
    """The forecasts of one pool. Times are in ns, costs in µas."""

    __slots__ = ("_due", "_judge", "_price", "_remembered", "calibration", "flow", "mean_run")

    def __init__(self, price: Price) -> None:
        self._price = price
        self.calibration = Calibration()
        self.flow = Flow()
        self.mean_run = -1
        """Moving mean of run times in ns; -1 before the first."""
        self._remembered: dict[int, _Remembered] = {}
        self._due = 0
        self._judge = [0, 0]
        """When the next light and the next heavy person's ticket is judged."""

    def joined(self, ticket: Ticket, waiting: int, now: int) -> None:
        """A ticket waits now, in a tree in which ``waiting`` do."""
        if waiting == 1:
            self.flow.begin(now)
        if now >= self._due and len(self._remembered) < MOST_REMEMBERED:
            self._due = now + GAP
            before, forecast = self._foretell(ticket)
            judged = self._judges(forecast, now)
            self._remembered[ticket.id] = _Remembered(forecast, before.cost, forecast.line == 1, now, judged)

    def _judges(self, forecast: Forecast, now: int) -> bool:
        """Whether what comes of a forecast is to be learned."""
        heavy = forecast.line > FEW
        if now < self._judge[heavy]:
            return False
        self._judge[heavy] = now + (max(LIGHT_GAP, forecast.raw // HEAVY_PART) if heavy else LIGHT_GAP)
        return True

    def went(self, ticket: Ticket, now: int) -> None:
        """A ticket that waited runs now."""
        cost = self._cost(ticket)
        self.flow.passed(cost, now)
        known = self._remembered.pop(ticket.id, None)
        if known is not None:
            self.flow.overtook(cost, known.depth, newcomer=known.newcomer)
            if known.judged:
                self.calibration.learn(known.forecast, now - known.joined)

    def left(self, ticket: Ticket) -> None:
        """A ticket waits no more and has not run."""
        self._remembered.pop(ticket.id, None)

    def place(self, ticket: Ticket) -> Queued:
        """Where a waiting ticket stands, and how long it will wait from now on."""
        before, forecast = self._foretell(ticket)
        return Queued(before.tickets + 1, forecast.wait, forecast.low, forecast.high)

    def _foretell(self, ticket: Ticket) -> tuple[Ahead, Forecast]:
        node: Node = ticket.node
        cost, tickets = self._own(node, ticket)
        before = ahead(cost, tickets, list(self._levels(node)))
        raw = self.flow.expect(before, self._cost(ticket))
        over = tickets + 1 + node.running - node.ceiling
        if over > 0:  # so many of its person's own have to end first
            raw = max(raw, over * self.mean_run // node.ceiling)
        return before, self.calibration.forecast(node.waiting, raw)

    def _cost(self, ticket: Ticket) -> int:
        """As far as it is known before it runs."""
        return (ticket.tokens_in + 2 * ticket.out) * self._price.value // 1000 or 1

    def _own(self, node: Node, ticket: Ticket) -> tuple[int, int]:
        """Cost and number of the tickets before this one in its person's line."""
        cost = tickets = 0
        before: Any = node.tail
        while (before := before.next) is not ticket:
            cost += self._cost(before)
            tickets += 1
        return cost, tickets

    def _levels(self, node: Node) -> Iterator[Level]:
        """The node among its siblings, then those above it."""
        while (up := node.up) is not node:
            step = max(1, len(up.heap) // SAMPLE)
            peers = [
                self._peer(child, later=number > node.mark)
                for _, number, child in up.heap[::step]
                if child.mark == number and child.waiting and child is not node
            ]
            siblings = up.lines - 1 if step > 1 else 0
            yield Level(node.vt, node.rate, peers, siblings, *_bounds(node))
            node = up

    def _peer(self, node: Node, *, later: bool) -> Peer:
        """``later``: of equals it comes after the ticket's own node."""
        cost, tickets = self._told(node)
        waiting = node.waiting
        return Peer(node.vt + later, node.rate, cost * waiting // tickets, waiting, *_bounds(node))

    def _told(self, node: Node) -> tuple[int, int]:
        """Cost of some of what waits of a node, and how many tickets that is; at least 1 of each."""
        if not isinstance(node, Branch):
            return self._cost(first(node)) * node.waiting, node.waiting
        heap = node.heap
        cost = tickets = 0
        for _, number, child in heap[:: max(1, len(heap) // INSIDE)]:
            if child.mark == number and child.waiting:
                more, many = self._told(child)
                cost, tickets = cost + more, tickets + many
        return (cost, tickets) if tickets else (1, 1)


def _bounds(node: Node) -> tuple[int, int]:
    return (node.rule.guarantee, node.rule.cap) if isinstance(node, Branch) else (0, WHOLE)
