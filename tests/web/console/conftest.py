"""Fixtures of this folder: the console on a real socket, with something on every page."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
import pytest
from sqlalchemy import insert

from moduai.accounts.invitations import invite
from moduai.accounts.keys import create_key
from moduai.accounts.looks import take_leave
from moduai.accounts.reports import ReportText, file_report
from moduai.gateway.switches import Stop, set_switch
from moduai.metering.row import UsageRow
from moduai.metering.tables import usage
from tests.web.harness import _listening as listening
from tests.web.office import ENGINE, Office, office

ATTACK = "<script>alert(1)</script>\u202e<b>"


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

    ids = {"{engine}": ENGINE.id, "{person}": desk.people["resident"]}
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
        await connection.execute(insert(usage), [msgspec.structs.asdict(row) for row in rows])
        for name in ("data team", "도서관"):
            await create_key(connection, name=name)
        await invite(connection, role="steward", note="for 하늘")
        await set_switch(
            connection, "model:Qwen/Qwen3-8B", Stop(ko="점검", en="Broken"), desk.people["admin"]
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
