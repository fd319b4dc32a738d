"""A gateway in the test's own loop, in front of fake engines on real sockets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import uvloop
from benchmarks.harness.engine import MODEL, FakeEngine, running_engine

from moduai.accounts.keys import digest
from moduai.accounts.principal import Principal
from moduai.accounts.table import KeyTable
from moduai.cells.remote import RemoteLine
from moduai.engines.fleet import Fleet
from moduai.engines.record import Capability, Engine, Hardware, Model
from moduai.gateway.lane import Lane
from moduai.gateway.policy_text import parse
from moduai.gateway.routes import Routes
from moduai.gateway.server import Server
from moduai.metering.row import UsageRow
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import Policy
from moduai.settings import Settings

KEY = "modu-" + "k" * 43
OTHER_KEY = "modu-" + "o" * 43
READ_ONLY = "modu-" + "r" * 43


def pytest_asyncio_loop_factories(
    config: Any, item: Any
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests of the gateway run on the loop that the worker runs on."""
    return {"uvloop": uvloop.new_event_loop}


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
class Reply:
    """One answer as a raw client saw it."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    """False if the connection broke before the answer was complete."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])

    @property
    def events(self) -> list[Any]:
        return [
            json.loads(line[6:])
            for line in self.body.decode().splitlines()
            if line.startswith("data: ") and line != "data: [DONE]"
        ]

    @property
    def done(self) -> bool:
        return b"data: [DONE]" in self.body


@dataclass
class Gateway:
    """The server under test and what stands behind it."""

    server: Server
    lane: Lane
    fleet: Fleet
    ledger: Rows
    keys: KeyTable
    port: int

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def raw(self, data: bytes, *, then_eof: bool = False) -> Reply:
        """Send bytes, read one answer."""
        reader, writer = await self.connect()
        try:
            writer.write(data)
            if then_eof:
                writer.write_eof()
            return await read_reply(reader)
        finally:
            writer.close()

    async def ask(self, path: str = "/v1/chat/completions", key: str = KEY, **body: Any) -> Reply:
        return await self.raw(request(path, chat(**body) if "chat" in path else body, key))


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "안녕?"}], **fields}


def request(path: str, body: Any, key: str | None = KEY, headers: str = "", method: str = "POST") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    auth = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{auth}{headers}Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def read_reply(reader: asyncio.StreamReader, *, head_only: bool = False) -> Reply:
    async with asyncio.timeout(60):
        head = b"HTTP/1.1 100"
        while head.startswith(b"HTTP/1.1 100"):
            head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        body, whole = b"", True
        if not head_only:
            body, whole = await _read_body(reader, headers)
        return Reply(int(first.split()[1]), headers, body, whole)


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> tuple[bytes, bool]:
    body = b""
    try:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"])), True
        if headers.get("transfer-encoding") != "chunked":
            return await reader.read(), True
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"
    except (asyncio.IncompleteReadError, ConnectionError):
        return body, False
    return body, True


def engine_of(fake: FakeEngine, number: int = 1, concurrency: int = 8, **can: Any) -> Engine:
    """A record for a fake engine."""
    can = {"embeddings": True, "responses": True, "context": 8192} | can
    models = tuple(Model(name=name, upstream_name=name, capability=Capability(**can)) for name in fake.models)
    return Engine(
        id=f"eng_{number}",
        name=f"fake{number}",
        url=fake.url,
        key=fake.key,
        concurrency=concurrency,
        hardware=Hardware(kind="fake", count=4, watts=100.0),
        models=models,
    )


def settings_of(**changes: dict[str, Any]) -> Settings:
    """Default settings with some fields changed, by section."""
    tree = msgspec.to_builtins(Settings())
    for section, fields in changes.items():
        tree[section] |= fields
    tree["gateway"]["port"] = 0
    return msgspec.convert(tree, Settings)


@asynccontextmanager
async def running_gateway(
    *engines: Engine,
    app: Any = None,
    queue: FairQueue | None = None,
    ledger: Rows | None = None,
    keys: KeyTable | None = None,
    **changes: dict[str, Any],
) -> AsyncIterator[Gateway]:
    """A gateway on a free port of loopback."""
    settings = settings_of(**changes)
    fleet, ledger = Fleet(settings.upstream), Rows() if ledger is None else ledger
    keys = KeyTable() if keys is None else keys
    keys.replace(
        [
            (digest(KEY.encode()), Principal(subject="sub_a", organisation="org_a", key="key_a")),
            (digest(OTHER_KEY.encode()), Principal(subject="sub_b", organisation="org_b", key="key_b")),
            (digest(READ_ONLY.encode()), Principal(subject="sub_c", scopes=frozenset({"models"}))),
        ]
    )
    lane = Lane(settings, fleet, ledger, "boot", queue)
    server = Server(settings, lane, keys, Routes(lane, list, time.time()), app or (lambda: no_pages))
    fleet.apply(engines)
    _, port = await server.listen()
    try:
        yield Gateway(server, lane, fleet, ledger, keys, port)
    finally:
        await server.drain(0.01)
        assert not lane.exchanges
        here = {} if isinstance(queue, RemoteLine) else lane.line.running()  # that one tells of others too
        assert all(count == 0 for count in here.values()), "a place in line has leaked"
        assert all(clock.running == 0 for clock in lane.clocks.values()), "a clock still runs"


async def no_pages(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("no pages in this test")


@pytest.fixture
async def fake() -> AsyncIterator[FakeEngine]:
    async with running_engine() as engine:
        yield engine


@pytest.fixture
async def gateway(fake: FakeEngine) -> AsyncIterator[Gateway]:
    async with running_gateway(engine_of(fake)) as running:
        yield running


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    for _ in iter(lambda: bool(condition()), True):
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.005)


def shared(gateway: Gateway, rule: str = "", more: str = "") -> None:
    """Let a gateway share by another policy."""
    gateway.lane.set_policy(shared_policy(rule, more))


def shared_policy(rule: str = "", more: str = "") -> Policy:
    """One class with a rule, and whatever comes before it."""
    title = 'title = { ko = "모두", en = "All" }'
    return parse(f'name = "test"\ndefault = "standard"\n{more}\n[class.standard]\n{title}\n{rule}\n')
