"""The fair queue: who runs next, where, and what it is charged.

Rules, in words (who is due: `tree`; what fits: `replica`):

* A ticket runs at once if nobody waits for its pool, its class and organisation are under their caps, and it
  fits a replica; of those with a free slot, the one that is expected to have answered it first.
* Otherwise it waits, unless a line is full (its person's, organisation's, class's, or all): then it is
  refused, with the time in which a tenth of the line should have been served.
* A freed replica takes the ticket that is due in its pool; where it serves several pools, that of the class
  that it has served least. Within the locality window another one goes first that saves it more of a prompt.
* A due ticket that does not fit holds a reservation on one replica. Others are filled in behind it only where
  they end before it could start, or take what it leaves free (EASY backfilling, Lifka 1995).
* The cost is ``(uncached prompt tokens + 2 x output tokens) x price``: the estimate is charged at the start,
  what exceeds it as it comes, and the rest is settled at the end. What failed is charged for what ran; when
  it runs again, that counts towards its charge.
* A replica that is closed ends what it runs and takes nothing new; a ticket is never sent to one it avoids.

The same calls give the same answers: there is no clock here and no chance.
"""

# ruff: noqa: PLR1730, FURB136 - the hot path compares: a call of max() takes five times as long.

from __future__ import annotations

from itertools import islice

from moduai.scheduling import prefix
from moduai.scheduling.estimate import Estimates
from moduai.scheduling.policy import Policy
from moduai.scheduling.prefix import PrefixIndex
from moduai.scheduling.price import Price, assumed
from moduai.scheduling.replica import Replica
from moduai.scheduling.tree import VT_COST, Branch, Node, Tree
from moduai.scheduling.types import (
    Decision,
    Grant,
    Queued,
    Refused,
    ReplicaSpec,
    Share,
    Telemetry,
    Ticket,
    Used,
)

SECOND = 1_000_000_000
REFUSED_SHARE = 10
"""A refused client is told to come back when this part (one in ten) of the line has been served."""
CLOSED_RETRY = 5 * SECOND
"""When to ask again while every replica is closed: about one round of health checks."""
SMOOTHING = 8
"""Weight of the past in the moving mean of run times: a new one counts for an eighth."""
LOOK = 64
"""Tickets that a replica looks at, when the one that is due cannot run there."""
NEAR = 4
"""Tickets whose prefix a replica holds that are looked at for each grant."""
FEW = 4
"""Replicas up to which each is asked when it would have answered."""
SWEPT = 1000
"""Idle nodes looked at in each tick."""
MOST_OUT = 1 << 20
"""Output tokens that are believed of one request without a bound: an engine may report nonsense."""
MOST_OTHER = 1 << 16
"""Prompt tokens that are believed beside eight times those of the text: images."""
QUEUED = Queued(0, -1)


class Pool:
    """Everything about the requests for one model."""

    __slots__ = ("costliest", "mean_run", "name", "price", "replicas", "reserved", "tree")

    def __init__(self, name: str, policy: Policy, kind: str) -> None:
        self.name = name
        self.tree = Tree(policy)
        self.replicas: list[Replica] = []
        self.price = Price(policy.prices.get(name) or assumed(kind, name))
        self.costliest = 0
        """Most that one request was charged: the locality window is never wider."""
        self.mean_run = -1
        """Moving mean of run times in ns; -1 before the first."""
        self.reserved: tuple[Ticket, Replica] | None = None
        """Whoever is due and did not fit, and where it will start."""

    def expected(self, position: int) -> int:
        """Time in ns until so many have been served; -1 if nothing is known."""
        capacity = self.tree.capacity
        return position * self.mean_run // capacity if self.mean_run >= 0 and capacity else -1

    def cost(self, uncached: int, out: int) -> int:
        """Cost in µas, at least 1."""
        return (uncached + 2 * out) * self.price.value // 1000 or 1


