"""The fair queue: who runs next, where, and what it is charged.

Rules, in words (who is due: `tree`; what fits: `replica`):

* While nobody waits for a pool there is nothing to share, and its tree sleeps: a ticket runs at once where it
  fits, on the replica that is expected to have answered it first, and is held against nobody. When the first
  one has to wait, the tree wakes: everything that still runs is charged its estimate, in order of its start.
  (A class for which there is a cap, its own, an organisation's or a person's, is counted always.)
* Otherwise it waits, unless a line is full (its person's, organisation's, class's, or all): then it is
  refused, with the time in which a tenth of the line should have been served.
* A freed replica takes the ticket that is due in its pool; where it serves several pools, that of the class
  that it has served least. Within the locality window another one goes first, if the replica holds more of
  its prompt and no other replica does.
* A due ticket that does not fit holds a reservation on one replica until it runs. Others are filled in behind
  it there only where they end before it could start, or take what it leaves free (EASY backfilling, Lifka
  1995).
* The cost is ``(uncached prompt tokens + 2 x output tokens) x price``: the estimate is charged at the start,
  what exceeds it as it comes, and the rest is settled at the end. What failed is charged for what ran; when
  it runs again, that counts towards its charge.
* A replica that is closed ends what it runs and takes nothing new; a ticket is never sent to one it avoids.

The same calls give the same answers: there is no clock here and no chance.
"""

# ruff: noqa: PLR1730, FURB136 - the hot path compares: a call of max() takes five times as long.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from mypy_extensions import mypyc_attr

from moduai.scheduling import prefix, pressure, state
from moduai.scheduling.estimate import Estimates
from moduai.scheduling.outlook import Outlook
from moduai.scheduling.policy import ClassRule, NodeRule, Policy
from moduai.scheduling.prefix import PrefixIndex
from moduai.scheduling.price import Price, assumed
from moduai.scheduling.replica import STEPS, Replica
from moduai.scheduling.state import MOST_OWING, PoolState, State
from moduai.scheduling.ticket import Grant, Ticket
from moduai.scheduling.tree import SHARDS, UNCAPPED, VT_COST, Branch, Node, Tree, first
from moduai.scheduling.types import (
    WHOLE,
    Decision,
    Figure,
    Queued,
    Refused,
    ReplicaSpec,
    Share,
    Telemetry,
    Used,
)

SECOND = 1_000_000_000
REFUSED_SHARE = 10
"""A refused client is told to come back when this part (one in ten) of the line has been served."""
CLOSED_RETRY = 5 * SECOND
"""When to ask again while every replica is closed: about one round of health checks."""
SMOOTHING = 8
"""Weight of the past in the moving mean of run times: a new one counts for an eighth."""
FAR = 512
"""Tickets in fair order that are asked whether they may run somewhere, when the one that is due may not."""
LOOK = 64
"""Tickets that a replica looks at, when the one that is due cannot run there."""
BESIDE = 7
"""Persons of the same organisation that are looked at beside the one that is due."""
LEARNED = 8
"""While nobody waits, so many requests between two ticks ask with a ticket, and are learned from."""
FEW = 4
"""Replicas up to which each is asked when it would have answered."""
EIGHTHS, SIZES = 8, 512
"""Sizes of needs that are told apart: for each power of two, and in all."""
SWEPT = 1000
"""Idle nodes looked at in each tick."""
MOST_OUT = 1 << 20
"""Output tokens that are believed of one request, whatever its client allows: engines may report nonsense."""
MOST_OTHER = 1 << 16
"""Prompt tokens that are believed beside eight times those of the text: images."""
KEPT = 60 * SECOND
"""Debts outlive a restart that takes no longer, and for so long after it nobody is forgotten."""
LOOKED = 4096
"""People that are looked at without a break for what they owe."""
QUEUED = Queued(0, -1)
Moved = list[tuple[str, tuple[str, ...], int]]
"""A number for each class or organisation of a pool: pool, path, number."""


