"""How long a ticket will wait, and how many go before it, under the fair order.

A fluid model. A ticket goes when its node's virtual time is the least at every level. So from the person
upwards: the node must first be charged for what stands before the ticket in it (``cost``); its virtual time
is then ``vt + cost x rate``; until then each sibling is served what it has waiting, as far as it starts
at or below that virtual time (the tags of start-time fair queueing, Goyal et al. 1997). Own and siblings'
cost together are what the parent must be charged first, and so on up to the root. A sibling with a
guarantee is served at least that part of the whole, one with a cap at most that part.

Divided by the pace at which the pool has been charged while others waited, this is a time. Those who come
later and stand before the ticket lengthen it: of what was served, some came after and went sooner. How much
is known by how deep they stood when they came: a newcomer that stands at a part ``x`` of the ticket's own
depth overtakes it if it comes early enough, within the first ``1 - 2x`` of the wait (``1 - x`` in a fluid;
twice that fits what is measured, for who stands nearly as deep is most often one of the siblings).

What the model leaves out (bursts, long answers, capacity that changes) is for `calibration`. At most a
sample of the siblings is needed: the cost of a prediction does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mypy_extensions import mypyc_attr

from moduai.scheduling.types import WHOLE

ROUNDS = 8
"""Guarantees and caps are parts of a whole that depends on them: repeated this often, it settles."""
MEMORY_NS = 30e9
MEMORY = 1 / 64
"""The pace is that of the last 30 s, or of the last 64 dispatches where they are slower."""
FOLD_NS = 5_000_000
"""The sums are brought up to date once in so long."""
ACCELERATOR = 0.001
"""µas a ns: the pace of one accelerator, by the meaning of a price."""
ASSUMED_NS = 10e9
"""Until the pace is known, that of the accelerators counts as if it had been seen for so long."""
MOST_OVERTAKING = 0.9
"""Most of the pace that newcomers are believed to take, or the wait would have no end."""
DEPTHS = 48


@mypyc_attr(acyclic=True)
class Peer:
    """A sibling that waits for the same pool."""

    __slots__ = ("cap", "cost", "guarantee", "rate", "tickets", "vt")

    def __init__(
        self, vt: int, rate: int, cost: int, tickets: int, guarantee: int = 0, cap: int = WHOLE
    ) -> None:
        self.vt = vt
        self.rate = rate
        """Virtual time of a cost of 1: the inverse of its weight."""
        self.cost = cost
        """Of all that it has waiting for the pool."""
        self.tickets = tickets
        """How many these are, at least 1."""
        self.guarantee, self.cap = guarantee, cap


@mypyc_attr(acyclic=True)
class Level:
    """A node on the ticket's path, among its siblings."""

    __slots__ = ("cap", "guarantee", "peers", "rate", "siblings", "vt")

    def __init__(
        self,
        vt: int,
        rate: int,
        peers: Sequence[Peer] = (),
        siblings: int = 0,
        guarantee: int = 0,
        cap: int = WHOLE,
    ) -> None:
        self.vt, self.rate = vt, rate
        self.peers = peers
        """Its siblings that wait for the pool, or an even sample of them."""
        self.siblings = siblings
        """How many there are in all, where the peers are a sample."""
        self.guarantee, self.cap = guarantee, cap


class Ahead(NamedTuple):
    """What goes before a ticket."""

    cost: int
    tickets: int


