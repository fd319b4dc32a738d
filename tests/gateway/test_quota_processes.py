"""A key with a limit, asked at four real gateway processes at once."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest
from benchmarks.harness import modu, process
from benchmarks.harness.cell import WITHOUT, Gateway

from moduai.accounts.principal import Principal
from moduai.accounts.quotas import Limit, set_quota
from moduai.gateway.errors import ApiError
from moduai.gateway.quotas import Quotas
from moduai.scheduling.quota import advance
from moduai.settings import load
from moduai.store.database import Database

LIMIT = 6000
BODY = {"model": "fake-model", "max_tokens": 16, "messages": [{"role": "user", "content": "?"}]}
ONE = 28
"""Tokens of a request: 12 read, 16 written."""
DAY = 86_400
NOON = 12 - datetime.now(UTC).hour
"""Hours from UTC to where it is noon now: no day ends while the test runs."""


class Four:
    """The gateways, and the database that they share."""

    def __init__(self, home: modu.Home, gateways: list[Gateway]) -> None:
        self.home, self.gateways = home, gateways
        self.database = Database(load(home.folder, {}).database_url)
        self.key = ""

    def book(self) -> tuple[int, str]:
        """What was used of the limit and what is leased."""
        with closing(sqlite3.connect(f"file:{self.home.folder / 'modu.db'}?mode=ro", uri=True)) as read:
            row = read.execute("SELECT used, leases FROM quota_books WHERE owner = ?", [self.key]).fetchone()
        return row or (0, "{}")


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Four]:
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(process.engine_process(tmp_path / "engine.log", on=set()))
        home = modu.prepare(tmp_path / "home", [engine])
        environ = home.environ(**WITHOUT, console__utc_offset=f"{NOON:+03}:00")
        gateways = [Gateway(n, home, tmp_path / f"gateway-{n}.log", environ) for n in range(4)]
        for each in gateways:
            stack.callback(each.listening.close)
            each.start()
            stack.callback(each.stop)
        for each in gateways:
            each.wait()
        yield Four(home, gateways)


async def limit(four: Four) -> None:
    """Set it, and wait until all have heard."""
    async with four.database.begin() as connection:
        four.key = (await set_quota(connection, four.home.key, Limit(LIMIT), "cli")).owner
    headers = {"authorization": f"Bearer {four.home.key}"}
    async with httpx.AsyncClient(headers=headers, timeout=60) as client, asyncio.timeout(60):
        for each in four.gateways:
            while not (await client.get(f"{each.url}/v1/queue")).json()["quotas"]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def hurry(url: str, key: str, codes: Counter[str]) -> int:
    """Ask at one gateway, four at a time, until it refuses for good; tokens that were answered."""
    whole, over = 0, asyncio.Event()
    headers = {"authorization": f"Bearer {key}"}

    async def person(client: httpx.AsyncClient) -> None:
        nonlocal whole
        while not over.is_set():
            answer = await client.post("/v1/chat/completions", json=BODY)
            if answer.status_code == 200:
                whole += answer.json()["usage"]["total_tokens"]
                continue
            code = answer.json()["error"]["code"]
            codes[code] += 1
            if code == "quota_exceeded":
                assert answer.status_code == 429
                assert 0 < int(answer.headers["retry-after"]) <= DAY
                over.set()
            await asyncio.sleep(0.05)

    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
        async with asyncio.timeout(60):
            await asyncio.gather(*(person(client) for _ in range(4)))
    return whole


def day_after(four: Four, days: int) -> Quotas:
    """A gateway whose clock is so many days ahead."""
    zone = timezone(timedelta(hours=NOON))
    made = Quotas(four.database, "later", lambda: zone, lambda: time.time() + days * DAY)
    made.set_limits({four.key: Limit(LIMIT)})
    return made


async def test_a_key_ends_at_its_limit_and_goes_on_the_next_day(four: Four) -> None:
    await limit(four)
    codes: Counter[str] = Counter()
    used = sum(await asyncio.gather(*(hurry(each.url, four.home.key, codes) for each in four.gateways)))
    assert set(codes) <= {"quota_exceeded", "quota_unknown"}
    assert LIMIT <= used <= LIMIT + 4 * (advance(LIMIT) + 4 * ONE)
    deadline = time.monotonic() + 60
    while four.book() != (used, "{}"):
        assert time.monotonic() < deadline, (four.book(), used)
        await asyncio.sleep(0.1)
    who = Principal(subject="sub_x", key=four.key)
    today, tomorrow = day_after(four, 0), day_after(four, 1)
    for one in (today, tomorrow):
        one.admit(who, "", advance(LIMIT), 1)  # of what is let in before anything is known
        await one.round()
    with pytest.raises(ApiError, match="quota_exceeded"):
        today.admit(who, "", 1, 1)
    assert tomorrow.admit(who, "", 1, 1)
    await four.database.dispose()
