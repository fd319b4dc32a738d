"""Generated histories of the fair queue, and the stated bound looked for at every level of the tree.

Words: a *history* is a random policy, pool and sequence of calls, all from one seed. A *witness* keeps,
from outside, what each node was charged and since when it waits; it knows nothing of virtual times. What runs
while the tree sleeps is charged nothing until it wakes. Rule:
nothing in a history treats siblings unlike but their weights, for the bound is claimed for such.
"""

from __future__ import annotations

from random import Random

from moduai.scheduling import FairQueue, Grant, Queued, ReplicaSpec, Ticket, Used
from moduai.scheduling.policy import ClassRule, Limits, NodeRule, Policy
from moduai.scheduling.tree import VT_COST, VT_ONE

WIDE = Limits(1000, 1000, 1000)
STEPS = (40, 120, 240)
PRICE = 1000
Name = tuple[str, ...]
"""Pool and path of a node: (pool, class), with the organisation, or with organisation and person."""


class Seen:
    """One node, as seen from outside. All but the counts in virtual time: cost divided by weight."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.waiting = 0
        self.charged = 0
        self.costliest = 0
        self.late = self.latest = 0
        """Charged since its last dispatch for what ran already; the most of that."""
        self.credit = self.credits = 0
        """Charged too much and not yet used up; the most of that."""

    @property
    def slack(self) -> int:
        """What the bound allows it."""
        return self.costliest + self.latest + self.credits


class Witness:
    """Follows charges and waiting, and measures how far siblings drift apart while both wait."""

    def __init__(self, window: int) -> None:
        self.window = window * VT_COST
        self.nodes: dict[Name, Seen] = {}
        self.pairs: dict[tuple[Name, Name], tuple[int, int]] = {}
        """Siblings that both wait: least and greatest difference of what they were charged since then."""
        self.worst = 0.0
        """Largest difference as a part of the bound."""

    def node(self, name: Name, rate: int) -> Seen:
        return self.nodes.setdefault(name, Seen(rate))

    def wait(self, names: list[Name]) -> None:
        for name in names:
            node = self.nodes[name]
            node.waiting += 1
            if node.waiting == 1:
                node.credit = 0
                for other, seen in self.nodes.items():
                    if other != name and other[:-1] == name[:-1] and seen.waiting:
                        self._look(name, other, fresh=True)

    def leave(self, names: list[Name]) -> None:
        for name in names:
            self.nodes[name].waiting -= 1
            if not self.nodes[name].waiting:
                for pair in [pair for pair in self.pairs if name in pair]:
                    del self.pairs[pair]

    def start(self, names: list[Name], cost: int) -> None:
        for name in names:
            node = self.nodes[name]
            due = cost * node.rate
            node.credit -= min(due, node.credit)
            node.late = 0
            self._charge(name, due)

    def change(self, names: list[Name], more: int, final: int) -> None:
        """What runs is charged ``more`` (or less), and ``final`` in all."""
        for name in names:
            node = self.nodes[name]
            if more < 0:
                node.credit -= more * node.rate
                node.credits = max(node.credits, node.credit)
            else:
                node.late += more * node.rate
                node.latest = max(node.latest, node.late)
            node.costliest = max(node.costliest, final * node.rate)
            self._charge(name, more * node.rate)

    def _charge(self, name: Name, cost: int) -> None:
        node = self.nodes[name]
        node.charged += cost
        node.costliest = max(node.costliest, cost)
        for pair in [pair for pair in self.pairs if name in pair]:
            self._look(*pair)

    def _look(self, one: Name, other: Name, *, fresh: bool = False) -> None:
        pair = (one, other) if one < other else (other, one)
        a, b = self.nodes[pair[0]], self.nodes[pair[1]]
        now = a.charged - b.charged
        least, most = (now, now) if fresh else self.pairs[pair]
        self.pairs[pair] = least, most = min(least, now), max(most, now)
        bound = a.slack + b.slack + 2 * self.window
        if most > least:
            self.worst = max(self.worst, (most - least) / max(bound, 1))


class History:
    """One random history."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 0
        self.exact = self.random.random() < 0.6
        """Every estimate is right: then the bound is two requests and the windows."""
        self.prompts = self.random.choice([[100], [10, 300, 4000]])
        window = self.random.choice([0, 0, 500, 5000])
        self.witness = Witness(window)
        self.queue = FairQueue(self._policy(window))
        self.people = {
            (f"c{a}", f"o{b}", f"p{c}"): self.random.choice([500, 1000, 1000, 2000, 7000])
            for a in range(2) for b in range(2) for c in range(2)
        }  # fmt: skip
        self.names = list(self.people)
        """Whoever stands here twice asks twice as much."""
        self.names += self.random.choices(self.names, k=12)
        self.waiting: dict[int, tuple[Ticket, int]] = {}
        """Who waits, and what was charged for it before."""
        self.running: list[Grant] = []
        self.pools = ["m", "n"][: self.random.randint(1, 2)]
        self.specs = [
            ReplicaSpec(
                frozenset(self.random.sample(self.pools, self.random.randint(1, len(self.pools)))),
                self.random.randint(1, 3),
                prefill_budget=self.random.choice([8192, 1 << 30]),
            )
            for _ in range(self.random.randint(1, 2))
        ]

    def _policy(self, window: int) -> Policy:
        weight = [500, 1000, 1000, 3000]
        classes = {
            name: ClassRule(
                name,
                weight=self.random.choice(weight),
                organisations={"o1": NodeRule(self.random.choice(weight))},
                limits=WIDE,
            )
            for name in ("c0", "c1")
        }
        prices = {"m": PRICE, "n": PRICE}
        return Policy("random", classes, "c0", limits=WIDE, locality_window=window, prices=prices)

    def play(self) -> float:
        """Run it; the largest gap as a part of the bound: above 1 is a violation."""
        for number, spec in enumerate(self.specs):
            self._run(self.queue.set_replica(f"r{number}", spec, is_open=True, now=0))
        acts = [self._submit] * self.random.choice([8, 12, 16]) + [self._finish] * 9
        acts += [self._cancel, self._tick] if self.exact else [self._cancel, self._progress, self._fail]
        for step in range(self.random.choice(STEPS)):
            self.now += self.random.randint(0, 50_000_000)
            self.random.choice(acts)(step)
        return self.witness.worst

    def _names(self, ticket: Ticket) -> list[Name]:
        return [(ticket.pool, *ticket.path[:level]) for level in (3, 2, 1)]

    def _submit(self, step: int) -> None:
        path = self.random.choice(self.names)
        chain = tuple(range(self.random.randint(0, 3) * 100, self.random.randint(3, 4) * 100, 100))
        ticket = Ticket(
            step,
            self.random.choice(self.pools),
            path,
            self.random.choice(["a", "b"]),
            self.random.choice(self.prompts),
            1 if self.exact else self.random.choice([0, 5, 200, 3000]),
            self.now,
            blocks=chain,
            weight=self.people[path],
        )
        self._send(ticket)

    def _send(self, ticket: Ticket, *, again: bool = False) -> None:
        rule = self.queue.policy.classes[ticket.path[0]]
        rates = (ticket.weight, rule.rule(ticket.path[1]).weight, rule.weight)
        for name, weight in zip(self._names(ticket), rates, strict=True):
            self.witness.node(name, VT_ONE // weight)
        before = ticket.charged
        asleep = [grant.ticket for grant in self.running if not grant.ticket.charged]
        decision = self.queue.submit(ticket, self.now, again=again)
        for other in asleep:
            self.witness.start(self._names(other), other.charged)
        if isinstance(decision, Grant):
            self.running.append(decision)
            self.witness.start(self._names(ticket), ticket.charged - before)
        elif isinstance(decision, Queued):
            self.waiting[ticket.id] = ticket, before
            self.witness.wait(self._names(ticket))

    def _run(self, grants: list[Grant]) -> None:
        for grant in grants:
            ticket, before = self.waiting.pop(grant.ticket.id)
            self.running.append(grant)
            self.witness.start(self._names(ticket), ticket.charged - before)
            self.witness.leave(self._names(ticket))

    def _finish(self, _: int) -> None:
        if self.running:
            self._end(self._any(), failed=False)

    def _fail(self, step: int) -> None:
        if self.running:
            grant = self._any()
            self._end(grant, failed=True)
            if self.random.random() < 0.5:
                self._send(_again(grant.ticket), again=True)

    def _any(self) -> Grant:
        return self.running.pop(self.random.randrange(len(self.running)))

    def _end(self, grant: Grant, *, failed: bool) -> None:
        ticket, before = grant.ticket, grant.ticket.charged
        used = Used(ticket.tokens_in, ticket.tokens_in - ticket.uncached, 1)
        if not self.exact:
            used = Used(
                self.random.choice([ticket.tokens_in, ticket.tokens_in * 3]),
                self.random.choice([0, ticket.tokens_in // 2]),
                self.random.choice([0, 5, 100, 2000, ticket.max_out]),
            )
        ran = -1 if failed else 1_000_000_000
        told = None if not self.exact and self.random.random() < 0.1 else used
        grants = self.queue.finish(grant, told, 0, ran, self.now)
        if before:
            self.witness.change(self._names(ticket), ticket.charged - before, ticket.charged)
        self._run(grants)

    def _progress(self, _: int) -> None:
        if self.running:
            grant = self.random.choice(self.running)
            before = grant.ticket.charged
            grants = self.queue.progress(grant, self.random.choice([1, 50, 1000, 5000]), self.now)
            self.witness.change(
                self._names(grant.ticket), grant.ticket.charged - before, grant.ticket.charged
            )
            self._run(grants)

    def _cancel(self, _: int) -> None:
        if self.waiting:
            ticket, _ = self.waiting.pop(self.random.choice(list(self.waiting)))
            self.queue.cancel(ticket, self.now)
            self.witness.leave(self._names(ticket))

    def _tick(self, _: int) -> None:
        self._run(self.queue.tick(self.now))


def _again(failed: Ticket) -> Ticket:
    """A failed one asks again, as the lane makes it: what was charged for it counts."""
    ticket = Ticket(
        failed.id, failed.pool, failed.path, failed.app, failed.tokens_in, failed.max_out, failed.arrived,
        failed.blocks, failed.avoid, failed.weight,
    )  # fmt: skip
    ticket.charged = failed.charged
    return ticket


def worst(histories: int, seed: int = 0) -> tuple[float, list[int]]:
    """The largest gap as a part of the bound, and the seeds of histories that violate it."""
    found = 0.0
    violations = []
    for number in range(seed, seed + histories):
        gap = History(number).play()
        found = max(found, gap)
        if gap > 1:
            violations.append(number)
    return found, violations