class Needs:
    """The least room that one of those who wait needs, cut to an eighth: a count for each size."""

    __slots__ = ("_counts", "_low")

    def __init__(self) -> None:
        self._counts = [0] * SIZES
        self._low = SIZES
        """There is nothing below."""

    def add(self, ticket: Ticket) -> None:
        """It waits."""
        at = _size(ticket.tokens_in + ticket.out)
        self._counts[at] += 1
        if at < self._low:
            self._low = at

    def remove(self, ticket: Ticket) -> None:
        """It waits no more; its estimate is as it was."""
        self._counts[_size(ticket.tokens_in + ticket.out)] -= 1

    def least(self) -> int:
        """Tokens; nobody who waits needs fewer."""
        counts, at = self._counts, self._low
        while at < SIZES - 1 and not counts[at]:
            at += 1
        self._low = at
        return at if at < 2 * EIGHTHS else (at % EIGHTHS + EIGHTHS) << (at // EIGHTHS - 1)


def _size(tokens: int) -> int:
    """From the smallest: each number below 16, then eight steps for each power of two."""
    if tokens < 2 * EIGHTHS:
        return tokens
    shift = tokens.bit_length() - 4
    return min(shift * EIGHTHS + (tokens >> shift), SIZES - 1)


class Pool:
    """Everything about the requests for one model."""

    __slots__ = (
        "_full_since", "alone", "costliest", "loose", "name", "near", "needs", "outlook", "price",
        "replicas", "reserved", "tokens", "tree",
    )  # fmt: skip

    def __init__(self, name: str, policy: Policy, kind: str) -> None:
        self.name = name
        self.tree = Tree(policy)
        self.replicas: list[Replica] = []
        self.alone: Replica | None = None
        """The only replica, if it takes requests and its room is not counted."""
        self.price = Price(policy.prices.get(name) or assumed(kind, name))
        self.outlook = Outlook(self.price)
        self.loose: dict[Ticket, None] = {}
        """What runs and is not charged: it began while the tree slept."""
        self.needs = Needs()
        self.near = False
        """Some waiting ticket has, or had, a home."""
        self.tokens = 0
        """Weighted tokens settled since the price was measured last."""
        self._full_since = -1
        self.costliest = 0
        """Most that one request was charged: the locality window is never wider."""
        self.reserved: dict[Ticket, Replica] = {}
        """Who was due and did not fit, and where it will start; until it runs, leaves or cannot."""

    def expected(self, position: int) -> int:
        """Time in ns until so many have been served; -1 if nothing is known."""
        capacity, run = self.tree.capacity, self.outlook.mean_run
        return position * run // capacity if run >= 0 and capacity else -1

    def serves(self, avoid: tuple[str, ...]) -> bool:
        """A replica that takes requests is not among those to avoid."""
        return any(each.open and each.name not in avoid for each in self.replicas)

    def measure(self, now: int) -> None:
        """What a token costs: measured while all of its replicas are full and somebody waits."""
        able = [each for each in self.replicas if each.open]
        if self._full_since >= 0:
            accelerators = sum(each.accelerators for each in able)
            self.price.learn(max(0, now - self._full_since) * accelerators, self.tokens)
            self.price.follow()
        self.tokens = 0
        full = self.tree.root.waiting and all(each.running >= each.capacity for each in able)
        self._full_since = now if full else -1

    def cost(self, uncached: int, out: int) -> int:
        """Cost in µas, at least 1."""
        return (uncached + 2 * out) * self.price.value // 1000 or 1

    def charge(self, ticket: Ticket) -> None:
        """Charge the estimate; what failed before was charged for what ran, and that counts."""
        charged = ticket.charged
        cost = (ticket.uncached + 2 * ticket.out) * self.price.value // 1000 or 1
        if cost < charged:
            cost = charged
        if cost > self.costliest:
            self.costliest = cost
        ticket.charged = cost
        if ticket.state == 1:
            self.tree.take(ticket, cost - charged)
        else:
            self.tree.start(ticket.node, cost - charged)


@mypyc_attr(allow_interpreted_subclasses=True)
class FairQueue:
    """All waiting lines of one cell. Every method that can free a place returns new grants."""

    __slots__ = (
        "_askew", "_capped", "_estimates", "_kept_until", "_pools", "_prefixes", "_replicas", "_to_learn",
        "_waiting", "_window", "policy", "recall",
    )  # fmt: skip

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._pools: dict[str, Pool] = {}
        self._replicas: dict[str, Replica] = {}
        self._estimates = Estimates(policy.estimate_quantile)
        self._prefixes = PrefixIndex()
        self._waiting = 0
        self._to_learn = LEARNED
        self._capped = _capped(policy)
        self._window = policy.locality_window
        self._askew = False
        """Something may run where it has no place: on a replica that was closed, made smaller or removed.
        Then how many run does not tell how many places are free.
        """
        self._kept_until = 0
        """Until then nothing is forgotten: people are about to come back."""
        self.recall: Callable[[str], Iterable[tuple[Ticket, bool]]] = lambda _pool: ()
        """Makes tickets of all that slipped into a pool and still run, in the order of their start, and says
        of each whether its first token has come.
        """

    # what there is

    def set_policy(self, policy: Policy, now: int) -> list[Grant]:
        """Other rules from now on; what waits and runs is kept, and so is what everyone was served."""
        self.policy, self._capped, self._window = policy, _capped(policy), policy.locality_window
        self._estimates.part = policy.estimate_quantile
        for pool in self._pools.values():
            pool.price.value = policy.prices.get(pool.name, pool.price.value)
            if self._capped:  # what runs counts towards a cap that is new
                self._wake(pool, now)
            pool.tree.set_rules(policy, pool.tree.capacity)
        return self._fill_all(now)

    def set_replica(self, name: str, spec: ReplicaSpec, *, is_open: bool, now: int) -> list[Grant]:
        """Add a replica, or change what it can do and whether it takes more."""
        replica = self._replicas.get(name)
        if replica is None:
            replica = self._replicas[name] = Replica(name, spec)
        old, replica.open = replica.pools, is_open
        self._askew = self._askew or replica.running > 0
        replica.become(spec)
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
        self._askew = self._askew or replica.running > 0
        pools = replica.pools
        replica.become(ReplicaSpec(frozenset(), 0))
        self._prefixes.forget(name)
        self._resize(pools)
        if not replica.running:
            del self._replicas[name]

    def _resize(self, names: frozenset[str]) -> None:
        for name in names:
            pool = self._pools[name]
            pool.replicas = [each for each in pool.replicas if name in each.pools]
            only = pool.replicas[0] if len(pool.replicas) == 1 else None
            pool.alone = only if only is not None and only.open and not only.room else None
            serving = [each for each in pool.replicas if each.open]
            pool.reserved = {ticket: at for ticket, at in pool.reserved.items() if at in serving}
            pool.tree.set_rules(self.policy, sum(each.capacity for each in serving))
            pool.outlook.flow.accelerators = sum(each.accelerators for each in serving) or 1

    # requests

    def submit(self, ticket: Ticket, now: int, *, again: bool = False, kept: bool = False) -> Decision:
        """Ask for a place. ``again``: it had one, and its replica failed; it goes to its line's front.
        ``kept``: it waits already, in a queue that is no more, and goes on waiting.
        """
        pool = self._pools.get(ticket.pool)
        if pool is None or not (
            kept or (pool.tree.capacity and (not ticket.avoid or pool.serves(ticket.avoid)))
        ):
            return Refused("no_replica", CLOSED_RETRY)
        ticket.out = self._estimates.estimate(ticket.app, ticket.pool, ticket.max_out)
        tree = pool.tree
        if not tree.root.waiting:
            node = tree.person(ticket) if ticket.path[0] in self._capped else None
            if node is None or _uncapped(node):
                replica = self._choose(pool, ticket, now)
                if replica is not None and not (self._waiting and self._held(replica, ticket, now)):
                    ticket.node = node
                    return self._run(pool, ticket, replica, now)
            self._wake(pool, now)
        node = tree.person(ticket)
        if not (again or kept) and (refused := self._refused(pool, node)):
            tree.release(node)
            return refused
        tree.push(ticket, node, front=again)
        pool.needs.add(ticket)
        ticket.state = 1
        self._waiting += 1
        if self._window and ticket.blocks:
            self._settle_down(pool, ticket)
        if tree.root.running < tree.capacity or self._askew:
            grant = self._at_once(pool, ticket, now)
            if grant is not None:
                return grant
        pool.outlook.joined(ticket, tree.root.waiting, now)
        return QUEUED

    def slip(self, name: str, class_name: str, tokens: int) -> Grant | None:
        """A place without a ticket for so many prompt tokens: while nobody waits the tree has nothing to do.
        None: ask with a ticket. So must be asked where there is a choice of replicas, a cap, or room to be
        counted, and a few times between two ticks, so that lengths and speeds go on being learned.
        """
        pool = self._pools.get(name)
        if pool is None or self._waiting or class_name in self._capped:
            return None
        replica = pool.alone
        if replica is None or replica.running >= replica.capacity:
            return None
        if self._to_learn:
            self._to_learn -= 1
            return None
        pending = replica.pending
        if pending and pending + tokens > replica.budget:
            return None
        replica.running += 1
        replica.pending = pending + tokens
        return replica.slip

    def slip_seen(self, grant: Grant, tokens: int, now: int) -> list[Grant]:
        """The first token of one that slipped in has come: its prompt has been computed."""
        replica = self._replicas[grant.replica]
        replica.pending -= tokens
        return self._fill(replica, now) if self._waiting else []

    def slip_over(self, grant: Grant, tokens: int, now: int) -> list[Grant]:
        """One that slipped in has ended; ``tokens`` of its prompt were not known to be computed."""
        replica = self._replicas[grant.replica]
        replica.running -= 1
        replica.pending -= tokens
        if not replica.running and not replica.pools:
            del self._replicas[grant.replica]
        return self._fill(replica, now) if self._waiting else []

    def _recall(self, pool: Pool) -> None:
        """What slipped in has tickets from now on."""
        for ticket, seen in self.recall(pool.name):
            ticket.out = self._estimates.estimate(ticket.app, ticket.pool, ticket.max_out)
            ticket.uncached, ticket.state = ticket.tokens_in, 3 if seen else 2
            pool.loose[ticket] = None

    def _wake(self, pool: Pool, now: int) -> None:
        """Somebody has to wait: what runs is charged from now on."""
        tickets = len(pool.loose)
        self._recall(pool)
        if pool.alone is not None and len(pool.loose) > tickets:  # they did not say when: all may be new
            pool.alone.sent = max(pool.alone.sent, now)
        for ticket in pool.loose:
            ticket.node = pool.tree.person(ticket)
            pool.charge(ticket)
        pool.loose.clear()

    def _refused(self, pool: Pool, node: Node) -> Refused | None:
        """Why a ticket of a person may not join the line. Fails closed."""
        above: Branch = node.up
        limits, waiting = above.up.limits, node.waiting
        total = self.policy.limits.total
        if waiting >= limits.person:
            return _full("person_line_full", limits.person, pool)
        if above.waiting >= limits.organisation:
            return _full("organisation_line_full", limits.organisation, pool)
        if above.up.waiting >= limits.total:
            return _full("line_full", limits.total, pool)
        if self._waiting >= total:
            return _full("line_full", total, pool)
        rule = self.policy.pressure
        if waiting and rule.refuse_after_s:
            wait = pool.expected(pool.tree.root.waiting)
            if pressure.step(rule, wait) == pressure.REFUSE:
                return Refused("overloaded", pressure.retry_after(rule, wait))
        return None

    def _at_once(self, pool: Pool, ticket: Ticket, now: int) -> Grant | None:
        """A place for a new ticket, the best one, while those who wait cannot run where there is room."""
        if first(ticket.node) is not ticket:
            return None
        replicas = pool.replicas
        if len(replicas) > 1 and (best := self._choose(pool, ticket, now)) is not None:
            replicas = [best, *replicas]
        for replica in replicas:
            if (
                replica.ready(ticket)
                and replica.fits(ticket, ticket.tokens_in, now)
                and self._fair(pool, replica, now) is ticket
                and not self._held(replica, ticket, now)
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
        node: Node | None = ticket.node
        if node is None:
            del pool.loose[ticket]
            if used is not None:
                self._used(pool, ticket, replica, used, first, ran, now)
        else:
            if used is not None:
                cost = self._used(pool, ticket, replica, used, first, ran, now)
            else:
                cost = ticket.charged if ran >= 0 else 0
            pool.tree.end(node, ticket.charged, cost)
            ticket.node, ticket.charged = None, cost
        ticket.state = 0
        if ran >= 0:
            mean = pool.outlook.mean_run
            pool.outlook.mean_run = ran if mean < 0 else mean + (ran - mean) // SMOOTHING
        if not replica.running and not replica.pools:
            del self._replicas[grant.replica]
        return self._fill(replica, now) if self._waiting else []

    def _used(
        self, pool: Pool, ticket: Ticket, replica: Replica, used: Used, first: int, ran: int, now: int
    ) -> int:
        """The cost of what was used, and what is learned from it. Nonsense is cut to what can be."""
        tokens, cached, out = used.tokens_in, used.tokens_cached, used.tokens_out
        most_in, most_out = 8 * ticket.tokens_in + MOST_OTHER, min(ticket.max_out or MOST_OUT, MOST_OUT)
        if not (0 <= cached <= tokens <= most_in and 0 <= out <= most_out):
            tokens, out = _between(tokens, most_in), _between(out, most_out)
            cached = _between(cached, tokens)
        uncached = tokens - cached
        if ran >= 0:
            self._estimates.learn(ticket.app, ticket.pool, out, now)
            if now >= replica.learn_at:
                replica.learn(ticket.pool, uncached, out, first, ran, now)
        weighted = uncached + 2 * out
        pool.tokens += weighted
        return weighted * pool.price.value // 1000 or 1

    def progress(self, grant: Grant, tokens_out: int, now: int) -> list[Grant]:
        """So many tokens of an answer have come: at its first one, and now and then while it is long."""
        ticket = grant.ticket
        if ticket.state < 2:
            return []
        pool, replica = self._pools[ticket.pool], self._replicas[grant.replica]
        if tokens_out > ticket.out and ticket.node is not None:
            cost = pool.cost(ticket.uncached, tokens_out)
            if cost > ticket.charged:
                pool.tree.charge(ticket.node, cost - ticket.charged)
                ticket.charged = cost
        if ticket.state == 3:
            return []
        replica.pending -= ticket.uncached
        ticket.state = 3
        return self._fill(replica, now) if self._waiting and replica.running < replica.capacity else []

    def pace(self, grant: Grant) -> tuple[int, int]:
        """Expected ns to the first token of an answer, and for each further one, at what runs there now."""
        ticket, replica = grant.ticket, self._replicas[grant.replica]
        speed = replica.speed(ticket.pool)
        return speed.prefill(ticket.uncached), speed.decode(STEPS, replica.running) // STEPS

    def adopt(self, ticket: Ticket, replica: str, now: int, *, paid: bool, came: int) -> Grant | None:
        """A ticket that another process let run on a replica counts here from now on, whether there is a
        place or not. ``paid``: what was restored holds its charge, also for what came above its estimate;
        ``came``: tokens of its answer. None: there is no such pool or replica, and nothing of it counts.
        """
        pool, on = self._pools.get(ticket.pool), self._replicas.get(replica)
        if pool is None or on is None:
            return None
        ticket.out = self._estimates.estimate(ticket.app, ticket.pool, ticket.max_out)
        ticket.uncached = ticket.uncached or ticket.tokens_in
        ticket.node = pool.tree.person(ticket)
        ticket.charged = pool.cost(ticket.uncached, max(ticket.out, came))
        pool.tree.adopt(ticket.node, 0 if paid else ticket.charged)
        ticket.state = 2
        on.start(ticket, now)
        if came:
            on.pending -= ticket.uncached
            ticket.state = 3
        self._askew = True
        return Grant(ticket, replica)

    def cancel(self, ticket: Ticket, now: int) -> bool:
        """Leave the line; False if the ticket does not wait (any more)."""
        if ticket.state != 1:
            return False
        pool = self._pools[ticket.pool]
        pool.outlook.left(ticket)
        pool.tree.leave(ticket)
        pool.needs.remove(ticket)
        pool.reserved.pop(ticket, None)
        self._waiting -= 1
        ticket.node, ticket.state = None, 0
        return True

    def place(self, ticket: Ticket, now: int) -> Queued | None:
        """Where a waiting ticket stands now, and how long it will wait; None if it does not wait."""
        if ticket.state != 1:
            return None
        pool = self._pools[ticket.pool]
        place = pool.outlook.place(ticket)
        rule = self.policy.pressure
        step = pressure.step(rule, pool.expected(pool.tree.root.waiting))
        lighter = rule.lighter.get(pool.name, "") if step >= pressure.LIGHTER else ""
        return Queued(place.position, place.wait, place.low, place.high, pressure.NAMES[step], lighter)

    def observe(self, replica: str, telemetry: Telemetry, now: int) -> None:
        """What an engine tells of itself."""
        if replica in self._replicas:
            self._replicas[replica].observe(telemetry, now)

    def tick(self, now: int) -> list[Grant]:
        """Housekeeping, twice a second; more often while something waits."""
        self._to_learn = LEARNED
        if self._askew:
            self._askew = any(map(_overfull, self._replicas.values()))
        for replica in self._replicas.values():
            replica.doubt(now)
        for pool in self._pools.values():
            pool.tree.keeping = now < self._kept_until
            if not pool.tree.keeping:
                pool.tree.sweep(SWEPT)
            if pool.name not in self.policy.prices:
                pool.measure(now)
        return self._fill_all(now) if self._waiting else []

    def move(self, moved: Moved, ahead: Moved, now: int) -> None:
        """What other cells serve of the same classes and organisations (`apportion`). ``moved``: all weights
        that are not those of the policy; ``ahead``: cost that those who may be idle here are ahead elsewhere.
        """
        for name, pool in self._pools.items():
            pool.tree.move({path: weight for each, path, weight in moved if each == name})
            pool.tree.put_back([(path, cost) for each, path, cost in ahead if each == name])

    # what is shown

    def routes(self, pool: str) -> bool:
        """Whether the beginning of a prompt matters: more than one replica may hold it."""
        known = self._pools.get(pool)
        return known is not None and len(known.replicas) > 1

    def waiting(self) -> dict[str, int]:
        """How many wait, by pool."""
        return {name: pool.tree.root.waiting for name, pool in self._pools.items()}

    def expected(self) -> dict[str, int]:
        """Time in ns until all who wait now have been served, by pool; pools of which nothing is known are
        left out.
        """
        waits = {name: pool.expected(pool.tree.root.waiting) for name, pool in self._pools.items()}
        return {name: wait for name, wait in waits.items() if wait >= 0}

    def running(self) -> dict[str, int]:
        """How many run, by replica."""
        return {name: replica.running for name, replica in self._replicas.items()}

    def figures(self) -> dict[str, list[Figure]]:
        """How good the forecasts of waits have been, by pool."""
        return {name: pool.outlook.calibration.figures() for name, pool in self._pools.items()}

    def shares(self) -> list[Share]:
        """What each class and organisation is due and has, by pool."""
        found: list[Share] = []
        for pool in self._pools.values():
            self._recall(pool)
            loose = Counter(path for ticket in pool.loose for path in (ticket.path[:1], ticket.path[:2]))
            for above in pool.tree.root.branches.values():
                for branch in (above, *above.branches.values()):
                    path = (above.key,) if branch is above else (above.key, branch.key)
                    here = pool.tree.moved.get(path, branch.rule.weight)
                    found.append(_share(pool.name, path, branch, loose.pop(path, 0), here))
            for path, running in loose.items():
                rule = self.policy.classes.get(path[0]) or ClassRule(path[0])
                found.append(
                    _idle_share(pool.name, path, rule if len(path) == 1 else rule.rule(path[1]), running)
                )
        return found

    def cells(self) -> dict[str, int]:
        """How old (ns) is what is known of other cells that serve the same classes, by cell."""
        return {}

    # what outlives the process

    def dump(self, now: int) -> bytes:
        """What was learned and what people owe; nothing of what waits and runs."""
        return list(self.dumping(now))[-1]

    def dumping(self, now: int) -> Iterator[bytes]:
        """The same in steps of about `LOOKED` people, for a million stop everything for long: nothing, until
        the last step gives it. What was served between two steps is held against some and not yet against
        others.
        """
        pools: list[PoolState] = []
        known = list(self._pools.values())
        looked = 0
        for pool in known:
            owed: list[tuple[tuple[str, ...], int]] = []
            step = pool.tree.known // SHARDS
            for some in pool.tree.owing(MOST_OWING // len(known)):
                owed.extend(some)
                looked += step
                if looked >= LOOKED:
                    looked = 0
                    yield b""
            pools.append(
                PoolState(
                    pool.name,
                    pool.price.value,
                    pool.outlook.mean_run,
                    pool.costliest,
                    owed,
                    pool.outlook.calibration.dump(),
                )
            )
        speeds = [
            (replica.name, pool, speed.dump())
            for replica in self._replicas.values()
            for pool, speed in replica.speeds.items()
        ]
        yield state.write(State(1, state.aged(self._estimates.dump(), now), pools, speeds))

    def restore(self, data: bytes, now: int, away: int = 0) -> bool:
        """Take back what `dump` gave ``away`` ns ago, of the pools, replicas and classes that there are.
        Debts are kept for `KEPT` though nobody comes; older ones are forgiven. False: it is damaged, or of
        another version, and fairness starts anew. Fails open.
        """
        found = state.read(data)
        if found is None:
            return False
        self._estimates.restore(state.aged(found.estimates, now - away))
        for kept in found.pools:
            pool = self._pools.get(kept.name)
            if pool is not None:
                pool.price.value = self.policy.prices.get(kept.name, kept.price)
                pool.outlook.mean_run, pool.costliest = kept.mean_run, kept.costliest
                pool.tree.keeping = True
                pool.tree.owe(kept.owed if away < KEPT else ())
                pool.outlook.calibration.restore(kept.predictions)
        for name, served, speed in found.speeds:
            if name in self._replicas and served in self._replicas[name].pools:
                self._replicas[name].speed(served).restore(speed)
        self._kept_until = now + KEPT
        return True

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
        """A ticket runs."""
        ticket.uncached = self._uncached(ticket, replica) if ticket.blocks else ticket.tokens_in
        node: Node | None = ticket.node
        most = 0
        if node is None:
            pool.loose[ticket] = None
        else:
            waited = ticket.state == 1
            if waited:
                pool.needs.remove(ticket)
            if waited and (node.waiting > 1 or node.running):
                most = self._shorten(pool, ticket)
            pool.charge(ticket)
            if not replica.only:
                replica.take_turn(ticket.path[0], ticket.charged * VT_COST)
            if waited:
                pool.outlook.went(ticket, now)
                pool.reserved.pop(ticket, None)
                self._waiting -= 1
        ticket.state = 2
        replica.start(ticket, now)
        if ticket.blocks:
            self._prefixes.touch(ticket.blocks, replica.name)
            if self._window and node is not None and node.waiting:
                self._come_near(first(node), replica)
        return Grant(ticket, replica.name, most)

    def _shorten(self, pool: Pool, ticket: Ticket) -> int:
        """Most tokens of its answer, if it has to be shorter; its person has more in line or running."""
        rule = self.policy.pressure
        if not rule.shorten_after_s:
            return 0
        if pressure.step(rule, pool.expected(pool.tree.root.waiting)) < pressure.SHORTEN:
            return 0
        most = pressure.shortened(rule, ticket.max_out)
        if most:
            ticket.out = min(ticket.out, most)
        return most

    def _fill_all(self, now: int) -> list[Grant]:
        return [grant for replica in list(self._replicas.values()) for grant in self._fill(replica, now)]

    def _fill(self, replica: Replica, now: int) -> list[Grant]:
        grants: list[Grant] = []
        while replica.open and replica.running < replica.capacity:
            if replica.only:
                pool = self._pools[replica.only]
                found = self._fair(pool, replica, now) if pool.tree.root.waiting else None
            else:
                found = self._in_turn(replica, now)
            if found is None:
                break
            grants.append(self._run(self._pools[found.pool], found, replica, now))
        return grants

    def _in_turn(self, replica: Replica, now: int) -> Ticket | None:
        """What a replica of several pools with a free slot takes now."""
        found: list[Ticket] = []
        for name in sorted(replica.pools):  # a set's own order differs from process to process
            pool = self._pools[name]
            if pool.tree.root.waiting and (ticket := self._fair(pool, replica, now)):
                found.append(ticket)
        ready = [ticket for ticket in found if not self._held(replica, ticket, now)]
        return min(ready, key=lambda ticket: _turn(replica, ticket), default=None)

    def _held(self, replica: Replica, ticket: Ticket, now: int) -> bool:
        """Whether a ticket would delay somebody who is due in one of a replica's pools, and only waits there
        until its prompts are computed, or for the room that is reserved. Else small ones of one pool could
        keep a large one of another out for good.
        """
        pools = replica.pools
        if len(pools) < 2:
            return False
        for name in sorted(pools):
            pool = self._pools[name]
            due = pool.tree.first() if pool.tree.root.waiting else None
            if due is None or replica.name in due.avoid:
                continue
            if not replica.has_time(name, self._uncached(due, replica), now):
                return True
            if pool.reserved.get(due) is replica and not replica.has_room(due.tokens_in + due.out):
                held = replica.reservation(due)
                if not self._spares(held, replica, ticket, now):
                    return True
        return False

    def _spares(self, held: tuple[int, int], replica: Replica, ticket: Ticket, now: int) -> bool:
        """A ticket takes nothing of a reservation: only what it leaves free, or it ends before."""
        if ticket.tokens_in + ticket.out <= held[1]:
            return True
        return replica.finish_time(ticket, self._uncached(ticket, replica), now) <= held[0]

    def _fair(self, pool: Pool, replica: Replica, now: int) -> Ticket | None:
        """The ticket of a pool that a replica with a free slot takes now."""
        due = pool.tree.first()
        if due is None:
            return None
        if (due.avoid and replica.name in due.avoid) or (
            replica.room
            and replica.tokens + replica.more + due.tokens_in + due.out > replica.room
            and replica.running
        ):
            return self._other(pool, replica, now)
        pending = replica.pending
        if (
            pending
            and pending + due.tokens_in > replica.budget
            and not replica.has_time(pool.name, self._uncached(due, replica), now)
        ):
            return None  # there will be time in a moment, and whoever is due comes first
        if pool.near and (replica.near or due.home) and self._window:
            return self._nearby(pool, replica, due, now)
        return due

    def _other(self, pool: Pool, replica: Replica, now: int) -> Ticket | None:
        """The first in fair order that runs there, when the one that is due does not."""
        held: tuple[int, int] | None = None
        able = 0
        passed = False
        for ticket in islice(pool.tree.in_order(), FAR):
            if replica.name in ticket.avoid:
                continue
            able += 1
            if able > LOOK:
                break
            if not replica.has_room(ticket.tokens_in + ticket.out):
                if not passed:
                    pool.reserved.setdefault(ticket, replica)
                    if not replica.has_room(pool.needs.least()):
                        return None  # nor does anybody else
                if held is None and pool.reserved.get(ticket) is replica:
                    held = replica.reservation(ticket)
                passed = True
                continue
            if not replica.has_time(pool.name, self._uncached(ticket, replica), now):
                return None
            if held is None or self._spares(held, replica, ticket, now):
                return ticket
        return None

    # locality

    def _settle_down(self, pool: Pool, ticket: Ticket) -> None:
        """A ticket waits: where its prefix is held is its home."""
        held, name = self._prefixes.best(ticket.blocks, [each.name for each in pool.replicas])
        if name:
            pool.near = True
            ticket.home, ticket.held = name, held
            self._replicas[name].come_near(ticket, self._waiting)

    def _come_near(self, ticket: Ticket, replica: Replica) -> None:
        """The one before it in its line runs here: so this is its home, if it goes on from there."""
        held = self._prefixes.held(ticket.blocks, replica.name)
        if held > ticket.held:
            ticket.home, ticket.held = replica.name, held
            replica.come_near(ticket, self._waiting)

    def _nearby(self, pool: Pool, replica: Replica, due: Ticket, now: int) -> Ticket:
        """Within the window, the ticket that has most of its prompt here, before one without a home, before
        one that has its home elsewhere.
        """
        window = self._window
        if window > pool.costliest:
            window = pool.costliest
        window *= VT_COST
        name = replica.name
        least = due.held if due.home == name else 0
        for ticket in replica.look_near(least):
            if (
                ticket.home == name
                and ticket.pool == pool.name
                and pool.tree.within(ticket, due, window)
                and self._runs(replica, ticket, now)
            ):
                return ticket
        if due.held and due.home != name:
            for ticket in pool.tree.beside(due, window, BESIDE):
                if not ticket.held and self._runs(replica, ticket, now):
                    return ticket
        return due

    def _runs(self, replica: Replica, ticket: Ticket, now: int) -> bool:
        return replica.name not in ticket.avoid and replica.fits(ticket, self._uncached(ticket, replica), now)


def _capped(policy: Policy) -> frozenset[str]:
    """Classes for which there is a cap, their own, an organisation's or a person's."""
    return frozenset(
        name
        for name, rule in policy.classes.items()
        if min(rule.cap, rule.person_cap, rule.each.cap, *(o.cap for o in rule.organisations.values()))
        < WHOLE
    )


def _full(reason: str, length: int, pool: Pool) -> Refused:
    """A line is full."""
    return Refused(reason, max(SECOND, pool.expected(-(-length // REFUSED_SHARE))))


def _between(told: int, most: int) -> int:
    """What was told, cut to 0 and ``most``."""
    if told > most:
        return most
    return told if told > 0 else 0


def _uncapped(node: Node) -> bool:
    while (up := node.up) is not node:
        if node.running >= node.ceiling:
            return False
        node = up
    return True


def _overfull(replica: Replica) -> bool:
    """It runs more than it has places for."""
    return replica.running > (replica.capacity if replica.open else 0)


def _load(replica: Replica) -> float:
    return replica.running / replica.capacity


def _turn(replica: Replica, ticket: Ticket) -> tuple[bool, int, int, int]:
    """Under its guarantee first, then least served here, then first come."""
    node: Node = ticket.node
    above = node.up.up
    return above.running >= above.floor, replica.due(ticket.path[0]), ticket.arrived, ticket.id


def _share(pool: str, path: tuple[str, ...], branch: Branch, loose: int, here: int) -> Share:
    rule = branch.rule
    return Share(
        pool,
        path,
        rule.weight,
        rule.guarantee,
        rule.cap,
        branch.waiting,
        branch.running + loose,
        branch.served,
        max(-UNCAPPED, min(branch.vt - branch.up.virtual, UNCAPPED)),  # it only grows: more cannot be sent
        branch.running >= branch.ceiling,
        here,
    )


def _idle_share(pool: str, path: tuple[str, ...], rule: ClassRule | NodeRule, running: int) -> Share:
    return Share(pool, path, rule.weight, rule.guarantee, rule.cap, 0, running, 0, 0, False, rule.weight)
