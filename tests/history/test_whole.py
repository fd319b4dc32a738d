"""The real service: asked over HTTP with a session's cookie, kept by its processes, deleted for good."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx
import pytest

from moduai import settings
from moduai.accounts.people import create_person
from moduai.accounts.sessions import COOKIE, start_session
from moduai.history.conversations import list_conversations, read_conversation
from moduai.history.forgetting import delete_account
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from tests.conftest import Service, until

QUESTION = "주민등록초본은 어디에서 떼나요? 아주 비밀스러운 사정이 있습니다."
NAME = "김비밀"


class Resident(NamedTuple):
    service: Service
    db: Database
    subjects: SubjectKeys
    person: str
    client: httpx.AsyncClient

    async def ask(self, *, stream: bool = False) -> httpx.Response:
        body = {
            "model": self.service.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": stream,
        }
        return await self.client.post("/v1/chat/completions", json=body)

    def kept(self, turn: str) -> bool:
        file = f"file:{self.service.home / 'modu.db'}?mode=ro"
        with contextlib.closing(sqlite3.connect(file, uri=True)) as connection:
            return connection.execute("SELECT 1 FROM turns WHERE id = ?", (turn,)).fetchone() is not None


@pytest.fixture
async def resident(clean: Service) -> AsyncIterator[Resident]:
    home = clean.home
    subjects = SubjectKeys.open(home, Keyring.open(home))
    db = Database(settings.load(home, {}).database_url)
    async with db.begin() as connection:
        person = await create_person(connection, subjects, name=NAME, history=True)
        token, _ = await start_session(connection, person, "", time.time())
    fields = {"origin": clean.url, "sec-fetch-site": "same-origin"}
    async with httpx.AsyncClient(base_url=clean.url, cookies={COOKIE: token}, headers=fields) as client:
        yield Resident(clean, db, subjects, person.id, client)
    subjects.close()
    await db.dispose()


async def test_what_is_asked_over_http_is_kept_sealed(resident: Resident) -> None:
    replies = [await resident.ask(), await resident.ask(stream=True)]
    assert [reply.status_code for reply in replies] == [200, 200]
    turns = [reply.headers["x-request-id"] for reply in replies]
    for turn in turns:
        await asyncio.to_thread(until, lambda turn=turn: resident.kept(turn), 15)
    async with resident.db.connect() as connection:
        found = [
            await read_conversation(connection, resident.subjects, resident.person, f"cnv_{turn}")
            for turn in turns
        ]
    assert [one.turns[0].question for one in found if one] == [QUESTION, QUESTION]
    said = replies[0].json()["choices"][0]["message"]["content"]
    assert said
    assert [bool(one and one.turns[0].answer) for one in found] == [True, True]
    assert found[0] is not None
    assert found[0].turns[0].answer == said
    at_rest = b"".join(f.read_bytes() for f in resident.service.home.rglob("*") if f.is_file())
    for secret in (QUESTION[:20], "비밀스러운", said, NAME):
        assert secret.encode() not in at_rest
        assert secret.encode("unicode-escape") not in at_rest


async def test_a_deleted_account_asks_no_more_and_nothing_comes_back(resident: Resident) -> None:
    assert (await resident.ask()).status_code == 200  # its turn may wait in memory or in a segment still
    async with resident.db.begin() as connection:
        assert await delete_account(connection, resident.subjects, resident.person, time.time())

    async def refused() -> bool:
        reply = await resident.ask()
        return reply.status_code == 401 and reply.json()["error"]["code"] == "session_ended"

    deadline = time.monotonic() + 60
    while not await refused():
        assert time.monotonic() < deadline
    reply = await asyncio.to_thread(_asked_by_key, resident.service)  # loaded later than all before it
    await asyncio.to_thread(resident.service.row, reply)
    async with resident.db.connect() as connection:
        assert await list_conversations(connection, resident.subjects, resident.person) == []


def _asked_by_key(service: Service) -> str:
    body = {"model": service.model, "messages": [{"role": "user", "content": "?"}]}
    reply = httpx.post(f"{service.url}/v1/chat/completions", json=body, headers=service.bearer, timeout=60)
    return reply.headers["x-request-id"]
