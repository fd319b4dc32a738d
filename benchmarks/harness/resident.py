"""A resident who is signed in: made in the home folder's database, as a sign-in makes one.

Rule: what a resident has asked, the real service has answered and kept; nothing is written beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import sqlite3
import time
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from benchmarks.harness.engine import MODEL
from benchmarks.harness.modu import Home
from benchmarks.harness.process import StartError
from moduai.accounts.people import change_person, create_person
from moduai.accounts.sessions import COOKIE, start_session
from moduai.settings import load
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys

KEPT_S = 30.0


class Resident(NamedTuple):
    """Someone who is signed in on one browser."""

    id: str
    token: str
    """The session's, as the cookie holds it."""
    form_token: str
    """What a page made for this session holds."""

    @property
    def cookies(self) -> dict[str, str]:
        """For a browser."""
        return {COOKIE: self.token}

    @property
    def cookie(self) -> str:
        """The value of the header field."""
        return f"{COOKIE}={self.token}"


def sign_in(home: Home, *, history: bool = True) -> Resident:
    """A new resident with a session."""
    return asyncio.run(asign_in(home, history=history))


async def asign_in(home: Home, *, history: bool = True) -> Resident:
    """The same, inside a loop."""
    subjects = SubjectKeys.open(home.folder, Keyring.open(home.folder))
    db = Database(load(home.folder, {}).database_url)
    try:
        async with db.begin() as connection:
            person = await create_person(connection, subjects, name="김하나", language="ko")
            person = await change_person(connection, subjects, person.id, history=history)
            token, session = await start_session(connection, person, "Benchmark", time.time())
    finally:
        await db.dispose()
    return Resident(person.id, token, session.form_token)


def page_fields(url: str, resident: Resident, *, packed: bool = True) -> dict[str, str]:
    """Header fields of a browser that opens a page; ``packed``: it takes compressed answers."""
    return {
        "host": urlsplit(url).netloc,
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0",
        "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "accept-language": "ko-KR,ko;q=0.9,en;q=0.8",
        "accept-encoding": "gzip, deflate, br, zstd" if packed else "identity",
        "sec-fetch-site": "none",
        "sec-fetch-mode": "navigate",
        "sec-fetch-dest": "document",
        "cookie": resident.cookie,
    }


def request_bytes(line: str, fields: dict[str, str]) -> bytes:
    """A request's head; ``line`` is its method and path."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{line} HTTP/1.1\r\n{lines}\r\n".encode()


def converse(url: str, resident: Resident, turns: int) -> str:
    """Ask so many questions in one new conversation; gives its id. Raises StartError."""
    conversation = parent = ""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as line:
        for number in range(turns):
            fields = session_fields(url, resident)
            if parent:
                fields |= {"modu-conversation": conversation, "modu-parent": parent}
            question = f"{number + 1}번째 질문입니다. 이 표와 코드를 한 줄씩 쉽게 설명해 주세요."
            line.request("POST", "/v1/chat/completions", _question(question), fields)
            answer = line.getresponse()
            said = answer.read()
            parent = answer.getheader("x-request-id", "")
            if answer.status != 200 or not parent:
                raise StartError(f"a question by session: {answer.status} {said[:200]!r}")
            conversation = conversation or f"cnv_{parent}"
    return conversation


def _question(text: str) -> bytes:
    said = [{"role": "user", "content": text}]
    return msgspec.json.encode({"model": MODEL, "messages": said, "max_tokens": 200})


def session_fields(url: str, resident: Resident) -> dict[str, str]:
    """Header fields of a question that the page's own script asks."""
    return {
        "content-type": "application/json",
        "origin": url,
        "sec-fetch-site": "same-origin",
        "cookie": resident.cookie,
    }


def wait_until_kept(home: Home, resident: Resident, turns: int) -> None:
    """Until the database has so many turns of a resident. Raises StartError."""
    deadline = time.monotonic() + KEPT_S
    kept = 0
    file = f"file:{home.folder / 'modu.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(file, uri=True)) as database:
        while kept < turns and time.monotonic() < deadline:
            query = "SELECT count(*) FROM turns WHERE person = ?"
            kept = database.execute(query, (resident.id,)).fetchone()[0]
            time.sleep(0.05)
    if kept != turns:
        raise StartError(f"of {turns} turns {kept} were kept within {KEPT_S:.0f} s")
