"""``python -m benchmarks site``: a whole site on this machine, people who ask, parts that are killed.

Words: the *site* is what `deploy/compose` starts, with four gateways and two engines; *whole* answers came
to their end; *waits* are the ledger's time in line of whole answers. Rule: who breaks off is counted with
the reason, and what is told is read from the ledger, from the kernel and from the clients, not from the parts
that are judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
from playwright.sync_api import Error as BrowserError
from rich.console import Console
from rich.table import Table
from sqlalchemy import select, text

from benchmarks.harness import browser, process
from benchmarks.harness.cell import redis_process
from benchmarks.harness.compose import Site
from benchmarks.harness.postgres import Postgres
from benchmarks.harness.process import StartError
from moduai.accounts.keys import create_key
from moduai.accounts.people import create_person
from moduai.accounts.sessions import COOKIE, start_session
from moduai.metering.tables import usage
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys

GATEWAYS = ("gateway-1", "gateway-2", "gateway-3", "gateway-4")
DISPATCHERS = ("dispatcher-1", "dispatcher-2")
PARTS = {
    "moduai.app": "worker",
    "moduai.metering": "metering",
    "moduai.knowledge": "search",
    "moduai.cells": "dispatcher",
    "moduai.cli": "supervisor",
}
CLASSES = ("resident", "public-duty", "research", "business")
SLOTS, PACE_S = 8, 0.02
"""Of each engine: places, and the time of one token."""
TOKENS = (20, 40, 60, 100)
EACH = 6
"""People of each class; each asks two questions at once, so three times as many ask as there are places."""
DOWN_S = 5.0
"""How long a killed part stays away."""
ROWS = select(usage.c.id, usage.c.outcome, usage.c.service_class, usage.c.queue_us, usage.c.subject)
SIZE = text(
    "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = 'usage'::regclass"
)


@dataclass
class Person:
    """Who asks, in which class, and what came."""

    key: str
    subject: str
    class_: str
    tokens: int
    at: int
    """The gateway that is asked, by its place in the list."""
    done: list[tuple[float, str]] = field(default_factory=list)
    """When whole answers came (monotonic, in seconds), and their ids."""
    broken: list[str] = field(default_factory=list)


@dataclass
class Run:
    """A site at work."""

    site: Site
    database: str
    urls: list[str] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    session: str = ""
    stop: bool = False
    """Nobody asks any more."""
    searches: Counter[int] = field(default_factory=Counter)
    """Searches of public documents, by status."""
    killed: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The dispatcher: when it was killed, and when its standby took over. The gateway: when it was started
    again, and when it served again.
    """
    other: dict[str, int] = field(default_factory=dict)
    """Processes beside the gateways' and dispatchers', by name."""


def run(*, seconds: float, pictures: str = "") -> int:
    """Start it, let people ask for so long, kill a gateway and the dispatcher in between, and print what
    was seen; ``pictures`` names a folder for screenshots of the console. 1 where a row or a person is lost.
    """
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="modu-site-", ignore_cleanup_errors=True) as folder:
        try:
            with started(Path(folder), console) as each:
                figures = asyncio.run(_watch(each, seconds, Path(pictures) if pictures else None, console))
        except (StartError, TimeoutError, BrowserError) as error:
            console.print(f"it did not come up, or stopped: {error}")
            return 1
    Console(width=max(120, Console().width)).print(_table(figures))
    print(msgspec.json.encode(figures).decode())
    return 0 if figures["whole answers without a row"] == figures["rows twice"] == 0 else 1


@contextlib.contextmanager
def started(folder: Path, console: Console) -> Iterator[Run]:
    """Everything, up and ready. Raises StartError."""
    with contextlib.ExitStack() as stack:
        console.print("PostgreSQL, Valkey, two engines …")
        postgres = Postgres()
        stack.callback(postgres.remove)
        lease, valkey = stack.enter_context(redis_process(folder))
        logs = [folder / f"engine-{number}.log" for number in (1, 2)]
        engines = [stack.enter_context(process.engine_process(log, on=set())) for log in logs]
        url = asyncio.run(postgres.make())
        shared = {"MODU_DATABASE__URL": url, "MODU_CELLS__LEASE": lease, "MODU_SIGN_IN__PUBLIC_URL": ""}
        site = Site(folder, shared, stack)
        each = Run(site, url)
        console.print("four gateways, a dispatcher and its standby …")
        site.start("gateway-1")
        site.url("gateway-1")  # it makes the tables and the keyring
        for name in DISPATCHERS:
            site.start(name)
        for name in GATEWAYS[1:]:
            site.start(name, like="gateway-2")
        each.urls = [site.url(name) for name in GATEWAYS]
        for number, engine in enumerate(engines, 1):
            site.command("gateway-1", "engine", "add", engine, "--name", f"engine-{number}",
                         "--concurrency", str(SLOTS), "--accelerator", "fake", "--watts", "400")  # fmt: skip
        postmaster = (postgres.folder / "data" / "postmaster.pid").read_text().split()[0]
        each.other = {"PostgreSQL": int(postmaster), "Valkey": valkey.pid}
        yield each


