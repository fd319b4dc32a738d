"""Asking with a session's cookie: only from our own pages, only while it lasts, and kept if wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from benchmarks.harness.engine import FakeEngine

from moduai.accounts.people import Person, change_person, create_person
from moduai.accounts.sessions import SessionTable, end_session, start_session
from moduai.gateway import connection as connection_module
from moduai.gateway.author import Sessions, from_our_page, session_token
from moduai.gateway.local import Begun, Delta, Done, LocalAsk
from moduai.history.conversations import delete_conversation, list_conversations, read_conversation
from moduai.history.loader import turns_kind
from moduai.history.record import PlaceError
from moduai.history.recorder import Recorder
from moduai.metering.loader import Loader
from moduai.settings import Ledger
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from tests.databases import sqlite
from tests.gateway.conftest import (
    Gateway,
    Reply,
    chat,
    engine_of,
    read_reply,
    request,
    running_gateway,
    until,
)

__all__ = ["sqlite"]

HERE = "Sec-Fetch-Site: same-origin\r\n"


class World(NamedTuple):
    """A gateway, and a resident who is signed in."""

    gateway: Gateway
    db: Database
    subjects: SubjectKeys
    table: SessionTable
    recorder: Recorder
    loader: Loader
    person: Person
    token: str
    session: str

    def bytes(
        self, headers: str = HERE, token: str = "", *, path: str = "/v1/chat/completions", **body: object
    ) -> bytes:
        cookie = f"Cookie: a=b; modu_session={token or self.token}\r\n"
        return request(path, chat(**body), None, cookie + headers)

    async def ask(self, headers: str = HERE, token: str = "", **body: object) -> Reply:
        return await self.gateway.raw(self.bytes(headers, token, **body))

    async def titles(self) -> list[str]:
        await self.recorder.flush()
        await self.loader.load_once()
        async with self.db.connect() as connection:
            return [one.title for one in await list_conversations(connection, self.subjects, self.person.id)]


@pytest.fixture
async def world(fake: FakeEngine, sqlite: Database, tmp_path: Path) -> AsyncIterator[World]:
    subjects = SubjectKeys.open(tmp_path, Keyring.open(tmp_path))
    recorder = Recorder(tmp_path / "turns", subjects, Ledger(), "w")
    loader = Loader(sqlite, tmp_path / "turns", "", turns_kind(subjects))
    async with sqlite.begin() as connection:
        person = await create_person(connection, subjects, name="김하나", history=True)
        token, session = await start_session(connection, person, "", time.time())
    async with running_gateway(engine_of(fake)) as gateway:
        table = SessionTable()
        gateway.server.sessions = Sessions(table, sqlite)
        gateway.lane.recorder = recorder
        yield World(gateway, sqlite, subjects, table, recorder, loader, person, token, session.id)
    recorder.close()
    subjects.close()


async def test_a_resident_asks_and_the_turn_is_kept(world: World) -> None:
    replies = [await world.ask() for _ in range(2)]  # looked up, then known
    assert [reply.status for reply in replies] == [200, 200]
    assert {row.subject for row in world.gateway.ledger.rows} == {world.person.id}
    assert {row.service_class for row in world.gateway.ledger.rows} == {"resident"}
    assert await world.titles() == ["안녕?", "안녕?"]
    turn = replies[0].headers["x-request-id"]
    async with world.db.connect() as connection:
        found = await read_conversation(connection, world.subjects, world.person.id, f"cnv_{turn}")
    assert found is not None
    assert found.turns[0].answer == replies[0].json["choices"][0]["message"]["content"]


async def test_streams_of_every_client_are_kept(world: World) -> None:
    reply = await world.ask(stream=True)
    old = world.bytes(stream=True).replace(b" HTTP/1.1", b" HTTP/1.0", 1)
    assert (await world.gateway.raw(old)).status == 200
    said = "".join(
        each["choices"][0]["delta"].get("content") or "" for each in reply.events if each["choices"]
    )
    assert await world.titles() == ["안녕?", "안녕?"]
    turn = reply.headers["x-request-id"]
    async with world.db.connect() as connection:
        found = await read_conversation(connection, world.subjects, world.person.id, f"cnv_{turn}")
    assert found is not None
    assert said
    assert found.turns[0].answer == said


async def test_a_turn_goes_where_the_page_says(world: World) -> None:
    first = (await world.ask()).headers["x-request-id"]
    goes = f"modu-conversation: cnv_{first}\r\nmodu-parent: {first}\r\n"
    second = (await world.ask(HERE + goes)).headers["x-request-id"]
    assert await world.titles() == ["안녕?"]
    async with world.db.connect() as connection:
        found = await read_conversation(connection, world.subjects, world.person.id, f"cnv_{first}")
    assert found is not None
    assert [turn.id for turn in found.turns] == [first, second]
    assert (await world.ask(HERE + "modu-conversation: x y\r\n")).code == "bad_request"


async def test_nobody_can_take_the_place_of_the_next_conversation(world: World) -> None:
    boot, count, *rest = (await world.ask()).headers["x-request-id"].split("-")
    async with world.db.begin() as connection:
        stranger = await create_person(connection, world.subjects, name="Eve", history=True)
        for ahead in range(1, 4):
            likely = "-".join((boot, f"{int(count, 16) + ahead:x}", *rest))
            await delete_conversation(connection, stranger.id, f"cnv_{likely}", time.time())
    await world.ask()
    assert len(await world.titles()) == 2


async def test_repeated_heads_are_known_and_end_with_the_session(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    find = world.table.find.__func__  # type: ignore[attr-defined]

    class Counting(SessionTable):
        def find(self, token: bytes, now: float):  # type: ignore[no-untyped-def]
            nonlocal looked
            looked += 1
            return find(self, token, now)

    table = Counting()
    world.gateway.server.sessions = Sessions(table, world.db)
    reader, writer = await world.gateway.connect()
    for _ in range(5):
        writer.write(world.bytes())
        assert (await read_reply(reader)).status == 200
    assert looked == 3  # unknown, looked up, found once more: then the head is known
    monkeypatch.setattr(connection_module, "BELIEVED_S", -1.0)
    table.clear()
    writer.write(world.bytes())
    assert (await read_reply(reader)).status == 200
    async with world.db.begin() as connection:
        await end_session(connection, world.session)
    table.clear()
    writer.write(world.bytes())
    reply = await read_reply(reader)
    assert (reply.status, reply.code) == (401, "session_ended")
    writer.close()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ("", "cross_site"),
        ("Sec-Fetch-Site: cross-site\r\n", "cross_site"),
        ("Sec-Fetch-Site: same-site\r\n", "cross_site"),
        ("Sec-Fetch-Site: none\r\n", "cross_site"),
        ("Origin: http://evil.example\r\n", "cross_site"),
        ("Origin: null\r\n", "cross_site"),
        (HERE + "Origin: http://evil.example\r\n", "cross_site"),
        ("Sec-Fetch-Site: cross-site\r\nOrigin: http://localhost\r\n", "cross_site"),
        ("Origin: http://localhost\r\n", ""),
        (HERE + "Origin: http://LOCALHOST\r\n", ""),
        (HERE + "Authorization: Bearer modu-wrong\r\n", "invalid_api_key"),
        (HERE + "Authorization: Basic eA==\r\n", "missing_api_key"),
        (HERE + "Cookie: modu_session=other\r\n", "missing_api_key"),
    ],
)
async def test_only_our_own_pages_may_ask(world: World, headers: str, code: str) -> None:
    reply = await world.ask(headers)
    assert (reply.status == 200) if not code else (reply.code == code)


async def test_a_token_that_is_none_is_refused_before_its_body(world: World) -> None:
    assert (await world.ask(token="x" * 43)).code == "session_ended"
    assert (await world.ask(token="x" * 5000)).code == "session_ended"
    head = world.bytes(token="y" * 43).partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: ", b"Content-Length: 1000") + b"\r\n\r\n"
    assert (await world.gateway.raw(head)).code == "session_ended"
    assert world.gateway.server._looks == set()


async def test_a_head_that_comes_before_its_body_waits_for_the_session(world: World) -> None:
    whole = world.bytes()
    reader, writer = await world.gateway.connect()
    writer.write(whole[:-10])
    await until(lambda: len(world.table) == 1)
    writer.write(whole[-10:])
    assert (await read_reply(reader)).status == 200
    writer.close()


async def test_a_client_that_leaves_during_the_look_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    left, load = asyncio.Event(), Sessions.load

    async def slow(self: Sessions, token: bytes):  # type: ignore[no-untyped-def]
        await left.wait()
        return await load(self, token)

    monkeypatch.setattr(Sessions, "load", slow)
    _, writer = await world.gateway.connect()
    writer.write(world.bytes())
    await until(lambda: world.gateway.server._looks)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    left.set()
    await until(lambda: not world.gateway.server._looks)
    await until(lambda: not world.gateway.lane.exchanges)
    assert {row.outcome for row in world.gateway.ledger.rows} <= {"cancelled"}


async def test_the_database_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await world.ask()).status == 200
    world.db.file.rename(world.db.file.with_suffix(".away"))  # type: ignore[union-attr]
    assert (await world.ask()).status == 200  # known already
    reply = await world.ask(token="z" * 43)
    assert (reply.status, reply.code) == (503, "not_ready")
    assert "retry-after" in reply.headers
    world.db.file.with_suffix(".away").rename(world.db.file)  # type: ignore[union-attr]


async def test_nothing_is_kept_of_those_who_do_not_want_it(world: World) -> None:
    async with world.db.begin() as connection:
        await change_person(connection, world.subjects, world.person.id, history=False)
    assert (await world.ask(HERE + "modu-conversation: not looked at\r\n")).status == 200
    assert await world.titles() == []


async def test_embeddings_are_no_turns(world: World) -> None:
    cookie = f"Cookie: modu_session={world.token}\r\n{HERE}"
    body = {"model": "fake-model", "input": "x"}
    reply = await world.gateway.raw(request("/v1/embeddings", body, None, cookie))
    assert (reply.status, await world.titles()) == (200, [])


async def test_small_addresses_by_session(world: World) -> None:
    head = f"GET /v1/queue HTTP/1.1\r\nHost: localhost\r\nCookie: modu_session={world.token}\r\n"
    for _ in range(2):
        assert (await world.gateway.raw(f"{head}{HERE}\r\n".encode())).json["data"] == []
    assert (await world.gateway.raw(f"{head}\r\n".encode())).code == "cross_site"


async def test_the_page_asks_by_the_same_lane(world: World) -> None:
    await world.ask()
    principal = world.table.find(world.token.encode(), time.time()).principal  # type: ignore[union-attr]
    ask = LocalAsk(world.gateway.lane)
    events = [event async for event in ask({**chat()}, principal, conversation="cnv_page")]
    begun, done = events[0], events[-1]
    assert isinstance(begun, Begun)
    assert isinstance(done, Done)
    assert (begun.conversation, begun.id) == ("cnv_page", done.id)
    assert any(isinstance(event, Delta) for event in events)
    assert len(await world.titles()) == 2
    with pytest.raises(PlaceError):
        await anext(ask({**chat()}, principal, conversation="<script>"))


async def test_a_page_that_stops_keeps_what_came(world: World, fake: FakeEngine) -> None:
    await world.ask()
    principal = world.table.find(world.token.encode(), time.time()).principal  # type: ignore[union-attr]
    events = LocalAsk(world.gateway.lane)({**chat(), "x_fake": {"chunks": 500, "pace_s": 0.01}}, principal)
    async for event in events:
        if isinstance(event, Delta):
            break
    await events.aclose()  # type: ignore[attr-defined]
    await world.titles()
    async with world.db.connect() as connection:
        last = (await list_conversations(connection, world.subjects, world.person.id))[0]
        found = await read_conversation(connection, world.subjects, world.person.id, last.id)
    assert found is not None
    assert (found.turns[0].outcome, bool(found.turns[0].answer)) == ("cancelled", True)


async def test_without_sign_in_a_cookie_is_nothing(gateway: Gateway) -> None:
    cookie = f"Cookie: modu_session={'x' * 43}\r\n{HERE}"
    assert (
        await gateway.raw(request("/v1/chat/completions", chat(), None, cookie))
    ).code == "missing_api_key"


def test_the_cookie_over_https_is_one_that_no_other_host_can_set() -> None:
    fields = {b"cookie": b"modu_session=a; __Host-modu_session=b"}
    assert session_token(fields, secure=True) == b"b"
    assert session_token(fields, secure=False) == b"a"
    assert session_token({b"cookie": b"modu_session=a;modu_session=b"}, secure=False) is None
    assert session_token({b"cookie": b"modu_session="}, secure=False) is None
    assert session_token({}, secure=False) is None
    assert not from_our_page({b"origin": b"http://x", b"host": b""})
