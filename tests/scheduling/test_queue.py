"""The queue's own rules: lines, late binding, charges, retries, replicas, pressure."""

from __future__ import annotations

from random import Random

import pytest

from moduai.scheduling import Grant, Queued, Refused, ReplicaSpec, Telemetry, Used
from moduai.scheduling.policy import ClassRule, Limits, NodeRule, Pressure
from moduai.scheduling.queue import CLOSED_RETRY, FAR, LOOK, MOST_OUT, Pool
from moduai.scheduling.replica import BELIEVED
from moduai.scheduling.types import WHOLE
from tests.scheduling.world import SECOND, M, World, policy, queued, rule


def test_who_finds_room_runs_and_the_tree_sleeps() -> None:
    world = World(slots=2)
    world.ask("c/o/a")
    world.ask("c/o/b")
    assert world.queue.running() == {"r": 2}
    assert world.running[0].ticket.charged == 0
    share = {each.path: each.running for each in world.queue.shares()}
    assert share == {("c",): 2, ("c", "o"): 2}
    assert world.end() == []
    world.ask("c/o/a")
    world.ask("c/o/late")  # now one has to wait: what runs is charged
    assert [grant.ticket.charged for grant in world.running] == [102, 102]
    assert world.queue.waiting() == {"m": 1}
    assert {each.path: (each.waiting, each.running) for each in world.queue.shares()} == {
        ("c",): (1, 2), ("c", "o"): (1, 2),
    }  # fmt: skip


