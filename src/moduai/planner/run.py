"""Drive a dispatcher with engines and people under the simulated clock.

What the gateway does for each request is done here: submit, ask for the place, send what is granted to
the engine, report the first token and twice a second the progress, settle at the end, cancel when the
client leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from moduai.planner.clock import SECOND, Clock
from moduai.planner.replica import Engine, Job
from moduai.planner.traffic import POOL, Request
from moduai.scheduling import Grant, Queued, Refused, ReplicaSpec, Telemetry, Ticket, Used

TICK = SECOND // 10
ATTEMPTS = 3
"""Engines that a request is sent to, as by the gateway: where one dies before the first token."""
PROGRESS = 5
"""Ticks from one report of progress to the next."""


class Dispatcher(Protocol):
    """Who runs next and where: what the twin needs of ``scheduling.FairQueue``."""

    def set_replica(self, name: str, spec: ReplicaSpec, *, is_open: bool, now: int) -> list[Grant]: ...  # noqa: D102
    def submit(self, ticket: Ticket, now: int, *, again: bool = False) -> Grant | Queued | Refused: ...  # noqa: D102
    def place(self, ticket: Ticket, now: int) -> Queued | None: ...  # noqa: D102
    def progress(self, grant: Grant, tokens_out: int, now: int) -> list[Grant]: ...  # noqa: D102
    def finish(self, grant: Grant, used: Used | None, first: int, ran: int, now: int) -> list[Grant]: ...  # noqa: D102
    def cancel(self, ticket: Ticket, now: int) -> bool: ...  # noqa: D102
    def observe(self, replica: str, telemetry: Telemetry, now: int) -> None: ...  # noqa: D102
    def tick(self, now: int) -> list[Grant]: ...  # noqa: D102


class Record(Struct, eq=False):
    """What became of one request. Times in ns, -1 for what did not happen."""

    request: Request
    ticket: Ticket
    job: Job
    expected: Queued | None = None
    """What it was told at the door, if it had to wait."""
    refused: str = ""
    granted: int = -1
    grant: Grant | None = None
    ended: int = -1
    """When its last token came; it stays -1 if the client left before."""
    left: int = -1
    """When the client left."""
    lost: bool = False
    """Its engine died in the middle of the answer, or too often before it."""

    @property
    def waited(self) -> int:
        """From its arrival to its grant; below 0 if it was never granted."""
        return self.granted - self.ticket.arrived

    @property
    def first(self) -> int:
        """Time to its first token; -1 if none came."""
        return self.job.first - self.ticket.arrived if self.job.first else -1


class Twin:
    """A cell: one dispatcher, its engines, and a record of every request."""

    def __init__(self, dispatcher: Dispatcher, engines: dict[str, Engine], *, room: bool = True) -> None:
        """``room``: the engines' KV room is told to the dispatcher."""
        self.clock = Clock()
        self.dispatcher = dispatcher
        self.engines = engines
        self.records: list[Record] = []
        self.running: dict[Job, Record] = {}
        self._waiting: dict[int, Record] = {}
        self._ticks = 0
        self._specs: dict[str, ReplicaSpec] = {}
        self.on_grant: Callable[[Record], None] | None = None
        """Called at each grant: closed loops ask again here."""
        self.on_end: Callable[[Record], None] | None = None
        """Called when an answer has ended or its client has left."""
        for name, engine in engines.items():
            spec = ReplicaSpec(frozenset({POOL}), engine.slots, room=engine.time.room if room else 0)
            self._specs[name] = spec
            dispatcher.set_replica(name, spec, is_open=True, now=0)
        self.clock.at(TICK, self._tick)

    def play(self, requests: Iterable[Request]) -> None:
        """Let these be asked at their times, which must be in order."""
        self._next(iter(requests))

    def run(self, seconds: float) -> None:
        """Let time pass until this second."""
        self.clock.run(int(seconds * SECOND))

    def ask(self, request: Request) -> Record:
        """Ask now."""
        now = self.clock.now
        tokens_out = min(request.tokens_out, request.max_out) if request.max_out else request.tokens_out
        ticket = Ticket(
            id=len(self.records) + 1,
            pool=request.pool,
            path=request.path,
            app=request.app,
            tokens_in=request.tokens_in,
            max_out=request.max_out,
            arrived=now,
            blocks=request.blocks,
            weight=request.weight,
        )
        record = Record(request, ticket, Job(request.tokens_in, tokens_out, request.blocks))
        self.records.append(record)
        self._waiting[ticket.id] = record
        match self.dispatcher.submit(ticket, now):
            case Grant() as grant:
                self._start([grant])
            case Queued():
                record.expected = self.dispatcher.place(ticket, now)
            case Refused(reason):
                record.refused = reason
                del self._waiting[ticket.id]
        if request.patience and not record.refused:
            self.clock.at(now + request.patience, self._lose_patience, record)
        return record

    def leave(self, record: Record) -> None:
        """The client goes away: its place is given up, or its answer is stopped."""
        now = self.clock.now
        if record.ended >= 0 or record.left >= 0 or record.refused or record.lost:
            return
        record.left = now
        if record.grant is None:
            self.dispatcher.cancel(record.ticket, now)
            del self._waiting[record.ticket.id]
        else:
            engine = self.engines[record.grant.replica]
            engine.drop(record.job, now)
            self._wake(engine)
            self._finish(record, record.grant)
        if self.on_end is not None:
            self.on_end(record)

    def die(self, name: str, back: int) -> None:
        """An engine dies now, and answers again at ``back`` (ns). What has no first token goes elsewhere."""
        engine, spec = self.engines[name], self._specs[name]
        engine.die(self.clock.now, back)
        self.clock.at(back, self._come_back, name)
        self._start(self.dispatcher.set_replica(name, spec, is_open=False, now=self.clock.now))
        gone = [one for one in self.running.values() if one.grant and one.grant.replica == name]
        for record in gone:
            self._lose(record)
        for record in gone:
            if not record.lost:
                self._again(record, name)

    def _lose(self, record: Record) -> None:
        job, now = record.job, self.clock.now
        del self.running[job]
        record.lost = job.first > 0 or len(record.ticket.avoid) + 1 >= ATTEMPTS
        if record.grant is not None:
            used = Used(job.tokens_in, job.cached, job.wrote)
            self._start(self.dispatcher.finish(record.grant, used, 0, -1, now))

    def _again(self, record: Record, name: str) -> None:
        ticket = record.ticket
        ticket.avoid, record.grant = (*ticket.avoid, name), None
        self._waiting[ticket.id] = record
        match self.dispatcher.submit(ticket, self.clock.now, again=True):
            case Grant() as grant:
                self._start([grant])
            case Refused():
                record.lost = True
                del self._waiting[ticket.id]

    def _come_back(self, name: str) -> None:
        now = self.clock.now
        self._start(self.dispatcher.set_replica(name, self._specs[name], is_open=True, now=now))

    def work(self, record: Record) -> int:
        """What it has had so far, in tokens: those of its prompt that were read, and twice its answer."""
        if record.grant is None:
            return 0
        return record.job.read + 2 * self.engines[record.grant.replica].written(record.job, self.clock.now)

    def _next(self, requests: Iterator[Request]) -> None:
        if (request := next(requests, None)) is not None:
            self.clock.at(request.at, self._arrive, request, requests)

    def _arrive(self, request: Request, requests: Iterator[Request]) -> None:
        self.ask(request)
        self._next(requests)

    def _lose_patience(self, record: Record) -> None:
        if not record.job.first:
            self.leave(record)

    def _start(self, grants: list[Grant]) -> None:
        now = self.clock.now
        for grant in grants:
            record = self._waiting.pop(grant.ticket.id)
            record.granted, record.grant = now, grant
            if grant.max_out:
                record.job.tokens_out = min(record.job.tokens_out, grant.max_out)
            self.running[record.job] = record
            engine = self.engines[grant.replica]
            engine.send(record.job, now)
            self._wake(engine)
            if self.on_grant is not None:
                self.on_grant(record)

    def _wake(self, engine: Engine) -> None:
        if engine.due >= 0:
            self.clock.at(engine.due, self._step, engine, engine.due)

    def _step(self, engine: Engine, due: int) -> None:
        if engine.due != due:
            return  # it was interrupted, and another wake-up is on its way
        began, ended = engine.advance(due)
        self._wake(engine)
        for job in began:
            self._progress(self.running[job], 1)
        for job in ended:
            record = self.running[job]
            record.ended = due
            if record.grant is not None:
                self._finish(record, record.grant)
            if self.on_end is not None:
                self.on_end(record)

    def _finish(self, record: Record, grant: Grant) -> None:
        now, job = self.clock.now, record.job
        del self.running[job]
        used = Used(job.tokens_in, job.cached, job.wrote)
        first = max(0, job.first - record.granted)
        self._start(self.dispatcher.finish(grant, used, first, now - record.granted, now))

    def _progress(self, record: Record, written: int) -> None:
        if record.grant is not None:
            self._start(self.dispatcher.progress(record.grant, written, self.clock.now))

    def _tick(self) -> None:
        now = self.clock.now
        self._ticks += 1
        for job, record in list(self.running.items()) if self._ticks % PROGRESS == 0 else ():
            if job.first and record.grant is not None:
                self._progress(record, self.engines[record.grant.replica].written(job, now))
        for name, engine in self.engines.items():
            held = 1000 * engine.used() // engine.time.room
            alive = len(engine.reading) + len(engine.writing)
            self.dispatcher.observe(name, Telemetry(alive, len(engine.waiting), held), now)
        self._start(self.dispatcher.tick(now))
        self.clock.at(now + TICK, self._tick)
