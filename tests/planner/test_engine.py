"""The compiled engine against a plain one that steps each iteration, and against the plain replica."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.planner import engine, replica
from moduai.planner.steptime import StepTime

from . import stepwise

pytestmark = pytest.mark.usefixtures("machine_code")

TIME = StepTime(7_001_003, 21_017, 43_011, 17_003, room=3_000, experts=(0, 900_001, 1_500_007, 1_800_003))
NO_FAILURES = np.zeros((0, 2), np.int64)
LENGTHS = st.tuples(st.integers(0, 30_000), st.integers(1, 900), st.integers(1, 400))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(LENGTHS, min_size=1, max_size=40),
    st.integers(1, 9),
    st.sampled_from([64, 500, 4096]),
    st.lists(st.tuples(st.integers(1, 60_000), st.integers(1, 9_000)), max_size=3),
)
def test_it_ends_everything_to_the_nanosecond_when_the_plain_one_does(requests, slots, chunk, outages):
    arrivals = np.cumsum([gap * 1000 for gap, _, _ in requests])
    jobs = engine.table([read for _, read, _ in requests], [wrote for _, _, wrote in requests])
    failures, at = [], 0
    for gap, away in outages:
        failures.append((at + gap * 1000, at + (gap + away) * 1000))
        at = failures[-1][1] + 1
    core = engine.core(TIME, jobs, slots=slots, chunk=chunk)
    engine.run(*core, arrivals, np.array(failures, np.int64).reshape(-1, 2), engine.NEVER)
    stepped = [stepwise.Job(read, wrote) for _, read, wrote in requests]
    stepwise.run(stepwise.Stepping(TIME, slots=slots, chunk=chunk), stepped, arrivals.tolist(), failures)
    assert [(job.first, job.ended, job.wrote) for job in stepped] == [
        tuple(row) for row in jobs[:, [engine.FIRST, engine.ENDED, engine.WROTE]].tolist()
    ]
    assert core.state[[engine.CONTEXT, engine.PRIVATE, engine.BATCH, engine.READERS]].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(8))
def test_it_shares_prefixes_and_loses_clients_as_the_plain_replica_does(seed):
    random = Random(seed)
    lengths = [(random.randrange(1, 2_000), random.randrange(1, 300)) for _ in range(120)]
    blocks = [
        [random.randrange(3), *(random.randrange(12) for _ in range(read // 256))] for read, _ in lengths
    ]
    blocks = [list(dict.fromkeys(some)) for some in blocks]
    events = sorted((random.randrange(40_000_000), number) for number in range(120))
    leave = {number: at + random.randrange(1, 9_000_000) for at, number in events if random.random() < 0.3}
    jobs = engine.table(*zip(*lengths, strict=True))
    core = engine.core(TIME, jobs, engine.begin_with(jobs, blocks), slots=12, chunk=700)
    plain = replica.Engine(TIME, slots=12, chunk=700)
    objects = [
        replica.Job(read, wrote, tuple(some)) for (read, wrote), some in zip(lengths, blocks, strict=True)
    ]
    todo = sorted(
        [(at, 0, number) for at, number in events] + [(at, 1, number) for number, at in leave.items()]
    )
    ended: set[int] = set()
    while todo or plain.due >= 0:
        assert plain.due == core.state[engine.DUE]
        if todo and (plain.due < 0 or todo[0][0] <= plain.due):
            now, leaves, number = todo.pop(0)
            if not leaves:
                plain.send(objects[number], now)
                engine.send(core.state, jobs, number, now)
            elif number not in ended:
                plain.drop(objects[number], now)
                engine.drop(core.state, jobs, number, now)
            continue
        now = plain.due
        _, gone = plain.advance(now)
        engine.advance(*core, now)
        ends = core.state[core.state[engine.NEWS_AT] + 12 :][: core.state[engine.ENDS]].tolist()
        assert ends == [objects.index(job) for job in gone]
        ended |= set(ends)
        assert plain.used() == engine.used(core.state)
    columns = [engine.CACHED, engine.READ, engine.FIRST, engine.WROTE]
    assert [(job.cached, job.read, job.first, job.wrote) for job in objects] == [
        tuple(row) for row in jobs[:, columns].tolist()
    ]
    assert jobs[:, engine.CACHED].any()
