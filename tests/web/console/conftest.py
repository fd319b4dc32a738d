"""Fixtures of this folder: the console on a real socket, with something on every page."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import running_engine

from moduai.accounts.invitations import invite
from moduai.accounts.keys import create_key
from moduai.accounts.looks import take_leave
from moduai.accounts.organisations import create_organisation
from moduai.accounts.principal import Principal
from moduai.accounts.reports import ReportText, file_report
from moduai.engines.record import Capability, Engine, Model
from moduai.gateway.local import LocalAsk
from moduai.gateway.switches import Stop, set_switch
from moduai.metering.loader import put_usage
from moduai.metering.row import UsageRow
from tests.gateway.conftest import until
from tests.web.harness import _listening as listening
from tests.web.office import ENGINE, Office, office

ATTACK = "<script>alert(1)</script>\u202e<b>"


@contextlib.asynccontextmanager
async def crowded(desk: Office) -> AsyncIterator[None]:
    """The lane has more than it can run: six people of an organisation, one of another, and two guests. Each
    was answered once before.
    """
    async with running_engine() as fake:
        fake.behaviour = Behaviour(fault="slow_head", head_s=0.02)
        model = Model(name=fake.models[0], upstream_name=fake.models[0], capability=Capability())
        engine = Engine(id="eng_b", name="busy", url=fake.url, key=fake.key, concurrency=2, models=(model,))
        desk.lane.fleet.apply((ENGINE, engine))
        async with desk.services.database.begin() as connection:
            library = (await create_organisation(connection, "부산 도서관")).id
        who = [Principal(subject=f"s{n}", organisation=library, service_class="resident") for n in range(6)]
        who += [Principal(subject="one", organisation="org_few", service_class="public-duty")]
        who += [Principal(subject=f"g{n}", service_class="guest", network=f"net_{n}") for n in range(2)]
        body = {"model": model.name, "messages": [{"role": "user", "content": "Hi"}]}
        await asyncio.gather(*(_asks(desk, body, each) for each in who))
        fake.behaviour = Behaviour(fault="hang")
        tasks = [asyncio.create_task(_asks(desk, body, each)) for each in who]
        await until(lambda: len(desk.lane.exchanges) == len(who))
        calibration = desk.lane.line._pools[model.name].outlook.calibration  # waits of seconds take seconds
        calibration.learn(calibration.forecast(1, 4_000_000_000), 5_000_000_000)
        desk.lane.stats.steps.update({"queued": 1227, "shortened": 7})
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _asks(desk: Office, body: dict[str, Any], who: Principal) -> None:
    async with aclosing(LocalAsk(desk.lane)(body, who)) as events:  # closing it leaves the line
        async for _ in events:
            pass


class Console(NamedTuple):
    """Where it is, and what stands behind it."""

    url: str
    desk: Office
    report: str
    paths: tuple[str, ...]
    """A path of every view."""


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    async with office() as desk, listening(desk.app) as url:
        report = await fill(desk)
        await desk.follow()
        yield Console(url, desk, report, paths(desk))


def paths(desk: Office) -> tuple[str, ...]:
    """A path of every view, with ids that are there."""
    from moduai.web.console.pages import VIEWS  # noqa: PLC0415

    ids = {"{engine}": ENGINE.id, "{person}": desk.people["resident"], "{collection}": "laws"}
    found = []
    for view in VIEWS:
        path = view.path
        for name, value in ids.items():
            path = path.replace(name, value)
        found.append(path)
    return (*found, f"/console/look?person={desk.people['resident']}", "/console/usage?by=model")


async def fill(desk: Office) -> str:
    """Something on every page; returns the id of a report that tries to be more than text."""
    at = time.time_ns() // 1000
    async with desk.services.database.begin() as connection:
        rows = [
            UsageRow(
                id=str(n), at=at - n * 150_000_000, subject=f"s{n % 9}", engine=ENGINE.id, region="KR-11",
                model="haneul-32b" if n % 5 else "m2", outcome="ok" if n % 11 else "failed", tokens_in=900,
                tokens_out=400, queue_us=20_000, first_token_us=300_000, accelerator_us=5_000_000,
            )
            for n in range(60)
        ]  # fmt: skip
        await put_usage(connection, [msgspec.structs.asdict(row) for row in rows])
        for name in ("data team", "도서관"):
            await create_key(connection, name=name)
        await invite(connection, role="steward", note="for 하늘")
        await set_switch(
            connection,
            "model:Qwen/Qwen3-8B",
            Stop(words={"ko": "점검", "en": "Broken"}),
            desk.people["admin"],
        )
        reason = "A threat was reported by the library."
        await take_leave(connection, desk.people["steward"], desk.people["resident"], reason)
        text = ReportText(question=ATTACK, answer="An answer.", remark="It is wrong: " + "길다 " * 80)
        return await file_report(
            connection,
            desk.services.subjects,
            person="",
            turn="t1",
            model="haneul-32b",
            reason="wrong",
            text=text,
        )
