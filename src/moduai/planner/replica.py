"""One replica: continuous batching, chunked prefill, KV room and a prefix cache.

Rules, in words, as in vLLM's scheduler:

* A step reads a chunk of the prompts that are not read yet, in order, and writes one token for every
  sequence whose prompt is read. New jobs join between steps, first come first served, while there is
  a slot and their prompt fits the KV room.
* Blocks of prompts stay in memory when a job ends, least recently used out first; a job whose prompt
  begins with blocks that are there does not read them again. Blocks in use are never dropped.
* When the room is full, the youngest sequence gives its room back and is read again later.

Between a step that reads and the end of a sequence nothing happens, so the engine jumps from event to
event: the time of many equal steps has a closed form (``StepTime.steps``).
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque

from msgspec import Struct

from moduai.planner.steptime import BLOCK, CHUNK, SLOTS, StepTime

LLAMA_8B_H100 = StepTime(5_417_253_731, 35_000_000, 42_647, 21_272_599, room=400_085)
LLAMA_70B_H200 = StepTime(9_595_104_167, 35_000_000, 9_301, 23_378_665, room=2_581_787)
"""The pools on which the fair queue is judged: one device, and eight. They do not follow newer fits of the
step time (``data/fit.toml``), so that figures of different days can be compared."""


class Job(Struct, eq=False):
    """One request inside an engine. Times in ns, 0 for what has not happened."""

    tokens_in: int
    tokens_out: int
    """How long its answer will be."""
    blocks: tuple[int, ...] = ()
    """Chained hashes of its prompt's blocks of ``BLOCK`` tokens."""
    held: int = 0
    """Tokens of ``tokens_in`` that the engine is taken to have already, whatever its cache says."""
    cached: int = 0
    """Prompt tokens that were in the cache when it began."""
    read: int = 0
    """Prompt tokens computed for it; those of an answer that lost its room count again."""
    first: int = 0
    """When its first token came."""
    gone: bool = False
    """It has ended or was dropped."""
    left: int = -1
    """Tokens still to read; -1 before it has begun."""
    wrote: int = 0
    """Tokens written when it last began to write."""
    mark: int = -1
    """Step after which it began to write; -1 while it does not."""


class PrefixCache:
    """Blocks in memory: those in use, and idle ones in order of last use."""

    __slots__ = ("idle", "used")

    def __init__(self) -> None:
        self.used: dict[int, int] = {}
        self.idle: dict[int, None] = {}

    def held(self, blocks: tuple[int, ...]) -> int:
        """How many leading blocks are there."""
        for number, block in enumerate(blocks):
            if block not in self.used and block not in self.idle:
                return number
        return len(blocks)

    def take(self, blocks: tuple[int, ...]) -> None:
        """Use these blocks."""
        for block in blocks:
            self.idle.pop(block, None)
            self.used[block] = self.used.get(block, 0) + 1

    def give(self, blocks: tuple[int, ...]) -> None:
        """Use them no more: the last of a prompt goes out before those it stands on."""
        for block in reversed(blocks):
            users = self.used.pop(block)
            if users > 1:
                self.used[block] = users - 1
            else:
                self.idle[block] = None

    def trim(self, most: int) -> None:
        """Keep at most this many idle blocks."""
        while len(self.idle) > most:
            del self.idle[next(iter(self.idle))]


