"""Tickets that another process let run: they count, whether there is a place or not."""

from __future__ import annotations

import pytest

from moduai.scheduling import FairQueue, Grant, Used
from moduai.scheduling.journal import Journal, replay
from moduai.scheduling.tree import VT_COST

from .world import M, World, policy, rule


def served(world: World, name: str) -> int:
    return next(share.served for share in world.queue.shares() if share.path == (name,))


def test_it_holds_a_place_and_is_charged() -> None:
    world = World()
    ticket = world.ticket()
    grant = world.queue.adopt(ticket, "r", world.now, paid=False, came=0)
    assert grant is not None
    assert (grant.replica, ticket.charged) == ("r", 102)
    waits = world.ask("c/o/q")
    assert waits.state == 1
    (next_,) = world.queue.finish(grant, Used(100, 0, 1), 0, 5, 10)
    assert next_.ticket is waits
    assert served(world, "c") == 102


def test_who_has_run_before_the_last_dispatcher_saved_is_not_charged_again() -> None:
    world = World(slots=8)
    paid, new = world.ticket("c/o/p"), world.ticket("d/o/p")
    for ticket, is_paid in ((paid, True), (new, False)):
        world.queue.adopt(ticket, "r", 0, paid=is_paid, came=0)
    lags = {share.path[0]: share.lag for share in world.queue.shares() if len(share.path) == 1}
    assert lags["c"] == 0 < lags["d"]
    assert paid.charged == new.charged  # what is settled in the end is the same


def test_what_had_come_by_then_is_not_charged_again_either() -> None:
    world = World(slots=8)
    ticket = world.ticket("c/o/p", max_out=0)
    grant = world.queue.adopt(ticket, "r", 0, paid=True, came=5000)
    assert grant is not None
    assert ticket.charged == 10_100 > ticket.out
    world.queue.progress(grant, 5003, 1)
    assert {share.lag for share in world.queue.shares()} == {6 * VT_COST}


def test_beside_those_that_wait_it_changes_nobodys_turn_but_its_own() -> None:
    world = World()
    world.ask("c/o/p")
    first, second = world.ask("c/o/a"), world.ask("d/o/b")
    world.queue.adopt(world.ticket("c/o/x"), "r", 0, paid=False, came=1)
    world.now = 10
    (grant,) = world.queue.finish(world.running.pop(), Used(100, 0, 1), 0, 5, 10) or [None]
    assert grant is None, "two run where there is place for one"
    assert (first.state, second.state) == (1, 1)


def test_a_cap_holds_for_it_too() -> None:
    world = World(policy(rule("c", cap=250), rule("d")), slots=4)
    for name in "xy":
        world.queue.adopt(world.ticket(f"c/o/{name}"), "r", 0, paid=False, came=0)
    assert world.ask("c/o/p").state == 1
    assert world.ask("d/o/p").state == 2


def test_above_a_cap_while_others_wait() -> None:
    world = World(policy(rule("c", cap=500), rule("d")), slots=2)
    runs = [world.ask("c/o/p"), world.ask("d/o/p")]
    waits = [world.ask("c/o/q"), world.ask("d/o/q")]
    adopted = world.queue.adopt(world.ticket("c/o/x"), "r", 0, paid=False, came=0)
    assert adopted is not None
    own = next(grant for grant in world.running if grant.ticket is runs[0])
    assert world.queue.finish(own, Used(100, 0, 1), 0, 5, 10) == []
    assert world.queue.finish(adopted, Used(100, 0, 1), 0, 5, 11)[0].ticket in waits


@pytest.mark.parametrize(("pool", "replica"), [("m", "gone"), ("none", "r")])
def test_what_is_not_known_does_not_count(pool: str, replica: str) -> None:
    world = World()
    assert world.queue.adopt(world.ticket(pool=pool), replica, 0, paid=False, came=0) is None
    assert world.queue.running() == {"r": 0}


def test_the_first_token_is_known_to_have_come() -> None:
    world = World(slots=2, prefill_budget=150)
    world.queue.adopt(world.ticket(), "r", 0, paid=False, came=1)
    assert world.ask().state == 2  # its prompt waits for nobody


def test_it_is_replayed() -> None:
    lines: list[bytes] = []
    queue = Journal(policy(), lines.append)
    world = World()
    world.queue = queue
    world.add("r", 1, M)
    grant = queue.adopt(world.ticket(), "r", 1, paid=False, came=1)
    queue.adopt(world.ticket(), "gone", 1, paid=True, came=0)
    assert isinstance(grant, Grant)
    queue.submit(world.ticket(), 2)
    queue.finish(grant, Used(100, 0, 1), 1, 2, 3)
    queue.close()
    came = replay(lines)
    assert came.agrees
    assert isinstance(queue, FairQueue)
