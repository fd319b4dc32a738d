"""What people may try to get more than their share, or to break the queue; and that it does not help."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from moduai.scheduling import Grant, Queued, Refused, Used
from moduai.scheduling.policy import ClassRule, Limits
from tests.scheduling.world import SECOND, World, policy, rule


def shares(world: World, count: int, level: int = 3) -> Counter[str]:
    return Counter("/".join(name.split("/")[:level]) for name in world.serve(count))


def test_many_keys_of_one_person_are_one_person() -> None:
    """A key's requests come under its owner, so keys are nothing that could be multiplied."""
    world = World()
    for key in range(50):
        world.ask("c/o/keys", app=f"key-{key}")
    for _ in range(50):
        world.ask("c/o/one")
    assert abs(shares(world, 40)["c/o/one"] - 20) <= 1


def test_many_people_of_one_organisation_are_one_organisation() -> None:
    world = World()
    for person in range(100):
        world.ask(f"c/large/{person}")
    for _ in range(50):
        world.ask("c/small/one")
    assert abs(shares(world, 60, 2)["c/small"] - 30) <= 1


def test_guests_by_the_thousand_from_one_network_are_one_network() -> None:
    world = World(policy(ClassRule("guest", limits=Limits(64, 500, 10_000)), rule("c")))
    world.ask("c/o/p")
    decisions = Counter(
        getattr(world.send(world.ticket(f"guest/net_a/{token}")), "reason", "") for token in range(2000)
    )
    assert decisions == {"": 500, "organisation_line_full": 1500}
    for _ in range(20):
        world.ask("guest/net_b/home")
    assert abs(shares(world, 40, 2)["guest/net_b"] - 20) <= 1


def test_one_huge_request_then_leave_and_return() -> None:
    """The debt is kept while others wait: who comes back stands where he was."""
    world = World()
    world.ask("c/o/other")
    for _ in range(30):
        world.ask("c/o/other")
    world.ask("c/o/huge", tokens_in=1000)
    assert world.end() == ["c/o/huge"]
    world.end()
    for _ in range(5):
        world.ask("c/o/huge")
    assert world.serve(8) == ["c/o/other"] * 8
    assert "c/o/huge" in world.serve(2)


def test_nothing_is_saved_up_while_away() -> None:
    world = World()
    for _ in range(40):
        world.ask("c/o/a")
        world.ask("c/o/b")
    world.serve(30)
    for _ in range(20):
        world.ask("c/o/new")
    assert abs(shares(world, 30)["c/o/new"] - 10) <= 1


@pytest.mark.parametrize("stated", [1, 1_000_000])
def test_lies_in_max_tokens(stated: int) -> None:
    """Too high a bound is not believed, too low a one the engine keeps; what comes is charged as it comes."""
    world = World()
    answers = {"liar": min(200, stated), "honest": 200}
    world.ask("c/o/other")
    for _ in range(200):
        world.ask("c/o/liar", max_out=stated, app="liar")
        world.ask("c/o/honest", max_out=200, app="honest")
    cost: Counter[str] = Counter()
    for _ in range(100):
        grant = world.running[0]
        name = grant.ticket.path[2]
        world.end(grant, Used(100, 0, answers.get(name, 1)))
        cost[name] += grant.ticket.charged
    assert abs(cost["liar"] - cost["honest"]) <= 2 * 500


def test_long_decodes_that_squat_are_charged_while_they_run() -> None:
    world = World(slots=2)
    squatter = world.ask("c/o/squatter", max_out=0)
    for _ in range(10):
        world.ask("c/o/other")
        world.ask("c/o/squatter", max_out=0)
    grant = next(each for each in world.running if each.ticket is squatter)
    world.queue.progress(grant, 100_000, SECOND)
    others = [each for each in world.running if each is not grant]
    for _ in range(9):
        (name,) = world.end(others.pop())
        assert name == "c/o/other"
        others = [world.running[-1]]


def test_a_prompt_built_to_steal_the_cache_does_not_pass_the_window() -> None:
    """Who always has its prompt in the cache gains the window at most."""
    world = World(policy(locality_window=300))
    world.ask("c/o/thief", blocks=(1, 2, 3))
    for _ in range(40):
        world.ask("c/o/thief", blocks=(1, 2, 3))
        world.ask("c/o/other")
    cost: Counter[str] = Counter()
    for _ in range(60):
        grant = world.running[0]
        world.end(grant, Used(100, 0, 1))
        cost[grant.ticket.path[2]] += grant.ticket.charged
        assert abs(cost["thief"] - cost["other"]) <= 300 + 2 * 102


def test_clients_that_queue_and_leave_at_every_step_leave_nothing_behind() -> None:
    """Memory stays in bounds, nobody is forgotten in the line, and no place is lost."""
    world = World()
    world.ask("c/o/runs")
    stays = world.ask("c/o/stays")
    world.ask("c/o/runs")
    for number in range(3000):
        assert world.queue.cancel(world.ask(f"c/o/{number}"), world.now)
    tree = world.queue._pools["m"].tree
    organisation = tree.root.branches["c"].branches["o"]
    assert len(organisation.heap) <= 200
    world.end()
    assert stays.state == 2
    for _ in range(20):
        world.queue.tick(world.now)
    while world.running:
        world.end()
    for _ in range(20):
        world.queue.tick(world.now)
    assert tree.known == 0
    assert tree.root.branches["c"].branches == {}


