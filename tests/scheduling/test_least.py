"""What is passed over because nothing can fit is chosen no differently than by looking at everybody."""

from __future__ import annotations

from random import Random

import pytest

from moduai.scheduling import FairQueue, Grant, ReplicaSpec, Telemetry, Ticket, Used
from moduai.scheduling.queue import Needs, Pool
from moduai.scheduling.replica import Replica
from moduai.scheduling.tree import first

from .world import SECOND, M, World, policy, rule


def plainly(queue: FairQueue, pool: Pool, ticket: Ticket, now: int) -> Grant | None:
    """Ask every replica for its whole choice; where the new ticket has no room, that reserves nothing."""
    replicas = pool.replicas
    if len(replicas) > 1 and (best := queue._choose(pool, ticket, now)) is not None:
        replicas = [best, *replicas]
    for replica in replicas:
        before = dict(pool.reserved)
        if replica.ready(ticket) and queue._fair(pool, replica, now) is ticket:
            held = queue._held(replica, ticket, now)
            timely = replica.has_time(pool.name, ticket.tokens_in, now)
            if timely and not held:
                return queue._run(pool, ticket, replica, now)
        if first(ticket.node) is not ticket or not replica.fits(ticket, ticket.tokens_in, now):
            pool.reserved = before
    return None


def history(seed: int) -> list[tuple[int, str]]:
    """Who ran where, of one random history."""
    random = Random(seed)
    rules = policy(rule("c", guarantee=200, cap=900), rule("d"), locality_window=random.choice([0, 5000]))
    queue = FairQueue(rules)
    for number in range(random.randint(1, 4)):
        pools = M if random.random() < 0.7 else frozenset({"m", "n"})
        spec = ReplicaSpec(pools, 12, room=1000, prefill_budget=random.choice([300, 1 << 30]))
        queue.set_replica(f"r{number}", spec, is_open=True, now=0)
    ran: list[tuple[int, str]] = []
    running: list[Grant] = []
    waiting: list[Ticket] = []
    sizes = random.choice([[40], [30, 200], [5, 90, 300, 800]])

    def take(grants: list[Grant]) -> None:
        running.extend(grants)
        ran.extend((grant.ticket.id, grant.replica) for grant in grants)

    for step in range(200):
        now = step * SECOND // 50
        act = random.random()
        if act < 0.5 or not running:
            avoid = ("r0",) if random.random() < 0.1 else ()
            path = random.choice("cd"), random.choice("op"), str(random.randrange(9))
            ticket = Ticket(
                step, random.choice("mmmn"), path, "a", random.choice(sizes), 9, now, (1, step % 3), avoid
            )
            answer = queue.submit(ticket, now)
            if isinstance(answer, Grant):
                take([answer])
            waiting.append(ticket)
        elif act < 0.8:
            grant = running.pop(random.randrange(len(running)))
            take(queue.finish(grant, Used(grant.ticket.tokens_in, 0, 5), 10**7, SECOND // 5, now))
        elif act < 0.9:
            take(queue.progress(random.choice(running), 1, now))
        elif act < 0.95:
            queue.cancel(random.choice(waiting), now)
        else:
            queue.observe("r0", Telemetry(kv_used=random.randrange(1000)), now)
            take(queue.tick(now))
    return ran


def test_nothing_else_is_chosen_than_by_looking_at_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [history(seed) for seed in range(60)]
    monkeypatch.setattr(Needs, "least", lambda _needs: 0)
    monkeypatch.setattr(FairQueue, "_at_once", plainly)
    assert quick == [history(seed) for seed in range(60)]


def test_where_nothing_can_fit_nobody_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty-two full replicas each looked at dozens who wait, with each request."""
    world = World(slots=99, room=1000)
    for number in range(31):
        world.add(f"s{number}", 99, room=1000)
    for number in range(400):
        world.ask(f"c/o/{number}", tokens_in=99, max_out=1)
    looked = []
    has_room = Replica.has_room

    def counted(replica: Replica, tokens: int) -> bool:
        looked.append(tokens)
        return has_room(replica, tokens)

    monkeypatch.setattr(Replica, "has_room", counted)
    world.ask("c/o/new", tokens_in=99)
    assert len(looked) < 80
    looked.clear()
    world.queue.tick(0)
    assert len(looked) < 80


def test_the_least_that_is_needed_is_never_more_than_it_is() -> None:
    random = Random(3)
    needs = Needs()
    there: list[Ticket] = []
    for step in range(3000):
        if there and random.random() < 0.5:
            needs.remove(there.pop(random.randrange(len(there))))
        else:
            tokens = random.choice([0, 7, 15, 16, 17, random.randrange(1 << random.randrange(1, 70))])
            there.append(Ticket(step, "m", ("c", "o", "p"), "a", tokens, 0, 0))
            needs.add(there[-1])
        least = min((ticket.tokens_in for ticket in there), default=0)
        if there:
            assert needs.least() <= least
            assert least <= needs.least() * 9 // 8 + 1 or least >= 1 << 60