class FairQueue:
    """All waiting lines of one gateway. Every method that can free a place returns new grants."""

    __slots__ = ("_estimates", "_pools", "_prefixes", "_replicas", "_waiting", "policy")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._pools: dict[str, Pool] = {}
        self._replicas: dict[str, Replica] = {}
        self._estimates = Estimates(policy.estimate_quantile)
        self._prefixes = PrefixIndex()
        self._waiting = 0

    # what there is

    def set_policy(self, policy: Policy, now: int) -> list[Grant]:
        """Other rules from now on; what waits and runs is kept, and so is what everyone was served."""
        self.policy = policy
        self._estimates.part = policy.estimate_quantile
        for pool in self._pools.values():
            pool.price.value = policy.prices.get(pool.name, pool.price.value)
            pool.tree.set_rules(policy, pool.tree.capacity)
        return self._fill_all(now)

    def set_replica(self, name: str, spec: ReplicaSpec, *, is_open: bool, now: int) -> list[Grant]:
        """Add a replica, or change what it can do and whether it takes more."""
        replica = self._replicas.get(name)
        if replica is None:
            replica = self._replicas[name] = Replica(name, spec)
        old = replica.spec.pools
        replica.spec, replica.open = spec, is_open
        for each in spec.pools:
            if each not in self._pools:
                self._pools[each] = Pool(each, self.policy, spec.kind)
            if replica not in self._pools[each].replicas:
                self._pools[each].replicas.append(replica)
        if spec.room:
            self._prefixes.resize(name, 2 * spec.room * 4 // prefix.BLOCK)
        self._resize(old | spec.pools)
        return self._fill(replica, now)

    def remove_replica(self, name: str) -> None:
        """Take a replica away; it is forgotten when what it still runs has ended."""
        replica = self._replicas.get(name)
        if replica is None:
            return
        replica.open = False
        pools = replica.spec.pools
        replica.spec = ReplicaSpec(frozenset(), 0)
        self._prefixes.forget(name)
        self._resize(pools)
        if not replica.running:
            del self._replicas[name]

    def _resize(self, names: frozenset[str]) -> None:
        for name in names:
            pool = self._pools[name]
            pool.replicas = [each for each in pool.replicas if name in each.spec.pools]
            capacity = sum(each.spec.capacity for each in pool.replicas if each.open)
            pool.tree.set_rules(self.policy, capacity)

    # requests

    def submit(self, ticket: Ticket, now: int, *, again: bool = False) -> Decision:
        """Ask for a place. ``again``: it had one, and its replica failed; it goes to its line's front."""
        pool = self._pools.get(ticket.pool)
        if pool is None or not pool.tree.capacity:
            return Refused("no_replica", CLOSED_RETRY)
        if ticket.avoid and not any(each.open and each.name not in ticket.avoid for each in pool.replicas):
            return Refused("no_replica", CLOSED_RETRY)
        ticket.out = self._estimates.estimate(ticket.app, ticket.pool, ticket.max_out)
        tree = pool.tree
        node = tree.person(ticket)
        if not tree.root.waiting:
            above = node.up
            if above.running < above.ceiling and above.up.running < above.up.ceiling:
                replica = self._choose(pool, ticket, now)
                if replica is not None:
                    ticket.node = node
                    return self._run(pool, ticket, replica, now)
        elif not again and (full := self._full(node)):
            tree.release(node)
            tenth = -(-full[1] // REFUSED_SHARE)
            return Refused(full[0], max(SECOND, pool.expected(tenth)))
        tree.push(ticket, node, front=again)
        ticket.state = 1
        self._waiting += 1
        if self.policy.locality_window and ticket.blocks:
            self._note(pool, ticket)
        if tree.root.running < tree.capacity and (grant := self._at_once(pool, ticket, now)):
            return grant
        return QUEUED

    def _full(self, node: Node) -> tuple[str, int] | None:
        """The line that is full, and its length."""
        above = node.up
        limits = above.up.limits
        if node.waiting >= limits.person:
            return "person_line_full", limits.person
        if above.waiting >= limits.organisation:
            return "organisation_line_full", limits.organisation
        if above.up.waiting >= limits.total:
            return "line_full", limits.total
        if self._waiting >= self.policy.limits.total:
            return "line_full", self.policy.limits.total
        return None

    def _at_once(self, pool: Pool, ticket: Ticket, now: int) -> Grant | None:
        """A place for a new ticket while those who wait cannot run where there is room."""
        for replica in pool.replicas:
            if (
                replica.ready(ticket)
                and replica.has_time(ticket.tokens_in, now)
                and self._fair(pool, replica, now) is ticket
            ):
                return self._run(pool, ticket, replica, now)
        return None

    def finish(self, grant: Grant, used: Used | None, first: int, ran: int, now: int) -> list[Grant]:
        """Give back a place after ``ran`` ns (below 0: it failed, and nothing is learned from it). ``first``:
        ns to its first token, 0 if none came or all came at once. ``used`` None: not known.
        """
        ticket = grant.ticket
        if ticket.state < 2:
            return []  # it was given back before
        pool, replica = self._pools[ticket.pool], self._replicas[grant.replica]
        replica.end(ticket)
        if used is None:
            cost = ticket.charged if ran >= 0 else 0
        else:
            cost = self._settled(pool, ticket, replica, used, first, ran, now)
        tree, node = pool.tree, ticket.node
        tree.end(node, ticket.charged, cost)
        ticket.node, ticket.state, ticket.charged = None, 0, cost
        if ran >= 0:
            mean = pool.mean_run
            pool.mean_run = ran if mean < 0 else mean + (ran - mean) // SMOOTHING
        if not replica.running and not replica.spec.pools:
            del self._replicas[grant.replica]
        return self._fill(replica, now) if self._waiting else []

    def _settled(
        self, pool: Pool, ticket: Ticket, replica: Replica, used: Used, first: int, ran: int, now: int
    ) -> int:
        """The cost of what was used, and what is learned from it. Nonsense is cut to what can be."""
        uncached = _between(used.tokens_in, 8 * ticket.tokens_in + MOST_OTHER)
        uncached -= _between(used.tokens_cached, uncached)
        out = _between(used.tokens_out, ticket.max_out or MOST_OUT)
        if ran >= 0:
            self._estimates.learn(ticket.app, ticket.pool, out, now)
            replica.speed(ticket.pool).learn(uncached, out, first, ran, replica.running + 1)
        return pool.cost(uncached, out)

    def progress(self, grant: Grant, tokens_out: int, now: int) -> list[Grant]:
        """So many tokens of an answer have come: at its first one, and now and then while it is long."""
        ticket = grant.ticket
        if ticket.state < 2:
            return []
        pool, replica = self._pools[ticket.pool], self._replicas[grant.replica]
        if tokens_out > ticket.out:
            cost = pool.cost(ticket.uncached, tokens_out)
            if cost > ticket.charged:
                pool.tree.charge(ticket.node, cost - ticket.charged)
                ticket.charged = cost
        if ticket.state == 3:
            return []
        ticket.state = 3
        replica.seen(ticket)
        return self._fill(replica, now) if self._waiting else []

    def cancel(self, ticket: Ticket, now: int) -> bool:
        """Leave the line; False if the ticket does not wait (any more)."""
        if ticket.state != 1:
            return False
        self._pools[ticket.pool].tree.leave(ticket)
        self._waiting -= 1
        ticket.node, ticket.state = None, 0
        return True

    def place(self, ticket: Ticket, now: int) -> Queued | None:
        """Where a waiting ticket stands now; None if it does not wait."""
        if ticket.state != 1:
            return None
        pool = self._pools[ticket.pool]
        return Queued(pool.tree.root.waiting, pool.expected(pool.tree.root.waiting))

    def observe(self, replica: str, telemetry: Telemetry, now: int) -> None:
        """What an engine tells of itself."""
        if replica in self._replicas:
            self._replicas[replica].observe(telemetry)

    def tick(self, now: int) -> list[Grant]:
        """Housekeeping, twice a second; more often while something waits."""
        for pool in self._pools.values():
            pool.tree.sweep(SWEPT)
        return self._fill_all(now) if self._waiting else []

    # what is shown

    def routes(self, pool: str) -> bool:
        """Whether the beginning of a prompt matters: more than one replica may hold it."""
        known = self._pools.get(pool)
        return known is not None and len(known.replicas) > 1

    def waiting(self) -> dict[str, int]:
        """How many wait, by pool."""
        return {name: pool.tree.root.waiting for name, pool in self._pools.items()}

    def running(self) -> dict[str, int]:
        """How many run, by replica."""
        return {name: replica.running for name, replica in self._replicas.items()}

    def shares(self) -> list[Share]:
        """What each class and organisation is due and has, by pool."""
        return [
            _share(pool.name, branch)
            for pool in self._pools.values()
            for above in pool.tree.root.branches.values()
            for branch in (above, *above.branches.values())
        ]

    # who is next

    def _choose(self, pool: Pool, ticket: Ticket, now: int) -> Replica | None:
        """The replica that would have answered a ticket first, of those where it fits now. Of many replicas,
        only the least busy and the one that holds most of its prompt are asked.
        """
        if len(pool.replicas) == 1:
            only = pool.replicas[0]
            ready = only.ready(ticket) and only.fits(ticket, self._uncached(ticket, only), now)
            return only if ready else None
        able = [each for each in pool.replicas if each.ready(ticket)]
        if len(able) > FEW:
            holder = self._prefixes.best(ticket.blocks, [each.name for each in able])[1]
            least = min(able, key=_load)
            able = [each for each in able if each is least or each.name == holder]
        best, earliest = None, 0
        for each in able:
            uncached = self._uncached(ticket, each)
            if each.fits(ticket, uncached, now):
                time = each.finish_time(ticket, uncached, now)
                if best is None or time < earliest:
                    best, earliest = each, time
        return best

    def _uncached(self, ticket: Ticket, replica: Replica) -> int:
        blocks = ticket.blocks
        if not blocks:
            return ticket.tokens_in
        return prefix.uncached(ticket.tokens_in, blocks, self._prefixes.held(blocks, replica.name))

    def _run(self, pool: Pool, ticket: Ticket, replica: Replica, now: int) -> Grant:
        """A ticket runs: charge the estimate."""
        ticket.uncached = uncached = self._uncached(ticket, replica) if ticket.blocks else ticket.tokens_in
        cost = (uncached + 2 * ticket.out) * pool.price.value // 1000 or 1
        if cost > pool.costliest:
            pool.costliest = cost
        charged = ticket.charged
        if cost < charged:  # it failed before, and was charged for what ran
            cost = charged
        pool.tree.start(ticket.node, cost - charged)
        if ticket.state == 1:
            pool.tree.take(ticket)
            self._waiting -= 1
        ticket.charged, ticket.state = cost, 2
        replica.start(ticket, uncached, now)
        if ticket.blocks:
            self._prefixes.touch(ticket.blocks, replica.name)
        if len(replica.spec.pools) > 1:
            replica.take_turn(ticket.path[0], cost * VT_COST)
        return Grant(ticket, replica.name)

    def _fill_all(self, now: int) -> list[Grant]:
        return [grant for replica in list(self._replicas.values()) for grant in self._fill(replica, now)]

    def _fill(self, replica: Replica, now: int) -> list[Grant]:
        grants: list[Grant] = []
        while replica.open and replica.running < replica.spec.capacity:
            found = self._next(replica, now)
            if found is None:
                break
            grants.append(self._run(self._pools[found.pool], found, replica, now))
        return grants

    def _next(self, replica: Replica, now: int) -> Ticket | None:
        """What a replica with a free slot takes now."""
        found: list[Ticket] = []
        for name in replica.spec.pools:
            pool = self._pools[name]
            if pool.tree.root.waiting and (ticket := self._fair(pool, replica, now)):
                found.append(ticket)
        if len(found) > 1:
            return min(found, key=lambda ticket: _turn(replica, ticket))
        return found[0] if found else None

    def _fair(self, pool: Pool, replica: Replica, now: int) -> Ticket | None:
        """The ticket of a pool that a replica with a free slot takes now."""
        due = pool.tree.first()
        if due is None:
            return None
        if replica.name in due.avoid or not replica.has_room(due.tokens_in + due.out):
            return self._other(pool, replica, now)
        if replica.unseen and not replica.has_time(self._uncached(due, replica), now):
            return None  # there will be time in a moment, and whoever is due comes first
        if self.policy.locality_window and replica.near:
            return self._nearby(pool, replica, due, now)
        return due

    def _other(self, pool: Pool, replica: Replica, now: int) -> Ticket | None:
        """The first in fair order that runs there, when the one that is due does not."""
        held: tuple[int, int] | None = None
        for ticket in islice(pool.tree.in_order(), LOOK):
            if replica.name in ticket.avoid:
                continue
            need = ticket.tokens_in + ticket.out
            if not replica.has_room(need):
                if held is None and self._reserve(pool, replica, ticket):
                    held = replica.reservation(ticket)
                continue
            uncached = self._uncached(ticket, replica)
            if not replica.has_time(uncached, now):
                return None
            if held is None or need <= held[1] or replica.finish_time(ticket, uncached, now) <= held[0]:
                return ticket
        return None

    def _reserve(self, pool: Pool, replica: Replica, ticket: Ticket) -> bool:
        """Whether a ticket that does not fit has, or now gets, its reservation here."""
        held = pool.reserved
        if held is None or held[0] is not ticket or not held[1].open:
            pool.reserved = held = ticket, replica
        return held[1] is replica

    def _note(self, pool: Pool, ticket: Ticket) -> None:
        """Remember a waiting ticket where its prefix is held."""
        name = self._prefixes.best(ticket.blocks, [each.name for each in pool.replicas])[1]
        if name:
            self._replicas[name].near.append(ticket)

    def _nearby(self, pool: Pool, replica: Replica, due: Ticket, now: int) -> Ticket:
        """Within the window, the ticket that saves the replica most of its prompt."""
        window = min(self.policy.locality_window, pool.costliest) * VT_COST
        best, saved = due, due.tokens_in - self._uncached(due, replica)
        near = replica.near
        for _ in range(min(NEAR, len(near))):
            ticket = near.popleft()
            if ticket.state != 1 or ticket is due:
                continue
            near.append(ticket)
            uncached = self._uncached(ticket, replica)
            if (
                ticket.pool == pool.name
                and ticket.tokens_in - uncached > saved
                and replica.name not in ticket.avoid
                and pool.tree.within(ticket, window)
                and replica.fits(ticket, uncached, now)
            ):
                best, saved = ticket, ticket.tokens_in - uncached
        return best


def _between(told: int, most: int) -> int:
    """What was told, cut to 0 and ``most``."""
    if told > most:
        return most
    return told if told > 0 else 0


def _load(replica: Replica) -> float:
    return replica.running / replica.spec.capacity


def _turn(replica: Replica, ticket: Ticket) -> tuple[bool, int, int, int]:
    """Under its guarantee first, then least served here, then first come."""
    above: Branch = ticket.node.up.up
    return above.running >= above.floor, replica.due(ticket.path[0]), ticket.arrived, ticket.id


def _share(pool: str, branch: Branch) -> Share:
    up, rule = branch.up, branch.rule
    path = (branch.key,) if up.up is None else (up.key, branch.key)
    return Share(
        pool,
        path,
        rule.weight,
        rule.guarantee,
        rule.cap,
        branch.waiting,
        branch.running,
        branch.served,
        branch.vt - up.virtual,
        branch.running >= branch.ceiling,
    )
