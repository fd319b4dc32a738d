"""A scripted engine behind the pages, and a small ASGI server on a real socket to serve them by.

The server speaks HTTP/1.1 by h11, flushes each chunk and reports a client that left, as the gateway
does; it is for tests only.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h11
import msgspec

from moduai.accounts.people import Person, create_person
from moduai.accounts.principal import Principal
from moduai.accounts.sessions import SessionTable, start_session
from moduai.accounts.sign_in import make_credential, set_password
from moduai.engines.record import Capability, Model
from moduai.gateway.local import Begun, Delta, Done, Failed, Place
from moduai.history.loader import put_turns
from moduai.history.record import Line, Text, turn_purpose
from moduai.history.text import pack
from moduai.settings import Loaded, load
from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from moduai.web import Services, create_app

SMALL = Model(
    name="gemma3-270m",
    upstream_name="g",
    capability=Capability(
        context=4096,
        origin="Google (Gemma 3 270M)",
        licence="Gemma Terms",
        description="작고 빠르지만 자주 틀립니다. Small and quick, often wrong.",
    ),
)
LARGE = Model(
    name="haneul-32b",
    upstream_name="h",
    capability=Capability(
        context=32768,
        origin="한빛연구소",
        licence="Apache-2.0",
        description="긴 글을 잘 읽습니다. Reads long texts well.",
    ),
)
ANSWER = """서울은 **대한민국(Korea)**의 수도입니다.

## 알아 두면 좋은 것

1. 인구는 약 *930만 명*입니다.
2. `한강`이 도시를 가로지릅니다.

| 구분 | 값 |
|---|--:|
| 자치구 | 25 |
| 면적 (km²) | 605 |

```python
def greet(name: str) -> str:
    return f"안녕하세요, {name}님"  # hello
```

