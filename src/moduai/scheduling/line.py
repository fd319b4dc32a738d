"""A bounded first-come line in front of engines that are sent only what they can run now.

Rules, in words:

* A ticket runs at once if nobody waits for its pool and a replica has room.
* Otherwise it waits, unless the line of its pool is full: then it is refused, with the time in
  which a tenth of the line should have been served.
* A freed replica takes the ticket that came first among all pools it serves.
* Among replicas with room, the one with the smallest part of its capacity in use is taken.
* A replica that is closed (broken or draining) ends what it runs and takes nothing new; those who
  wait for it keep their place. A ticket is never sent to a replica that already failed it.
* The expected wait is ``position x mean run time / capacity of the pool``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from moduai.scheduling.types import Decision, Grant, Queued, Refused, Ticket

SECOND = 1_000_000_000
REFUSED_SHARE = 10
"""A refused client is told to come back when this part (one in ten) of the line has been served."""
CLOSED_RETRY = 5 * SECOND
"""When to ask again while every replica is closed: about one round of health checks."""
SMOOTHING = 8
"""Weight of the past in the moving mean of run times: a new one counts for an eighth."""


@dataclass(slots=True, eq=False)
class _Replica:
    name: str
    capacity: int
    pools: frozenset[str]
    open: bool = True
    running: int = 0


@dataclass(slots=True, eq=False)
class _Pool:
    replicas: list[_Replica] = field(default_factory=list)
    waiting: deque[Ticket] = field(default_factory=deque)
    mean_run: int = -1
    """Moving mean of run times in ns; -1 before the first."""


class Line:
    """All waiting lines of one gateway. Every method that can free a place returns new grants."""

    __slots__ = ("_max_waiting", "_pools", "_replicas", "_waiting")

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._pools: dict[str, _Pool] = {}
        self._replicas: dict[str, _Replica] = {}
        self._waiting = 0

    def set_replica(self, name: str, pools: frozenset[str], capacity: int, *, is_open: bool) -> list[Grant]:
        """Add a replica, or change what it serves, how much it runs and whether it takes more."""
        replica = self._replicas.get(name)
        if replica is None:
            replica = self._replicas[name] = _Replica(name, capacity, pools)
        gone = replica.pools - pools
        replica.capacity, replica.pools, replica.open = capacity, pools, is_open
        for pool in gone:
            self._pools[pool].replicas.remove(replica)
        for pool in pools:
            known = self._pools.setdefault(pool, _Pool())
            if replica not in known.replicas:
                known.replicas.append(replica)
        return self._fill(replica)

    def remove_replica(self, name: str) -> None:
        """Take a replica away; it is forgotten when what it still runs has ended."""
        replica = self._replicas.get(name)
        if replica is None:
            return
        for pool in replica.pools:
            self._pools[pool].replicas.remove(replica)
        replica.pools, replica.open = frozenset(), False
        if not replica.running:
            del self._replicas[name]

    def submit(self, ticket: Ticket, *, again: bool = False) -> Decision:
        """Ask for a place. ``again``: it had one, and its replica failed; it goes to the front."""
        pool = self._pools.get(ticket.pool)
        best = None if pool is None else _freest(pool.replicas, ticket.avoid)
        if pool is None or best is None:
            return Refused("no_replica", CLOSED_RETRY)
        if best.running < best.capacity and (again or not pool.waiting):
            best.running += 1
            return Grant(ticket, best.name)
        if again:
            self._waiting += 1
            pool.waiting.appendleft(ticket)
            return Queued(1, self._expected(pool, 1))
        if len(pool.waiting) >= self._max_waiting:
            tenth = -(-self._max_waiting // REFUSED_SHARE)
            return Refused("line_full", max(SECOND, self._expected(pool, tenth)))
        self._waiting += 1
        pool.waiting.append(ticket)
        return Queued(len(pool.waiting), self._expected(pool, len(pool.waiting)))

    def finish(self, grant: Grant, ran: int) -> list[Grant]:
        """Give back a place after ``ran`` ns; ``ran`` below 0 is not counted (the run failed)."""
        pool = self._pools[grant.ticket.pool]
        if ran >= 0:
            pool.mean_run = ran if pool.mean_run < 0 else pool.mean_run + (ran - pool.mean_run) // SMOOTHING
        replica = self._replicas[grant.replica]
        replica.running -= 1
        if not replica.running and not replica.pools:
            del self._replicas[grant.replica]
        return self._fill(replica) if self._waiting else []

    def cancel(self, ticket: Ticket) -> bool:
        """Leave the line; False if the ticket does not wait (any more)."""
        pool = self._pools.get(ticket.pool)
        if pool is None or ticket not in pool.waiting:
            return False
        pool.waiting.remove(ticket)
        self._waiting -= 1
        return True

    def place(self, ticket: Ticket) -> Queued | None:
        """Where a waiting ticket stands now; None if it does not wait."""
        pool = self._pools.get(ticket.pool)
        if pool is None or ticket not in pool.waiting:
            return None
        position = pool.waiting.index(ticket) + 1
        return Queued(position, self._expected(pool, position))

    def waiting(self) -> dict[str, int]:
        """How many wait, by pool."""
        return {name: len(pool.waiting) for name, pool in self._pools.items()}

    def running(self) -> dict[str, int]:
        """How many run, by replica."""
        return {name: replica.running for name, replica in self._replicas.items()}

    def _fill(self, replica: _Replica) -> list[Grant]:
        grants: list[Grant] = []
        while self._waiting and replica.open and replica.running < replica.capacity:
            heads = [head for pool in replica.pools if (head := self._head(pool, replica.name))]
            if not heads:
                break
            ticket = min(heads, key=lambda head: (head.arrived, head.id))
            self._pools[ticket.pool].waiting.remove(ticket)
            self._waiting -= 1
            replica.running += 1
            grants.append(Grant(ticket, replica.name))
        return grants

    def _head(self, pool: str, replica: str) -> Ticket | None:
        return next((t for t in self._pools[pool].waiting if replica not in t.avoid), None)

    def _expected(self, pool: _Pool, position: int) -> int:
        capacity = sum(replica.capacity for replica in pool.replicas if replica.open)
        if pool.mean_run < 0 or not capacity:
            return -1
        return position * pool.mean_run // capacity


def _freest(replicas: list[_Replica], avoid: tuple[str, ...]) -> _Replica | None:
    """The open replica with the smallest part of its capacity in use; the first of equals."""
    best = None
    for replica in replicas:
        if (
            replica.open
            and replica.name not in avoid
            and (best is None or replica.running * best.capacity < best.running * replica.capacity)
        ):
            best = replica
    return best
