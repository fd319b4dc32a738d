"""The cell in machine code against the plain twin, and that it decides the same each time."""

from random import Random

import pytest

from moduai.planner import Engine, Request, Twin, replay
from moduai.planner.baselines import FirstCome, LateFirstCome
from moduai.planner.cell import Cell
from moduai.scheduling import FairQueue
from moduai.scheduling.journal import Journal
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