def test_who_runs_and_leaves_while_the_heap_is_cleaned_is_not_lost() -> None:
    world = World(slots=2)
    world.ask("c/o/x")
    world.ask("c/o/x")
    world.ask("c/o/back")
    world.end()  # back runs; its entry stays where it was
    world.ask("c/o/y")
    for number in range(200):
        world.queue.cancel(world.ask(f"c/o/{number}"), world.now)
    world.ask("c/o/back")
    assert set(world.serve(3)) == {"c/o/y", "c/o/back"}


def test_a_clock_that_jumps_stops_nothing() -> None:
    world = World(slots=4, prefill_budget=150)
    random = Random(3)
    for step in range(300):
        world.now = random.choice([0, 10**18, step, -5])
        world.ask(f"c/o/{step % 5}")
        if world.running and step % 3:
            world.end()
        world.running += world.queue.tick(world.now)
    while world.running:
        world.end()
        world.running += world.queue.tick(world.now)
    assert world.queue.waiting() == {"m": 0}
    assert world.queue.running() == {"r": 0}


def test_every_interleaving_of_one_clients_steps_gives_back_every_place() -> None:
    """A ticket is granted, refused, cancelled or finished once, in whatever order the calls come."""
    for seed in range(150):
        random = Random(seed)
        world = World(policy(rule("c", cap=500), rule("d")), slots=2)
        waiting = []
        for _ in range(40):
            act = random.randrange(5)
            if act < 2:
                ticket = world.ticket(random.choice(["c/o/p", "c/o/q", "d/o/p"]))
                if isinstance(world.send(ticket), Queued):
                    waiting.append(ticket)
            elif act == 2 and waiting:
                world.queue.cancel(waiting.pop(random.randrange(len(waiting))), 0)
            elif act == 3 and world.running:
                grant: Grant = random.choice(world.running)
                world.end(grant, ran=random.choice([-1, 1]))
                assert world.queue.finish(grant, None, 0, 1, 0) == []
            elif world.running:
                world.running += world.queue.progress(random.choice(world.running), random.randrange(99), 0)
        while world.running:
            world.end()
        assert world.queue.waiting() == {"m": 0}
        assert world.queue.running() == {"r": 0}
        assert not isinstance(world.send(world.ticket()), Refused)


def test_the_same_calls_give_the_same_answers() -> None:
    def play() -> list[str]:
        world, random = World(slots=3), Random(5)
        said: list[str] = []
        for _ in range(200):
            world.ask(f"c/o/{random.randrange(9)}", tokens_in=random.randrange(1, 999))
            if random.random() < 0.7 and world.running:
                said += world.end()
        return said

    assert play() == play()


def test_who_queues_and_leaves_again_and_again_leaves_nothing_behind() -> None:
    """Prompts that a replica holds are remembered as near to it only while they wait."""
    world = World(policy(locality_window=10_000))
    world.add("s")
    for person in "ab":
        world.ask(f"c/o/{person}", blocks=(1, 2), tokens_in=100)
    for _ in range(500):
        ticket = world.ask("c/o/leaves", blocks=(1, 2), tokens_in=100)
        assert world.queue.cancel(ticket, world.now)
    assert sum(len(each.near) for each in world.queue._replicas.values()) < 20


def test_the_order_of_a_set_decides_nothing() -> None:
    """Names of pools hash differently in every process; a replica of several takes the same ticket."""
    script = (
        "from tests.scheduling.world import World, policy\n"
        "world = World(policy(locality_window=10**9))\n"
        "for name in 'st': world.add(name, pools=frozenset('mnk'))\n"
        "for n in range(200): world.ask(f'c/o/{n % 9}', pool='mnk'[n % 3], blocks=(n * n % 5, n))\n"
        "print([world.end() for _ in range(150)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in "1234"
    }
    assert len(told) == 1


def test_small_prompts_of_one_model_do_not_keep_a_large_one_of_another_out() -> None:
    """One replica of two models: who is due there and waits for earlier prompts holds it for everyone."""
    world = World(slots=8, prefill_budget=8192)
    world.queue.remove_replica("r")
    world.add("s", slots=8, pools=frozenset("mn"))
    world.ask("c/o/small", tokens_in=100)
    large = world.ask("c/o/large", pool="n", tokens_in=9000)
    assert large.state == 1
    later = [world.ask("c/o/small", tokens_in=100) for _ in range(50)]
    assert {ticket.state for ticket in later} == {1}
    assert world.end() == ["c/o/large"]
    assert large.state == 2


def test_many_who_avoid_a_replica_do_not_hide_who_may_run_there() -> None:
    world = World()
    world.ask("c/o/first")
    for number in range(200):
        world.ask(f"c/o/{number}", avoid=("s",))
    world.add("s", slots=4)
    ticket = world.ask("c/o/anywhere")
    assert ticket.state == 2
    assert world.queue.running() == {"r": 1, "s": 1}