def ahead(cost: int, tickets: int, levels: Sequence[Level]) -> Ahead:
    """What goes before a ticket that has this much before it in its own person's line.

    ``levels`` from the person up to the children of the root.
    """
    for level in levels:
        own, tag = cost, level.vt + cost * level.rate
        bounded = any(peer.guarantee or peer.cap < WHOLE for peer in level.peers)
        fair = [_fair(peer, tag) for peer in level.peers]
        served = fair
        for _ in range(ROUNDS if bounded else 0):
            whole = own + _of_all(sum(served), level)
            served = [_bounded(peer, got, whole) for peer, got in zip(level.peers, fair, strict=True)]
        parts = (got * peer.tickets / peer.cost for peer, got in zip(level.peers, served, strict=True))
        tickets += _of_all(round(sum(parts)), level)
        cost = max(own + _of_all(sum(served), level), own * WHOLE // level.cap)
        if level.guarantee:
            cost = min(cost, own * WHOLE // level.guarantee)
    return Ahead(cost, tickets)


def _fair(peer: Peer, tag: int) -> int:
    """Cost of the sibling's tickets that begin at or below a virtual time; those that are there go first."""
    if peer.vt > tag:
        return 0
    begun = (tag - peer.vt) // peer.rate * peer.tickets // peer.cost + 1
    return peer.cost if begun >= peer.tickets else peer.cost * begun // peer.tickets


def _bounded(peer: Peer, got: int, whole: int) -> int:
    got = max(got, min(peer.cost, whole * peer.guarantee // WHOLE))
    return min(got, whole * peer.cap // WHOLE)


def _of_all(of_sample: int, level: Level) -> int:
    seen = len(level.peers)
    return of_sample * level.siblings // seen if 0 < seen < level.siblings else of_sample


class Flow:
    """The pace of one pool: cost charged and tickets dispatched a ns while others wait."""

    __slots__ = (
        "_assumed", "_cost", "_gone", "_keep", "_last", "_latest", "_new", "_newcomers", "_sampled",
        "_tickets", "_time", "accelerators",
    )  # fmt: skip

    def __init__(self) -> None:
        self.accelerators = 1
        """Those that serve the pool and are open."""
        self._assumed = ASSUMED_NS
        self._cost = self._time = self._tickets = self._sampled = 0.0
        self._last = self._latest = self._new = self._gone = 0
        """What went since the last time that the sums were brought up to date."""
        self._keep = 1.0
        self._newcomers = [0.0] * DEPTHS

    def begin(self, now: int) -> None:
        """Somebody waits, after nobody did."""
        self._fold()
        self._last = self._latest = now

    def passed(self, cost: int, now: int) -> None:
        """A ticket that had waited goes; it is charged ``cost``."""
        self._new += cost
        self._gone += 1
        self._latest = now
        if now - self._last >= FOLD_NS:
            self._fold()

    def _fold(self) -> None:
        """Those that went since the last time count from now on."""
        time = self._latest - self._last
        keep = max(0.0, 1 - min(time / MEMORY_NS, MEMORY * self._gone))
        self._last = self._latest
        self._time = self._time * keep + time
        self._cost = self._cost * keep + self._new
        self._assumed *= keep
        self._tickets = self._tickets * keep + self._gone
        self._keep *= keep
        self._new = self._gone = 0

    def overtook(self, cost: int, depth: int, *, newcomer: bool) -> None:
        """Of a sample of those that went: how deep it stood when it came, and whether its person had
        nothing waiting then. (What others have waiting is counted already when a wait is predicted.)
        """
        keep, self._keep = self._keep, 1.0
        self._sampled = self._sampled * keep + cost
        self._newcomers = [part * keep for part in self._newcomers]
        if newcomer:
            self._newcomers[min(depth.bit_length(), DEPTHS - 1)] += cost

    def expect(self, before: Ahead, cost: int) -> int:
        """Expected wait in ns of a ticket that will itself be charged ``cost``."""
        depth = before.cost + (self._cost + cost) / (self._tickets + 1)
        overtaking = 0.0
        for bits, part in enumerate(self._newcomers):
            if part:
                overtaking += part * max(0.0, 1 - 2 * 0.75 * (1 << bits) / depth)
        share = min(overtaking / self._sampled, MOST_OVERTAKING) if overtaking else 0.0
        pace = self._cost + self._assumed * self.accelerators * ACCELERATOR
        return int(depth * (self._time + self._assumed) / pace / (1 - share))
