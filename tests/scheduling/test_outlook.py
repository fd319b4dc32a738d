"""Forecasts from a tree with people in it."""

from __future__ import annotations

import pytest

from moduai.scheduling import FairQueue
from moduai.scheduling.calibration import LIGHT
from moduai.scheduling.outlook import GAP, MOST_REMEMBERED, Outlook
from moduai.scheduling.policy import PLAIN, ClassRule, Policy
from moduai.scheduling.price import Price
from moduai.scheduling.ticket import Grant, Ticket
from moduai.scheduling.tree import Tree
from moduai.scheduling.types import Queued, ReplicaSpec

SECOND = 1_000_000_000


class Line:
    """A tree of one pool and its outlook; a token costs 1 ms, so a ticket of 1,000 tokens a second."""

    def __init__(self, policy: Policy = PLAIN) -> None:
        self.tree = Tree(policy)
        self.tree.set_rules(policy, 10)
        self.outlook = Outlook(Price(1_000_000))
        self.count = 0

    def join(self, person: str, now: int = 0, *, service_class: str = "all", tokens: int = 1000) -> Ticket:
        self.count += 1
        ticket = Ticket(self.count, "m", (service_class, "", person), "page", tokens, 0, now)
        self.tree.push(ticket, self.tree.person(ticket), front=False)
        self.outlook.joined(ticket, self.tree.root.waiting, now)
        return ticket

    def serve(self, now: int) -> Ticket:
        """Dispatch whoever is due."""
        ticket = self.tree.first()
        assert ticket is not None
        self.outlook.went(ticket, now)
        self.tree.take(ticket, ticket.tokens_in * 1000)
        return ticket


def test_positions_follow_the_fair_order_and_not_that_of_arrival() -> None:
    line = Line()
    many = [line.join("many") for _ in range(10)]
    one, two = line.join("one"), line.join("two")
    assert line.outlook.place(many[0]).position == 1
    assert line.outlook.place(one).position == 2
    assert line.outlook.place(two).position == 3
    assert line.outlook.place(many[-1]).position == 12
    assert line.outlook.place(two).wait == pytest.approx(3 * SECOND, rel=0.05)
    told = line.outlook.place(many[-1])
    assert told.low < told.wait < told.high


def test_positions_are_those_of_the_dispatches_that_follow() -> None:
    line = Line()
    tickets = [line.join(f"{number % 17}") for number in range(60)]
    places = {ticket.id: line.outlook.place(ticket).position for ticket in tickets}
    order = [line.serve(0).id for _ in tickets]
    assert max(abs(places[ticket] - at) for at, ticket in enumerate(order, 1)) <= 17
    assert sum(places[ticket] - at for at, ticket in enumerate(order, 1)) / 60 == pytest.approx(0, abs=5)


def test_of_very_many_only_a_sample_is_asked() -> None:
    line = Line()
    for number in range(1000):
        line.join(f"{number}")
    last = line.join("last")
    assert line.outlook.place(last).position == pytest.approx(1001, rel=0.05)


def test_a_class_with_a_guarantee_waits_less() -> None:
    rules = {
        "first": ClassRule("first", guarantee=500),
        "other": ClassRule("other"),
        "third": ClassRule("third"),
    }
    line = Line(Policy("p", rules, "other"))
    for number in range(20):
        for name in ("other", "third"):
            line.join(f"{number}", service_class=name)
    mine = [line.join("me", service_class="first") for _ in range(10)][-1]
    assert line.outlook.place(mine).position < 35
    assert line.outlook.place(mine).wait == pytest.approx(20 * SECOND, rel=0.1)


def test_a_class_that_may_not_run_now_is_counted_as_nothing() -> None:
    rules = {"capped": ClassRule("capped", cap=100), "all": ClassRule("all")}
    line = Line(Policy("p", rules, "all"))
    line.join("x", service_class="capped")
    line.serve(0)
    line.join("x", service_class="capped")
    mine = line.join("me")
    assert line.tree.first() is mine
    assert line.outlook.place(mine).position <= 2


def test_what_came_is_compared_with_what_was_foretold() -> None:
    line = Line()
    for second in range(60):
        for number in range(3):
            line.join(f"{number}", second * SECOND)
        if second > 3:
            line.serve(second * SECOND)
    figures = line.outlook.calibration.figures()
    assert figures[0].kind == LIGHT
    assert sum(figure.seen for figure in figures) >= 10


def test_only_some_are_remembered_and_none_who_left() -> None:
    line = Line()
    first, second = line.join("a", 0), line.join("b", GAP // 2)
    for ticket in (first, second):
        line.tree.leave(ticket)
        line.outlook.left(ticket)
    third = line.join("c", 5 * SECOND)
    line.serve(9 * SECOND)
    assert line.outlook.calibration.figures()[0].seen == 1
    assert third.node is not None
    for number in range(MOST_REMEMBERED + 5):
        line.join(f"{number}", (10 + number) * GAP + 9 * SECOND)
    assert len(line.outlook._remembered) == MOST_REMEMBERED


def test_who_left_is_not_counted_in_another_class() -> None:
    line = Line(Policy("p", {"all": ClassRule("all"), "other": ClassRule("other")}, "all"))
    gone = line.join("gone", service_class="other", tokens=50_000)
    line.join("stays", service_class="other")
    line.tree.leave(gone)
    line.outlook.left(gone)
    assert line.outlook.place(line.join("me")).wait == pytest.approx(2 * SECOND, rel=0.05)


def test_the_queue_tells_how_good_its_forecasts_are_and_how_many_accelerators_serve_a_pool() -> None:
    queue = FairQueue(PLAIN)
    spec = ReplicaSpec(frozenset({"m"}), 1, accelerators=4)
    queue.set_replica("a", spec, is_open=True, now=0)
    tickets = [Ticket(number, "m", ("all", "", f"{number}"), "page", 1000, 0, 0) for number in range(3)]
    running = queue.submit(tickets[0], 0)
    assert isinstance(running, Grant)
    assert [queue.submit(ticket, 0) for ticket in tickets[1:]] == [Queued(0, -1)] * 2
    assert queue.figures() == {"m": []}
    queue.finish(running, None, 0, 9 * SECOND, 9 * SECOND)
    assert queue.figures()["m"][0].seen == 1
    assert queue._pools["m"].outlook.flow.accelerators == 4


def test_who_is_at_the_cap_waits_for_the_own_answers_to_end() -> None:
    """However much room there is: two run, so the third in line waits until three have ended."""
    classes = {"all": ClassRule("all", person_cap=200)}
    line = Line(Policy("capped", classes, "all"))
    tickets = [line.join("many") for _ in range(5)]
    assert [line.serve(0), line.serve(0)] == tickets[:2]
    line.outlook.mean_run = 40 * SECOND
    waits = [line.outlook.place(ticket).wait for ticket in tickets[2:]]
    assert waits == pytest.approx([20 * SECOND, 40 * SECOND, 60 * SECOND], rel=0.05)
    assert line.outlook.place(line.join("other")).wait < waits[0]
