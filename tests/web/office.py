"""Pages and operations in this process, with somebody of each role signed in and a real lane behind them."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import httpx2

from moduai.accounts.audit import Entry, list_entries
from moduai.accounts.keys import create_key, load_principals
from moduai.accounts.people import create_person
from moduai.accounts.roles import ROLES
from moduai.accounts.sessions import COOKIE, digest, find_session, start_session
from moduai.engines.fleet import Fleet
from moduai.engines.record import Capability, Engine, Hardware, Model
from moduai.engines.repository import add_engine, list_engines
from moduai.gateway.lane import Lane
from moduai.gateway.metrics import figures
from moduai.gateway.switches import load_switches
from moduai.gateway.workers import Workers
from moduai.knowledge import store
from moduai.knowledge.store import Collection, Refused
from moduai.knowledge.types import Facts, Parsed, Passage
from moduai.metering.row import UsageRow
from moduai.web import Services, create_app

from .harness import Script, services

URL = "http://testserver"
ENGINE = Engine(
    id="eng_00000000000000aa",
    name="lab",
    url="http://127.0.0.1:9",
    kind="vllm",
    hardware=Hardware(kind="H100 SXM", count=8, watts=700),
    models=(
        Model(
            name="haneul-32b", upstream_name="h", capability=Capability(context=32768, origin="한빛연구소")
        ),
        Model(name="Qwen/Qwen3-8B", upstream_name="q"),
    ),
)
LAWS = Collection(id="", name="laws", kind="git", address="https://example.org/laws.git", licence="KOGL-1")
PARSED = Parsed(Facts("민법 <b>", "statute", in_force_from=date(2026, 1, 1)), "제1조", (Passage(0, 3),))


@dataclass
class Rows:
    """A ledger in memory."""

    rows: list[UsageRow] = field(default_factory=list)
    full: bool = False
    failing: bool = False
    rows_waiting: int = 0
    behind_s: float = 0.0

    def add(self, row: UsageRow) -> None:
        self.rows.append(row)


@dataclass
class Office:
    """The service, and who works there."""

    services: Services
    lane: Lane
    app: Any
    people: dict[str, str]
    """Role to the id of a person who has it."""
    tokens: dict[str, str]
    """Role to that person's session."""
    forms: dict[str, str]
    """Role to that session's form token."""

    def client(self, role: str = "", *, form: bool = True, language: str = "en") -> httpx2.AsyncClient:
        """A client signed in as somebody of a role ("": a guest), with the form token unless without."""
        headers = {"accept-language": language}
        if role and form:
            headers["modu-token"] = self.forms[role]
        cookies = {COOKIE: self.tokens[role]} if role else {}
        transport = httpx2.ASGITransport(app=self.app)
        return httpx2.AsyncClient(transport=transport, base_url=URL, headers=headers, cookies=cookies)

    async def key(self, person: str, *scopes: str) -> dict[str, str]:
        """The header of a key of a person."""
        async with self.services.database.begin() as connection:
            clear, _ = await create_key(connection, name="k", subject=person, scopes=scopes or ("manage",))
            self.services.keys.replace(await load_principals(connection))
        return {"authorization": f"Bearer {clear}"}

    async def entries(self, action: str = "") -> list[Entry]:
        """The audit log, newest first."""
        async with self.services.database.connect() as connection:
            return await list_entries(connection, action=action, limit=1000)

    async def follow(self) -> None:
        """Take over what was written, as the feed would."""
        async with self.services.database.connect() as connection:
            self.lane.fleet.apply(await list_engines(connection, self.services.keyring))
            self.lane.switches.replace(await load_switches(connection))
            self.services.keys.replace(await load_principals(connection))
        self.services.sessions.clear()


@contextlib.asynccontextmanager
async def office(**overrides: Any) -> AsyncIterator[Office]:
    """Open the office."""
    async with services(Script(), **overrides) as given:
        settings = given.loaded.settings
        lane = Lane(settings, Fleet(settings.upstream), Rows(), "boot")
        started = int(time.time())
        workers = Workers(lambda: figures(lane, started=started, degraded=given.degraded()))
        parts = dataclasses.replace(
            given, lane=lane, switches=lane.switches, started=started, workers=workers
        )
        people, tokens, forms = {}, {}, {}
        async with parts.database.begin() as connection:
            await add_engine(connection, parts.keyring, ENGINE)
            law = await store.create(connection, LAWS)
            await store.put(connection, law.id, "kr/<b>.md", PARSED, "d", datetime(2026, 11, 22, tzinfo=UTC))
            problem = Refused("kr/x.pdf", "encrypted", "it is encrypted")
            await store.set_state(connection, law.id, "ready", done=2, total=2, refused=[problem])
            for role in ROLES:
                person = await create_person(connection, parts.subjects, name=f"One {role}", role=role)
                tokens[role], _ = await start_session(connection, person, "Firefox · Linux", time.time())
                session = await find_session(connection, digest(tokens[role].encode()), time.time())
                assert session is not None
                people[role], forms[role] = person.id, session.form_token
        made = Office(parts, lane, create_app(parts), people, tokens, forms)
        await made.follow()
        try:
            yield made
        finally:
            await lane.drain(0)
