"""One replica in machine code: arrays in, arrays out, from event to event.

The rules are those of ``replica.Engine`` (continuous batching, chunked prefill, KV room, prefix cache, the
youngest preempted); tests hold it to that, and to ``twin``, which steps each iteration, to the nanosecond.
All state is in integer arrays, so that compiled functions (Numba) work on it:

* ``jobs``: a row for each request, with the columns below. A request stands in one list at a time (waiting,
  reading or writing); the lists are chained through the rows.
* ``state``: a row of numbers for the replica, with the fields below.
* ``heap``: the requests that are written, the one that ends first on top.
* ``blocks``: what prompts begin with, as numbers from 0; idle ones are chained in order of last use.

A *failure* ends what is being written and forgets what was read and cached; what had not begun to write waits
until the replica is back. The same holds for its start: before it is ready, requests wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from moduai.planner.steptime import SLOTS, StepTime

Ints = NDArray[np.int64]
Function = TypeVar("Function", bound=Callable[..., Any])

CHUNK = 8192
"""Most tokens of a step."""
BLOCK = 256
"""Tokens of a block of the prefix cache: about what a block of a raw prompt has (``scheduling.prefix``)."""
NEVER = 1 << 62

# columns of `jobs`
IN: Final = 0
OUT: Final = 1
CACHED: Final = 2
READ: Final = 3
FIRST: Final = 4
ENDED: Final = 5
LEFT: Final = 6
WROTE: Final = 7
MARK: Final = 8
STATE: Final = 9
NEXT: Final = 10
PREV: Final = 11
AT: Final = 12
"""Its place in the heap."""
LAST: Final = 13
"""The step with which it ends."""
ORDER: Final = 14
BEGINS: Final = 15
"""Where its blocks begin in ``blocks.ids``, and how many its prompt fills."""
FILLS: Final = 16
QUIT: Final = 17
"""1: its client has gone."""
COLUMNS: Final = 18

# values of STATE
NEW: Final = 0
WAITING: Final = 1
READING: Final = 2
WRITING: Final = 3
GONE: Final = 4
FAILED: Final = 5

# fields of `state`
DUE: Final = 0
BEGAN: Final = 1
PLANNED: Final = 2
STEPS: Final = 3
CONTEXT: Final = 4
PRIVATE: Final = 5
BUSY: Final = 6
BATCH: Final = 7
READERS: Final = 8
WAIT_HEAD: Final = 9
WAIT_TAIL: Final = 10
READ_HEAD: Final = 11
READ_TAIL: Final = 12
WRITE_HEAD: Final = 32
WRITE_TAIL: Final = 13
SHARED: Final = 14
IDLE: Final = 15
IDLE_HEAD: Final = 16
IDLE_TAIL: Final = 17
PREFILL: Final = 18
COUNT: Final = 19
DROPPED: Final = 20
NEWS: Final = 21
"""How many requests have begun to be answered in the last event, and below how many have ended."""
ENDS: Final = 22
READY: Final = 23
WAITERS: Final = 24
BASE: Final = 25
SEQUENCE: Final = 26
PER_CONTEXT: Final = 27
PER_PREFILL: Final = 28
ROOM: Final = 29
SLOT: Final = 30
CHUNKS: Final = 31
FIELDS: Final = 33


class Core(NamedTuple):
    """All arrays of one replica; ``jobs`` and ``ids`` are shared by the replicas of a cell."""

    state: Ints
    jobs: Ints
    heap: Ints
    dropped: Ints
    news: Ints
    """Requests whose first token came in the last event, then (from ``slots`` on) those that ended."""
    experts: Ints
    ids: Ints
    users: Ints
    after: Ints
    before: Ints


def _compiled(function: Function) -> Function:
    """Machine code, kept beside the module or, where that is read-only, in the user's cache folder."""
    made: Function = njit(cache=True, nogil=True)(function)
    return made


def table(tokens_in: Sequence[int] | Ints, tokens_out: Sequence[int] | Ints) -> Ints:
    """The rows of so many requests without blocks."""
    jobs = np.zeros((len(tokens_in), COLUMNS), np.int64)
    jobs[:, IN], jobs[:, OUT] = tokens_in, tokens_out
    jobs[:, LEFT] = jobs[:, MARK] = jobs[:, NEXT] = jobs[:, PREV] = jobs[:, AT] = -1
    return jobs


