"""A cell: the very dispatcher of the gateway in front of modelled replicas, every request, in simulated time.

What the gateway tells the dispatcher is told here: a request that comes, its first token, now and then how
far an answer is that has become longer than expected (others change nothing, and are left out), its end, a
client that loses its patience, and what engines say of themselves. Between these the replicas run in machine
code. Where a line is full, batch work waits outside, in its order, and asks again at each tick.

An engine that dies takes the answers with it that have begun; what has no first token yet is sent to another
one, before all others of its line, as often as the gateway does.

The same requests give the same grants, bit for bit: time and cost are integers. ``Outcome.digest`` is their
hash.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.planner import engine
from moduai.planner.clock import SECOND
from moduai.planner.engine import CACHED, ENDED, FIRST, HELD, IN, NEVER, OUT, WROTE, Ints
from moduai.planner.run import ATTEMPTS, Dispatcher
from moduai.planner.steptime import CHUNK, SLOTS, StepTime
from moduai.planner.traffic import POOL, Request
from moduai.scheduling import Grant, Queued, Refused, ReplicaSpec, Telemetry, Ticket, Used

TICK = SECOND // 10
PROGRESS, OBSERVE = 5, 10
"""Ticks from one report to the next: of answers longer than expected, and of engines."""

TOLD = [engine.BATCH, engine.READERS, engine.WAITERS, engine.ROOM]
"""What an engine says of itself."""


class Outage(NamedTuple):
    """A replica dies at a time (ns), and answers again at another."""

    at: int
    back: int
    replica: int
    """Its number."""


class Outcome(Struct, frozen=True, eq=False):
    """What became of the requests, in their order. Times in ns, -1 for what did not happen."""

    at: Ints
    granted: Ints
    first: Ints
    ended: Ints
    left: Ints
    """When the client left."""
    replica: Ints
    """Number of the replica that ran it."""
    wrote: Ints
    refused: NDArray[np.bool_]
    lost: NDArray[np.bool_]
    """Its engine died in the middle of the answer, or too often before it."""
    busy: Ints
    """For each replica, time during which steps ran."""
    digest: str
    """Of all grants: which request, on which replica, when."""


class Cell:
    """One dispatcher and its replicas, at the start of time."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        times: Sequence[StepTime],
        requests: Sequence[Request],
        *,
        slots: int = SLOTS,
        chunk: int = CHUNK,
        pool: str = POOL,
        outages: Sequence[Outage] = (),
    ) -> None:
        """``times``: one for each replica. ``requests`` and ``outages`` in order of time; none of a replica
        that is away.
        """
        self.dispatcher, self.requests = dispatcher, requests
        outs = [min(one.tokens_out, one.max_out) if one.max_out else one.tokens_out for one in requests]
        self.jobs = engine.table([one.held + one.tokens_in for one in requests], outs)
        self.jobs[:, HELD] = [one.held for one in requests]
        self._ids = engine.begin_with(self.jobs, [one.blocks for one in requests])
        cores = [engine.core(time, self.jobs, self._ids, slots=slots, chunk=chunk) for time in times]
        width = max(len(core.state) for core in cores)
        self.states = np.zeros((len(cores), width), np.int64)
        for state, core in zip(self.states, cores, strict=True):
            state[: len(core.state)] = core.state
        self._caches = np.array([core.cache for core in cores])
        self._dues = np.full(len(cores), NEVER, np.int64)
        self._numbers = {f"replica-{number:04}": number for number in range(len(cores))}
        self._names = list(self._numbers)
        self._running: dict[int, tuple[Grant, int]] = {}
        self._told = np.zeros(2 + 6 * slots * len(cores), np.int64)
        self._grants: list[int] = []
        self._ticks = 0
        self._open = len(requests)
        """Requests that have not ended in one way or another."""
        self._refused = np.zeros(len(requests), bool)
        self._left = np.full(len(requests), -1, np.int64)
        self._tickets: dict[int, Ticket] = {}
        """Of those that wait."""
        self._patient: dict[int, deque[int]] = {}
        """By how long they have patience, in order: who may yet lose it."""
        self._leaves = NEVER
        """When the first of them does."""
        self._outside: dict[str, deque[int]] = {}
        """By application: who insists, and found its line full."""
        self._lost = np.zeros(len(requests), bool)
        self._outages = deque(outages)
        self._back: list[tuple[int, int]] = []
        """When which replica answers again."""
        self._changes = outages[0].at if outages else NEVER
        self._specs = [ReplicaSpec(frozenset({pool}), slots, room=time.room) for time in times]
        for name, spec in zip(self._names, self._specs, strict=True):
            dispatcher.set_replica(name, spec, is_open=True, now=0)

    def run(self, until: int = NEVER) -> Outcome:
        """Let time pass until then (ns), or until all that was asked has ended."""
        number, tick, now = 0, TICK, 0
        count = len(self.requests)
        while self._open:
            arrival = self.requests[number].at if number < count else NEVER
            limit = min(arrival, tick, self._leaves, self._changes, until)
            while told := self._next(limit):
                self._news(told)
            now = limit
            if now >= until:
                break
            if arrival == now:
                self._come(number, now)
                number += 1
            elif self._changes == now:
                self._change(now)
            elif self._leaves == now:
                self._lose_patience(now)
            else:
                self._tick(now)
                tick += TICK
        return self._outcome()

    def _next(self, limit: int) -> list[int]:
        told = self._told
        count = engine.until_news(self.states, self._dues, self.jobs, self._ids, self._caches, limit, told)
        return told[:count].tolist() if count else []

    def _come(self, number: int, now: int) -> None:
        request = self.requests[number]
        if request.patience:
            line = self._patient.setdefault(request.patience, deque())
            line.append(number)
            if len(line) == 1:
                self._leaves = min(self._leaves, now + request.patience)
        if outside := self._outside.get(request.app):
            outside.append(number)
        elif not self._ask(number, now):
            if request.insists:
                self._outside.setdefault(request.app, deque()).append(number)
            else:
                self._refused[number] = True
                self._open -= 1

    def _ask(self, number: int, now: int) -> bool:
        """Whether it was taken."""
        request = self.requests[number]
        ticket = Ticket(
            number + 1,
            request.pool,
            request.path,
            request.app,
            request.tokens_in,
            request.max_out,
            now,
            request.blocks,
            (),
            request.weight,
        )
        match self.dispatcher.submit(ticket, now):
            case Grant() as grant:
                self._start(grant, now)
            case Refused():
                return False
            case Queued():
                self._tickets[number] = ticket
        return True

    def _start(self, grant: Grant, now: int) -> None:
        job, which = grant.ticket.id - 1, self._numbers[grant.replica]
        self._tickets.pop(job, None)
        if grant.max_out:
            self.jobs[job, OUT] = min(self.jobs[job, OUT], grant.max_out)
        self._grants += (job, which, now)
        self._running[job] = grant, now
        engine.give(self.states, self._dues, self.jobs, which, job, grant.ticket.out, now)

    def _news(self, told: list[int]) -> None:
        now, ends = told[0], 2 + told[1]
        for job in told[2:ends]:
            for grant in self.dispatcher.progress(self._running[job][0], 1, now):
                self._start(grant, now)
        for at in range(ends, len(told), 5):
            job, read, cached, wrote, first = told[at : at + 5]
            done, since = self._running.pop(job)
            self._open -= 1
            used = Used(read, cached, wrote)
            for grant in self.dispatcher.finish(done, used, first - since, now - since, now):
                self._start(grant, now)

    def _change(self, now: int) -> None:
        """Replicas die or come back."""
        while self._back and self._back[0][0] == now:
            self._open_again(heapq.heappop(self._back)[1], now)
        while self._outages and self._outages[0].at == now:
            self._die(self._outages.popleft(), now)
        coming = self._back[0][0] if self._back else NEVER
        self._changes = min(coming, self._outages[0].at if self._outages else NEVER)

    def _open_again(self, which: int, now: int) -> None:
        for grant in self.dispatcher.set_replica(
            self._names[which], self._specs[which], is_open=True, now=now
        ):
            self._start(grant, now)

    def _die(self, outage: Outage, now: int) -> None:
        which, name = outage.replica, self._names[outage.replica]
        engine.crash(self.states, self._dues, self.jobs, self._ids, self._caches, which, now, outage.back)
        heapq.heappush(self._back, (outage.back, which))
        for grant in self.dispatcher.set_replica(name, self._specs[which], is_open=False, now=now):
            self._start(grant, now)
        gone = [number for number, (grant, _) in self._running.items() if grant.replica == name]
        tickets = [self._running[number][0].ticket for number in gone]
        for number, ticket in zip(gone, tickets, strict=True):
            self._lose(number, ticket, now)
        for number, ticket in zip(gone, tickets, strict=True):
            if not self._lost[number]:
                self._again(number, ticket, name, now)

    def _lose(self, number: int, ticket: Ticket, now: int) -> None:
        """Its place is given back; what has begun is lost."""
        begun = self.jobs[number, FIRST] > 0
        self._lost[number] = begun or len(ticket.avoid) + 1 >= ATTEMPTS
        self._open -= int(self._lost[number])
        self.jobs[number, HELD] = 0
        used = Used(*self.jobs[number, [IN, CACHED, WROTE]].tolist())
        for grant in self.dispatcher.finish(self._running.pop(number)[0], used, 0, -1, now):
            self._start(grant, now)

    def _again(self, number: int, ticket: Ticket, name: str, now: int) -> None:
        """Send it elsewhere, before all others of its line."""
        ticket.avoid = (*ticket.avoid, name)
        match self.dispatcher.submit(ticket, now, again=True):
            case Grant() as grant:
                self._start(grant, now)
            case Refused():
                self._lost[number] = True
                self._open -= 1
            case Queued():
                self._tickets[number] = ticket

    def _lose_patience(self, now: int) -> None:
        for patience, line in self._patient.items():
            while line and self.requests[line[0]].at + patience <= now:
                self._leave(line.popleft(), now)
        self._look_who_leaves()

    def _leave(self, number: int, now: int) -> None:
        """A client without a first token goes: its place is given up, or its answer is stopped."""
        if self.jobs[number, FIRST] or self._refused[number] or self._lost[number]:
            return
        self._left[number] = now
        self._open -= 1
        if (found := self._running.pop(number, None)) is None:
            if (ticket := self._tickets.pop(number, None)) is not None:
                self.dispatcher.cancel(ticket, now)
            return
        grant, since = found
        which = self._numbers[grant.replica]
        engine.take_back(self.states, self._dues, self.jobs, which, number, now)
        used = Used(int(self.jobs[number, IN]), int(self.jobs[number, CACHED]), 0)
        for other in self.dispatcher.finish(grant, used, 0, now - since, now):
            self._start(other, now)

    def _look_who_leaves(self) -> None:
        """Forget those at the heads who have their first token."""
        self._leaves = NEVER
        for patience, line in self._patient.items():
            while line and (self.jobs[line[0], FIRST] or self._refused[line[0]]):
                line.popleft()
            if line:
                self._leaves = min(self._leaves, self.requests[line[0]].at + patience)

    def _tick(self, now: int) -> None:
        self._ticks += 1
        self._look_who_leaves()
        for outside in self._outside.values():
            while outside and (self._left[outside[0]] >= 0 or self._ask(outside[0], now)):
                outside.popleft()
        if self._ticks % PROGRESS == 0:
            self._report(now)
        if self._ticks % OBSERVE == 0:
            for name, state in zip(self._names, self.states, strict=True):
                batch, readers, waiters, room = state[TOLD].tolist()
                held = 1000 * engine.used(state) // room
                self.dispatcher.observe(name, Telemetry(batch + readers, waiters, held), now)
        for grant in self.dispatcher.tick(now):
            self._start(grant, now)

    def _report(self, now: int) -> None:
        """Say how far those are whose answers are longer than expected."""
        count = engine.beyond(self.states, self.jobs, now, self._told)
        told = self._told[:count].tolist()
        for job, wrote in zip(told[::2], told[1::2], strict=True):
            for grant in self.dispatcher.progress(self._running[job][0], wrote, now):
                self._start(grant, now)

    def _outcome(self) -> Outcome:
        first, ended = self.jobs[:, FIRST], self.jobs[:, ENDED]
        grants = np.array(self._grants, "<i8").reshape(-1, 3)
        where, granted = np.full((2, len(self.requests)), -1, np.int64)
        where[grants[:, 0]], granted[grants[:, 0]] = grants[:, 1], grants[:, 2]
        return Outcome(
            at=np.array([one.at for one in self.requests], np.int64),
            granted=granted,
            first=np.where(first > 0, first, -1),
            ended=np.where((ended > 0) & ~self._lost, ended, -1),
            left=self._left,
            replica=where,
            wrote=self.jobs[:, WROTE],
            refused=self._refused,
            lost=self._lost,
            busy=self.states[:, engine.BUSY].copy(),
            digest=blake2b(grants.tobytes(), digest_size=16).hexdigest(),
        )
