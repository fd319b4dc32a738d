"""What the bars of cells share: a cell with people of known weights, who ask for known work without a pause.

Words: a *person* is one API key with its own organisation; *work* is what the policy charges, uncached prompt
tokens and twice those of the answer; the *pool* is one fake engine of `SLOTS` places whose answers take as
long as they have tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.bars import Bench
from benchmarks.harness import modu, process
from benchmarks.harness.cell import Cell, Part, redis_process, running_cell
from moduai.accounts.keys import create_key
from moduai.accounts.organisations import create_organisation
from moduai.settings import load
from moduai.store.database import Database

SLOTS = 8
PACE_S = 0.005
"""Time of one token: what a slot does in a second is 200 tokens."""
QUESTION = [{"role": "user", "content": "?"}]
ROWS = "SELECT id, outcome, tokens_in - tokens_cached + 2 * tokens_out, at + duration_us, subject FROM usage"


@dataclass
class Person:
    """Who asks, where, and what came."""

    key: str
    subject: str
    url: str
    tokens: int
    at_once: int = 4
    done: list[tuple[float, str]] = field(default_factory=list)
    """When whole answers came (monotonic, in seconds), and their ids."""
    broken: list[str] = field(default_factory=list)


class World:
    """A cell and its people."""

    def __init__(self, cell: Cell, store: Part | None) -> None:
        self.cell, self.store = cell, store
        self.people: list[Person] = []
        self._stop = asyncio.Event()

    def ask(self) -> list[asyncio.Task[None]]:
        """Everybody asks until told to stop."""
        self._stop = asyncio.Event()
        each = [person for person in self.people for _ in range(person.at_once)]
        return [asyncio.create_task(self._ask(person)) for person in each]

    async def end(self, asking: Sequence[asyncio.Task[None]]) -> None:
        """No new questions; what runs ends."""
        self._stop.set()
        await asyncio.gather(*asking)

    async def _ask(self, person: Person) -> None:
        body = {
            "model": "fake-model",
            "stream": True,
            "messages": QUESTION,
            "max_tokens": person.tokens,
            "x_fake": {"chunks": person.tokens, "pace_s": PACE_S},
        }
        headers = {"authorization": f"Bearer {person.key}"}
        async with httpx.AsyncClient(
            base_url=person.url, headers=headers, timeout=120, verify=False
        ) as client:
            while not self._stop.is_set():
                try:
                    answer = await client.post("/v1/chat/completions", json=body)
                except httpx.TransportError as error:
                    person.broken.append(repr(error))
                    await asyncio.sleep(0.05)
                    continue
                if answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n"):
                    person.done.append((time.monotonic(), answer.headers["x-request-id"]))
                else:
                    person.broken.append(f"{answer.status_code} {answer.text[-200:]}")
                    await asyncio.sleep(0.05)

    def rows(self) -> list[tuple[str, str, int, int]]:
        """Of the ledger, of these people: id, outcome, work, and when it ended (Unix µs)."""
        own = {person.subject for person in self.people}
        with closing(self._ledger()) as ledger:
            return [row[:4] for row in ledger.execute(ROWS) if row[4] in own]

    def has_row(self, id_: str) -> bool:
        """Whether an answer has come to the ledger; quick, however long that is."""
        with closing(self._ledger()) as ledger:
            return ledger.execute("SELECT 1 FROM usage WHERE id = ?", (id_,)).fetchone() is not None

    def _ledger(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.cell.home.folder / 'modu.db'}?mode=ro", uri=True)

    async def settled(self, within_s: float = 30.0) -> bool:
        """Whether every whole answer has come to the ledger in this time."""
        wanted = {id_ for person in self.people for _, id_ in person.done}
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if wanted <= {row[0] for row in self.rows()}:
                return True
            await asyncio.sleep(0.1)
        return False


@contextlib.contextmanager
def large(bench: Bench) -> Iterator[World]:
    """What dies in these bars: gateways, dispatchers and a store of the lease (for --quick half of each)."""
    gateways = 2 if bench.quick else 4
    with world(bench, "large", gateways=gateways, dispatchers=2, store=True) as each:
        yield each


@contextlib.contextmanager
def world(
    bench: Bench,
    name: str,
    *,
    gateways: int = 4,
    dispatchers: int = 1,
    policy: str = "",
    store: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """A cell at work in front of one engine. Raises StartError."""
    place = bench.place(name)
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(process.engine_process(place / "engine.log", on=set()))
        home = modu.prepare(place / "home", [engine], concurrency=SLOTS)
        if policy:
            (home.folder / "policy.toml").write_text(policy)
        given, part = dict(settings or {}), None
        if store:
            given["cells__lease"], part = stack.enter_context(redis_process(place))
        parts = place / "parts"
        cell = running_cell(home, parts, gateways=gateways, dispatchers=dispatchers, settings=given)
        yield World(stack.enter_context(cell), part)


@contextlib.contextmanager
def worlds(
    bench: Bench, name: str, *, gateways: int, policy: str, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[World, World]]:
    """Two cells of one installation, with an engine each and one store of their leases. Raises StartError."""
    place = bench.place(name)
    with contextlib.ExitStack() as stack:
        engines = [
            stack.enter_context(process.engine_process(place / f"engine-{n}.log", on=set())) for n in range(2)
        ]
        home = modu.prepare(place / "home", engines, concurrency=SLOTS)
        (home.folder / "policy.toml").write_text(policy)
        url, part = stack.enter_context(redis_process(place))
        made = []
        for number in range(2):
            own = {"cells__lease": url, "cells__name": f"cell-{number}", "cells__engines": f"fake-{number}"}
            cell = running_cell(
                home,
                place / f"parts-{number}",
                gateways=gateways,
                settings={**own, **(settings or {})},
                metering=not number,
            )
            made.append(World(stack.enter_context(cell), part))
        yield made[0], made[1]


async def make_people(
    home: Path, urls: Sequence[str], tokens: Sequence[int], class_: str = "standard"
) -> list[Person]:
    """People with a key each, in turn at these gateways, who ask for answers of so many tokens."""
    db = Database(load(home, {}).database_url)
    made = []
    try:
        async with db.begin() as connection:
            for number, each in enumerate(tokens):
                owner = await create_organisation(connection, f"organisation {os.urandom(4).hex()}")
                key, info = await create_key(
                    connection, name="p", organisation=owner.id, service_class=class_, classes={class_}
                )
                made.append(Person(key, info.subject, urls[number % len(urls)], each))
    finally:
        await db.dispose()
    return made


async def known(people: Sequence[Person], within_s: float = 30.0) -> None:
    """Until every person's gateway knows the key."""
    async with asyncio.timeout(within_s):
        for person in people:
            headers = {"authorization": f"Bearer {person.key}"}
            async with httpx.AsyncClient(base_url=person.url, headers=headers, verify=False) as client:
                while (await client.get("/v1/models")).status_code != 200:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
