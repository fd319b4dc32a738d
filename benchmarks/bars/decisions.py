"""decisions: how fast the queue decides, how large a person is, and its longest pause.

Every feature is on: guarantees and caps, a locality window, known room, telemetry, pressure, forecasts,
prices that are measured, learned lengths and speeds. Everyone has one request waiting; a decision is one
request's way through: submit, grant, first token, finish. A feature costs what it costs on the lane:
requests come at the pace that must be held, `GAP` apart, so forecasts, samples and the tick of every `TICK`
are as frequent as in service; one request in five is long enough to have hashed blocks; one in two streams,
and tells of its first token. The requests themselves, which are the lane's work, are made beforehand.
People are made beforehand too and then taken out of the garbage collector's sight, as the service does with
what it has at its start. Time is CPU time, for the machine may have other work. Each size runs in a process
of its own, so that memory is its alone.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
import time
from collections import deque
from random import Random

from benchmarks.bars import Bench, Measured, Row
from moduai.scheduling import FairQueue, Grant, ReplicaSpec, Telemetry, Ticket, Used
from moduai.scheduling.policy import PLAIN, ClassRule, Limits, NodeRule, Policy, Pressure

MUST = {100_000: 60_000, 1_000_000: 45_000}
MUST_BYTES, MUST_PAUSE_MS = 700, 20.0
ROUNDS = 100_000
CHUNK = 1_000
"""The rate is that of the best chunk: a busy neighbour on the same core makes every other one slower."""
GAP, TICK = 1_000_000_000 // 60_000, 50_000_000
"""ns between two requests, and between two ticks while somebody waits."""
REPLICAS, SLOTS, ROOM = 8, 64, 4_000_000
WIDE = Limits(10_000_000, 10_000_000, 10_000_000)
ORGANISATIONS = 100
NOBODY = ("", "", "")


def decisions(bench: Bench) -> Measured:
    """Decisions a second at 1e5 and 1e6 active people, bytes a person, longest pause in ms."""
    sizes = {10_000: MUST[100_000]} if bench.quick else MUST
    value: list[float | int | None] = []
    notes, holds = [], True
    for people, must in sizes.items():
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.bars.decisions", str(people)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        found = json.loads(told.stdout)
        value += [round(found["rate"]), round(found["bytes"]), round(found["pause"], 1)]
        holds &= found["rate"] >= must and found["bytes"] <= MUST_BYTES and found["pause"] <= MUST_PAUSE_MS
        notes.append(
            f"{people:,} people: submit alone {found['submit']:.1f} µs; asleep {found['asleep']:.2f} µs"
        )
    must_be = f">= 60k/s at 1e5, >= 45k/s at 1e6; <= {MUST_BYTES} bytes; <= {MUST_PAUSE_MS:.0f} ms"
    return Measured(Row("decisions", value, must_be, holds), notes)


def policy() -> Policy:
    """Three classes with guarantees and caps, and all that costs time."""
    classes = {
        "resident": ClassRule(
            "resident",
            weight=5000,
            guarantee=400,
            limits=WIDE,
            organisations={"o1": NodeRule(2000, 100, 500)},
        ),
        "guest": ClassRule("guest", guarantee=100, cap=500, limits=WIDE),
        "batch": ClassRule("batch", weight=100, cap=300, limits=WIDE),
    }
    return Policy(
        "bench", classes, "resident", limits=WIDE, locality_window=1_000_000,
        pressure=Pressure(86_400, 1024, 86_400, {}, "offer", 86_400),
    )  # fmt: skip


class Load:
    """A full pool, and everyone waiting."""

    def __init__(self) -> None:
        self.random = Random(1)
        self.queue = FairQueue(policy())
        self.running: deque[Grant] = deque()
        self.now = self.number = self.tick_at = 0
        for name in range(REPLICAS):
            spec = ReplicaSpec(frozenset({"m"}), SLOTS, room=ROOM, prefill_budget=1 << 30)
            self.queue.set_replica(f"r{name}", spec, is_open=True, now=0)

    def tickets(self, count: int) -> list[Ticket]:
        """New ones; who sends them is set later."""
        return [self._ticket() for _ in range(count)]

    def _ticket(self) -> Ticket:
        self.number += 1
        self.now += GAP
        block = self.random.randrange(1 << 12)
        long = self.random.random() < 0.2
        tokens = self.random.randrange(20, 300) + 500 * long
        return Ticket(
            self.number, "m", NOBODY, "page", tokens, 400, self.now, (block, -block) if long else ()
        )

    def enter(self, ticket: Ticket, path: tuple[str, str, str]) -> None:
        ticket.path = path
        decision = self.queue.submit(ticket, ticket.arrived)
        if isinstance(decision, Grant):
            self.running.append(decision)

    def step(self, ticket: Ticket) -> None:
        """One request ends, and its person asks again; another one runs."""
        queue, grant, now = self.queue, self.running.popleft(), ticket.arrived
        ended = grant.ticket
        used = Used(ended.tokens_in, 0, ticket.id * 7919 % 400)
        for new in queue.finish(grant, used, 200_000_000, 2_000_000_000, now):
            if new.ticket.id & 1:
                self.running += queue.progress(new, 1, now)
            self.running.append(new)
        self.enter(ticket, ended.path)
        if now >= self.tick_at:
            self.tick_at = now + TICK
            queue.observe("r0", Telemetry(1, 0, 300), now)
            self.running += queue.tick(now)


def measure(people: int) -> dict[str, float]:
    """All figures at one size; they go out as JSON."""
    load = Load()
    classes = ("resident", "resident", "guest", "batch")
    paths = [(classes[n % 4], f"o{n // 4 % ORGANISATIONS}", f"person-{n:012}") for n in range(people)]
    before = _held()
    began = time.process_time()
    for path, ticket in zip(paths, load.tickets(people), strict=True):
        load.enter(ticket, path)
    submit = (time.process_time() - began) / people
    size = (_held() - before) / people
    gc.collect()
    gc.freeze()
    best = 0.0
    for _ in range(ROUNDS // CHUNK):
        tickets = load.tickets(CHUNK)
        began = time.process_time()
        for ticket in tickets:
            load.step(ticket)
        best = max(best, CHUNK / (time.process_time() - began))
    pause = 0
    for ticket in load.tickets(ROUNDS):
        start = time.thread_time_ns()
        load.step(ticket)
        pause = max(pause, time.thread_time_ns() - start)
    return {"rate": best, "bytes": size, "pause": pause / 1e6, "submit": submit * 1e6, "asleep": asleep()}


def asleep() -> float:
    """µs to submit and finish while nobody waits, of a class without a cap."""
    queue = FairQueue(PLAIN)
    queue.set_replica("r", ReplicaSpec(frozenset({"m"}), SLOTS), is_open=True, now=0)
    used, best = Used(100, 0, 50), float("inf")
    for _ in range(20):
        tickets = [Ticket(n, "m", ("resident", "o1", "p"), "page", 100, 50, n) for n in range(2000)]
        began = time.process_time()
        for ticket in tickets:
            queue.finish(queue.submit(ticket, 1), used, 1000, 2000, 2)  # type: ignore[arg-type]
        best = min(best, (time.process_time() - began) / len(tickets))
    return best * 1e6


def _held() -> int:
    """Bytes of memory in use."""
    gc.collect()
    with open("/proc/self/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
