"""The banner and the stop of a model or of everything: in the database, in memory and on the lane."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine
from sqlalchemy import text

from moduai.accounts.audit import list_entries
from moduai.gateway.errors import ApiError
from moduai.gateway.switches import (
    Banner,
    Stop,
    SwitchError,
    Switches,
    clear_switch,
    list_switches,
    load_switches,
    set_switch,
)
from moduai.store.database import Database
from tests.databases import db, postgres, sqlite, url

from .conftest import Gateway, chat, engine_of, request, running_gateway, until

__all__ = ["db", "postgres", "sqlite", "url"]
STOP = Stop(words={"en": "It is being looked at.", "ko": "점검 중입니다."})


async def change(db: Database, name: str, value: Banner | Stop) -> None:
    async with db.begin() as connection:
        await set_switch(connection, name, value, "sub_1")


async def test_what_is_set_is_kept_announced_and_recorded(db: Database) -> None:
    banner = Banner(words={"ko": " 오늘 \u202e점검 "}, level="warning", until=int(time.time()) + 60)
    await change(db, "banner", Banner(words={"en": "before"}))
    await change(db, "banner", banner)
    await change(db, "model:exaone/4 일", STOP)
    async with db.begin() as connection:
        kept = Banner(words={"ko": "오늘 점검"}, level="warning", until=banner.until)
        assert await load_switches(connection) == {"banner": kept, "model:exaone/4 일": STOP}
        (first, _) = await list_switches(connection)
        assert (first.name, first.set_by) == ("banner", "sub_1")
        assert await clear_switch(connection, "model:exaone/4 일", "sub_2")
        assert not await clear_switch(connection, "model:exaone/4 일", "sub_2")
        topic = text("SELECT version FROM changes WHERE topic = 'switches'")
        assert await connection.scalar(topic) == 4
        entries = await list_entries(connection, action="switch")
    assert [entry.action for entry in entries] == ["switch.clear", *["switch.set"] * 3]
    assert entries[2].detail == f'{{"languages":["ko"],"level":"warning","until":{banner.until}}}'


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("", STOP, "banner, service or model"),
        ("model:", STOP, "banner, service or model"),
        ("model:a\nb", STOP, "banner, service or model"),
        ("model:" + "x" * 191, STOP, "banner, service or model"),
        ("engine", STOP, "banner, service or model"),
        ("banner", STOP, "neither"),
        ("service", Banner(words={"en": "x"}), "neither"),
        ("banner", Banner(), "needs words"),
        ("banner", Banner(words={"<b>": "x"}), "by language"),
        ("service", Stop(words={f"a{chr(97 + n)}": "x" for n in range(17)}), "at most 16"),
        ("banner", Banner(words={"ko": " \t "}), "needs words"),
        ("banner", Banner(words={"ko": "x"}, until=1), "past"),
        ("banner", Banner(words={"ko": "x"}, level="loud"), "info or warning"),  # type: ignore[arg-type]
        ("service", Stop(words={"ko": "x" * 501}), "500"),
        ("service", Stop(words={"ko": "\x1b[2J"}), "printable"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    sqlite: Database, name: str, value: Banner | Stop, words: str
) -> None:
    with pytest.raises(SwitchError, match=words):
        await change(sqlite, name, value)
    async with sqlite.connect() as connection:
        assert await list_switches(connection) == []


async def test_a_switch_that_cannot_be_read_still_stops(sqlite: Database) -> None:
    async with sqlite.begin() as connection:
        for name in ("banner", "service"):
            await connection.execute(text(f"INSERT INTO switches VALUES ('{name}', '[1]', 'x', 1)"))
        found = await load_switches(connection)
    switches = Switches()
    switches.replace(found)
    assert switches.stop_of("any") == Stop()
    assert switches.banner(time.time()) is None


def test_a_banner_is_shown_until_its_end() -> None:
    switches = Switches()
    assert switches.banner(0) is None
    for until_s, shown in ((0, True), (100, True), (99, False)):
        switches.replace({"banner": Banner(words={"en": "x"}, until=until_s)})
        assert (switches.banner(99.0) is not None) is shown


def test_a_stop_is_of_one_model_or_of_all() -> None:
    switches = Switches()
    switches.check("a")
    switches.replace({"model:a": STOP, "banner": Banner(words={"en": "x"})})
    switches.check("b")
    with pytest.raises(ApiError) as caught:
        switches.check("a")
    assert (caught.value.code, caught.value.status) == ("model_stopped", 503)
    assert "It is being looked at. 점검 중입니다." in caught.value.message
    switches.replace({"model:a": STOP, "service": Stop()})
    for model in ("a", "b"):
        with pytest.raises(ApiError) as caught:
            switches.check(model)
        assert caught.value.code == "service_stopped"
    switches.replace({})
    switches.check("a")


@pytest.mark.parametrize(
    ("name", "code"), [(f"model:{MODEL}", "model_stopped"), ("service", "service_stopped")]
)
async def test_what_is_new_is_refused_until_it_is_started_again(
    gateway: Gateway, name: str, code: str
) -> None:
    gateway.lane.switches.replace({name: STOP})
    reply = await gateway.ask()
    assert (reply.status, reply.code) == (503, code)
    assert int(reply.headers["retry-after"]) > 0
    assert gateway.ledger.rows[-1].error == code
    gateway.lane.switches.replace({})
    assert (await gateway.ask()).status == 200


async def test_who_waits_is_refused_and_who_runs_ends_normally(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        fake.behaviour = Behaviour(chunks=20, pace_s=0.02)
        runs = asyncio.create_task(gateway.ask(stream=True))
        await until(lambda: sum(gateway.lane.line.running().values()) == 1)
        waits = [asyncio.create_task(gateway.ask(stream=stream)) for stream in (False, True)]
        await until(lambda: sum(gateway.lane.line.waiting().values()) == 2)
        gateway.lane.switches.replace({"model:another": STOP})
        assert sum(gateway.lane.line.waiting().values()) == 2
        gateway.lane.switches.replace({f"model:{MODEL}": STOP})
        for task in waits:
            reply: Any = await task
            assert (reply.status, reply.code) == (503, "model_stopped")
        assert (await runs).done


async def test_who_was_told_a_place_is_told_of_the_stop_in_the_stream(fake: FakeEngine) -> None:
    line = {"hold_s": 0.02, "notice_s": 0.02}
    async with running_gateway(engine_of(fake, concurrency=1), line=line) as gateway:
        fake.behaviour = Behaviour(chunks=20, pace_s=0.02)
        runs = asyncio.create_task(gateway.ask(stream=True))
        await until(lambda: sum(gateway.lane.line.running().values()) == 1)
        reader, writer = await gateway.connect()
        writer.write(request("/v1/chat/completions", chat(stream=True)))
        await reader.readuntil(b"queue position")
        gateway.lane.switches.replace({"service": STOP})
        rest = await reader.read()
        assert b'"code":"service_stopped"' in rest
        assert b"[DONE]" not in rest
        writer.close()
        assert (await runs).done