async def _watch(each: Run, seconds: float, pictures: Path | None, console: Console) -> dict[str, object]:
    await _people(each)
    await _ready(each)
    console.print(f"{2 * len(each.people)} questions at once, for {seconds:.0f} s: {each.urls[0]}/console")
    tasks = [asyncio.create_task(_ask(each, person)) for person in each.people for _ in range(2)]
    tasks.append(asyncio.create_task(_search(each)))
    await _pass(seconds / 4, pictures, each, "load")
    await asyncio.gather(_gateway_dies(each, "gateway-2"), _pass(0, pictures, each, "gateway"))
    await _pass(seconds / 4, None, each, "")
    await asyncio.gather(_dispatcher_dies(each), _pass(0, pictures, each, "dispatcher"))
    await _pass(seconds / 2, pictures, each, "end")
    each.stop = True
    await asyncio.gather(*tasks)
    memory = _memory(each)
    return await _figures(each, memory)


async def _pass(seconds: float, pictures: Path | None, each: Run, name: str) -> None:
    """Let time pass; with pictures, look at the console meanwhile."""
    await asyncio.sleep(seconds)
    if pictures is not None:
        await asyncio.to_thread(_take, each, pictures, name)


async def _people(each: Run) -> None:
    """Keys of each class, and an administrator who is signed in."""
    home = each.site.home("gateway-1")
    subjects = SubjectKeys.open(home, Keyring.open(home))
    db = Database(each.database)
    try:
        async with db.begin() as connection:
            for number in range(EACH * len(CLASSES)):
                class_, tokens = CLASSES[number % len(CLASSES)], TOKENS[number % 3 + number % 2]
                key, made = await create_key(
                    connection, name=f"{class_}-{number}", service_class=class_, classes={class_}
                )
                each.people.append(Person(key, made.subject, class_, tokens, number // len(CLASSES) % 4))
            person = await create_person(connection, subjects, name="김하늘", role="admin", language="ko")
            each.session, _ = await start_session(connection, person, "Chromium", time.time())
    finally:
        await db.dispose()
        subjects.close()


async def _ready(each: Run) -> None:
    """Until every gateway knows the last key and both engines, and has nothing to complain of."""
    headers = {"authorization": f"Bearer {each.people[-1].key}"}
    async with asyncio.timeout(180), httpx.AsyncClient(headers=headers, verify=False, timeout=60) as client:
        for url in each.urls:
            while (await client.get(f"{url}/v1/models")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            while (await client.get(f"{url}/health/ready")).json()["degraded"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def _ask(each: Run, person: Person) -> None:
    """Asks without a pause; at another gateway where one is gone, as a proxy would choose it."""
    body = {
        "model": "fake-model",
        "stream": True,
        "messages": [{"role": "user", "content": "?"}],
        "max_tokens": person.tokens,
        "x_fake": {"chunks": person.tokens, "pace_s": PACE_S},
    }
    headers, place = {"authorization": f"Bearer {person.key}"}, person.at
    async with httpx.AsyncClient(headers=headers, timeout=120, verify=False) as client:
        while not each.stop:
            try:
                answer = await client.post(f"{each.urls[place]}/v1/chat/completions", json=body)
            except httpx.TransportError as error:
                if not isinstance(error, httpx.ConnectError):  # nothing was sent where nobody listens
                    person.broken.append("connection broke")
                place = (place + 1) % len(each.urls)
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 200 and answer.text.endswith("data: [DONE]\n\n"):
                person.done.append((time.monotonic(), answer.headers["x-request-id"]))
            else:
                code = re.search(r'"code":\s*"(\w+)"', answer.text)
                person.broken.append(f"{answer.status_code} {code[1] if code else 'cut off'}")
                await asyncio.sleep(0.05)


async def _search(each: Run) -> None:
    """Somebody looks for public documents once a second, at each gateway in turn."""
    headers, number = {"authorization": f"Bearer {each.people[0].key}"}, 0
    async with httpx.AsyncClient(headers=headers, timeout=60, verify=False) as client:
        while not each.stop:
            with contextlib.suppress(httpx.TransportError):
                address = f"{each.urls[number % len(each.urls)]}/v1/search"
                each.searches[(await client.get(address, params={"q": "줄 서기"})).status_code] += 1
            number += 1
            await asyncio.sleep(1)


async def _gateway_dies(each: Run, name: str) -> None:
    """With its supervisor and all; started again a little later."""
    each.site.kill(name)
    await asyncio.sleep(DOWN_S)
    each.site.start(name, like="gateway-2")
    began, url = time.monotonic(), each.urls[GATEWAYS.index(name)]
    async with asyncio.timeout(120), httpx.AsyncClient(verify=False, timeout=60) as client:
        while not await _serves(client, url):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    each.killed[name] = began, time.monotonic()


async def _serves(client: httpx.AsyncClient, url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        ready = await client.get(f"{url}/health/ready")
        return ready.status_code == 200 and not {"database", "line"} & set(ready.json()["degraded"])
    return False


async def _dispatcher_dies(each: Run) -> None:
    leader = each.site.leader()
    each.site.kill(leader)
    at = time.monotonic()
    async with asyncio.timeout(60):
        while each.site.leader() in ("", leader):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    each.killed["dispatcher"] = at, time.monotonic()
    await asyncio.sleep(DOWN_S)
    each.site.start(leader)


def _take(each: Run, folder: Path, name: str) -> None:
    """The first page and the shares, wide in English and on a telephone in Korean."""
    folder.mkdir(parents=True, exist_ok=True)
    looks = [("wide-light-en", "en-GB", "light", 1280, 860), ("phone-dark-ko", "ko-KR", "dark", 390, 844)]
    with browser.running_browser(each.site.folder) as chromium:
        for look, locale, scheme, width, height in looks:
            with contextlib.closing(
                chromium.new_context(
                    locale=locale,
                    color_scheme="dark" if scheme == "dark" else "light",
                    viewport={"width": width, "height": height},
                )
            ) as context:
                context.add_cookies([{"name": COOKIE, "value": each.session, "url": each.urls[0]}])
                page = context.new_page()
                for title, path in (("now", "/console"), ("shares", "/console/shares")):
                    page.goto(each.urls[0] + path, timeout=60_000)
                    page.screenshot(path=folder / f"site-{name}-{title}-{look}.png")


def _memory(each: Run) -> dict[str, float]:
    """Proportional set size of each part, MB; of gateways' parts the largest, of PostgreSQL all processes."""
    found: dict[str, float] = {}
    for one in each.site.running.values():
        for pid in process.tree(one.pid):
            words = process.command(pid)
            name = next((part for module, part in PARTS.items() if module in words), "")
            if name:
                with contextlib.suppress(OSError):
                    found[name] = max(found.get(name, 0.0), process.pss(pid) / 1e6)
    for name, pid in each.other.items():
        found[name] = sum(process.pss(one) for one in process.tree(pid)) / 1e6
    return {name: round(size, 1) for name, size in sorted(found.items())}


async def _figures(each: Run, memory: dict[str, float]) -> dict[str, object]:
    rows, size = await _settled(each)
    whole = {id_ for person in each.people for _, id_ in person.done}
    broken = Counter(why for person in each.people for why in person.broken)
    ids = Counter(id_ for id_, *_ in rows)
    times = sorted(at for person in each.people for at, _ in person.done)
    died, back = each.killed["dispatcher"]
    started_again, served = each.killed["gateway-2"]
    near = [died, *(at for at in times if died < at < died + 10), min(times[-1], died + 10)]
    waits = {
        class_: _p50_p99([row[3] / 1e6 for row in rows if row[2] == class_ and row[1] == "ok"])
        for class_ in CLASSES
    }
    return {
        "sent": len(whole) + sum(broken.values()),
        "whole answers": len(whole),
        "whole answers a second": round(len(whole) / (times[-1] - times[0]), 1),
        "not whole": dict(broken),
        "rows": len(ids),
        "rows twice": sum(ids.values()) - len(ids),
        "whole answers without a row": len(whole - ids.keys()),
        "sent without a row, for nobody had read them": len(whole) + sum(broken.values()) - len(ids),
        "wait in line, s (p50, p99)": waits,
        "dispatcher killed: a standby after, s": round(back - died, 2),
        "dispatcher killed: longest time without a whole answer, s": round(
            max(later - sooner for sooner, later in pairwise(near)), 2
        ),
        "gateway killed: serves again after its start, s": round(served - started_again, 2),
        "searches, by status": {str(status): count for status, count in each.searches.items()},
        "bytes of a row in PostgreSQL, with its indexes": size // max(1, len(rows)),
        "memory of a process, MB": memory,
    }


async def _settled(each: Run) -> tuple[list[tuple[str, str, str, int]], int]:
    """The ledger's rows of these people, once all that will come has come, and the size of its table."""
    own = {person.subject for person in each.people}
    whole = {id_ for person in each.people for _, id_ in person.done}
    db, deadline = Database(each.database), time.monotonic() + 120
    try:
        last = -1
        while True:
            async with db.connect() as connection:
                rows = [tuple(row)[:4] for row in await connection.execute(ROWS) if row.subject in own]
            if time.monotonic() > deadline or (whole <= {row[0] for row in rows} and len(rows) == last):
                async with db.connect() as connection:
                    return rows, int(await connection.scalar(SIZE) or 0)
            last = len(rows)
            await asyncio.sleep(3)
    finally:
        await db.dispose()


def _p50_p99(values: list[float]) -> list[float]:
    ordered = sorted(values)
    return [round(ordered[int(part * (len(ordered) - 1))], 2) for part in (0.5, 0.99)] if ordered else []


def _table(figures: dict[str, object]) -> Table:
    table = Table(title=f"A site on one machine, {os.cpu_count()} cores", show_lines=True)
    for heading in ("what", "figure"):
        table.add_column(heading, overflow="fold")
    for name, value in figures.items():
        table.add_row(name, msgspec.json.encode(value).decode())
    return table
