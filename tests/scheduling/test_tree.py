"""The tree alone: order, debts, and who is forgotten when."""

from __future__ import annotations

from random import Random

from moduai.scheduling.policy import NodeRule
from moduai.scheduling.tree import IDLE, SPARE
from tests.scheduling.world import World, policy, rule


def test_fair_order_is_the_order_in_which_they_go() -> None:
    rules = policy(
        rule("c", guarantee=300, organisations={"x": NodeRule(2000, 100)}), rule("d", guarantee=300)
    )
    world = World(rules, slots=10)
    for number in range(60):
        for who in ("c/x/a", "c/o/b", "c/o/c", "d/o/p"):
            world.ask(who, tokens_in=10 + number)
    world.serve(30)
    tree = world.queue._pools["m"].tree
    for _ in range(40):
        expected = next(tree.in_order())
        assert tree.first() is expected
        world.end()
        assert world.running[-1].ticket is expected
    assert len(list(tree.in_order())) == 4


def test_of_two_under_their_guarantee_the_one_that_is_behind_goes_first() -> None:
    world = World(policy(rule("c", guarantee=300), rule("d", guarantee=300), rule("e")), slots=10)
    for _ in range(10):
        world.ask("e/o/p")
    for _ in range(4):
        world.ask("c/o/p", tokens_in=500)
        world.ask("d/o/p", tokens_in=100)
        world.ask("e/o/p")
    assert world.serve(7) == ["c/o/p", "d/o/p", "d/o/p", "d/o/p", "c/o/p", "c/o/p", "e/o/p"]


def test_idle_people_who_owe_nothing_are_forgotten_and_debtors_are_not() -> None:
    world = World()
    tree = world.queue._pools["m"].tree
    for number in range(3 * IDLE):
        world.ask(f"c/o/{number}")
        world.ask(f"c/o/{number}")
    for _ in range(4 * IDLE):
        world.end()
    for _ in range(10):
        world.queue.tick(0)
    assert tree.known > IDLE  # half of them have been served twice: they owe, for others wait
    while world.running:
        world.end()
    for _ in range(10):
        world.queue.tick(0)
    assert tree.known == 0
    assert tree.lenders == {}


def test_an_organisation_with_a_rule_is_forgotten_too() -> None:
    world = World(policy(rule("c", guarantee=500, organisations={"x": NodeRule(guarantee=100)}), rule("d")))
    tree = world.queue._pools["m"].tree
    for who in ("c/x/p", "c/x/p", "d/o/p"):
        world.ask(who)
    while world.running:
        world.end()
    for _ in range(5):
        world.queue.tick(0)
    assert tree.root.branches["c"].branches == {}
    assert tree.root.branches["c"].favoured == []
    assert set(tree.root.branches) == {"c", "d"}


def test_whoever_comes_back_before_it_is_forgotten_is_kept() -> None:
    world = World()
    tree = world.queue._pools["m"].tree
    world.ask("c/o/p")
    stays = world.ask("c/o/stays")
    world.ask("c/o/p")
    for number in range(SPARE + IDLE):
        world.queue.cancel(world.ask(f"c/o/{number}"), 0)
    world.queue.tick(0)
    world.ask("c/o/3")
    assert set(world.serve(3)) == {"c/o/stays", "c/o/p", "c/o/3"}
    assert stays.state == 0
    assert tree.root.waiting == 0


def test_the_sweep_looks_at_a_few_at_a_time() -> None:
    world = World()
    tree = world.queue._pools["m"].tree
    world.ask("c/o/p")
    for number in range(30):
        world.queue.cancel(world.ask(f"c/{number}/p"), 0)
        world.ask(f"d/{number}/p")
    while world.running:
        world.end()
    left = []
    while tree.lenders:
        tree.sweep(5)
        left.append(tree.known)
    assert left[0] > 20
    assert tree.known == 0


def test_a_cap_that_is_lowered_holds_from_now_on() -> None:
    world = World(policy(rule("c", cap=900), rule("d")), slots=10)
    for _ in range(12):
        world.ask("c/o/p")
    assert len(world.running) == 9
    world.ask("d/o/p")
    world.queue.set_policy(policy(rule("c", cap=200), rule("d")), 0)
    world.ask("d/o/p")
    assert world.serve(7) == ["d/o/p"]  # the class has more places than it may have, until enough have ended
    assert world.serve(1) == ["c/o/p"]


def test_those_who_leave_are_taken_out_of_the_heap_by_and_by() -> None:
    world = World()
    tree = world.queue._pools["m"].tree
    world.ask("c/o/runs")
    random = Random(7)
    waiting = [world.ask(f"c/o/{number}", tokens_in=random.randrange(1, 99)) for number in range(1000)]
    world.serve(300)  # served at different times, they come again with different debts
    waiting += [world.ask("/".join(one.path), tokens_in=random.randrange(1, 99)) for one in waiting[:300]]
    waiting = [ticket for ticket in waiting if ticket.state == 1]
    heap = tree.root.branches["c"].branches["o"].heap
    random.shuffle(waiting)
    most = 0
    while len(waiting) > 50:
        assert world.queue.cancel(waiting.pop(), 0)
        most = max(most, len(heap) - len(waiting))
        assert all(heap[(at - 1) // 2] < heap[at] for at in range(1, len(heap))) or len(waiting) % 50
    assert most <= 3 * SPARE
    served = []
    while world.running:
        served.append(tree.first())
        world.end()
    assert len([ticket for ticket in served if ticket]) == 50
