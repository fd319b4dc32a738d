"""Races of the queue, by a deterministic scheduler: every order of a few steps, and many seeded longer ones.

Words: a *step* is one call as the lane makes it (what it does in one turn of the loop is one step here), an
*order* is a sequence of steps. After each step the queue is compared with what is known from outside: who
waits, who runs where, what is computed; and nobody may wait beside a free place that could take it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from random import Random

import pytest
from msgspec import Struct

from moduai.scheduling import FairQueue, Grant, Queued, Refused, ReplicaSpec, Telemetry, Ticket, Used
from moduai.scheduling.policy import ClassRule, Limits, NodeRule, Policy, Pressure
from moduai.scheduling.ticket import NO_TICKET
from moduai.scheduling.types import Decision

from .world import SECOND, WIDE, policy, rule

BOTH = frozenset({"m", "n"})
TOKENS = 100
PLAIN = policy(rule("c"), rule("d"))
LOCAL = policy(rule("c"), rule("d", weight=3000), locality_window=10_000)
CAPPED = policy(rule("c", cap=500, each=NodeRule(cap=400)), rule("d", guarantee=300))
EACH = policy(rule("c", person_cap=300), rule("d", person_cap=500, weight=3000), locality_window=10_000)
TIGHT = Policy(
    "tight",
    {"c": ClassRule("c", limits=Limits(1, 2, 3)), "d": ClassRule("d", guarantee=500, limits=WIDE)},
    "c",
    limits=Limits(1, 2, 4),
    pressure=Pressure(shorten_after_s=1, lighter_after_s=2, lighter={"m": "n"}, refuse_after_s=3),
)
POLICIES = [PLAIN, LOCAL, CAPPED, EACH, TIGHT]
SMALL = {"r": ReplicaSpec(frozenset({"m"}), 1), "s": ReplicaSpec(frozenset({"m"}), 1)}
ALONE = {"r": ReplicaSpec(frozenset({"m"}), 2)}
SHARED = {"r": ReplicaSpec(BOTH, 1), "s": ReplicaSpec(frozenset({"n"}), 2)}
ROOMY = {"r": ReplicaSpec(frozenset({"m"}), 3, room=500), "s": ReplicaSpec(BOTH, 2, room=300)}
HASTY = {"r": ReplicaSpec(frozenset({"m"}), 4, prefill_budget=TOKENS)}
Step = Callable[[], None]


class Asked(Struct, eq=False):
    """One request, as the lane sees it."""

    ticket: Ticket
    grant: Grant | None = None
    seen: bool = False
    waits: bool = False
    over: bool = False
    ends: int = 0


class Race:
    """A queue, some requests, and what is known of them from outside."""

    def __init__(self, rules: Policy, specs: dict[str, ReplicaSpec], requests: int) -> None:
        self.now = 0
        self.queue = FairQueue(rules)
        self.queue.recall = self._recall
        self.queue._to_learn = 0
        self.specs, self.open = dict(specs), dict.fromkeys(specs, True)
        self.numbers = iter(range(1, 10_000))
        self.all = [Asked(self._ticket(number)) for number in range(requests)]
        self.strict = rules in (PLAIN, LOCAL, TIGHT, EACH) and specs not in (ROOMY, HASTY)
        """No place is free beside one who waits, at any time; else (a cap, room that is counted) not longer
        than to the next tick.
        """
        for name in specs:
            self._put(name)

    def _ticket(self, number: int, pool: str = "m") -> Ticket:
        path = "cd"[number % 2], f"o{number % 3}", f"p{number % 4}"
        blocks = (1, 2, number) if number % 2 else ()
        return Ticket(next(self.numbers), pool, path, "a", TOKENS, 10, self.now, blocks)

    # steps

    def submit(self, asked: Asked) -> None:
        ticket = asked.ticket
        grant = self.queue.slip(ticket.pool, ticket.path[0], TOKENS)
        if grant is not None:
            asked.grant = grant
        else:
            self._admit(asked)

    def first(self, asked: Asked) -> None:
        asked.seen, grant = True, asked.grant
        assert grant is not None
        if grant.ticket is NO_TICKET:
            self._start(self.queue.slip_seen(grant, TOKENS, self.now))
        else:
            self._start(self.queue.progress(grant, 1, self.now))

    def more(self, asked: Asked) -> None:
        if asked.grant is not None and asked.grant.ticket is not NO_TICKET:
            self._start(self.queue.progress(asked.grant, 500, self.now))

    def finish(self, asked: Asked) -> None:
        self._end(asked, SECOND)
        self._over(asked)

    def fail(self, asked: Asked) -> None:
        """Its engine fails: it gives up the place, and asks again elsewhere."""
        assert asked.grant is not None
        failed, slipped = asked.grant.replica, asked.grant.ticket is NO_TICKET
        self._end(asked, -1)
        if slipped:
            asked.ticket = self._ticket(asked.ticket.id)
        asked.ticket.avoid = (*asked.ticket.avoid, failed)
        self._admit(asked, again=True)

    def leave(self, asked: Asked) -> None:
        """Its client goes."""
        if asked.grant is not None:
            self._end(asked, -1)
        else:
            assert self.queue.cancel(asked.ticket, self.now)
            asked.waits = False
        assert not self.queue.cancel(asked.ticket, self.now)
        self._over(asked)

    def lighten(self, asked: Asked) -> None:
        """A lighter model may answer instead."""
        self.queue.place(asked.ticket, self.now)
        ticket = self._ticket(asked.ticket.id, "n")
        decision = self.queue.submit(ticket, self.now)
        if isinstance(decision, Refused):
            return
        assert self.queue.cancel(asked.ticket, self.now)
        asked.ticket, asked.waits = ticket, False
        self._take(asked, decision)

    def close(self, name: str = "r") -> None:
        self.open[name] = False
        self._put(name)

    def reopen(self, name: str = "r") -> None:
        self.open[name] = True
        self._put(name)

    def remove(self, name: str = "r") -> None:
        self.open[name] = False
        self.queue.remove_replica(name)
        self.queue.remove_replica(name)

    def grow(self, name: str = "r") -> None:
        spec = self.specs[name]
        self.specs[name] = ReplicaSpec(spec.pools, spec.capacity + 1, room=spec.room)
        self._put(name)

    def change(self, rules: Policy = CAPPED) -> None:
        self.strict = False
        self._start(self.queue.set_policy(rules, self.now))

    def observe(self, name: str = "r") -> None:
        self.queue.observe(name, Telemetry(1, 1, self.now % 1000), self.now)

    def tick(self) -> None:
        self.now += 100 * SECOND
        for name in self.specs:
            self.queue.observe(name, Telemetry(kv_used=0), self.now)
        self._start(self.queue.tick(self.now))
        self.check(beside=True)

    def drain(self) -> None:
        for asked in [each for each in self.all if each.waits]:
            self.leave(asked)

    # parts

    def _put(self, name: str) -> None:
        grants = self.queue.set_replica(name, self.specs[name], is_open=self.open[name], now=self.now)
        self._start(grants)

    def _admit(self, asked: Asked, *, again: bool = False) -> None:
        self._take(asked, self.queue.submit(asked.ticket, self.now, again=again))

    def _take(self, asked: Asked, decision: Decision) -> None:
        if isinstance(decision, Grant):
            asked.grant = decision
        elif isinstance(decision, Queued):
            asked.waits = True
        else:
            assert isinstance(decision, Refused)
            self._over(asked)

    def _start(self, grants: list[Grant]) -> None:
        for grant in grants:
            (asked,) = (each for each in self.all if each.ticket is grant.ticket)
            assert asked.waits, "granted to one that does not wait"
            asked.waits, asked.grant = False, grant

    def _end(self, asked: Asked, ran: int) -> None:
        grant, seen = asked.grant, asked.seen
        assert grant is not None
        asked.grant, asked.seen = None, False
        if grant.ticket is NO_TICKET:
            self._start(self.queue.slip_over(grant, 0 if seen else TOKENS, self.now))
        else:
            self._start(self.queue.finish(grant, Used(TOKENS, 0, 5), 0, ran, self.now))
            if asked.ticket.state == 0:
                assert self.queue.finish(grant, Used(TOKENS, 0, 5), 0, ran, self.now) == []

    def _over(self, asked: Asked) -> None:
        asked.over = True
        asked.ends += 1

    def _recall(self, pool: str) -> Iterator[tuple[Ticket, bool]]:
        for asked in self.all:
            if asked.grant is not None and asked.grant.ticket is NO_TICKET and asked.ticket.pool == pool:
                asked.grant = Grant(asked.ticket, asked.grant.replica)
                yield asked.ticket, asked.seen

    # what is compared

    def check(self, *, beside: bool) -> None:
        running = [each for each in self.all if each.grant is not None]
        for name, replica in self.queue._replicas.items():
            here = [each for each in running if each.grant is not None and each.grant.replica == name]
            assert replica.running == len(here)
            unseen = [each.ticket for each in here if not each.seen]
            slipped = [each for each in unseen if each.state < 2]
            known = sum(ticket.uncached for ticket in unseen if ticket not in slipped)
            assert replica.pending == known + TOKENS * len(slipped)
            assert replica.room == 0 or set(replica.active) <= {each.ticket for each in here}
        assert sum(self.queue.running().values()) == len(running)
        waiting = [each.ticket for each in self.all if each.waits]
        assert sum(self.queue.waiting().values()) == len(waiting) == self.queue._waiting
        for name, pool in self.queue._pools.items():
            charged = [each for each in running if each.ticket.pool == name and each.ticket.node is not None]
            assert pool.tree.root.running == len(charged)
            assert pool.tree.root.waiting == sum(ticket.pool == name for ticket in waiting)
        if beside:
            for ticket in waiting:
                self._no_place_for(ticket)

    def _no_place_for(self, ticket: Ticket) -> None:
        node = ticket.node
        if any(each.running >= each.ceiling for each in (node, node.up, node.up.up)):
            return
        for replica in self.queue._pools[ticket.pool].replicas:
            free = replica.ready(ticket) and replica.fits(ticket, TOKENS, self.now)
            held = self.queue._pools[ticket.pool].reserved
            assert all(each.state == 1 for each in held), "a reservation outlived who held it"
            assert not free or replica in held.values(), f"{ticket.id} waits beside a free place"

    def run(self, step: Step, *, checked: bool = True) -> None:
        self.now += SECOND // 100
        step()
        if checked:
            self.check(beside=self.strict)

    def end(self) -> None:
        """Everybody goes: nothing may be left."""
        self.drain()
        for asked in self.all:
            if asked.grant is not None:
                self.run(partial(self.finish, asked))
        assert all(asked.ends == asked.over for asked in self.all)
        assert not any(self.queue.running().values())
        assert not any(self.queue.waiting().values())
        for pool in self.queue._pools.values():
            assert not pool.loose
            for _ in range(3):
                self.queue.tick(self.now)
            assert pool.tree.known == 0


# every order


Scripts = tuple[tuple[str, ...], ...]
FIRST: Scripts = (("submit", "first", "fail"), ("submit", "leave"), ("submit",))
OTHER: Scripts = (("submit", "finish"), ("submit", "fail"), ("submit", "leave"))
EVENTS = ["close", "remove", "grow", "change", "tick", "drain"]


def enabled(asked: Asked, word: str) -> bool:
    """Whether a request can take its next step now."""
    if asked.over or (word == "submit") == (asked.waits or asked.grant is not None):
        return False
    return word in {"submit", "leave"} or asked.grant is not None


def play(race: Race, scripts: Scripts, event: str, choices: list[int]) -> list[int]:
    """One order: at each step the choice says who goes on; how many could have, at each step."""
    at = [0] * len(scripts)
    happened = False
    could: list[int] = []
    while True:
        steps: list[tuple[int, Step]] = [
            (number, partial(getattr(race, script[at[number]]), race.all[number]))
            for number, script in enumerate(scripts)
            if at[number] < len(script) and enabled(race.all[number], script[at[number]])
        ]
        if not happened:
            steps.append((-1, getattr(race, event)))
        if not steps:
            return could
        known = len(could) < len(choices) - 1  # from an order before
        number, step = steps[choices[len(could)] if len(could) < len(choices) else 0]
        could.append(len(steps))
        race.run(step, checked=not known)
        if number < 0:
            happened = True
        else:
            at[number] += 1


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    ("rules", "specs", "scripts"), [(PLAIN, SMALL, FIRST), (PLAIN, ALONE, OTHER)], ids=["two", "one"]
)
def test_every_order_of_a_few_steps(
    rules: Policy, specs: dict[str, ReplicaSpec], scripts: Scripts, event: str
) -> None:
    orders = 0
    choices: list[int] = []
    while choices or not orders:
        race = Race(rules, specs, len(scripts))
        could = play(race, scripts, event, choices)
        race.end()
        orders += 1
        choices += [0] * (len(could) - len(choices))
        while choices and choices[-1] + 1 >= could[len(choices) - 1]:
            choices.pop()
        if choices:
            choices[-1] += 1
    assert orders > 200


# many longer ones


def options(race: Race, random: Random) -> Iterator[Step]:
    """What can happen now."""
    for asked in race.all:
        if asked.over:
            continue
        if asked.grant is not None:
            yield from (partial(race.finish, asked), partial(race.fail, asked), partial(race.leave, asked))
            yield partial(race.more if asked.seen else race.first, asked)
        elif asked.waits:
            yield partial(race.leave, asked)
            yield partial(race.lighten, asked)
        else:
            yield from [partial(race.submit, asked)] * 3
    if random.random() < 0.3:
        name = random.choice(list(race.specs))
        yield from (partial(each, name) for each in (race.close, race.reopen, race.reopen, race.remove))
        yield partial(race.grow, name)
        yield partial(race.observe, name)
        yield race.drain
        yield from [race.tick] * 2
        if random.random() < 0.1:
            yield partial(race.change, random.choice(POLICIES))


@pytest.mark.parametrize(
    "specs", [SMALL, ALONE, SHARED, ROOMY, HASTY], ids=["small", "alone", "shared", "roomy", "hasty"]
)
def test_many_orders_of_many_steps(specs: dict[str, ReplicaSpec]) -> None:
    for seed in range(80):
        random = Random(seed)
        race = Race(random.choice(POLICIES), specs, 9)
        for _ in range(60):
            race.run(random.choice(list(options(race, random)) or [race.tick]))
        race.end()


def test_a_queue_that_leaks_a_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FairQueue, "cancel", lambda _queue, ticket, _now: ticket.state == 1)
    with pytest.raises(AssertionError):
        test_many_orders_of_many_steps(SMALL)
