"""The cell in machine code against the plain twin, and that it decides the same each time."""

from random import Random

import pytest
from msgspec.structs import replace

from moduai.planner import Engine, Request, Twin, replay
from moduai.planner.baselines import FirstCome, LateFirstCome
from moduai.planner.cell import Cell, Outage
from moduai.planner.clock import SECOND
from moduai.scheduling import FairQueue
from moduai.scheduling.journal import Journal
from moduai.scheduling.policy import ClassRule, Limits, Policy
from tests.planner.test_run import POLICY, STEP

pytestmark = pytest.mark.usefixtures("machine_code")


def asked(count: int, gap: int) -> list[Request]:
    random, at, found = Random(3), 0, []
    for _ in range(count):
        at += random.randrange(1, 2 * gap)
        read, person = random.randrange(20, 1500), random.randrange(9)
        blocks = tuple(range(1000 * person, 1000 * person + read // 256))
        found.append(
            Request(at, ("resident", "none", f"p{person}"), read, random.randrange(1, 200), blocks=blocks)
        )
    return found


@pytest.mark.parametrize("make", [FirstCome, LateFirstCome])
def test_it_serves_as_the_plain_twin_does(make):
    requests = asked(300, 8_000_000)
    found = Cell(make(), [STEP, STEP.slower(700)], requests, slots=8).run()
    names = {"replica-0000": Engine(STEP, slots=8), "replica-0001": Engine(STEP.slower(700), slots=8)}
    twin = Twin(make(), names)
    twin.play(requests)
    twin.run(60)
    assert [record.job.first for record in twin.records] == found.first.tolist()
    assert [record.ended for record in twin.records] == found.ended.tolist()
    assert [record.granted for record in twin.records] == found.granted.tolist()


def test_everybody_is_served_and_the_log_replays_to_the_same_decisions():
    requests = asked(400, 3_000_000)
    told = []
    for _ in range(2):
        lines: list[bytes] = []
        journal = Journal(POLICY, lines.append)
        found = Cell(journal, [STEP] * 2, requests, slots=16).run()
        journal.close()
        told.append((found.digest, journal.digest))
        assert (found.ended >= found.first).all()
        assert (found.first > found.granted).all()
        assert replay(lines).agrees
    assert told[0] == told[1]


def test_time_can_end_before_all_is_served():
    found = Cell(FairQueue(POLICY), [STEP], asked(100, 10_000_000)).run(until=500_000_000)
    assert 0 < (found.ended >= 0).sum() < 100
    assert found.ended.max() < 500_000_000


OUTAGES = [
    Outage(300_000_000, 2_000_000_000, 0),
    Outage(1_500_000_000, 3_000_000_000, 2),
    Outage(2_500_000_000, 2_600_000_000, 0),
]


def beside(requests, outages=(), *, policy=POLICY, slots=8):
    """The same with the plain twin, behind the real queue."""
    times = [STEP, STEP.slower(700), STEP]
    found = Cell(FairQueue(policy), times, requests, slots=slots, outages=outages).run()
    twin = Twin(
        FairQueue(policy), {f"replica-{n:04}": Engine(time, slots=slots) for n, time in enumerate(times)}
    )
    for one in outages:
        twin.clock.at(one.at, twin.die, f"replica-{one.replica:04}", one.back)
    twin.play(requests)
    twin.run(120)
    assert not twin.running
    assert [record.granted for record in twin.records] == found.granted.tolist()
    assert [record.ended for record in twin.records] == found.ended.tolist()
    assert [record.left for record in twin.records] == found.left.tolist()
    assert [record.lost for record in twin.records] == found.lost.tolist()
    return found


def test_engines_die_and_come_back_as_in_the_plain_twin():
    requests = asked(500, 5_000_000)
    found = beside(requests, OUTAGES)
    away = (found.replica == 0) & (found.granted > 300_000_000) & (found.granted < 2_000_000_000)
    assert not away.any()
    assert (found.replica[found.granted > 2_000_000_000] == 0).any()
    assert 0 < found.lost.sum() < 8 * len(OUTAGES) + 1  # what had begun, no more than the slots
    over = (found.ended >= 0) | found.lost
    assert over.all()
    assert ((found.ended >= 0) ^ found.lost).all()
    again = Cell(FairQueue(POLICY), [STEP, STEP.slower(700), STEP], requests, slots=8, outages=OUTAGES).run()
    assert again.digest == found.digest


def test_what_has_not_begun_is_sent_elsewhere_and_lost_where_there_is_nowhere():
    requests = [replace(one, at=number, blocks=()) for number, one in enumerate(asked(9, 1_000))]
    outage = [Outage(1_000, SECOND, 0)]
    alone = Cell(FairQueue(POLICY), [STEP], requests, slots=4, outages=outage).run()
    assert alone.lost.sum() == 4  # they were tried on the only one
    two = Cell(FairQueue(POLICY), [STEP] * 2, requests, slots=4, outages=outage).run()
    assert not two.lost.any()
    assert (two.ended > 0).all()


def test_clients_lose_their_patience_as_in_the_plain_twin():
    requests = [replace(one, patience=SECOND * (1 + n % 2)) for n, one in enumerate(asked(500, 1_500_000))]
    found = beside(requests)
    waited = found.left[found.left >= 0] - found.at[found.left >= 0]
    assert set(waited) == {SECOND, 2 * SECOND}
    assert ((found.left >= 0) ^ (found.ended >= 0)).all()


def test_who_insists_comes_again_until_it_is_taken_and_others_are_refused():
    limits = Limits(1, 1, 1)
    policy = Policy("narrow", {"resident": ClassRule("resident", limits=limits)}, "resident", limits=limits)
    requests = asked(60, 1_000_000)
    found = Cell(FairQueue(policy), [STEP], requests, slots=4).run()
    assert 0 < found.refused.sum() < 60
    found = Cell(FairQueue(policy), [STEP], [replace(one, insists=True) for one in requests], slots=4).run()
    assert not found.refused.any()
    assert (found.ended > 0).all()
    assert (found.granted[1:] >= found.granted[:-1]).all()  # in the order in which they came


def test_what_an_engine_has_of_a_conversation_is_not_read_but_takes_room():
    requests = [replace(one, blocks=(), held=5_000) for one in asked(50, 50_000_000)]
    bare = [replace(one, held=0) for one in requests]
    full = [replace(one, tokens_in=one.tokens_in + 5_000, held=0) for one in requests]
    held, none, read = (
        Cell(FairQueue(POLICY), [STEP], some, slots=8).run() for some in (requests, bare, full)
    )
    first = [(found.first - found.granted).mean() for found in (none, held, read)]
    wrote = [(found.ended - found.first).mean() for found in (none, held)]
    assert first[0] < first[1] < first[2]
    assert first[1] - first[0] < (first[2] - first[0]) / 4
    assert wrote[0] < wrote[1]