def begin_with(jobs: Ints, blocks: Sequence[Sequence[int]]) -> Ints:
    """Say with which blocks each prompt begins (any numbers); returns ``ids`` for ``core``."""
    known: dict[int, int] = {}
    ids: list[int] = []
    for row, mine in zip(jobs, blocks, strict=True):
        whole = mine[: int(row[IN]) // BLOCK]
        row[BEGINS], row[FILLS] = len(ids), len(whole)
        ids.extend(known.setdefault(block, len(known)) for block in whole)
    return np.array(ids, np.int64)


def core(
    time: StepTime, jobs: Ints, ids: Ints | None = None, *, slots: int = SLOTS, chunk: int = CHUNK
) -> Core:
    """An idle replica that will be sent some of these requests."""
    state = np.zeros(FIELDS, np.int64)
    state[
        [DUE, WAIT_HEAD, WAIT_TAIL, READ_HEAD, READ_TAIL, WRITE_HEAD, WRITE_TAIL, IDLE_HEAD, IDLE_TAIL]
    ] = -1
    state[[BASE, SEQUENCE, PER_CONTEXT, PER_PREFILL]] = time.base, time.sequence, time.context, time.prefill
    state[[ROOM, SLOT, CHUNKS]] = time.room, slots, chunk
    ids = np.zeros(0, np.int64) if ids is None else ids
    count = int(ids.max()) + 1 if len(ids) else 0
    return Core(
        state,
        jobs,
        np.zeros(slots + 1, np.int64),
        np.zeros(slots + 1, np.int64),
        np.zeros(2 * slots + 2, np.int64),
        np.array(time.experts, np.int64),
        ids,
        np.zeros(count, np.int64),
        np.full(count, -2, np.int64),
        np.full(count, -2, np.int64),
    )


@_compiled
def lasts(core: Core, steps: int, batch: int, context: int, prefill: int) -> int:
    """Time in ns of so many steps, as ``StepTime.steps``."""
    s = core.state
    grown = steps * context + batch * (steps * (steps - 1) // 2)
    met = min(batch + prefill, len(core.experts) - 1)
    each = s[BASE] + s[SEQUENCE] * batch + s[PER_PREFILL] * prefill + core.experts[met]
    return (steps * each + s[PER_CONTEXT] * grown) // 1000


@_compiled
def done(core: Core, now: int) -> int:
    """Steps of the present jump that have ended by now."""
    s = core.state
    if now >= s[DUE]:
        return s[PLANNED]
    if s[PLANNED] <= 1:
        return 0
    low, high = 0, s[PLANNED]  # `low` have ended, `high` have not
    while high - low > 1:
        middle = (low + high) // 2
        if lasts(core, middle, s[BATCH], s[CONTEXT], 0) <= now - s[BEGAN]:
            low = middle
        else:
            high = middle
    return low


@_compiled
def interrupt(core: Core, now: int) -> None:
    """Look again at the end of the step that is under way."""
    s = core.state
    if s[DUE] < 0:
        s[BEGAN] = now
        s[DUE] = max(now, s[READY])
    elif s[PLANNED] > 1 and now < s[DUE]:
        s[PLANNED] = done(core, now) + 1
        s[DUE] = s[BEGAN] + lasts(core, s[PLANNED], s[BATCH], s[CONTEXT], 0)


@_compiled
def send(core: Core, job: int, now: int) -> None:
    """Give it a request; it joins the batch at the next step."""
    core.jobs[job, STATE] = WAITING
    append(core, job, WAIT_HEAD, WAIT_TAIL)
    core.state[WAITERS] += 1
    interrupt(core, now)


@_compiled
def append(core: Core, job: int, head: int, tail: int) -> None:
    """Put a request at the end of a list."""
    s, jobs = core.state, core.jobs
    last = s[tail]
    jobs[job, PREV], jobs[job, NEXT] = last, -1
    if last >= 0:
        jobs[last, NEXT] = job
    else:
        s[head] = job
    s[tail] = job


@_compiled
def unlink(core: Core, job: int, head: int, tail: int) -> None:
    """Take a request out of a list."""
    s, jobs = core.state, core.jobs
    before, after = jobs[job, PREV], jobs[job, NEXT]
    if before >= 0:
        jobs[before, NEXT] = after
    else:
        s[head] = after
    if after >= 0:
        jobs[after, PREV] = before
    else:
        s[tail] = before


@_compiled
def drop(core: Core, job: int, now: int) -> None:
    """The client has gone: stop the request at the next step. What it wrote until now is known at once."""
    s, jobs = core.state, core.jobs
    if jobs[job, STATE] == WRITING:
        steps = s[STEPS] + done(core, now)
        jobs[job, WROTE] += steps - jobs[job, MARK]
        jobs[job, MARK] = steps
    jobs[job, QUIT] = 1
    if jobs[job, STATE] != WAITING:
        core.dropped[s[DROPPED]] = job
        s[DROPPED] += 1
    interrupt(core, now)


@_compiled
def written(core: Core, job: int, now: int) -> int:
    """Tokens of the answer that were written by now."""
    jobs = core.jobs
    if jobs[job, STATE] != WRITING:
        return jobs[job, WROTE]
    return jobs[job, WROTE] + core.state[STEPS] + done(core, now) - jobs[job, MARK]


@_compiled
def advance(core: Core, now: int) -> None:
    """End the steps that were due now and begin the next; ``news`` says whose first or last token came."""
    s, jobs = core.state, core.jobs
    s[NEWS] = s[ENDS] = 0
    if s[PLANNED]:
        end_steps(core, now)
    while s[BATCH]:
        job = core.heap[0]
        if jobs[job, LAST] > s[STEPS]:
            break
        stop_writing(core, job)
        jobs[job, STATE] = GONE
        if not jobs[job, QUIT]:
            jobs[job, ENDED] = now
            core.news[s[SLOT] + s[ENDS]] = job
            s[ENDS] += 1
    drop_gone(core)
    begin_steps(core, now)


@_compiled
def end_steps(core: Core, now: int) -> None:
    """What the steps have done: every answer has grown, and prompts were read."""
    s, jobs = core.state, core.jobs
    s[BUSY] += now - s[BEGAN]
    s[STEPS] += s[PLANNED]
    grown = s[PLANNED] * s[BATCH]
    s[CONTEXT] += grown
    s[PRIVATE] += grown
    s[PLANNED] = 0
    left = s[PREFILL]
    s[PREFILL] = 0
    while left:
        job = s[READ_HEAD]
        tokens = min(left, jobs[job, LEFT])
        left -= tokens
        jobs[job, LEFT] -= tokens
        jobs[job, READ] += tokens
        if jobs[job, LEFT] == 0:
            unlink(core, job, READ_HEAD, READ_TAIL)
            s[READERS] -= 1
            if jobs[job, FIRST] == 0:
                jobs[job, FIRST] = now
                if not jobs[job, QUIT]:
                    core.news[s[NEWS]] = job
                    s[NEWS] += 1
            start_writing(core, job)


@_compiled
def start_writing(core: Core, job: int) -> None:
    """The prompt is read, and the first token is there."""
    s, jobs = core.state, core.jobs
    jobs[job, STATE] = WRITING
    jobs[job, WROTE] += 1
    jobs[job, MARK] = s[STEPS]
    jobs[job, LAST] = s[STEPS] + jobs[job, OUT] - jobs[job, WROTE]
    s[COUNT] += 1
    jobs[job, ORDER] = s[COUNT]
    s[CONTEXT] += jobs[job, IN] + jobs[job, WROTE]
    s[PRIVATE] += 1
    append(core, job, WRITE_HEAD, WRITE_TAIL)
    push(core, job)


@_compiled
def stop_writing(core: Core, job: int) -> None:
    """It is written no more, for whatever reason, and gives its room back."""
    s, jobs = core.state, core.jobs
    jobs[job, WROTE] += s[STEPS] - jobs[job, MARK]
    jobs[job, MARK] = -1
    unlink(core, job, WRITE_HEAD, WRITE_TAIL)
    pull(core, job)
    s[CONTEXT] -= jobs[job, IN] + jobs[job, WROTE]
    release(core, job)


@_compiled
def release(core: Core, job: int) -> None:
    """Its room is free; its blocks stay as idle ones if nobody else uses them, the last goes out first."""
    s, jobs = core.state, core.jobs
    first, count = jobs[job, BEGINS], jobs[job, FILLS]
    s[PRIVATE] -= jobs[job, IN] - count * BLOCK + jobs[job, WROTE]
    for number in range(first + count - 1, first - 1, -1):
        block = core.ids[number]
        core.users[block] -= 1
        if core.users[block] == 0:
            s[SHARED] -= 1
            s[IDLE] += 1
            core.before[block], core.after[block] = s[IDLE_TAIL], -1
            if s[IDLE_TAIL] >= 0:
                core.after[s[IDLE_TAIL]] = block
            else:
                s[IDLE_HEAD] = block
            s[IDLE_TAIL] = block


@_compiled
def forget(core: Core, block: int) -> None:
    """An idle block is used again, or goes out of memory."""
    s = core.state
    before, after = core.before[block], core.after[block]
    if before >= 0:
        core.after[before] = after
    else:
        s[IDLE_HEAD] = after
    if after >= 0:
        core.before[after] = before
    else:
        s[IDLE_TAIL] = before
    core.before[block] = core.after[block] = -2
    s[IDLE] -= 1


@_compiled
def drop_gone(core: Core) -> None:
    """Those whose clients have left give their room back."""
    s, jobs = core.state, core.jobs
    for number in range(s[DROPPED]):
        job = core.dropped[number]
        if jobs[job, STATE] == WRITING:
            stop_writing(core, job)
        elif jobs[job, STATE] == READING:
            unlink(core, job, READ_HEAD, READ_TAIL)
            s[READERS] -= 1
            release(core, job)
        jobs[job, STATE] = GONE
    s[DROPPED] = 0


@_compiled
def used(core: Core) -> int:
    """Tokens of KV room in use, without idle blocks."""
    return core.state[PRIVATE] + core.state[SHARED] * BLOCK


@_compiled
def begin_steps(core: Core, now: int) -> None:
    """Make room, let requests in, and plan the steps until something happens."""
    s = core.state
    while s[BATCH] > 1 and used(core) + s[BATCH] > s[ROOM]:
        preempt(core)
    while s[WAIT_HEAD] >= 0 and admit(core, s[WAIT_HEAD]):
        pass
    most = max(0, s[ROOM] - used(core)) // BLOCK
    while s[IDLE] > most:
        forget(core, s[IDLE_HEAD])
    if s[BATCH] == 0 and s[READERS] == 0:
        s[DUE] = -1
        return
    s[BEGAN] = now
    if s[READERS]:
        s[PREFILL] = prefill(core)
        s[PLANNED] = 1
    else:
        room = (s[ROOM] - used(core)) // s[BATCH]
        s[PLANNED] = max(1, min(core.jobs[core.heap[0], LAST] - s[STEPS], room))
    s[DUE] = now + lasts(core, s[PLANNED], s[BATCH], s[CONTEXT], s[PREFILL])


@_compiled
def prefill(core: Core) -> int:
    """Tokens of prompts that the next step reads."""
    s, jobs = core.state, core.jobs
    budget = max(1, s[CHUNKS] - s[BATCH])
    total, job = 0, s[READ_HEAD]
    while job >= 0 and total < budget:
        total += min(jobs[job, LEFT], budget - total)
        job = jobs[job, NEXT]
    return total


@_compiled
def admit(core: Core, job: int) -> bool:
    """Begin to read the first that waits, if there is a slot and room for what it has."""
    s, jobs = core.state, core.jobs
    if jobs[job, QUIT]:
        jobs[job, STATE] = GONE
        unlink(core, job, WAIT_HEAD, WAIT_TAIL)
        s[WAITERS] -= 1
        return True
    running = s[BATCH] + s[READERS]
    if running >= s[SLOT]:
        return False
    first, count = jobs[job, BEGINS], jobs[job, FILLS]
    private = jobs[job, IN] - count * BLOCK + jobs[job, WROTE]
    new, held, whole = 0, 0, True
    for number in range(first, first + count):
        block = core.ids[number]
        here = core.users[block] > 0
        new += not here
        whole = whole and (here or core.before[block] != -2)
        held += whole
    if running and used(core) + private + new * BLOCK > s[ROOM]:
        return False
    hit = min(held * BLOCK, jobs[job, IN] - 1)
    if jobs[job, LEFT] < 0:
        jobs[job, CACHED] = hit
    jobs[job, LEFT] = jobs[job, IN] + jobs[job, WROTE] - hit
    take(core, first, count)
    s[PRIVATE] += private
    unlink(core, job, WAIT_HEAD, WAIT_TAIL)
    append(core, job, READ_HEAD, READ_TAIL)
    jobs[job, STATE] = READING
    s[WAITERS] -= 1
    s[READERS] += 1
    return True


@_compiled
def take(core: Core, first: int, count: int) -> None:
    """Use these blocks."""
    s = core.state
    for number in range(first, first + count):
        block = core.ids[number]
        if core.users[block] == 0:
            s[SHARED] += 1
            if core.before[block] != -2:
                forget(core, block)
        core.users[block] += 1


@_compiled
def preempt(core: Core) -> None:
    """The youngest gives its room back, and is read again before all that wait."""
    job = core.state[WRITE_TAIL]
    stop_writing(core, job)
    wait_first(core, job)


@_compiled
def wait_first(core: Core, job: int) -> None:
    """It waits again, before all others."""
    s, jobs = core.state, core.jobs
    head = s[WAIT_HEAD]
    jobs[job, PREV], jobs[job, NEXT] = -1, head
    if head >= 0:
        jobs[head, PREV] = job
    else:
        s[WAIT_TAIL] = job
    s[WAIT_HEAD] = job
    s[WAITERS] += 1
    jobs[job, STATE] = WAITING


@_compiled
def sooner(core: Core, one: int, other: int) -> bool:
    """Which of two ends first; of those that end together, which began first."""
    jobs = core.jobs
    if jobs[one, LAST] != jobs[other, LAST]:
        return jobs[one, LAST] < jobs[other, LAST]
    return jobs[one, ORDER] < jobs[other, ORDER]


@_compiled
def rise(core: Core, job: int, at: int) -> None:
    """Put a request into the heap at this place or above it."""
    jobs, heap = core.jobs, core.heap
    while at:
        up = (at - 1) // 2
        if not sooner(core, job, heap[up]):
            break
        heap[at] = heap[up]
        jobs[heap[at], AT] = at
        at = up
    heap[at] = job
    jobs[job, AT] = at


@_compiled
def push(core: Core, job: int) -> None:
    """One more is written."""
    core.state[BATCH] += 1
    rise(core, job, core.state[BATCH] - 1)


@_compiled
def pull(core: Core, job: int) -> None:
    """Take a request out of the heap; the last one fills its place."""
    s, jobs, heap = core.state, core.jobs, core.heap
    s[BATCH] -= 1
    at, size = jobs[job, AT], s[BATCH]
    jobs[job, AT] = -1
    if at == size:
        return
    moved = heap[size]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and sooner(core, heap[child + 1], heap[child]):
            child += 1
        if not sooner(core, heap[child], moved):
            break
        heap[at] = heap[child]
        jobs[heap[at], AT] = at
        at = child
    rise(core, moved, at)


@_compiled
def fail(core: Core, now: int, back: int) -> None:
    """It dies, and is ready again at ``back``: answers under way end, prompts are read again, no cache."""
    s, jobs = core.state, core.jobs
    if s[PLANNED]:
        steps = done(core, now)
        s[STEPS] += steps
        s[CONTEXT] += steps * s[BATCH]
        s[PRIVATE] += steps * s[BATCH]
        s[BUSY] += now - s[BEGAN]
        s[PLANNED] = s[PREFILL] = 0
    while s[BATCH]:
        job = s[WRITE_TAIL]
        stop_writing(core, job)
        jobs[job, STATE], jobs[job, ENDED] = FAILED, now
    while s[READERS]:
        job = s[READ_TAIL]
        unlink(core, job, READ_HEAD, READ_TAIL)
        s[READERS] -= 1
        release(core, job)
        wait_first(core, job)
    while s[IDLE]:
        forget(core, s[IDLE_HEAD])
    s[DROPPED] = 0
    s[READY] = back
    s[DUE] = back if s[WAITERS] else -1


@_compiled
def run(core: Core, arrivals: Ints, failures: Ints, until: int) -> int:
    """Let the requests arrive at their times (ns, in order) and time pass until ``until`` or until all is
    done; returns the time of the last event. ``failures``: rows of when it dies and when it is back.
    """
    s = core.state
    number, failed, now = 0, 0, 0
    while True:
        arrival = arrivals[number] if number < len(arrivals) else NEVER
        failure = failures[failed, 0] if failed < len(failures) else NEVER
        due = s[DUE] if s[DUE] >= 0 else NEVER
        event = min(arrival, failure, due)
        if event == NEVER or event > until or (due == NEVER and arrival == NEVER):
            return now
        now = event
        if failure == event:
            fail(core, now, failures[failed, 1])
            failed += 1
        elif arrival <= due:
            send(core, number, now)
            number += 1
        else:
            advance(core, now)
