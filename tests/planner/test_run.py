"""The twin drives a dispatcher as the gateway does, and measures what came of it."""

from dataclasses import dataclass

import pytest

from moduai.planner import Engine, Request, Twin, traffic
from moduai.planner.baselines import FirstCome, LateFirstCome, LocalityOnly, RateLimited
from moduai.planner.clock import SECOND, Clock
from moduai.planner.measure import Backlog, _gap, costliest, gaps, jain, quantile, work
from moduai.planner.replica import LLAMA_8B_H100
from moduai.planner.traffic import CHAT
from moduai.scheduling import FairQueue, Queued
from moduai.scheduling.policy import ClassRule, Limits, Policy
from moduai.scheduling.ticket import ONE
from tests.planner.conftest import TRACES

STEP = LLAMA_8B_H100
WIDE = Limits(10_000, 10_000, 10_000)
POLICY = Policy("test", {"resident": ClassRule("resident", limits=WIDE)}, "resident", limits=WIDE)
ME = ("resident", "none", "me")
needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="the traces are not here (MODU_DATA)")


def twin(dispatcher=None, *, slots=16, replicas=1) -> Twin:
    engines = {f"replica-{number}": Engine(STEP, slots=slots) for number in range(replicas)}
    return Twin(dispatcher or FairQueue(POLICY), engines)


def test_the_clock_keeps_the_order_of_what_is_due_at_once():
    clock, seen = Clock(), []
    for name, at in (("c", 5), ("a", 3), ("b", 3), ("late", 9)):
        clock.at(at, seen.append, name)
    clock.at(4, lambda: clock.at(0, seen.append, "now"))
    clock.run(9)
    assert seen == ["a", "b", "now", "c"]
    assert clock.now == 9


@pytest.mark.parametrize("make", [lambda: FairQueue(POLICY), FirstCome, LateFirstCome, LocalityOnly])
def test_everyone_is_served_in_the_end(make):
    here = twin(make(), replicas=2)
    here.play(traffic.merged(traffic.light(1, 10, count=40, rate=0.5), traffic.heavy(2, 10, 4.0)))
    here.run(120)
    assert len(here.records) > 150
    assert all(record.ended > record.granted >= record.ticket.arrived for record in here.records)
    assert not here.running


def test_the_same_again_is_the_same():
    def ends():
        here = twin()
        here.play(traffic.light(3, 20, count=50, rate=0.5))
        here.run(60)
        return [(record.granted, record.first, record.ended) for record in here.records]

    assert ends() == ends()


def test_a_client_may_leave_the_line_or_its_answer():
    here = twin(slots=1)
    running, waiting, last = (here.ask(Request(0, ME, 100, 2000)) for _ in range(3))
    assert isinstance(waiting.expected, Queued)
    here.run(1)
    here.leave(waiting)
    here.leave(running)
    here.leave(running)
    here.run(60)
    assert (running.left, waiting.left) == (SECOND, SECOND)
    assert running.ended == waiting.granted == -1
    assert here.work(waiting) == 0
    assert 100 < here.work(running) < 500
    assert last.ended > 0


def test_without_patience_a_client_leaves_before_its_first_token():
    here = twin(slots=1)
    here.ask(Request(0, ME, 100, 3000))
    gone = here.ask(Request(0, ME, 100, 10, patience=SECOND))
    stays = here.ask(Request(0, ME, 100, 10, patience=100 * SECOND))
    here.run(60)
    assert gone.left == SECOND
    assert stays.ended > 0


def test_an_answer_stops_at_what_the_client_allows():
    here = twin()
    record = here.ask(Request(0, ME, 10, 500, max_out=20))
    here.run(10)
    assert record.job.wrote == 20


def test_more_than_so_many_a_minute_are_refused():
    here = twin(RateLimited(2))
    here.play([Request(at * SECOND, ME, 10, 5) for at in (0, 1, 2, 61, 62)])
    here.run(70)
    assert [bool(record.refused) for record in here.records] == [False, False, True, False, False]


def test_locality_alone_follows_the_prefix_and_never_the_load():
    here = twin(LocalityOnly(), replicas=4, slots=1)
    same = (0, 1, 2, 3)
    here.play([Request(number, ME, 4 * 256 + 5, 50, blocks=same) for number in range(8)])
    here.run(60)
    assert len({record.grant.replica for record in here.records}) == 1
    assert sum(record.job.cached > 0 for record in here.records) == 7


@dataclass
class Spans:
    """One person's work, given by hand."""

    gains: list[float]
    begin: int


def test_the_gap_is_that_of_the_worst_span_in_which_both_waited():
    one, other = Spans([0, 10, 10, 0, 0], 0), Spans([0, 0, 0, 10, 10], 0)
    late = Spans([0, 99], 4)
    assert _gap([(each.gains, each.begin) for each in (one, other, late)]) == 20


def test_gap_and_jain_of_people_alike_and_unlike():
    here = twin(slots=16)
    people = {("resident", "none", f"person-{number}"): (1 + number) * ONE for number in range(3)}
    Backlog(here, people, CHAT, documents=4)
    here.run(40)
    had = [each / weight for path, weight in people.items() for each in [work(here)[path]]]
    assert jain(had) > 0.98
    of_people = gaps(here, lambda path: people.get(path, ONE))[2]
    assert 0 < of_people < 2 * costliest(here)
    assert jain([1, 0, 0, 0]) == 0.25


def test_quantile():
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([1, 2], 1.0) == 2
    assert quantile([], 0.5) != quantile([], 0.5)


def test_people_ask_as_often_as_they_are_made_to():
    made = traffic.people(1, 100, count=20, rate=0.5, sizes=CHAT)
    assert 850 < len(made) < 1150
    assert made == sorted(made, key=lambda request: request.at)
    assert max(request.tokens_in for request in made) <= CHAT.most_in
    assert traffic.later(made, 2)[0].at == made[0].at + 2 * SECOND


@needs_traces
def test_azure_is_read_as_it_was_published():
    made = traffic.azure(TRACES, 60)
    assert (made[0].at, made[0].tokens_in, made[0].tokens_out) == (0, 374, 44)
    assert made[1].at == pytest.approx(4.314579 * SECOND, abs=1000)
    assert 100 < len(made) < 600


@needs_traces
def test_mooncakes_people_are_the_first_block_that_is_not_everyones():
    made = traffic.mooncake(TRACES, faster=2, most=50)
    assert len({request.path for request in made}) > 10
    assert all(request.blocks[:2] == (0, 1) for request in made)
    assert made[0].tokens_in == 6758


@needs_traces
def test_servegens_tenants_come_at_their_rates():
    tenants = traffic.tenants(TRACES, "language_m-small")
    asked = traffic.servegen(tenants, 60, 0.1)
    wanted = sum(tenant.rate for tenant in tenants) * 6
    assert len(asked) == pytest.approx(wanted, rel=0.35)
    assert 10 < len({request.path for request in asked}) <= len(tenants)