class Engine:
    """A replica. ``due`` is when it next has something to tell (ns); -1 while it is idle."""

    def __init__(self, time: StepTime, *, slots: int = SLOTS, chunk: int = CHUNK) -> None:
        self.time = time
        self.slots = slots
        self.chunk = chunk
        self.due = -1
        self.busy = 0
        """Time in ns during which steps ran."""
        self.cache = PrefixCache()
        self.waiting: deque[Job] = deque()
        self.reading: deque[Job] = deque()
        self.writing: dict[Job, None] = {}
        self._ends: list[tuple[int, int, Job]] = []
        self._count = 0
        self._steps = 0
        self._context = 0
        self._private = 0
        self._began = 0
        self._planned = 0
        self._chunks: list[tuple[Job, int]] = []
        self._dropped: list[Job] = []
        self._ready = 0

    def send(self, job: Job, now: int) -> None:
        """Give it a job; it joins the batch at the next step."""
        self.waiting.append(job)
        self._interrupt(now)

    def drop(self, job: Job, now: int) -> None:
        """The client has gone: stop the job at the next step. What it wrote until now is known at once."""
        if job.mark >= 0:
            steps = self._steps + self._done(now)
            job.wrote += steps - job.mark
            job.mark = steps
        job.gone = True
        self._dropped.append(job)
        self._interrupt(now)

    def written(self, job: Job, now: int) -> int:
        """Tokens of the job's answer that were written by now."""
        if job.mark < 0 or job.gone:
            return job.wrote
        return job.wrote + self._steps + self._done(now) - job.mark

    def used(self) -> int:
        """Tokens of KV room in use at the last event, without idle blocks."""
        return self._private + len(self.cache.used) * BLOCK

    def die(self, now: int, back: int) -> None:
        """Forget everything, the cache too; it answers again at ``back``."""
        if self._planned:
            steps = self._done(now)
            self._steps += steps
            self.busy += now - self._began
        for job in self.writing:
            job.wrote += self._steps - job.mark
        for job in (*self.writing, *self.reading, *self.waiting):
            job.mark = job.left = -1
        self.waiting.clear()
        self.reading.clear()
        self.writing.clear()
        self._ends.clear()
        self._chunks.clear()
        self._dropped.clear()
        self.cache = PrefixCache()
        self._planned = self._context = self._private = 0
        self.due, self._ready = -1, back

    def advance(self, now: int) -> tuple[list[Job], list[Job]]:
        """End the steps that were due now and begin the next; returns jobs whose first token came, and those
        whose last did.
        """
        began = self._end_steps(now)
        ended = []
        while self._ends and self._ends[0][0] <= self._steps:
            end, _, job = heapq.heappop(self._ends)
            if _ends_at(job, end):
                self._stop_writing(job)
                job.gone = True
                ended.append(job)
        self._drop_gone()
        self._begin_steps(now)
        return began, ended

    def _done(self, now: int) -> int:
        """Steps of the present jump that have ended by now."""
        if now >= self.due:
            return self._planned
        if self._planned <= 1:
            return 0
        return bisect_left(range(1, self._planned + 1), now - self._began + 1, key=self._lasts)

    def _lasts(self, steps: int) -> int:
        return self.time.steps(steps, len(self.writing), self._context)

    def _interrupt(self, now: int) -> None:
        """Look again at the end of the step that is under way."""
        if self.due < 0:
            self._began = now
            self.due = max(now, self._ready)
        elif self._planned > 1 and now < self.due:
            self._planned = self._done(now) + 1
            self.due = self._began + self._lasts(self._planned)

    def _end_steps(self, now: int) -> list[Job]:
        began: list[Job] = []
        if not self._planned:
            return began
        self.busy += now - self._began
        self._steps += self._planned
        grown = self._planned * len(self.writing)
        self._context += grown
        self._private += grown
        self._planned = 0
        for job, tokens in self._chunks:
            job.left -= tokens
            job.read += tokens
            if not job.left:
                self.reading.popleft()
                if not job.first and not job.gone:
                    began.append(job)
                self._start_writing(job, now)
        self._chunks.clear()
        return began

    def _start_writing(self, job: Job, now: int) -> None:
        job.first = job.first or now
        job.wrote += 1
        job.mark = self._steps
        self.writing[job] = None
        self._context += job.tokens_in + job.wrote
        self._private += 1
        self._count += 1
        heapq.heappush(self._ends, (self._steps + job.tokens_out - job.wrote, self._count, job))

    def _stop_writing(self, job: Job) -> None:
        job.wrote += self._steps - job.mark
        job.mark = -1
        del self.writing[job]
        self._context -= job.tokens_in + job.wrote
        self._release(job)

    def _release(self, job: Job) -> None:
        blocks = _whole(job)
        self._private -= job.tokens_in - len(blocks) * BLOCK + job.wrote
        self.cache.give(blocks)

    def _drop_gone(self) -> None:
        for job in self._dropped:
            if job.mark >= 0:
                self._stop_writing(job)
            elif job in self.reading:
                self.reading.remove(job)
                self._release(job)
        self._dropped.clear()

    def _begin_steps(self, now: int) -> None:
        while len(self.writing) > 1 and self.used() + len(self.writing) > self.time.room:
            self._preempt()
        while self.waiting and self._admit(self.waiting[0]):
            self.waiting.popleft()
        self.cache.trim(max(0, self.time.room - self.used()) // BLOCK)
        batch = len(self.writing)
        if not batch and not self.reading:
            self.due = -1
            return
        self._began = now
        budget = max(1, self.chunk - batch)
        for job in self.reading:
            tokens = min(job.left, budget)
            self._chunks.append((job, tokens))
            budget -= tokens
            if not budget:
                break
        if self._chunks:
            self._planned = 1
            prefill = sum(tokens for _, tokens in self._chunks)
            self.due = now + self.time.steps(1, batch, self._context, prefill)
            return
        while not _ends_at(self._ends[0][2], self._ends[0][0]):
            heapq.heappop(self._ends)
        room = (self.time.room - self.used()) // batch
        self._planned = max(1, min(self._ends[0][0] - self._steps, room))
        self.due = now + self._lasts(self._planned)

    def _admit(self, job: Job) -> bool:
        """Begin to read a job, if there is a slot and room for what it has."""
        if job.gone:
            return True
        alone = not self.writing and not self.reading
        if len(self.writing) + len(self.reading) >= self.slots:
            return False
        blocks = _whole(job)
        private = job.tokens_in - len(blocks) * BLOCK + job.wrote
        new = sum(block not in self.cache.used for block in blocks)
        if not alone and self.used() + private + new * BLOCK > self.time.room:
            return False
        held = self.cache.held(blocks)
        # The last token is always read: its output is the first of the answer.
        hit = min(max(held * BLOCK, job.held), job.tokens_in - 1)
        if job.left < 0:
            job.cached = hit
        job.left = job.tokens_in + job.wrote - hit
        self.cache.take(blocks)
        self._private += private
        self.reading.append(job)
        return True

    def _preempt(self) -> None:
        job = next(reversed(self.writing))
        self._stop_writing(job)
        self.waiting.appendleft(job)


def _ends_at(job: Job, step: int) -> bool:
    """Whether this is its last step; it was another before it lost its room."""
    return not job.gone and job.mark >= 0 and job.mark + job.tokens_out - job.wrote == step


def _whole(job: Job) -> tuple[int, ...]:
    """The job's blocks that its prompt fills: only these are shared."""
    return job.blocks[: job.tokens_in // BLOCK]
