"""The embedded engine for tests: a real child process, one for the session."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from moduai.engines.address import parse_url
from moduai.engines.http import FetchError, fetch

KEY = "a-key-for-tests"


@dataclass(frozen=True)
class Embedded:
    """A running child."""

    process: subprocess.Popen[bytes]
    url: str
    key: str
    home: Path

    @property
    def socket(self) -> Path:
        return Path(self.url.removeprefix("unix://"))


def start_embedded(home: Path, *options: str, key: str = KEY, **environ: str) -> Embedded:
    """Start the child in ``home`` and return at once; ``await answers(...)`` waits for it."""
    url = f"unix://{home / 'run' / 'engine.sock'}"
    told = {
        "MODU_HOME": str(home),
        "MODU_ACCEPT_TERMS": "1",
        "MODU_ENGINE_URL": url,
        "MODU_ENGINE_KEY": key,
        "MODU_EMBEDDED__CONTEXT": "1024",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "moduai.engines.embedded", *options],
        env={**os.environ, **told, **environ},
        stderr=subprocess.PIPE,
    )
    return Embedded(process, url, key, home)


async def answers(engine: Embedded, within_s: float = 60.0) -> None:
    """Return when the engine is ready; fail if it ends or does not answer in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if engine.process.poll() is not None:
            raise AssertionError(f"the engine ended: {engine.process.stderr.read().decode()}")
        try:
            if (await fetch(parse_url(engine.url), "GET", "/health", key=engine.key)).status == 200:
                return
        except FetchError:
            await asyncio.sleep(0.05)
    raise AssertionError("the engine does not answer")


def stop_embedded(engine: Embedded, number: int = signal.SIGTERM) -> int:
    """Stop it and return its exit status."""
    engine.process.send_signal(number)
    status = engine.process.wait(20)
    engine.process.stderr.close()
    return status


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    engine = start_embedded(tmp_path_factory.mktemp("home"))
    try:
        asyncio.run(answers(engine))
        yield engine
    finally:
        if engine.process.poll() is None:
            stop_embedded(engine)


def http(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """A whole answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields])
    return head.encode() + b"\r\nConnection: close\r\n\r\n" + body


@asynccontextmanager
async def serving(
    routes: Mapping[str, bytes], *, raw: bytes | None = None, seen: list[str] | None = None
) -> AsyncIterator[str]:
    """A small real server: ``METHOD /path`` to an answer (404 for others), or ``raw`` to everything."""

    answering: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        try:
            head = (await reader.read(65_536)).decode("latin-1")
            what = " ".join(head.split(" ", 2)[:2])
            if seen is not None:
                seen.append(head)
            writer.write(raw if raw is not None else routes.get(what, http(b"{}", "404 Not Found")))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await asyncio.sleep(0)  # connections that were taken but have no task yet
        await asyncio.wait_for(asyncio.gather(*answering), 10)
