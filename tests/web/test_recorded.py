"""A resident's question through the real service: the lane records it, and the page goes on from there."""

from __future__ import annotations

import asyncio
import json
import time

import httpx2

from moduai.accounts.sessions import COOKIE
from moduai.history.conversations import read_conversation
from moduai.history.record import Conversation
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from tests.conftest import Service

from .harness import resident
from .test_pages import events, form


class _Parts:
    """What ``resident`` needs of a service."""

    def __init__(self, service: Service) -> None:
        self.database = Database(f"sqlite+aiosqlite:///{service.home / 'modu.db'}")
        self.keyring = Keyring.open(service.home)
        self.subjects = SubjectKeys.open(service.home, self.keyring)


async def _recorded(parts: _Parts, person: str, conversation: str, turns: int) -> Conversation:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        async with parts.database.connect() as connection:
            found = await read_conversation(connection, parts.subjects, person, conversation)
        if found and len(found.turns) == turns:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"{turns} turns were not recorded: {found}")


async def test_what_was_just_asked_is_gone_when_everything_is_deleted(clean: Service) -> None:
    parts = _Parts(clean)
    _, token = await resident(parts, "deleting", history=True)
    headers = {"accept-language": "en"}
    async with httpx2.AsyncClient(
        base_url=clean.url, cookies={COOKIE: token}, headers=headers, timeout=60
    ) as browser:
        posted = {"token": (await form(browser))["token"], "question": "Keep no secrets?"}
        for which in ("", "all"):
            begun = events((await browser.post("/ask", json=posted)).text)[0]
            where = f"/c/{begun['conversation']}"
            assert "Keep no secrets?" in (await browser.get(where)).text
            gone = {"token": posted["token"], "id": which or begun["conversation"], "sure": "1"}
            assert (await browser.post("/history/delete", data=gone)).status_code == 303
            assert (await browser.get(where)).status_code == 404
    parts.subjects.close()
    await parts.database.dispose()


async def test_a_residents_turns_are_recorded_and_read_again(clean: Service) -> None:
    parts = _Parts(clean)
    person, token = await resident(parts, "recorded", history=True)
    headers = {"accept-language": "en"}
    async with httpx2.AsyncClient(
        base_url=clean.url, cookies={COOKIE: token}, headers=headers, timeout=60
    ) as browser:
        posted = {"token": (await form(browser))["token"], "question": "First?"}
        begun, *_, done = events((await browser.post("/ask", json=posted)).text)
        assert (begun["event"], done["event"]) == ("begin", "done")
        where = {"conversation": begun["conversation"], "parent": begun["turn"]}
        await browser.post("/ask", json={**posted, **where, "question": "Second?"})
        kept = await _recorded(parts, person.id, begun["conversation"], 2)
        assert [turn.question for turn in kept.turns] == ["First?", "Second?"]
        assert kept.turns[0].answer == done["text"]
        assert (kept.title, kept.turns[1].parent) == ("First?", begun["turn"])
        sent = json.loads(clean.engine.seen()[-1]["body"])["messages"] if clean.engine else []
        assert [message["content"] for message in sent] == ["First?", done["text"], "Second?"]
        assert "Second?" in (await browser.get(f"/c/{begun['conversation']}")).text
    parts.subjects.close()
    await parts.database.dispose()