def test_the_pace_of_an_answer_is_what_its_replica_showed() -> None:
    world = World(slots=2)
    world.ask()
    (grant,) = world.running
    assumed = world.queue.pace(grant)
    for _ in range(200):
        world.queue._replicas["r"].learn("m", 100, 101, SECOND, 11 * SECOND, 0)
    first, step = world.queue.pace(grant)
    assert 0 < assumed[0] < first
    assert abs(step - SECOND // 10) < SECOND // 100
    assert abs(first - SECOND) < SECOND // 10


def test_people_take_turns_whatever_they_send() -> None:
    world = World()
    for _ in range(4):
        world.ask("c/o/many")
    world.ask("c/o/one")
    world.ask("c/o/two")
    assert world.serve(5) == ["c/o/one", "c/o/two", "c/o/many", "c/o/many", "c/o/many"]


def test_classes_organisations_and_people_by_weight() -> None:
    rules = policy(rule("c", weight=2000, organisations={"x": NodeRule(3000)}), rule("d"))
    world = World(rules)
    for _ in range(40):
        for who in ("c/o/p", "c/x/p", "d/o/p"):
            world.ask(who)
    served = world.serve(60)
    due = zip(("c/o/p", "c/x/p", "d/o/p"), (10, 30, 20), strict=True)
    assert all(abs(served.count(who) - part) <= 1 for who, part in due)
    world = World()
    for _ in range(40):
        world.ask("c/o/student", weight=3000)
        world.ask("c/o/other")
    assert world.serve(40).count("c/o/student") == 30


def test_a_guarantee_comes_first_and_a_cap_is_kept() -> None:
    rules = policy(rule("c", guarantee=500), rule("d", weight=100_000, cap=750), rule("e", cap=1))
    world = World(rules, slots=4)
    world.ask("e/o/p")
    assert queued(world.send(world.ticket("e/o/p")))  # one place is always allowed, no more
    for _ in range(10):
        world.ask("d/o/p")
        world.ask("c/o/p")
    assert sorted(world.who) == ["c/o/p", "d/o/p", "d/o/p", "e/o/p"]
    for _ in range(12):
        world.end(next(grant for grant in world.running if grant.ticket.path[0] != "e"))
        assert world.who.count("c/o/p") in {1, 2, 3}
        assert world.who.count("d/o/p") <= 3
        assert world.who.count("e/o/p") == 1
    assert any(each.over for each in world.queue.shares())
    world.end(next(grant for grant in world.running if grant.ticket.path[0] == "e"))
    while world.running:
        world.end()
    assert world.queue.waiting() == {"m": 0}


def test_a_class_whose_organisations_are_all_at_their_caps_is_passed_over() -> None:
    world = World(policy(rule("c", weight=9000, each=NodeRule(cap=1)), rule("d")), slots=3)
    for who in ("c/o/p", "c/o/p", "d/o/p", "d/o/p"):
        world.ask(who)
    assert sorted(world.who) == ["c/o/p", "d/o/p", "d/o/p"]
    world.ask("c/o/p")
    world.ask("d/o/p")
    assert world.end(world.running[1]) == ["d/o/p"]
    assert world.end(world.running[0]) == ["c/o/p"]


def test_each_person_of_a_class_has_a_cap() -> None:
    world = World(policy(rule("c", person_cap=300), rule("d")), slots=10)
    for _ in range(6):
        world.ask("c/o/p")  # nobody waits before the fourth: what ran until then counts too
    assert world.who == ["c/o/p"] * 3
    for who in ("c/o/q", "c/x/p", "d/o/p", "d/o/p", "d/o/p", "d/o/p"):
        world.ask(who)
    assert len(world.running) == 9, "others run beside the one at the cap"
    assert world.serve(3) == ["c/o/p"] * 3
    assert world.end(world.running[0]) == [], "one place stays free"


def test_one_place_is_always_allowed() -> None:
    world = World(policy(rule("c", person_cap=1)), slots=4)
    for who in ("c/o/p", "c/o/p", "c/o/q", "c/o/q"):
        world.ask(who)
    assert world.who == ["c/o/p", "c/o/q"]
    assert world.serve(4) == ["c/o/p", "c/o/q"]


@pytest.mark.parametrize("who", ["c/o/new", "c/new/p"])
@pytest.mark.parametrize(
    "capped", [rule("c", person_cap=1), rule("c", each=NodeRule(cap=1))], ids=["person", "organisation"]
)
def test_who_comes_while_all_others_of_the_class_are_at_their_caps(capped: ClassRule, who: str) -> None:
    """Whoever is above them was passed over, until someone comes who may run."""
    world = World(policy(capped, rule("d")), slots=4)
    for other in ("c/o/p", "c/o/p", "d/o/p"):
        world.ask(other)
    assert world.queue.tick(0) == [], "the whole class was passed over"
    here = queued(world.send(world.ticket(who)))
    assert here == (capped.person_cap == WHOLE and who == "c/o/new")


def test_at_a_cap_nothing_is_saved_up() -> None:
    """Who waited at the cap while others were served does not make up for it when the cap is gone."""
    world = World(policy(rule("c", person_cap=1, weight=9000), rule("d")), slots=4)
    for _ in range(30):
        world.ask("c/o/p")
        world.ask("d/o/p")
    for _ in range(20):
        world.end(next(grant for grant in world.running if grant.ticket.path[0] == "d"))
    world.queue.set_policy(policy(rule("c"), rule("d")), 0)
    assert world.end() == ["c/o/p"]
    assert world.serve(8).count("c/o/p") <= 5, "half from now on, and one by which it was behind"


def test_a_persons_cap_follows_the_policy_and_the_places() -> None:
    world = World(policy(rule("c", person_cap=500)), slots=4)
    for _ in range(20):
        world.ask("c/o/p")
    assert len(world.running) == 2
    world.add("s", 4)  # half of eight
    assert len(world.running) == 2, "until one of the person's own ends"
    world.end()
    world.running += world.queue.tick(0)
    assert len(world.running) == 4
    world.queue.set_policy(policy(rule("c", person_cap=250)), 0)
    assert world.serve(2) == []
    assert world.serve(3) == ["c/o/p"] * 3
    assert len(world.running) == 2


def test_a_lower_cap_holds_though_nothing_of_the_person_ran() -> None:
    world = World(policy(rule("c", person_cap=500), rule("d")), slots=4)
    for who in ["d/o/p"] * 4 + ["c/o/p"] * 4:
        world.ask(who)
    world.queue.set_policy(policy(rule("c", person_cap=1), rule("d")), 0)
    assert world.serve(4) == ["c/o/p"]


def test_a_person_at_the_cap_is_let_run_by_asking_again_when_the_cap_has_risen() -> None:
    world = World(policy(rule("c", person_cap=1)), slots=4)
    for _ in range(4):
        world.ask("c/o/p")
    world.queue.set_policy(policy(rule("c")), 0)
    assert len(world.running) == 1
    world.ask("c/o/p")
    world.running += world.queue.tick(0)
    assert len(world.running) == 4


def test_no_window_passes_over_a_persons_cap() -> None:
    """Who is at the cap stays there, whatever an engine has of the prompt in its cache."""
    world = World(policy(rule("c", person_cap=1), locality_window=10_000), slots=2)
    for who in ("c/o/p", "c/o/p", "c/o/q", "c/o/q"):
        world.ask(who, blocks=(1, 2, 3) if who == "c/o/p" else (), tokens_in=800)
    assert world.who == ["c/o/p", "c/o/q"]
    assert world.end(world.running[1]) == ["c/o/q"]


def test_lines_are_bounded_and_say_which_is_full() -> None:
    narrow = ClassRule("c", limits=Limits(1, 2, 3))
    world = World(policy(narrow, rule("d"), limits=Limits(5, 5, 4)))
    world.ask("c/o/p")
    decisions = [
        world.send(world.ticket(who))
        for who in ("c/o/p", "c/o/p", "c/o/q", "c/o/r", "c/x/p", "c/y/p", "d/o/p", "d/o/q")
    ]
    reasons = [each.reason if isinstance(each, Refused) else "" for each in decisions]
    assert reasons == [
        "", "person_line_full", "", "organisation_line_full", "", "line_full", "", "line_full",
    ]  # fmt: skip
    assert all(each.retry_after >= SECOND for each in decisions if isinstance(each, Refused))
    retried = world.ticket("c/o/p")
    assert queued(world.send(retried, again=True))
    while "c/o/p" not in world.end():
        pass
    assert world.running[0].ticket is retried


def test_no_replica() -> None:
    world = World()
    assert world.send(world.ticket(pool="none")) == Refused("no_replica", CLOSED_RETRY)
    assert world.send(world.ticket(avoid=("r",))) == Refused("no_replica", CLOSED_RETRY)
    world.add("r", is_open=False)
    assert world.send(world.ticket()) == Refused("no_replica", CLOSED_RETRY)


def test_the_estimate_is_charged_then_what_comes_then_it_is_settled() -> None:
    world = World(slots=1)
    world.ask("c/o/a")
    world.ask("c/o/b", max_out=10)
    world.ask("c/o/c")
    world.end()
    (grant,) = world.running
    ticket = grant.ticket
    assert ticket.charged == 120
    assert world.queue.progress(grant, 5, world.now) == []
    assert ticket.charged == 120
    world.queue.progress(grant, 30, world.now)
    world.queue.progress(grant, 20, world.now)
    assert ticket.charged == 160
    world.end(grant, Used(100, 90, 9))
    assert ticket.charged == 28
    served = {each.path: each.served for each in world.queue.shares()}
    assert served[("c",)] == 102 + 28


def test_what_was_charged_too_much_lessens_the_next_charge() -> None:
    world = World()
    for _ in range(5):
        world.ask("c/o/a", tokens_in=1000)
        world.ask("c/o/b", tokens_in=1000)
    order = []
    while world.running:  # a's prompts turn out to be cached, which is known after each
        grant = world.running[0]
        order.append(grant.ticket.path[2])
        cached = 1000 if grant.ticket.path[2] == "a" else 0
        world.end(grant, Used(1000, cached, 1))
    assert "".join(order) == "abbaaaabbb"


def test_nonsense_of_an_engine_is_cut() -> None:
    world = World(slots=2)
    for used in (Used(-5, 9, -9), Used(1 << 60, -1, 1 << 60), Used(10, 1 << 60, 0)):
        world.ask("c/o/p", max_out=0)
        world.ask("c/o/q")
        world.ask("c/o/q")
        grant = world.running[0]
        world.end(grant, used)
        assert 1 <= grant.ticket.charged <= 8 * 100 + 65_536 + 2 * (1 << 20)
        while world.running:
            world.end()


def test_a_retry_is_not_charged_twice_and_goes_to_the_front() -> None:
    world = World()
    world.add("s")
    for who in ("c/o/a", "c/o/b", "c/o/a", "c/o/a", "c/o/b"):
        world.ask(who)
    grant = next(each for each in world.running if each.ticket.path[2] == "a")
    failed = grant.ticket
    assert world.end(grant, Used(100, 0, 0), ran=-1) == ["c/o/a"]
    assert failed.charged == 100
    failed.avoid = (grant.replica,)
    assert queued(world.send(failed, again=True))
    while failed.state != 2:
        world.end()
    assert failed.charged == 102
    unknown = next(each for each in world.running if each.ticket is failed)
    world.queue.finish(unknown, None, 0, -1, world.now)
    assert failed.charged == 0
    assert world.queue.finish(unknown, None, 0, 1, world.now) == []  # it was given back before


def test_usage_that_is_not_known_costs_the_estimate() -> None:
    world = World()
    world.ask()
    world.ask()
    grant = world.running[0]
    world.queue.finish(grant, None, 0, 1, world.now)
    assert grant.ticket.charged == 102
    assert world.queue.progress(grant, 9, world.now) == []


def test_a_client_that_leaves() -> None:
    world = World()
    world.ask()
    tickets = [world.ask() for _ in range(3)]
    assert world.queue.cancel(tickets[1], 0)
    assert not world.queue.cancel(tickets[1], 0)
    assert world.queue.cancel(tickets[2], 0)
    assert world.queue.place(tickets[2], 0) is None
    assert not world.queue.cancel(world.running[0].ticket, 0)
    assert world.end() == ["c/o/p"]
    assert world.end() == []


def test_places_and_waits() -> None:
    world = World()
    world.ask()
    tickets = [world.ask(f"c/o/{name}") for name in "abc"]
    places = [world.queue.place(ticket, 0) for ticket in tickets]
    assert [place.position for place in places if place] == [1, 2, 3]
    assert {place.step for place in places if place} == {"queue"}


def test_replicas_come_change_and_go() -> None:
    world = World()
    for _ in range(4):
        world.ask()
    world.add("s", 2)
    assert len(world.running) == 3
    world.add("r", 0)
    world.queue.remove_replica("s")
    world.queue.remove_replica("s")
    world.queue.remove_replica("none")
    assert world.queue.running() == {"r": 1, "s": 2}
    assert world.end(world.running[1]) == []
    assert world.end(world.running[1]) == []
    assert world.queue.running() == {"r": 1}
    world.queue.observe("s", Telemetry(), 0)
    world.add("t", 1, frozenset({"m", "n"}))
    assert len(world.running) == 2
    world.add("t", 1, frozenset({"n"}))
    assert world.end(world.running[1]) == []
    world.queue.remove_replica("t")
    assert "t" not in world.queue.running()


def test_a_replica_of_two_pools_takes_classes_in_turn() -> None:
    world = World(policy(rule("c"), rule("d"), rule("g", guarantee=500)))
    world.add("r", 2, frozenset({"m", "n"}))
    for _ in range(6):
        world.ask("c/o/p", pool="m")
        world.ask("d/o/p", pool="n")
    served = world.serve(8)
    assert served.count("c/o/p") == served.count("d/o/p")
    world.ask("g/o/p", pool="n")
    assert world.end() == ["g/o/p"]


def test_the_replica_that_would_answer_first() -> None:
    world = World(slots=8)
    world.add("s", 8)
    world.running = []
    blocks = tuple(range(8))
    world.ask(blocks=blocks, tokens_in=2000)
    home = world.running[0].replica
    world.queue.progress(world.running[0], 1, 0)
    world.ask(blocks=blocks, tokens_in=2000)
    assert world.running[1].replica == home
    world.ask(blocks=(77,), tokens_in=2000)
    assert world.running[2].replica != home
    for name in "tuvw":
        world.add(name, 8)
    world.ask(blocks=blocks, tokens_in=2000)
    world.ask(blocks=(99,), tokens_in=2000)
    assert world.running[3].replica == home
    assert world.running[4].replica not in {"r", "s"}


def test_prompts_that_are_not_computed_yet_are_bounded() -> None:
    world = World(slots=8, prefill_budget=300)
    for _ in range(4):
        world.ask()
    assert len(world.running) == 3
    world.running += world.queue.progress(world.running[0], 1, world.now)
    assert len(world.running) == 4
    world.ask()
    assert world.queue.tick(world.now) == []
    assert len(world.queue.tick(world.now + 10 * SECOND)) == 1  # by then they must have been computed


def test_room_reservation_and_backfill() -> None:
    world = World(slots=8, room=1000)
    world.add("s", 8, room=1000)
    world.running = []
    for _ in range(2):
        world.ask("c/o/a", tokens_in=600, max_out=200)
    assert {grant.replica for grant in world.running} == {"r", "s"}
    large = world.ask("c/o/big", tokens_in=900, max_out=50)
    assert large.state == 1
    small = world.ask("d/o/s", tokens_in=20, max_out=1)
    assert small.state == 2  # it ends before the large one could start, or leaves enough
    long = world.ask("d/o/l", tokens_in=150, max_out=1)
    assert long.state == 2
    again = world.ask("d/o/l", tokens_in=150, max_out=1)
    for grant in list(world.running):
        world.end(grant)
    assert large.state == 2
    assert again.state != 1


def test_a_ticket_that_no_replica_with_room_may_run_blocks_nobody() -> None:
    world = World()
    world.add("s")
    world.running = []
    world.ask("c/o/a", avoid=("s",))
    choosy = world.ask("c/o/b", avoid=("s",))
    assert choosy.state == 1
    assert world.ask("c/o/c").state == 2
    assert world.ask("c/o/d").state == 1
    assert world.end(world.running[1]) == ["c/o/d"]
    assert world.end(world.running[0]) == ["c/o/b"]


def test_organisations_at_their_caps_leave_room_to_other_classes_only() -> None:
    world = World(policy(rule("c", each=NodeRule(cap=1))), slots=2)
    for _ in range(3):
        world.ask("c/o/p")
    assert len(world.running) == 1
    assert world.queue.tick(0) == []
    assert world.end() == ["c/o/p"]


def test_only_so_many_are_looked_at_when_the_first_may_not_run_there() -> None:
    world = World(slots=2)
    world.add("s")
    world.running = []
    for _ in range(3):
        world.ask()
    for number in range(FAR):
        world.ask(f"c/o/{number}", avoid=("s",))
    last = world.ask("c/o/last")
    on_s = next(grant for grant in world.running if grant.replica == "s")
    assert world.end(on_s) == []
    assert world.end() == ["c/o/0"]
    assert world.queue.tick(0)[0].ticket is last


def test_only_so_many_that_do_not_fit_are_looked_at() -> None:
    world = World(slots=3, room=1000)
    world.ask(tokens_in=900)
    for number in range(LOOK):
        world.ask(f"c/o/{number}", tokens_in=900)
    small = world.ask("c/o/small", tokens_in=50)
    assert small.state == 1
    world.queue.cancel(next(iter(world.queue._pools["m"].tree.in_order())), 0)
    assert world.queue.tick(0)[0].ticket is small


def test_beside_one_at_the_cap_others_go_where_they_are_answered_first() -> None:
    """They once all went to the first replica that had a place."""
    world = World(policy(rule("c", person_cap=1), rule("d")), slots=8)
    world.add("s", 8)
    for who in ("c/o/p", "c/o/p", *["d/o/p"] * 9):
        world.ask(who)
    assert [grant.replica for grant in world.running].count("s") == 5


@pytest.mark.parametrize("how", ["closed", "smaller", "removed"])
def test_what_runs_where_there_is_no_place_any_more_takes_none_from_others(how: str) -> None:
    """Places that are gone were counted as taken elsewhere, until the next tick."""
    world = World(slots=3)
    for _ in range(3):
        world.ask()
    choosy = world.ask("c/o/choosy", avoid=("s",))
    if how == "removed":
        world.queue.remove_replica("r")
    else:
        world.add("r", slots=1, is_open=how == "smaller")
    world.add("s", slots=2)
    assert [world.ask(who).state for who in ("c/o/a", "c/o/b", "c/o/c")] == [2, 2, 1]
    assert choosy.state == 1
    while len(world.running) > 1:
        world.end()
        world.queue.tick(0)
    assert not world.queue._askew


def test_a_large_one_keeps_its_reservation_on_one_replica() -> None:
    """Who would delay it there waits; the other replica is free to all."""
    world = World(slots=8, room=1000)
    world.add("s", 8, room=1000)
    world.running = []
    for _ in range(2):
        world.ask("c/o/a", tokens_in=700, max_out=1)
    large = world.ask("c/o/big", tokens_in=950, max_out=1)
    later = [world.ask(f"c/o/{name}", tokens_in=140, max_out=1) for name in "xyz"]
    assert large.state == 1
    assert {grant.replica for grant in world.running[2:]} == {"s"}
    assert [ticket.state for ticket in later] == [2, 2, 1]
    world.add("r", 8, is_open=False, room=1000)
    assert world.queue.tick(0) == []
    assert large.state == 1
    for grant in [each for each in world.running if each.replica == "s"]:
        world.end(grant)
    assert large.state == 2, "where it was held up is closed: it runs on the other"
    assert large not in world.queue._pools["m"].reserved


@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
def test_small_ones_that_keep_coming_do_not_starve_a_large_one(leaves: bool) -> None:
    """The next small one that did not fit either once took its reservation away, on every other replica."""
    random = Random(1)
    world = World(slots=64, room=1000)
    world.add("s", 64, room=1000)
    for number in range(80):
        world.ask(f"c/o/{number}", tokens_in=39)
    large = world.ask("c/o/large", tokens_in=900)
    ends = 0
    while large.state == 1 and ends < 1000:
        grant = random.choice(world.running)
        world.end(grant)
        world.ask("/".join(grant.ticket.path), tokens_in=39)
        world.running += world.queue.progress(random.choice(world.running), 1, 0)
        ends += 1
        if leaves and large in world.queue._pools["m"].reserved:
            world.queue.cancel(large, 0)
    assert ends < 300, "each small one has its turn, and then what runs on one replica ends"
    assert (large.state == 0) == leaves
    assert large not in world.queue._pools["m"].reserved


def test_small_ones_of_another_pool_do_not_starve_a_large_one() -> None:
    """Nobody looked across the pools of a replica, and ends were foretold at the other's speed."""
    random = Random(1)
    world = World(slots=64)
    world.add("r", 64, frozenset({"m", "n"}), room=1000)
    for number in range(40):
        world.ask(f"c/o/{number}", tokens_in=39, pool="n")
    large = world.ask("d/o/large", tokens_in=700)
    for _ in range(300):
        if large.state == 2:
            break
        world.now += SECOND // 100
        grant = random.choice(world.running)
        world.end(grant, ran=SECOND // 10)
        world.ask("/".join(grant.ticket.path), tokens_in=39, pool="n")
    assert large.state == 2


@pytest.mark.parametrize(("tokens", "runs"), [(50, True), (51, False)])
def test_what_a_reservation_leaves_free_is_for_other_pools_too(tokens: int, runs: bool) -> None:
    world = World(slots=8)
    world.add("r", 8, frozenset({"m", "n"}), room=1000)
    for _ in range(3):
        world.ask(tokens_in=299)
    assert world.ask("d/o/large", tokens_in=649).state == 1
    assert world.queue.tick(0) == [], "it has 700 when two have ended"
    small = world.ask(tokens_in=tokens - 1, pool="n", max_out=1)
    assert (small.state == 2) == runs


def test_one_that_may_not_run_there_leaves_the_reservation_to_the_next() -> None:
    """A large one that failed comes again before one of its person that holds a reservation."""
    world = World(slots=8, room=1000)
    world.add("s", 8, room=1000)
    world.running = []
    small = [world.ask(f"c/o/{number}", tokens_in=299) for number in range(6)]
    held = world.ask("c/o/large", tokens_in=950)
    assert world.end(next(each for each in world.running if each.replica == "r")) == []
    (at,) = world.queue._pools["m"].reserved.values()
    again = world.ticket("c/o/large", tokens_in=950, avoid=(at.name,))
    assert queued(world.send(again, again=True))
    for _ in range(40):
        if again.state == 2:
            break
        who = "/".join(world.running[0].ticket.path)
        world.end()
        world.ask(who, tokens_in=299)
    assert again.state == 2
    assert (held.state, small[0].state) == (1, 0)


def test_prompts_are_routed_where_there_is_a_choice() -> None:
    world = World()
    assert not world.queue.routes("m")
    assert not world.queue.routes("none")
    world.add("s")
    assert world.queue.routes("m")


def test_what_an_engine_tells_of_its_cache() -> None:
    world = World(slots=8, room=1000)
    world.ask()
    world.queue.observe("r", Telemetry(kv_used=950), 0)
    assert world.ask().state == 1
    world.queue.observe("r", Telemetry(), 0)
    world.queue.observe("r", Telemetry(kv_used=100), 0)
    assert len(world.queue.tick(0)) == 1


@pytest.mark.parametrize("how", ["old", "empty"])
def test_what_an_engine_told_of_its_cache_is_not_believed_for_ever(how: str) -> None:
    world = World(slots=8, room=1000)
    world.queue.observe("r", Telemetry(kv_used=950), 0)
    for _ in range(3):
        world.ask()
    assert len(world.running) == 1
    if how == "old":
        assert world.queue.tick(BELIEVED) == []
        assert len(world.queue.tick(BELIEVED + 1)) == 2
    else:
        assert len(world.end()) == 2


def test_a_bound_of_the_client_lifts_no_bound_on_nonsense() -> None:
    world = World()
    world.ask(max_out=10**12)
    world.end(used=Used(100, 0, 10**12))
    assert world.ask(max_out=0).out < MOST_OUT
    assert world.queue.restore(world.queue.dump(0), 0)


def test_under_pressure_what_is_soft_comes_first() -> None:
    pressure = Pressure(2, 4, 3, {"m": "small"}, "offer", 5)
    world = World(policy(pressure=pressure))
    world.ask(max_out=0)
    world.end(ran=SECOND)
    for _ in range(2):
        world.ask("c/o/heavy", max_out=100)
    world.ask("c/o/light", max_out=100)
    step = [world.ask(f"c/o/{number}") for number in range(3)]
    place = world.queue.place(step[0], 0)
    assert place is not None
    assert (place.step, place.lighter) == ("refuse", "small")
    refused = world.send(world.ticket("c/o/0"))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.retry_after) == ("overloaded", SECOND)
    assert queued(world.send(world.ticket("c/o/new")))
    shortened = {}
    for _ in range(6):
        world.end()
        shortened[world.who[0]] = world.running[0].max_out
    assert shortened["c/o/light"] == 0
    world = World(policy(pressure=pressure), slots=1)
    world.ask()
    world.end(ran=SECOND)
    for most in (100, 100, 2, 100, 0):
        world.ask("c/o/heavy", max_out=most)
    assert [world.end() and world.running[0].max_out for _ in range(4)] == [4, 0, 4, 0]
    assert world.running[0].ticket.out > 4  # nobody else waits, and it has nothing else in line


def test_a_short_wait_shortens_nothing() -> None:
    world = World(policy(pressure=Pressure(9, 4)))
    world.ask()
    world.end(ran=SECOND)
    for _ in range(3):
        world.ask(max_out=100)
    world.end()
    assert world.running[0].max_out == 0


def test_a_prompt_that_has_to_wait_for_others_is_not_passed_over() -> None:
    world = World(slots=4, prefill_budget=150)
    world.add("s", 4)
    world.running = []
    for _ in range(2):
        world.ask()
    assert world.ask("c/o/choosy", avoid=("r",), tokens_in=100).state == 1
    assert world.ask("c/o/next", tokens_in=100).state == 1
    assert world.ask("c/o/small", tokens_in=10).state == 1
    grants = world.queue.progress(world.running[0], 1, 0)
    assert [grant.ticket.path[2] for grant in grants] == ["next", "small"]


def test_another_policy_on_the_fly() -> None:
    world = World(policy(rule("c", cap=1), rule("d")), slots=2)
    for _ in range(3):
        world.ask("c/o/p")
    assert len(world.running) == 1
    grants = world.queue.set_policy(policy(rule("d", guarantee=100)), 0)
    assert len(grants) == 1  # class c is no longer known: it is like any other
    grants = world.queue.set_policy(policy(rule("c", guarantee=500), rule("d")), 0)
    assert grants == []
    world.queue.set_policy(policy(rule("c"), rule("d")), 0)


def test_prices_follow_what_is_measured_while_all_are_full() -> None:
    world = World(policy(prices={}))
    before = world.running
    assert before == []
    for _ in range(3):
        world.ask(tokens_in=20_000)
    pool: Pool = world.queue._pools["m"]
    first = pool.price.value
    world.queue.tick(0)
    world.end()
    world.queue.tick(SECOND)
    assert pool.price.value != first


def test_the_first_ticket_has_no_other_answer_than_a_grant_or_a_place() -> None:
    world = World()
    assert isinstance(world.send(world.ticket()), Grant)
    assert isinstance(world.send(world.ticket()), Queued)


@pytest.mark.parametrize("window", [0, 10_000])
def test_within_the_window_a_replica_takes_what_it_holds(window: int) -> None:
    world = World(policy(locality_window=window))
    world.add("s")
    world.running = []
    a, b = (1, 2, 3, 4), (11, 12, 13, 14)
    world.ask("c/o/a", blocks=a, tokens_in=1000)
    world.ask("c/o/b", blocks=b, tokens_in=1000)
    first = {grant.ticket.path[2]: grant for grant in world.running}
    for who in ("c/o/b2", "c/o/a2", "c/o/x"):
        prompt = {"c/o/b2": b, "c/o/a2": a}.get(who, ())
        world.ask(who, blocks=prompt, tokens_in=1000)
    world.ask("d/o/p")
    assert world.end(first["a"]) == (["c/o/a2"] if window else ["d/o/p"])


def test_who_is_at_home_elsewhere_lets_others_go_first() -> None:
    world = World(policy(locality_window=10_000))
    world.add("s")
    world.running = []
    a, b = (1, 2, 3, 4), (11, 12, 13, 14)
    world.ask("c/o/a", blocks=a, tokens_in=1000)
    world.ask("c/o/b", blocks=b, tokens_in=1000)
    first = {grant.ticket.path[2]: grant for grant in world.running}
    world.ask("c/o/b2", blocks=b, tokens_in=1000)
    world.ask("c/o/b3", blocks=b, tokens_in=1000)
    world.ask("c/o/x", tokens_in=1000)
    assert world.end(first["a"]) == ["c/o/x"]
    assert world.end(world.running[-1]) == ["c/o/b2"]  # nobody else: better here than idle


def test_the_next_of_a_person_comes_home() -> None:
    world = World(policy(locality_window=10_000))
    world.add("s")
    world.running = []
    world.ask("c/o/x", tokens_in=1000)
    world.ask("c/o/y", tokens_in=1000)
    world.ask("c/o/a", blocks=(1, 2), tokens_in=1000)
    world.ask("c/o/a", blocks=(1, 2, 3), tokens_in=1000)
    world.ask("c/o/a", blocks=(7,), tokens_in=1000)
    world.end()
    home = world.running[-1].replica
    world.end()
    second = world.running[-1].ticket
    assert second.blocks == (1, 2, 3)
    assert second.home == home


def test_a_replica_may_be_told_of_first() -> None:
    world = World()
    assert world.queue.set_replica("q", ReplicaSpec(M, 1), is_open=False, now=0) == []
    assert world.queue.waiting() == {"m": 0}


def test_what_to_scale_by_is_the_time_until_the_line_is_served() -> None:
    world = World(slots=2)
    assert world.queue.expected() == {}, "nothing is known yet"
    world.ask()
    world.end(ran=4 * SECOND)
    assert world.queue.expected() == {"m": 0}
    for _ in range(5):
        world.ask()
    assert world.queue.waiting() == {"m": 3}
    assert world.queue.expected() == {"m": 6 * SECOND}
    world.add("r", 2, is_open=False)
    assert world.queue.expected() == {}, "nobody serves"