> 더 자세한 내용은 [서울특별시](https://www.seoul.go.kr)에서 볼 수 있습니다.
"""


@dataclass
class Script:
    """What ``ask`` does, and what it saw."""

    events: list[Any] = field(default_factory=lambda: spoken(ANSWER))
    gate: asyncio.Event | None = None
    """If set, ``ask`` waits here where the events hold None."""
    pause_s: float = 0.0
    models: list[Model] = field(default_factory=lambda: [SMALL])
    asked: list[tuple[dict[str, Any], Principal]] = field(default_factory=list)
    closed: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    places: list[tuple[str, str]] = field(default_factory=list)
    """Conversation and parent of each question."""

    async def ask(
        self, body: dict[str, Any], principal: Principal, *, conversation: str = "", parent: str = ""
    ) -> AsyncIterator[Any]:
        """The seam's function."""
        self.asked.append((body, principal))
        self.places.append((conversation, parent))
        name = f"turn-{len(self.asked)}"
        try:
            if not isinstance(self.events[0], Failed):
                yield Begun(name, (conversation or f"cnv_{name}") if principal.history else "")
            for event in self.events:
                if event is None and self.gate:
                    await self.gate.wait()
                elif event is not None:
                    await asyncio.sleep(self.pause_s)
                    whose = isinstance(event, Done) and not event.model
                    yield msgspec.structs.replace(event, model=body["model"]) if whose else event
        finally:
            self.closed += 1
            self.ended.set()


def spoken(text: str, size: int = 7, model: str = "", **done: str) -> list[Any]:
    """A text in pieces as an engine would send it, and its end; by the model that is asked unless given."""
    pieces = [Delta(text[at : at + size]) for at in range(0, len(text), size)]
    return [
        *pieces,
        Done(**{"finish_reason": "stop", **done}, model=model, tokens_in=21, tokens_out=len(pieces)),
    ]


def waiting(*places: tuple[Any, ...]) -> list[Any]:
    """Notices of the place in line: position, wait, its range, a lighter model."""
    return [Place(*place) for place in places]


def failed(code: str, retry_after_s: int | None = None) -> Failed:
    """A failure as the gateway tells it."""
    return Failed(code, "for programmes", 503, retry_after_s)


@dataclass
class Served:
    """A running service."""

    url: str
    script: Script
    services: Services
    open: contextlib.AsyncExitStack
    """What is closed at its end."""


@cache
def _empty_database() -> bytes:
    """A database at head, made once."""
    with tempfile.TemporaryDirectory(prefix="modu-empty-") as folder:
        file = Path(folder) / "modu.db"
        with ThreadPoolExecutor(1) as thread:  # the caller may be inside an event loop
            thread.submit(lambda: asyncio.run(migrate.upgrade(f"sqlite+aiosqlite:///{file}"))).result()
        return file.read_bytes()


@contextlib.asynccontextmanager
async def services(script: Script, **overrides: Any) -> AsyncIterator[Services]:
    """The seam with the script behind it, on a home folder and database of its own."""
    with tempfile.TemporaryDirectory(prefix="modu-web-") as folder:
        home = Path(folder)
        (home / "modu.db").write_bytes(_empty_database())
        loaded: Loaded = load(home, {}, overrides)
        database, keyring = Database(loaded.database_url), Keyring.open(home)
        subjects = SubjectKeys.open(home, keyring)
        yield Services(
            loaded=loaded,
            ask=script.ask,
            models=lambda: script.models,
            secret=b"s" * 32,
            database=database,
            keyring=keyring,
            subjects=subjects,
            sessions=SessionTable(),
        )
        subjects.close()
        await database.dispose()


PASSWORD = "moon over seven rivers"


async def resident(
    services: Services, login: str = "haneul", *, role: str = "resident", **fields: Any
) -> tuple[Person, str]:
    """A person with a local account (``PASSWORD``), and the token of a session of theirs."""
    async with services.database.begin() as connection:
        person = await create_person(connection, services.subjects, name="하늘", role=role, **fields)
        kept = await make_credential(services.keyring, login, PASSWORD)
        await set_password(connection, services.keyring, person.id, kept)
        token, _ = await start_session(connection, person, "Firefox · Linux", time.time())
    return person, token


async def keep(services: Services, person: Person, *turns: tuple[str, str], conversation: str) -> list[str]:
    """Put turns into a conversation as the recorder and the loader do; their ids."""
    rows, ids = [], list[str]()
    for number, (question, answer) in enumerate(turns):
        name, parent = f"{conversation[4:]}-{number}", ids[-1] if ids else ""
        line = Line(
            id=name,
            conversation=conversation,
            person=person.id,
            at=time.time_ns() // 1000 - 60_000_000 + number,
            model="gemma3-270m",
            engine="",
            outcome="ok",
            consent="",
            parent=parent,
            sealed=services.subjects.seal(person.id, turn_purpose(name), pack(Text(question, answer))),
        )
        rows.append(msgspec.structs.asdict(line))
        ids.append(name)
    async with services.database.begin() as connection:
        await put_turns(services.subjects, connection, rows)
    return ids


@contextlib.asynccontextmanager
async def serve(script: Script, **overrides: Any) -> AsyncIterator[Served]:
    """Serve the pages until left."""
    async with (
        services(script, **overrides) as parts,
        _listening(create_app(parts)) as url,
        contextlib.AsyncExitStack() as stack,
    ):
        yield Served(url, script, parts, stack)


@contextlib.asynccontextmanager
async def _listening(app: Any) -> AsyncIterator[str]:
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_connection(app, reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _connection(app: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    http = h11.Connection(h11.SERVER)
    try:
        while await _request(app, http, reader, writer):
            http.start_next_cycle()
    except (ConnectionError, h11.RemoteProtocolError):
        pass
    finally:
        writer.close()


async def _request(
    app: Any, http: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    event: Any = await _event(http, reader)
    if not isinstance(event, h11.Request):
        return False
    body, left = asyncio.Queue[dict[str, Any]](), asyncio.Event()

    async def read() -> None:
        while not isinstance(part := await _event(http, reader), h11.EndOfMessage):
            if not isinstance(part, h11.Data):
                left.set()
                return
            body.put_nowait({"type": "http.request", "body": bytes(part.data), "more_body": True})
        body.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        with contextlib.suppress(ConnectionError):
            if not await reader.read(1):  # the next request would come after our answer only
                left.set()

    async def receive() -> dict[str, Any]:
        got = asyncio.ensure_future(body.get())
        gone = asyncio.ensure_future(left.wait())
        try:
            await asyncio.wait((got, gone), return_when=asyncio.FIRST_COMPLETED)
            return got.result() if got.done() else {"type": "http.disconnect"}
        finally:
            got.cancel()
            gone.cancel()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            writer.write(
                http.send(h11.Response(status_code=message["status"], headers=_closing(message["headers"])))
            )
            return
        if data := message.get("body"):
            writer.write(http.send(h11.Data(data=data)))
        if not message.get("more_body"):
            writer.write(http.send(h11.EndOfMessage()))
        await writer.drain()

    reading = asyncio.ensure_future(read())
    path, _, query = event.target.partition(b"?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": event.method.decode(),
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": [(name.lower(), value) for name, value in event.headers],
        "server": ("127.0.0.1", 0),
        "client": ("127.0.0.1", 0),
    }
    try:
        await app(scope, receive, send)
    finally:
        reading.cancel()
    return False


def _closing(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """One request a connection keeps the server small."""
    return [*headers, (b"connection", b"close")]


async def _event(http: h11.Connection, reader: asyncio.StreamReader) -> Callable[..., Any] | Any:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(await reader.read(65536))
    return event
