"""One replica in machine code: arrays in, arrays out, from event to event.

The rules are those of ``replica.Engine`` (continuous batching, chunked prefill, KV room, prefix cache, the
youngest preempted); tests hold it to that, and to a plain one that steps each iteration, to the nanosecond.
All state is in integer arrays, so that compiled functions (Numba) work on it:

* ``jobs``: a row for each request, with the columns below. A request stands in one list at a time (waiting,
  reading or writing); the lists are chained through the rows. The replicas of a cell share this array.
* ``s``, the state of the replica: the fields below, then the heap of requests that are written (the one that
  ends first on top), those that are to be dropped, the news, and the times that experts take.
* ``ids``: with which blocks the prompts begin, as numbers from 0; ``cache``: a row for each block, idle ones
  are chained in order of last use.

A *failure* ends what is being written and forgets what was read and cached; what had not begun to write waits
until the replica is back. The same holds for its start: before it is ready, requests wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from moduai.planner.steptime import BLOCK, CHUNK, SLOTS, StepTime

Ints = NDArray[np.int64]
P = ParamSpec("P")
R = TypeVar("R")

NEVER = 1 << 62
ORDERS: Final = 1 << 32
"""The heap's keys: the step with which a request ends, times this, and its number."""

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
HELD: Final = 14
"""Tokens of its prompt that the replica is taken to have already, whatever its cache says."""
BEGINS: Final = 15
"""Where its blocks begin in ``blocks.ids``, and how many its prompt fills."""
FILLS: Final = 16
EXPECTED: Final = 18
QUIT: Final = 17
"""1: its client has gone."""
COLUMNS: Final = 19

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
DROPS_AT: Final = 33
"""Where the dropped, the news and the times of experts are in the state, and how many of these there are."""
NEWS_AT: Final = 34
METS_AT: Final = 35
METS: Final = 36
HEAP: Final = 37

# columns of `cache`
USERS: Final = 0
BEFORE: Final = 1
AFTER: Final = 2


class Core(NamedTuple):
    """All arrays of one replica, in the order in which the functions take them."""

    state: Ints
    jobs: Ints
    ids: Ints
    cache: Ints


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Machine code, kept beside the module or in the user's cache folder; where neither can be written, made
    anew in each process. No function makes an array, so references to arrays need not be counted (`_nrt`):
    that would take two thirds of the time.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "_nrt": False}
    made: Callable[P, R]
    try:
        made = njit(cache=True, **options)(function)
    except RuntimeError:
        made = njit(**options)(function)
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
    drops_at = HEAP + 2 * slots + 2
    news_at = drops_at + slots + 1
    mets_at = news_at + 2 * slots + 2
    state = np.zeros(mets_at + len(time.experts), np.int64)
    state[mets_at:] = time.experts
    state[[DROPS_AT, NEWS_AT, METS_AT, METS]] = drops_at, news_at, mets_at, len(time.experts)
    state[
        [DUE, WAIT_HEAD, WAIT_TAIL, READ_HEAD, READ_TAIL, WRITE_HEAD, WRITE_TAIL, IDLE_HEAD, IDLE_TAIL]
    ] = -1
    state[[BASE, SEQUENCE, PER_CONTEXT, PER_PREFILL]] = time.base, time.sequence, time.context, time.prefill
    state[[ROOM, SLOT, CHUNKS]] = time.room, slots, chunk
    ids = np.zeros(0, np.int64) if ids is None else ids
    cache = np.full((int(ids.max()) + 1 if len(ids) else 0, 3), -2, np.int64)
    cache[:, USERS] = 0
    return Core(state, jobs, ids, cache)


