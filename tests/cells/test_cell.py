"""A cell with real processes: two gateways, two dispatchers, Valkey or Redis, and parts that die under load.

Rows of "When parts die" in docs/failure-modes.md name tests here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx
import pytest
from benchmarks.harness import modu, process
from benchmarks.harness.cell import Cell, Part, redis_process, running_cell

BODY = {"model": "fake-model", "stream": True, "messages": [{"role": "user", "content": "?"}]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cell")


@pytest.fixture(scope="module")
def store(place: Path) -> Iterator[Part]:
    with redis_process(place) as (url, part):
        part.url = url  # type: ignore[attr-defined]
        yield part


@pytest.fixture(scope="module")
def cell(place: Path, store: Part) -> Iterator[Cell]:
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    pace = ("--chunks", "10", "--pace", "0.02")
    with process.engine_process(place / "engine.log", *pace, on=cpus) as engine:
        home = modu.prepare(place / "home", [engine], concurrency=4)
        settings = {"cells__lease": store.url}  # type: ignore[attr-defined]
        with running_cell(home, place / "parts", dispatchers=2, settings=settings) as found:
            yield found
        log = found.logs()
        assert "Traceback" not in log, log[-6000:]


class Load:
    """People who ask again and again, at both gateways, until told to stop."""

    def __init__(self, cell: Cell, people: int = 12) -> None:
        self._cell, self._people = cell, people
        self.ids: list[str] = []
        """Of those that were answered whole."""
        self.broken: list[str] = []
        """What became of the others."""
        self._stop = asyncio.Event()

    async def run(self) -> None:
        await asyncio.gather(*(self._person(n) for n in range(self._people)))

    def end(self) -> None:
        self._stop.set()

    async def answers(self, more: int) -> None:
        """Until so many more have been answered."""
        wanted = len(self.ids) + more
        async with asyncio.timeout(60):
            while len(self.ids) < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def _person(self, number: int) -> None:
        url = self._cell.gateways[number % len(self._cell.gateways)].url
        headers = {"authorization": f"Bearer {self._cell.home.key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            while not self._stop.is_set():
                try:
                    answer = await client.post("/v1/chat/completions", json=BODY)
                except httpx.TransportError as error:
                    self.broken.append(repr(error))
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n"):
                    self.ids.append(answer.headers["x-request-id"])
                else:
                    self.broken.append(f"{answer.status_code} {answer.text[-300:]}")


@asynccontextmanager
async def asking(cell: Cell, people: int = 12) -> AsyncIterator[Load]:
    load = Load(cell, people)
    task = asyncio.create_task(load.run())
    await load.answers(people)
    try:
        yield load
    finally:
        load.end()
        await task


def rows(cell: Cell) -> dict[str, str]:
    """Outcomes in the ledger, by request."""
    with closing(sqlite3.connect(f"file:{cell.home.folder / 'modu.db'}?mode=ro", uri=True)) as ledger:
        found = ledger.execute("SELECT id, outcome FROM usage").fetchall()
    assert max(Counter(id_ for id_, _ in found).values(), default=1) == 1
    return dict(found)


async def in_ledger(cell: Cell, ids: list[str]) -> None:
    async with asyncio.timeout(60):
        while set(ids) - rows(cell).keys():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def degraded(url: str) -> set[str]:
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        return set((await client.get("/health/ready")).json()["degraded"])


async def until_degraded(url: str, expected: set[str]) -> None:
    async with asyncio.timeout(60):
        while await degraded(url) != expected:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_any_gateway_takes_any_request_and_the_places_are_shared(cell: Cell) -> None:
    async with asking(cell) as load:
        await load.answers(40)
    assert load.broken == []
    await in_ledger(cell, load.ids)


async def test_a_dispatcher_that_is_killed(cell: Cell) -> None:
    async with asking(cell) as load:
        leader = cell.leader()
        leader.kill()
        await load.answers(40)
        leader.start()
        await load.answers(20)
    assert load.broken == []
    await in_ledger(cell, load.ids)


async def test_a_dispatcher_that_stops_in_order(cell: Cell) -> None:
    async with asking(cell) as load:
        leader = cell.leader()
        leader.stop()
        await load.answers(40)
        leader.start()
    assert load.broken == []
    await in_ledger(cell, load.ids)


async def test_a_standby_that_is_killed(cell: Cell) -> None:
    leader = cell.leader()
    (standby,) = (part for part in cell.dispatchers if part is not leader)
    async with asking(cell, 4) as load:
        standby.kill()
        await load.answers(20)
        assert cell.leader() is leader
        standby.start()
        leader.kill()  # nobody but the one that was started again is left
        await load.answers(20)
        assert cell.leader() is standby
        leader.start()
    assert load.broken == []
    await in_ledger(cell, load.ids)


async def leads(cell: Cell, part: Part) -> None:
    async with asyncio.timeout(60):
        while cell.leader() is not part:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_dispatcher_that_is_paused_and_believes_that_it_is_the_one(cell: Cell) -> None:
    async with asking(cell) as load:
        paused = cell.leader()
        paused.signal(signal.SIGSTOP)
        other = next(part for part in cell.dispatchers if part is not paused)
        await leads(cell, other)
        await load.answers(40)
        paused.signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            while not paused.gone:  # noqa: ASYNC110  (it finds that it is the one no more)
                await asyncio.sleep(0.05)
        paused.start()
        await load.answers(20)
    assert load.broken == []
    await in_ledger(cell, load.ids)


async def test_an_older_dispatcher_that_a_store_without_memory_takes_back(cell: Cell, store: Part) -> None:
    """It is the owner then, and no gateway heeds it: they tell it so, and somebody newer comes."""
    async with asking(cell) as load:
        old = cell.leader()
        old.signal(signal.SIGSTOP)
        new = next(part for part in cell.dispatchers if part is not old)
        await leads(cell, new)
        await load.answers(20)
        new.signal(signal.SIGSTOP)
        client = modu_redis(store.url)  # type: ignore[attr-defined]
        await client.flushall()
        old.signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            while not await client.exists("modu:cell:main:owner"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await client.aclose()
        new.signal(signal.SIGCONT)
        async with asyncio.timeout(60):
            while not (old.gone and new.gone):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for part in (old, new):
            part.start()
        await load.answers(20)
    assert load.broken == []
    await in_ledger(cell, load.ids)


async def test_a_store_of_the_lease_that_is_paused_or_emptied(cell: Cell, store: Part) -> None:
    async with asking(cell) as load:
        store.signal(signal.SIGSTOP)
        await until_degraded(cell.gateways[0].url, {"lease"})
        await load.answers(30)
        store.signal(signal.SIGCONT)
        await until_degraded(cell.gateways[0].url, set())
        client = modu_redis(store.url)  # type: ignore[attr-defined]
        await client.flushall()
        await client.aclose()
        await load.answers(40)
    assert load.broken == []
    await in_ledger(cell, load.ids)


async def test_a_gateway_that_is_killed(cell: Cell) -> None:
    async with asking(cell) as load:
        gateway = cell.gateways[1]
        gateway.kill()
        gateway.start()
        await load.answers(60)
    await in_ledger(cell, load.ids)
    async with asyncio.timeout(60):
        while list((cell.home.folder / "usage").glob("*.taken"))[2:]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    found = rows(cell)
    died = [id_ for id_, outcome in found.items() if outcome == "failed"]
    assert died
    assert not set(died) & set(load.ids), "who was answered whole has the row of that"


async def test_without_any_dispatcher_people_are_told_and_then_served_again(cell: Cell) -> None:
    for part in cell.dispatchers:
        part.kill()
    await until_degraded(cell.gateways[0].url, {"line"})
    headers = {"authorization": f"Bearer {cell.home.key}"}
    async with httpx.AsyncClient(base_url=cell.gateways[0].url, headers=headers, timeout=120) as client:
        asked = []
        async with asyncio.timeout(60):
            while not any(each.done() for each in asked):  # the first ones wait for the next dispatcher
                asked.append(asyncio.create_task(client.post("/v1/chat/completions", json=BODY)))
                await asyncio.wait(asked, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        refused = next(each for each in asked if each.done()).result()
        assert refused.json()["error"]["code"] == "line_unavailable"
        assert refused.headers["retry-after"] == "2"
        for part in cell.dispatchers:
            part.start()
        answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {200, 503}
    await until_degraded(cell.gateways[0].url, set())


def modu_redis(url: str):
    from redis import asyncio as client  # noqa: PLC0415

    return client.Redis.from_url(url)
