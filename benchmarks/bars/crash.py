"""crash: ``kill -9`` of a worker under load; then every answer that was given must be in the ledger.

Words: an answer is *old* at a kill if it was whole more than 200 ms before it. A client that loses its
connection asks again at once, as real clients do; the supervisor holds the listening socket, so it
waits in the backlog while the worker is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import re
import signal
import sqlite3
import time
from pathlib import Path

import uvloop
from msgspec import Struct

from benchmarks.bars import Bench, Measured, Row
from benchmarks.harness import modu, process
from benchmarks.harness.load import Client, Load, Tally, request
from benchmarks.harness.process import StartError

OLD_S = 0.2
HUNG_S = 10.0
CLIENTS = 32
LEDGER_S = 30.0
ID = re.compile(rb"\r\nx-request-id: *([^\r\n]+)", re.IGNORECASE)


class Outcome(Struct):
    """What the clients and the ledger say."""

    kills: int = 0
    answers: int = 0
    broken: int = 0
    """Requests whose connection was lost; each kill breaks those that run."""
    old: int = 0
    """Answers that were old at the next kill."""
    lost: int = 0
    young_lost: int = 0
    oldest_lost_s: float = 0.0
    """Age at the kill of the oldest answer whose row was lost."""
    twice: int = 0
    hung: int = 0
    missing_header: int = 0
    slowest_return_s: float = 0.0
    """Longest time from a kill to the next whole answer."""


def crash(bench: Bench) -> Measured:
    """Rows lost, rows twice, hung streams."""
    place = bench.place("crash")
    log = place / "modu.log"
    rounds, kills = (1, 2) if bench.quick else (4, 5)
    options = ("--chunks", "20", "--pace", "0.01")
    with process.engine_process(place / "engine.log", *options, on=bench.beside) as engine:
        home, told, outcome = modu.prepare(place / "home", [engine]), Told(), Outcome()
        for _ in range(
            rounds
        ):  # in one run the supervisor's pause before a start would grow to half a minute
            with modu.up(home, log, on=bench.target) as supervisor:
                url = modu.wait_for_status(home.folder, supervisor, log)
                uvloop.run(_load_and_kill(told, url, home.key, supervisor.pid, kills))
                outcome = told.settle(home.folder / "modu.db")
    value = [outcome.lost, outcome.twice, outcome.hung]
    holds = not any(value) and outcome.old > 0 and not outcome.missing_header
    seen = (
        f"{outcome.kills} kills, {outcome.answers:,} whole answers ({outcome.old:,} old at a kill), "
        f"{outcome.broken} requests broken; {outcome.young_lost} rows younger than {OLD_S * 1e3:.0f} ms "
        f"lost, the oldest lost one was of {outcome.oldest_lost_s * 1e3:.0f} ms"
    )
    notes = [
        seen,
        f"the longest time without an answer was {outcome.slowest_return_s:.2f} s",
    ]
    if outcome.missing_header:
        notes.append(f"{outcome.missing_header} answers without x-request-id")
    return Measured(Row("crash", list(value), "0; 0; 0", holds), notes, broken=not holds)


class Told:
    """What the clients were told, with times of time.perf_counter."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.answers: dict[str, float] = {}
        self.repeated = 0
        self.missing = 0
        self.kills: list[float] = []
        self.hung = 0

    def answered(self, got: bytes, at: float) -> None:
        found = ID.search(got[: got.find(b"\r\n\r\n")])
        if found is None:
            self.missing += 1
            return
        name = found[1].decode("latin-1")
        self.repeated += name in self.answers
        self.answers[name] = at

    def settle(self, ledger: Path, quiet_s: float = 3.0) -> Outcome:
        """Wait until the ledger has what it will have, then compare."""
        outcome = Outcome(
            kills=len(self.kills),
            answers=len(self.answers),
            broken=self.tally.errors,
            hung=self.hung,
            missing_header=self.missing,
        )
        rows = _rows(ledger, set(self.answers), quiet_s)
        ends = self._ends()
        for name, at in self.answers.items():
            age = ends[_worker_of(name)] - at
            old, lost = age > OLD_S, name not in rows
            outcome.old += old
            outcome.lost += old and lost
            outcome.young_lost += not old and lost
            outcome.oldest_lost_s = max(outcome.oldest_lost_s, age) if lost else outcome.oldest_lost_s
        outcome.twice = sum(count - 1 for count in rows.values() if count > 1) + self.repeated
        times = sorted(self.answers.values())
        for kill in self.kills:
            after = next((at for at in times if at > kill), None)
            if after is not None:
                outcome.slowest_return_s = max(outcome.slowest_return_s, after - kill)
        return outcome

    def _ends(self) -> dict[str, float]:
        """When each worker was killed. An answer may be read after that from the socket's buffer, so it
        is the worker of the answer that tells which kill it belongs to, not the time alone.
        """
        began: dict[str, float] = {}
        for name, at in self.answers.items():
            began[_worker_of(name)] = min(at, began.get(_worker_of(name), at))
        return {
            worker: next((kill for kill in self.kills if kill > at), math.inf) for worker, at in began.items()
        }


