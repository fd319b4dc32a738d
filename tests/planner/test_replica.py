"""The modelled engine: its steps, its room, its cache, and that jumping changes nothing."""

from random import Random

import pytest

from moduai.planner.replica import BLOCK, LLAMA_8B_H100, Engine, Job
from moduai.planner.steptime import StepTime

STEP = LLAMA_8B_H100


def drive(engine: Engine, jobs: list[tuple[int, Job]], *, every: int = 0) -> list[tuple[int, int]]:
    """Send jobs at their times; returns for each when its first and its last token came. ``every``: interrupt
    the engine so often (ns).
    """
    ends: dict[int, int] = {}
    coming = sorted(jobs, key=lambda each: each[0])
    now, look = 0, every
    while coming or engine.due >= 0:
        now = min(t for t in (engine.due, coming[0][0] if coming else -1) if t >= 0)
        while every and look < now:
            if engine.due >= 0:
                engine._interrupt(look)
                now = min(now, engine.due)
            look += every
        if engine.due == now:
            for job in engine.advance(now)[1]:
                ends[id(job)] = now
        while coming and coming[0][0] <= now:
            engine.send(coming.pop(0)[1], now)
    return [(job.first, ends[id(job)]) for _, job in jobs]


def some_jobs(seed: int, count: int, blocks: bool = False) -> list[tuple[int, Job]]:
    random = Random(seed)
    jobs = []
    for _ in range(count):
        tokens_in = random.randint(1, 3000)
        prefix = random.choice([(), tuple(range(4)), tuple(range(8))]) if blocks else ()
        own = tuple(random.getrandbits(40) for _ in range(max(0, tokens_in // BLOCK - len(prefix))))
        jobs.append((random.randrange(10**9), Job(tokens_in, random.randint(1, 400), prefix + own)))
    return jobs


def test_many_steps_take_as_long_as_each_of_them():
    context, time = 5000, 0
    for _ in range(300):
        time += STEP.base + STEP.sequence * 7 + STEP.context * context
        context += 7
    assert STEP.steps(300, 7, 5000) == time // 1000


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("blocks", [False, True])
def test_jumping_from_event_to_event_is_the_same_as_stepping(seed, blocks):
    jumped = drive(Engine(STEP, slots=16), some_jobs(seed, 60, blocks))
    stepped = drive(Engine(STEP, slots=16), some_jobs(seed, 60, blocks), every=1_000_000)
    # An interruption rounds the time of its jump down to whole ns.
    for one, other in zip(jumped, stepped, strict=True):
        assert one == pytest.approx(other, abs=2000)


def test_one_job_alone_takes_its_prompt_and_its_steps():
    ((first, end),) = drive(Engine(STEP), [(0, Job(1000, 11))])
    assert first == STEP.steps(1, 0, 0, 1000)
    assert end == first + STEP.steps(10, 1, 1001)


def test_a_long_prompt_is_read_in_chunks_while_others_write():
    engine = Engine(STEP, chunk=512)
    drive(engine, jobs := [(0, Job(100, 200)), (200_000_000, Job(5000, 2))])
    assert jobs[1][1].first > 200_000_000 + 9 * STEP.steps(1, 1, 100, 500)
    assert jobs[0][1].wrote == 200


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_left_when_all_have_ended(seed):
    engine = Engine(StepTime(STEP.base, STEP.sequence, STEP.context, STEP.prefill, room=9000), slots=8)
    jobs = some_jobs(seed, 40, blocks=True)
    drive(engine, jobs)
    assert engine.used() == engine._private == engine._context == 0
    assert not engine.cache.used
    assert len(engine.cache.idle) * BLOCK <= 9000
    for _, job in jobs:
        assert job.wrote == job.tokens_out
        assert job.read >= job.tokens_in - job.cached


def test_a_prefix_that_is_there_is_not_read_again():
    blocks = tuple(range(8))
    jobs = [
        (0, Job(8 * BLOCK, 5, blocks)),
        (10**9, Job(8 * BLOCK + 10, 5, blocks)),
        (10**9, Job(999, 5, (91, 92))),
    ]
    drive(Engine(STEP), jobs)
    assert [job.cached for _, job in jobs] == [0, 8 * BLOCK, 0]
    assert jobs[1][1].read == 10


def test_a_prompt_that_is_there_whole_still_reads_its_last_token():
    blocks = tuple(range(4))
    jobs = [(0, Job(4 * BLOCK, 5, blocks)), (10**9, Job(4 * BLOCK, 5, blocks))]
    drive(Engine(STEP), jobs)
    assert jobs[1][1].read == 1


def test_the_least_recently_used_blocks_go_first():
    engine = Engine(StepTime(STEP.base, STEP.sequence, STEP.context, STEP.prefill, room=4 * BLOCK + 100))
    old, new = (1, 2), (3, 4)
    again = [(3 * 10**9, Job(2 * BLOCK, 2, old)), (4 * 10**9, Job(2 * BLOCK, 2, new))]
    drive(
        engine,
        [
            (0, Job(2 * BLOCK, 2, old)),
            (10**9, Job(2 * BLOCK, 2, new)),
            (2 * 10**9, Job(BLOCK, 2, (5,))),
            *again,
        ],
    )
    assert [job.cached for _, job in again] == [BLOCK, BLOCK], "of each the last block went first"


def test_without_room_the_youngest_gives_way_and_is_read_again():
    engine = Engine(StepTime(STEP.base, STEP.sequence, STEP.context, STEP.prefill, room=1000))
    jobs = [(0, Job(400, 300)), (1, Job(400, 300))]
    (_, old), (_, young) = drive(engine, jobs)
    assert old < young
    assert jobs[0][1].read == 400
    assert jobs[1][1].read > 800
    assert jobs[1][1].wrote == 300


def test_what_alone_is_larger_than_the_room_still_ends():
    engine = Engine(StepTime(STEP.base, STEP.sequence, STEP.context, STEP.prefill, room=100))
    drive(engine, jobs := [(0, Job(400, 30))])
    assert jobs[0][1].wrote == 30


@pytest.mark.parametrize("when", [0, 1_000_000, 50_000_000, 400_000_000])
def test_a_job_may_be_dropped_at_any_time(when):
    """While it waits for a slot, is read, or writes: its room is free again and the others are served."""
    engine = Engine(STEP, slots=2, chunk=256)
    jobs = [Job(1500, 100), Job(1500, 100), Job(1500, 100)]
    for job in jobs:
        engine.send(job, 0)
    ended: list[Job] = []
    dropped = False
    while engine.due >= 0:
        now = engine.due
        if not dropped and now >= when:
            engine.drop(jobs[1], now)
            engine.drop(jobs[2], now)
            dropped = True
        ended += engine.advance(now)[1]
    assert ended == [jobs[0]]
    assert engine.used() == engine._context == 0


def test_written_is_known_in_the_middle_of_a_jump():
    engine = Engine(STEP)
    job = Job(100, 1000)
    engine.send(job, 0)
    engine.advance(0)
    assert engine.written(job, 0) == 0
    began = engine.due
    engine.advance(began)
    assert engine.written(job, began) == 1
    assert engine.written(job, began + STEP.steps(10, 1, 101)) == 11
    assert engine.written(job, began + STEP.steps(10, 1, 101) - 1) == 10


def test_a_slower_engine_takes_longer():
    (_, end), (_, slow) = drive(Engine(STEP), [(0, Job(1000, 50))]) + drive(
        Engine(STEP.slower(250)), [(0, Job(1000, 50))]
    )
    assert slow == pytest.approx(4 * end, rel=0.01)
