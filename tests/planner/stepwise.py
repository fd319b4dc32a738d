"""The proof of the engine: the same rules, one iteration at a time, in plain Python, written to be read.

It knows no jumps, no heap and no closed form: each step adds its own picoseconds, and the clock is rounded
down to nanoseconds where something happens, as in the engine. It has no prefix cache and no clients that
leave; ``replica.Engine`` has them and proves those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from moduai.planner.steptime import CHUNK, SLOTS, StepTime


class Job(Struct, eq=False):
    """One request. Times in ns, 0 for what has not happened."""

    tokens_in: int
    tokens_out: int
    left: int = 0
    """Tokens still to read."""
    wrote: int = 0
    first: int = 0
    ended: int = 0

    @property
    def held(self) -> int:
        """Tokens of memory that it has, from when it is let in."""
        return self.tokens_in + self.wrote


class Stepping:
    """A replica that is asked for one step after the other."""

    def __init__(self, time: StepTime, *, slots: int = SLOTS, chunk: int = CHUNK) -> None:
        self.time, self.slots, self.chunk = time, slots, chunk
        self.waiting: deque[Job] = deque()
        self.reading: deque[Job] = deque()
        self.writing: list[Job] = []

    def begin(self) -> tuple[int, list[tuple[Job, int]]]:
        """Make room, let in, and say how long the next step takes (ps) and what it reads."""
        while len(self.writing) > 1 and self.full():
            self.waiting.appendleft(self.writing.pop())
        while self.waiting and self._fits(self.waiting[0]):
            job = self.waiting.popleft()
            job.left = job.held
            self.reading.append(job)
        budget = max(1, self.chunk - len(self.writing))
        reads = []
        for job in self.reading:
            tokens = min(job.left, budget)
            budget -= tokens
            if tokens:
                reads.append((job, tokens))
        prompt = sum(tokens for _, tokens in reads)
        context = sum(job.held for job in self.writing)
        batch, time = len(self.writing), self.time
        met = time.experts[min(batch + prompt, len(time.experts) - 1)]
        pico = time.base + time.sequence * batch + time.prefill * prompt + met + time.context * context
        return pico, reads

    def end(self, reads: list[tuple[Job, int]], now: int) -> bool:
        """The step has ended; whether anything happened but that answers grew."""
        for job in self.writing:
            job.wrote += 1
        for job, tokens in reads:
            job.left -= tokens
            if not job.left:
                self.reading.popleft()
                job.first = job.first or now
                job.wrote += 1
                self.writing.append(job)
        ended = [job for job in self.writing if job.wrote >= job.tokens_out]
        for job in ended:
            job.ended = now
        self.writing = [job for job in self.writing if job not in ended]
        return bool(reads or ended) or self.full()

    def die(self, now: int) -> None:
        """Answers under way end here, and prompts are to be read again."""
        for job in self.writing:
            job.ended = now
        self.writing.clear()
        self.waiting.extendleft(reversed(self.reading))
        self.reading.clear()

    def full(self) -> bool:
        """Whether one more step does not fit into the room."""
        return self._used() + len(self.writing) > self.time.room

    def _used(self) -> int:
        return sum(job.held for job in (*self.reading, *self.writing))

    def _fits(self, job: Job) -> bool:
        running = len(self.reading) + len(self.writing)
        return running < self.slots and (not running or self._used() + job.held <= self.time.room)


def run(
    engine: Stepping, jobs: Sequence[Job], arrivals: Sequence[int], failures: Sequence[tuple[int, int]] = ()
) -> None:
    """Serve all. ``failures``: when it dies and when it is back, in order, none while it is away."""
    coming, dying = deque(zip(arrivals, jobs, strict=True)), deque(failures)
    began = pico = 0
    while coming or engine.waiting or engine.reading or engine.writing:
        if not (engine.waiting or engine.reading or engine.writing):
            began, pico = max(began, coming[0][0]), 0
            while dying and dying[0][0] <= began:
                began = max(began, dying.popleft()[1])
            _arrive(engine, coming, began)
        step, reads = engine.begin()
        pico += step
        now = began + pico // 1000
        if dying and dying[0][0] <= now:
            dead, back = dying.popleft()
            if dead == now:
                for job in engine.writing:
                    job.wrote += 1
            engine.die(dead)
            began, pico = back, 0
            _arrive(engine, coming, back)
            continue
        happened = engine.end(reads, now)
        if happened or (coming and coming[0][0] < now):
            _arrive(engine, coming, now)
            began, pico = now, 0


def _arrive(engine: Stepping, coming: deque[tuple[int, Job]], now: int) -> None:
    while coming and coming[0][0] <= now:
        engine.waiting.append(coming.popleft()[1])