@_compiled
def lasts(s: Ints, steps: int, batch: int, context: int, prefill: int) -> int:
    """Time in ns of so many steps, as ``StepTime.steps``."""
    grown = steps * context + batch * (steps * (steps - 1) // 2)
    met = min(batch + prefill, s[METS] - 1)
    each = s[BASE] + s[SEQUENCE] * batch + s[PER_PREFILL] * prefill + s[s[METS_AT] + met]
    return int((steps * each + s[PER_CONTEXT] * grown) // 1000)


@_compiled
def done(s: Ints, now: int) -> int:
    """Steps of the present jump that have ended by now."""
    if now >= s[DUE]:
        return int(s[PLANNED])
    if s[PLANNED] <= 1:
        return 0
    # The time of k steps is a·k² + b·k: the root in floats, then exactly.
    passed = now - s[BEGAN]
    each = lasts(s, 2, s[BATCH], 0, 0) * 500.0
    a = s[PER_CONTEXT] * s[BATCH] / 2.0
    b = max(1.0, each + s[PER_CONTEXT] * s[CONTEXT] - 2 * a)
    steps = int(2000.0 * passed / (b + np.sqrt(b * b + 4000.0 * a * passed)))
    steps = max(0, min(steps, s[PLANNED] - 1))
    while steps and lasts(s, steps, s[BATCH], s[CONTEXT], 0) > passed:
        steps -= 1
    while steps + 1 < s[PLANNED] and lasts(s, steps + 1, s[BATCH], s[CONTEXT], 0) <= passed:
        steps += 1
    return int(steps)


@_compiled
def interrupt(s: Ints, now: int) -> None:
    """Look again at the end of the step that is under way."""
    if s[DUE] < 0:
        s[BEGAN] = now
        s[DUE] = max(now, s[READY])
    elif s[PLANNED] > 1 and now < s[DUE]:
        s[PLANNED] = done(s, now) + 1
        s[DUE] = s[BEGAN] + lasts(s, s[PLANNED], s[BATCH], s[CONTEXT], 0)


@_compiled
def send(s: Ints, jobs: Ints, job: int, now: int) -> None:
    """Give it a request; it joins the batch at the next step."""
    jobs[job, STATE] = WAITING
    append(s, jobs, job, WAIT_HEAD, WAIT_TAIL)
    s[WAITERS] += 1
    interrupt(s, now)


@_compiled
def append(s: Ints, jobs: Ints, job: int, head: int, tail: int) -> None:
    """Put a request at the end of a list."""
    last = s[tail]
    jobs[job, PREV], jobs[job, NEXT] = last, -1
    if last >= 0:
        jobs[last, NEXT] = job
    else:
        s[head] = job
    s[tail] = job


@_compiled
def unlink(s: Ints, jobs: Ints, job: int, head: int, tail: int) -> None:
    """Take a request out of a list."""
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
def drop(s: Ints, jobs: Ints, job: int, now: int) -> None:
    """The client has gone: stop the request at the next step. What it wrote until now is known at once."""
    if jobs[job, STATE] == WRITING:
        steps = s[STEPS] + done(s, now)
        jobs[job, WROTE] += steps - jobs[job, MARK]
        jobs[job, MARK] = steps
    jobs[job, QUIT] = 1
    if jobs[job, STATE] != WAITING:
        s[s[DROPS_AT] + s[DROPPED]] = job
        s[DROPPED] += 1
    interrupt(s, now)


@_compiled
def written(s: Ints, jobs: Ints, job: int, now: int) -> int:
    """Tokens of the answer that were written by now."""
    if jobs[job, STATE] != WRITING:
        return int(jobs[job, WROTE])
    return int(jobs[job, WROTE] + s[STEPS] + done(s, now) - jobs[job, MARK])


@_compiled
def advance(s: Ints, jobs: Ints, ids: Ints, cache: Ints, now: int) -> None:
    """End the steps that were due now and begin the next; ``news`` says whose first or last token came."""
    s[NEWS] = s[ENDS] = 0
    if s[PLANNED]:
        end_steps(s, jobs, now)
    while s[BATCH]:
        if s[HEAP] // ORDERS > s[STEPS]:
            break
        job = s[HEAP + 1]
        stop_writing(s, jobs, ids, cache, job)
        jobs[job, STATE] = GONE
        if not jobs[job, QUIT]:
            jobs[job, ENDED] = now
            s[s[NEWS_AT] + s[SLOT] + s[ENDS]] = job
            s[ENDS] += 1
    drop_gone(s, jobs, ids, cache)
    begin_steps(s, jobs, ids, cache, now)


@_compiled
def end_steps(s: Ints, jobs: Ints, now: int) -> None:
    """What the steps have done: every answer has grown, and prompts were read."""
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
            unlink(s, jobs, job, READ_HEAD, READ_TAIL)
            s[READERS] -= 1
            if jobs[job, FIRST] == 0:
                jobs[job, FIRST] = now
                if not jobs[job, QUIT]:
                    s[s[NEWS_AT] + s[NEWS]] = job
                    s[NEWS] += 1
            start_writing(s, jobs, job)


@_compiled
def start_writing(s: Ints, jobs: Ints, job: int) -> None:
    """The prompt is read, and the first token is there."""
    jobs[job, STATE] = WRITING
    jobs[job, WROTE] += 1
    jobs[job, MARK] = s[STEPS]
    jobs[job, LAST] = s[STEPS] + jobs[job, OUT] - jobs[job, WROTE]
    s[CONTEXT] += jobs[job, IN] + jobs[job, WROTE]
    s[PRIVATE] += 1
    append(s, jobs, job, WRITE_HEAD, WRITE_TAIL)
    push(s, jobs, job)


@_compiled
def stop_writing(s: Ints, jobs: Ints, ids: Ints, cache: Ints, job: int) -> None:
    """It is written no more, for whatever reason, and gives its room back."""
    jobs[job, WROTE] += s[STEPS] - jobs[job, MARK]
    jobs[job, MARK] = -1
    unlink(s, jobs, job, WRITE_HEAD, WRITE_TAIL)
    pull(s, jobs, job)
    s[CONTEXT] -= jobs[job, IN] + jobs[job, WROTE]
    release(s, jobs, ids, cache, job)


@_compiled
def release(s: Ints, jobs: Ints, ids: Ints, cache: Ints, job: int) -> None:
    """Its room is free; its blocks stay as idle ones if nobody else uses them, the last goes out first."""
    first, count = jobs[job, BEGINS], jobs[job, FILLS]
    s[PRIVATE] -= jobs[job, IN] - count * BLOCK + jobs[job, WROTE]
    for number in range(first + count - 1, first - 1, -1):
        block = ids[number]
        cache[block, USERS] -= 1
        if cache[block, USERS] == 0:
            s[SHARED] -= 1
            s[IDLE] += 1
            cache[block, BEFORE], cache[block, AFTER] = s[IDLE_TAIL], -1
            if s[IDLE_TAIL] >= 0:
                cache[s[IDLE_TAIL], AFTER] = block
            else:
                s[IDLE_HEAD] = block
            s[IDLE_TAIL] = block


@_compiled
def forget(s: Ints, cache: Ints, block: int) -> None:
    """An idle block is used again, or goes out of memory."""
    before, after = cache[block, BEFORE], cache[block, AFTER]
    if before >= 0:
        cache[before, AFTER] = after
    else:
        s[IDLE_HEAD] = after
    if after >= 0:
        cache[after, BEFORE] = before
    else:
        s[IDLE_TAIL] = before
    cache[block, BEFORE] = cache[block, AFTER] = -2
    s[IDLE] -= 1


@_compiled
def drop_gone(s: Ints, jobs: Ints, ids: Ints, cache: Ints) -> None:
    """Those whose clients have left give their room back."""
    for number in range(s[DROPPED]):
        job = s[s[DROPS_AT] + number]
        if jobs[job, STATE] == WRITING:
            stop_writing(s, jobs, ids, cache, job)
        elif jobs[job, STATE] == READING:
            unlink(s, jobs, job, READ_HEAD, READ_TAIL)
            s[READERS] -= 1
            release(s, jobs, ids, cache, job)
        jobs[job, STATE] = GONE
    s[DROPPED] = 0


@_compiled
def used(s: Ints) -> int:
    """Tokens of KV room in use, without idle blocks."""
    return int(s[PRIVATE] + s[SHARED] * BLOCK)


@_compiled
def begin_steps(s: Ints, jobs: Ints, ids: Ints, cache: Ints, now: int) -> None:
    """Make room, let requests in, and plan the steps until something happens."""
    while s[BATCH] > 1 and used(s) + s[BATCH] > s[ROOM]:
        preempt(s, jobs, ids, cache)
    while s[WAIT_HEAD] >= 0 and admit(s, jobs, ids, cache, s[WAIT_HEAD]):
        pass
    most = max(0, s[ROOM] - used(s)) // BLOCK
    while s[IDLE] > most:
        forget(s, cache, s[IDLE_HEAD])
    if s[BATCH] == 0 and s[READERS] == 0:
        s[DUE] = -1
        return
    s[BEGAN] = now
    if s[READERS]:
        s[PREFILL] = prefill(s, jobs)
        s[PLANNED] = 1
    else:
        room = (s[ROOM] - used(s)) // s[BATCH]
        s[PLANNED] = max(1, min(s[HEAP] // ORDERS - s[STEPS], room))
    s[DUE] = now + lasts(s, s[PLANNED], s[BATCH], s[CONTEXT], s[PREFILL])


@_compiled
def prefill(s: Ints, jobs: Ints) -> int:
    """Tokens of prompts that the next step reads."""
    budget = max(1, s[CHUNKS] - s[BATCH])
    total, job = 0, s[READ_HEAD]
    while job >= 0 and total < budget:
        total += min(jobs[job, LEFT], budget - total)
        job = jobs[job, NEXT]
    return total


@_compiled
def admit(s: Ints, jobs: Ints, ids: Ints, cache: Ints, job: int) -> bool:
    """Begin to read the first that waits, if there is a slot and room for what it has."""
    if jobs[job, QUIT]:
        jobs[job, STATE] = GONE
        unlink(s, jobs, job, WAIT_HEAD, WAIT_TAIL)
        s[WAITERS] -= 1
        return True
    running = s[BATCH] + s[READERS]
    if running >= s[SLOT]:
        return False
    first, count = jobs[job, BEGINS], jobs[job, FILLS]
    private = jobs[job, IN] - count * BLOCK + jobs[job, WROTE]
    new, held, whole = 0, 0, True
    for number in range(first, first + count):
        block = ids[number]
        here = cache[block, USERS] > 0
        new += not here
        whole = whole and (here or cache[block, BEFORE] != -2)
        held += whole
    if running and used(s) + private + new * BLOCK > s[ROOM]:
        return False
    hit = min(max(held * BLOCK, jobs[job, HELD]), jobs[job, IN] - 1)
    if jobs[job, LEFT] < 0:
        jobs[job, CACHED] = hit
    jobs[job, LEFT] = jobs[job, IN] + jobs[job, WROTE] - hit
    take(s, ids, cache, first, count)
    s[PRIVATE] += private
    unlink(s, jobs, job, WAIT_HEAD, WAIT_TAIL)
    append(s, jobs, job, READ_HEAD, READ_TAIL)
    jobs[job, STATE] = READING
    s[WAITERS] -= 1
    s[READERS] += 1
    return True


@_compiled
def take(s: Ints, ids: Ints, cache: Ints, first: int, count: int) -> None:
    """Use these blocks."""
    for number in range(first, first + count):
        block = ids[number]
        if cache[block, USERS] == 0:
            s[SHARED] += 1
            if cache[block, BEFORE] != -2:
                forget(s, cache, block)
        cache[block, USERS] += 1


@_compiled
def preempt(s: Ints, jobs: Ints, ids: Ints, cache: Ints) -> None:
    """The youngest gives its room back, and is read again before all that wait."""
    job = s[WRITE_TAIL]
    stop_writing(s, jobs, ids, cache, job)
    wait_first(s, jobs, job)


@_compiled
def wait_first(s: Ints, jobs: Ints, job: int) -> None:
    """It waits again, before all others."""
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
def rise(s: Ints, jobs: Ints, job: int, key: int, at: int) -> None:
    """Put a request into the heap at this place or above it."""
    while at:
        up = (at - 1) // 2
        if key >= s[HEAP + 2 * up]:
            break
        move(s, jobs, up, at)
        at = up
    s[HEAP + 2 * at], s[HEAP + 2 * at + 1] = key, job
    jobs[job, AT] = at


@_compiled
def move(s: Ints, jobs: Ints, here: int, there: int) -> None:
    """Move what is in the heap from one place to another."""
    job = s[HEAP + 2 * here + 1]
    s[HEAP + 2 * there], s[HEAP + 2 * there + 1] = s[HEAP + 2 * here], job
    jobs[job, AT] = there


@_compiled
def push(s: Ints, jobs: Ints, job: int) -> None:
    """One more is written. What ends sooner comes first; of those that end together, what began first."""
    s[BATCH] += 1
    s[COUNT] += 1
    rise(s, jobs, job, jobs[job, LAST] * ORDERS + s[COUNT], s[BATCH] - 1)


@_compiled
def pull(s: Ints, jobs: Ints, job: int) -> None:
    """Take a request out of the heap; the last one fills its place."""
    s[BATCH] -= 1
    at, size = jobs[job, AT], s[BATCH]
    jobs[job, AT] = -1
    if at == size:
        return
    key, moved = s[HEAP + 2 * size], s[HEAP + 2 * size + 1]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and s[HEAP + 2 * child + 2] < s[HEAP + 2 * child]:
            child += 1
        if s[HEAP + 2 * child] >= key:
            break
        move(s, jobs, child, at)
        at = child
    rise(s, jobs, moved, key, at)


@_compiled
def fail(s: Ints, jobs: Ints, ids: Ints, cache: Ints, now: int, back: int) -> None:
    """It dies, and is ready again at ``back``: answers under way end, prompts are read again, no cache."""
    if s[PLANNED]:
        steps = done(s, now)
        s[STEPS] += steps
        s[CONTEXT] += steps * s[BATCH]
        s[PRIVATE] += steps * s[BATCH]
        s[BUSY] += now - s[BEGAN]
        s[PLANNED] = s[PREFILL] = 0
    while s[BATCH]:
        job = s[WRITE_TAIL]
        stop_writing(s, jobs, ids, cache, job)
        jobs[job, STATE], jobs[job, ENDED] = FAILED, now
    while s[READERS]:
        job = s[READ_TAIL]
        unlink(s, jobs, job, READ_HEAD, READ_TAIL)
        s[READERS] -= 1
        release(s, jobs, ids, cache, job)
        wait_first(s, jobs, job)
    while s[IDLE]:
        forget(s, cache, s[IDLE_HEAD])
    s[DROPPED] = 0
    s[READY] = back
    s[DUE] = back if s[WAITERS] else -1


@_compiled
def run(s: Ints, jobs: Ints, ids: Ints, cache: Ints, arrivals: Ints, failures: Ints, until: int) -> int:
    """Let the requests arrive at their times (ns, in order) and time pass until ``until`` or until all is
    done; returns the time of the last event. ``failures``: rows of when it dies and when it is back.
    """
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
            fail(s, jobs, ids, cache, now, failures[failed, 1])
            failed += 1
        elif arrival <= due:
            send(s, jobs, number, now)
            number += 1
        else:
            advance(s, jobs, ids, cache, now)


@_compiled
def until_news(states: Ints, dues: Ints, jobs: Ints, ids: Ints, caches: Ints, limit: int, told: Ints) -> int:
    """Advance the replicas of a cell in order of time before ``limit`` (ns), until one has news.

    Returns how many numbers were ``told``: when it was and how many requests have begun, those requests, and
    for each one that has ended its number, tokens of its prompt, of these cached, tokens written, and when
    its first came. 0: nobody has news.
    """
    while True:
        first, which = limit, -1
        for number in range(len(dues)):
            if dues[number] < first:
                first, which = dues[number], number
        if which < 0:
            return 0
        s = states[which]
        advance(s, jobs, ids, caches[which], first)
        dues[which] = s[DUE] if s[DUE] >= 0 else NEVER
        if s[NEWS] or s[ENDS]:
            return tell(s, jobs, first, told)


@_compiled
def tell(s: Ints, jobs: Ints, now: int, told: Ints) -> int:
    """Write down a replica's news."""
    told[0], told[1] = now, s[NEWS]
    at = 2
    for number in range(s[NEWS]):
        told[at] = s[s[NEWS_AT] + number]
        at += 1
    for number in range(s[ENDS]):
        job = s[s[NEWS_AT] + s[SLOT] + number]
        told[at], told[at + 1], told[at + 2] = job, jobs[job, IN], jobs[job, CACHED]
        told[at + 3], told[at + 4] = jobs[job, WROTE], jobs[job, FIRST]
        at += 5
    return at


@_compiled
def give(states: Ints, dues: Ints, jobs: Ints, which: int, job: int, expected: int, now: int) -> None:
    """Send a request to a replica of a cell; so many tokens are expected of its answer."""
    s = states[which]
    jobs[job, EXPECTED] = expected
    send(s, jobs, job, now)
    dues[which] = s[DUE]


@_compiled
def take_back(states: Ints, dues: Ints, jobs: Ints, which: int, job: int, now: int) -> None:
    """The client of a request that a replica of a cell has is gone."""
    s = states[which]
    drop(s, jobs, job, now)
    dues[which] = s[DUE]


@_compiled
def crash(
    states: Ints, dues: Ints, jobs: Ints, ids: Ints, caches: Ints, which: int, now: int, back: int
) -> None:
    """A replica of a cell dies, and with it all that it was sent; it is ready again at ``back``. Who sent it
    knows what that was, and may send it elsewhere.
    """
    s = states[which]
    fail(s, jobs, ids, caches[which], now, back)
    while s[WAIT_HEAD] >= 0:
        job = s[WAIT_HEAD]
        unlink(s, jobs, job, WAIT_HEAD, WAIT_TAIL)
        s[WAITERS] -= 1
        jobs[job, STATE], jobs[job, LEFT] = NEW, -1
    s[DUE] = -1
    dues[which] = NEVER


@_compiled
def beyond(states: Ints, jobs: Ints, now: int, told: Ints) -> int:
    """Tell of each request that has written more than was expected of it: its number and how much."""
    at = 0
    for which in range(len(states)):
        s = states[which]
        steps = s[STEPS] + done(s, now)
        for number in range(s[BATCH]):
            job = s[HEAP + 2 * number + 1]
            wrote = jobs[job, WROTE] + steps - jobs[job, MARK]
            if wrote > jobs[job, EXPECTED]:
                told[at], told[at + 1] = job, wrote
                at += 2
    return at
