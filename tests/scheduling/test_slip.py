"""While nobody waits requests slip in without a ticket; they get one when the tree wakes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from moduai.scheduling import Grant, Queued, Ticket
from moduai.scheduling.queue import LEARNED
from tests.scheduling.world import SECOND, World, policy, rule


class Lane:
    """The part of a gateway that remembers who slipped in, in a world whose queue has learned enough."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.slipped: list[tuple[Grant, str]] = []
        self.seen: set[str] = set()
        world.queue.recall = self._recall
        for _ in range(LEARNED):
            assert world.queue.slip("m", "c", 100) is None

    def slip(self, who: str = "c/o/p", tokens: int = 100) -> Grant | None:
        grant = self.world.queue.slip("m", who.split("/", maxsplit=1)[0], tokens)
        if grant is not None:
            self.slipped.append((grant, who))
        return grant

    def _recall(self, pool: str) -> Iterator[tuple[Ticket, bool]]:
        slipped, self.slipped = self.slipped, []
        for grant, who in slipped:
            ticket = self.world.ticket(who, pool=pool)
            self.world.running.append(Grant(ticket, grant.replica))
            yield ticket, who in self.seen


def test_so_many_between_two_ticks_ask_with_a_ticket() -> None:
    world = World(slots=4)
    lane = Lane(world)
    assert lane.slip() is not None
    world.queue.tick(0)
    assert [lane.slip() is None for _ in range(LEARNED + 1)] == [True] * LEARNED + [False]


def test_who_slips_in_takes_a_place_and_gives_it_back() -> None:
    world = World(slots=2, prefill_budget=150)
    lane = Lane(world)
    one = lane.slip()
    assert one is not None
    assert lane.slip() is None  # both prompts together are above the budget
    assert world.queue.slip_seen(one, 100, 0) == []
    two = lane.slip()
    assert two is not None
    assert lane.slip() is None  # no place is left
    assert world.queue.slip_over(one, 0, 0) == []
    assert world.queue.running() == {"r": 1}
    assert world.queue.slip_over(two, 100, 0) == []
    assert world.queue.running() == {"r": 0}


def test_when_the_tree_wakes_each_is_charged_in_the_order_of_its_start() -> None:
    world = World(slots=3)
    lane = Lane(world)
    for who in ("c/o/a", "d/o/b", "c/o/c"):
        assert lane.slip(who)
    lane.seen = {"d/o/b"}
    for who in ("c/o/a", "d/o/b", "c/o/c"):
        world.ask(who)
    assert world.who == ["c/o/a", "d/o/b", "c/o/c"]
    assert [(grant.ticket.charged, grant.ticket.state) for grant in world.running] == [
        (102, 2), (102, 3), (102, 2),
    ]  # fmt: skip
    assert lane.slip() is None  # others wait
    shares = {share.path: (share.running, share.waiting) for share in world.queue.shares()}
    assert shares[("c",)] == (2, 2)
    assert shares[("d", "o")] == (1, 1)
    assert world.serve(3) == ["d/o/b", "c/o/a", "c/o/c"]  # c has run twice, d once


def test_those_that_slipped_in_are_shown() -> None:
    world = World(slots=3)
    lane = Lane(world)
    lane.slip("c/o/a")
    assert {share.path: share.running for share in world.queue.shares()} == {("c",): 1, ("c", "o"): 1}


def test_a_guarantee_holds_against_those_that_slipped_in() -> None:
    world = World(policy(rule("c", weight=9000), rule("d", guarantee=500)), slots=2)
    lane = Lane(world)
    assert lane.slip("c/o/a")
    assert lane.slip("c/o/b")
    for who in ("c/o/a", "d/o/p", "c/o/b", "d/o/q"):
        world.ask(who)
    assert world.serve(1) == ["d/o/p"]


@pytest.mark.parametrize("caps", [{"cap": 500}, {"cap": 1000}])
def test_a_class_with_a_cap_is_counted_always(caps: dict[str, int]) -> None:
    world = World(policy(rule("c", **caps), rule("d")), slots=4)
    lane = Lane(world) if caps["cap"] == 1000 else None
    assert (world.queue.slip("m", "c", 1) is None) == (lane is None)


def test_only_one_replica_whose_room_is_not_counted_lets_in_without_a_ticket() -> None:
    world = World(slots=2)
    lane = Lane(world)
    assert world.queue.slip("other", "c", 1) is None
    world.add("r", 2, room=1000)
    assert lane.slip() is None
    world.add("r", 2)
    assert lane.slip()
    world.add("s", 2)
    assert lane.slip() is None


def test_a_replica_that_goes_is_forgotten_after_the_last_that_slipped_in() -> None:
    world = World(slots=2)
    lane = Lane(world)
    grant = lane.slip()
    assert grant is not None
    world.queue.remove_replica("r")
    assert world.queue.running() == {"r": 1}
    world.queue.slip_over(grant, 100, 0)
    assert world.queue.running() == {}


def test_what_one_that_slipped_in_gives_back_goes_to_whoever_waits() -> None:
    world = World(slots=2, prefill_budget=150)
    lane = Lane(world)
    one = lane.slip()
    assert one is not None
    world.queue.recall = lambda _pool: ()  # its end is told before it gets a ticket
    assert isinstance(world.send(world.ticket("d/o/p")), Queued)  # its prompt has to wait for the first
    granted = world.queue.slip_seen(one, 100, SECOND)
    assert [grant.ticket.path[0] for grant in granted] == ["d"]
    world.ask("d/o/q")
    assert len(world.queue.slip_over(one, 0, SECOND)) == 0  # the second prompt is still being computed
    assert world.queue.running() == {"r": 1}