def _worker_of(name: str) -> str:
    """A row's id begins with the worker's boot id."""
    return name.partition("-")[0]


async def _load_and_kill(told: Told, url: str, key: str, supervisor: int, kills: int) -> None:
    loop = asyncio.get_running_loop()
    host, _, port = url.removeprefix("http://").partition(":")
    clients: set[Client] = set()
    tasks: set[asyncio.Task[None]] = set()
    asks = [
        request(Load(url=url, key=key), f"{host}:{port}"),
        request(Load(url=url, key=key, kind="sse"), f"{host}:{port}"),
    ]

    async def connect(which: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                _, client = await loop.create_connection(
                    lambda: Client(told.tally, which, lost, told.answered), host, int(port)
                )
                clients.add(client)
                return
            await asyncio.sleep(0.02)

    def lost(client: Client) -> None:
        clients.discard(client)
        task = loop.create_task(connect(client.asks))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    await asyncio.gather(*(connect(asks[number % 2]) for number in range(CLIENTS)))
    pauses = random.Random(20)
    for _ in range(kills):
        await asyncio.sleep(pauses.uniform(0.8, 1.2))
        worker = await _worker(supervisor)
        before = set(clients)
        told.kills.append(time.perf_counter())
        os.kill(worker, signal.SIGKILL)
        await _answers_again(told)
        told.hung += await _hung(before, clients, told.kills[-1])
    await asyncio.sleep(OLD_S * 2)
    for client in clients:
        client.end()


async def _worker(supervisor: int) -> int:
    """The worker's process, once it is there."""
    deadline = time.monotonic() + modu.READY_S
    while time.monotonic() < deadline:
        for pid in process.tree(supervisor)[1:]:
            if "moduai.app" in process.command(pid):
                return pid
        await asyncio.sleep(0.01)
    raise StartError("no worker is running")


async def _answers_again(told: Told) -> None:
    """Until some answer has come after the last kill. Raises StartError."""
    before, deadline = len(told.answers), time.monotonic() + modu.READY_S
    while time.monotonic() < deadline:
        if len(told.answers) > before + CLIENTS:
            return
        await asyncio.sleep(0.01)
    raise StartError(f"no answer within {modu.READY_S:.0f} s of a kill: {told.tally.first_error}")


async def _hung(before: set[Client], clients: set[Client], kill: float) -> int:
    """Connections of before the kill on which nothing has come to an end since."""
    while True:
        stuck = [client for client in before & clients if client.since < kill]
        if not stuck or time.perf_counter() - kill > HUNG_S:
            return len(stuck)
        await asyncio.sleep(0.05)


def _rows(ledger: Path, wanted: set[str], quiet_s: float) -> dict[str, int]:
    """How often each id is in the ledger; waits until all are there, or nothing more comes."""
    deadline, quiet_since, before = time.monotonic() + LEDGER_S, time.monotonic(), -1
    while True:
        with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
            rows = dict(database.execute("SELECT id, count(*) FROM usage GROUP BY id"))
        now = time.monotonic()
        if len(rows) != before:
            before, quiet_since = len(rows), now
        if wanted <= rows.keys() or now > deadline or now - quiet_since > quiet_s:
            return rows
        time.sleep(0.1)
