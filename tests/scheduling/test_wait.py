"""The fluid model of a wait, against a queue that is served ticket by ticket."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

import pytest

from moduai.scheduling.wait import Ahead, Flow, Level, Peer, ahead

MS = 1_000_000


@dataclass
class Node:
    """A node of a small tree: a person has tickets (their costs), any other node has children."""

    vt: int
    rate: int
    tickets: list[int] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    @property
    def waiting(self) -> list[int]:
        return [*self.tickets, *(cost for child in self.children for cost in child.waiting)]

    def serve(self) -> int:
        """Dispatch the ticket of the least virtual time; its cost."""
        if self.tickets:
            cost = self.tickets.pop(0)
        else:
            cost = min((one for one in self.children if one.waiting), key=lambda one: one.vt).serve()
        self.vt += cost * self.rate
        return cost

    def peer(self) -> Peer:
        return Peer(self.vt, self.rate, sum(self.waiting), len(self.waiting))


def tree(source: random.Random, organisations: int, people: int) -> Node:
    def person() -> Node:
        tickets = [source.randrange(50, 1500) for _ in range(source.choice((1, 1, 1, 2, 8)))]
        return Node(source.randrange(3_000_000), source.choice((500, 1000, 2000)), tickets)

    return Node(
        0,
        1000,
        children=[
            Node(
                source.randrange(30_000_000),
                source.choice((1000, 333)),
                children=[person() for _ in range(people)],
            )
            for _ in range(organisations)
        ],
    )


def levels(path: list[Node], sample: int = 10**6) -> list[Level]:
    """From the person (the last of the path) up to the children of the root (the first)."""
    found = []
    for parent, node in reversed(list(pairwise(path))):
        peers = [one.peer() for one in parent.children if one is not node]
        step = -(-len(peers) // sample)
        found.append(Level(node.vt, node.rate, peers[::step], len(peers)))
    return found


@pytest.mark.parametrize(("sample", "within"), [(10**6, 0.05), (16, 0.1)])
def test_what_goes_ahead_is_right_on_average(sample: int, within: float) -> None:
    source, ratios, places = random.Random(5), [], []
    for _ in range(60):
        root = tree(source, 4, 40)
        organisation = source.choice(root.children)
        person = source.choice(organisation.children)
        expected = ahead(
            sum(person.tickets[:-1]),
            len(person.tickets) - 1,
            levels([root, organisation, person], sample),
        )
        served = [0]
        while person.tickets:
            served.append(root.serve())
        if len(served) > 20:
            ratios.append(sum(served[:-1]) / expected.cost)
            places.append((len(served) - 2) / expected.tickets)
    assert len(ratios) > 20
    assert fmean(ratios) == pytest.approx(1, abs=within)
    assert fmean(places) == pytest.approx(1, abs=2 * within)


def test_alone_nothing_goes_ahead() -> None:
    assert ahead(0, 0, [Level(5, 1000), Level(9, 1000)]) == Ahead(0, 0)
    assert ahead(70, 2, [Level(5, 1000), Level(9, 1000)]) == Ahead(70, 2)


def test_a_sample_may_have_found_none_of_the_siblings() -> None:
    assert ahead(5, 2, [Level(vt=0, rate=1, siblings=9)]) == Ahead(5, 2)


def test_a_sibling_that_stands_later_does_not_go_ahead_and_one_at_the_same_place_does() -> None:
    assert ahead(0, 0, [Level(100, 1000, [Peer(101, 1000, 50, 1)])]) == Ahead(0, 0)
    assert ahead(0, 0, [Level(100, 1000, [Peer(100, 1000, 50, 5)])]) == Ahead(10, 1)


def test_guarantees_and_caps_bound_what_siblings_and_the_own_node_get() -> None:
    later = 10**15
    guaranteed = ahead(1000, 10, [Level(0, 1000, [Peer(later, 1000, 10**6, 1000, guarantee=500)])])
    assert guaranteed.cost == pytest.approx(2000, rel=0.01)
    assert guaranteed.tickets == 11
    short = ahead(1000, 10, [Level(0, 1000, [Peer(later, 1000, 300, 1, guarantee=500)])])
    assert short == Ahead(1300, 11)
    capped = ahead(1000, 10, [Level(10**12, 1000, [Peer(0, 1000, 10**6, 1000, cap=200)])])
    assert capped.cost == pytest.approx(1250, rel=0.01)
    assert ahead(1000, 10, [Level(10**12, 1000, [Peer(0, 1000, 9000, 9)], guarantee=250)]).cost == 4000
    assert ahead(1000, 10, [Level(0, 1000, cap=100)]).cost == 10_000


def flowing(cost: int = 10_000, every: int = 10 * MS) -> Flow:
    flow = Flow()
    flow.begin(0)
    for number in range(20_000):
        flow.passed(cost, (number + 1) * every)
    return flow


def test_a_time_is_what_goes_ahead_at_the_pace_of_the_pool() -> None:
    flow = flowing(cost=20_000)
    assert flow.expect(Ahead(0, 0), 20_000) == pytest.approx(10 * MS, rel=0.01)
    assert flow.expect(Ahead(180_000, 9), 20_000) == pytest.approx(100 * MS, rel=0.01)


def test_until_the_pace_is_known_it_is_that_of_the_accelerators() -> None:
    flow = Flow()
    assert flow.expect(Ahead(2_000_000, 9), 1) == pytest.approx(2000 * MS, rel=0.01)
    flow.accelerators = 4
    assert flow.expect(Ahead(2_000_000, 9), 1) == pytest.approx(500 * MS, rel=0.01)
    flow.begin(0)
    flow.passed(20_000_000, 5000 * MS)
    assert flow.expect(Ahead(0, 0), 20_000_000) == pytest.approx(5000 * MS, rel=0.01)


def test_where_dispatches_are_slow_the_last_sixty_four_count() -> None:
    flow = Flow()
    flow.begin(0)
    for number in range(500):
        flow.passed(2_000_000, (number + 1) * 20_000 * MS)
    assert flow.expect(Ahead(0, 0), 2_000_000) == pytest.approx(20_000 * MS, rel=0.01)


def test_a_pause_without_anybody_waiting_is_no_time() -> None:
    flow = flowing()
    flow.begin(10**9 * MS)
    flow.passed(10_000, (10**9 + 10) * MS)
    assert flow.expect(Ahead(0, 0), 10_000) == pytest.approx(10 * MS, rel=0.01)


def test_newcomers_that_stand_before_a_ticket_lengthen_its_wait() -> None:
    flow = flowing()
    plain = flow.expect(Ahead(10**9, 10**5), 10_000)
    for _ in range(600):
        flow.overtook(100, 0, newcomer=True)
        flow.overtook(100, 10**11, newcomer=False)
    assert flow.expect(Ahead(10**9, 10**5), 10_000) == pytest.approx(2 * plain, rel=0.01)
    for _ in range(10_000):
        flow.overtook(100, 10**9, newcomer=True)
    assert flow.expect(Ahead(10**9, 10**5), 10_000) < 1.2 * plain
    assert flow.expect(Ahead(10**15, 10**9), 10_000) == pytest.approx(10 * 10**6 * plain, rel=0.01)
