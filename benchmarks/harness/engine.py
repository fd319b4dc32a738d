"""A fake OpenAI-compatible engine, for load and for faults only: its answers mean nothing.

Words: a *behaviour* (``behaviour.py``) says how it answers: pace, size, one fault. It is given by the
constructor, for the next requests by :meth:`FakeEngine.script` or ``PUT /control/behaviour``, or by a
request itself in the field ``x_fake``. Rule: what it counts and keeps (``counts``, ``seen``) is what
really arrived on its sockets, so a test can see what was forwarded and that a cancel came through.

``python -m benchmarks.harness.engine --port 0`` prints its address and runs until it is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.harness import answers
from benchmarks.harness.answers import Asked
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.plans import (
    ENDPOINTS,
    Endpoint,
    Plan,
    Seen,
    broken_head,
    full,
    refusal,
    seen_request,
    whole,
)
from benchmarks.harness.plans import head as head_of

MODEL = "fake-model"
BODY_LIMIT = 256 * 2**20
SEEN_KEPT = 200
USUAL = Behaviour()


class Counts(Struct):
    """What happened since the start (or the last reset)."""

    connections: int = 0
    """Open now."""
    accepted: int = 0
    requests: int = 0
    """Requests for an answer; health, models and control are not counted."""
    running: int = 0
    peak: int = 0
    """Most requests that ran at once."""
    finished: int = 0
    cancelled: int = 0
    """The other side closed while the answer was not complete."""
    faults: int = 0
    """Answers that ended by a fault of ours."""


class FakeEngine:
    """The engine's state: shared by its connections."""

    def __init__(
        self,
        models: Iterable[str] = (MODEL,),
        behaviour: Behaviour = USUAL,
        key: str = "",
        pages: Mapping[str, bytes] | None = None,
        keep_seen: bool = True,
    ) -> None:
        self.models = tuple(models)
        self.behaviour = behaviour
        self.key = key
        self.pages = dict(pages or {})
        """Bodies (JSON) of further GET paths, such as /version or /props, for discovery."""
        self.counts = Counts()
        self.seen: deque[Seen] = deque(maxlen=SEEN_KEPT if keep_seen else 0)
        self.keep_seen = keep_seen
        self.firsts: deque[float] = deque(maxlen=SEEN_KEPT)
        """When the first token of each stream was written, Unix time."""
        self.healthy = True
        self.url = ""
        self._scripted: deque[Behaviour] = deque()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._place: tuple[str, int] | Path = ("127.0.0.1", 0)

    def script(self, *behaviours: Behaviour) -> None:
        """The next requests are answered so, one each, before the usual behaviour returns."""
        self._scripted.extend(behaviours)

    def next_behaviour(self, asked: Asked) -> Behaviour:
        """The request's own, else the next scripted, else the usual."""
        if asked.x_fake is not None:
            return asked.x_fake
        return self._scripted.popleft() if self._scripted else self.behaviour

    def reset(self) -> None:
        """Forget counts, requests and script; connections stay."""
        self.counts = Counts(connections=len(self._connections), accepted=len(self._connections))
        self.seen.clear()
        self.firsts.clear()
        self._scripted.clear()

    async def open(self, place: tuple[str, int] | Path) -> None:
        """Listen on (host, port) or on a Unix socket."""
        loop = asyncio.get_running_loop()
        if isinstance(place, Path):
            self._server = await loop.create_unix_server(lambda: Connection(self), str(place))
            self.url = f"unix://{place}"
        else:
            host, port = place
            self._server = await loop.create_server(lambda: Connection(self), host, port, backlog=1024)
            port = self._server.sockets[0].getsockname()[1]
            place = (host, port)
            self.url = f"http://{host}:{port}"
        self._place = place

    async def close(self) -> None:
        """Stop listening and drop every connection: the engine is gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_connections()
        await asyncio.sleep(0)

    async def reopen(self) -> None:
        """Listen on the same address again, after :meth:`close`."""
        await self.open(self._place)

    def drop_connections(self) -> None:
        """Abort every open connection."""
        for connection in tuple(self._connections):
            connection.abort()


class Connection(asyncio.Protocol):
    """One connection: HTTP/1.1, keep-alive, one request at a time."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.transport: asyncio.Transport
        self._buffer = b""
        self._plan: Plan | None = None
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.engine._connections.add(self)
        self.engine.counts.connections += 1
        self.engine.counts.accepted += 1

    def connection_lost(self, error: Exception | None) -> None:
        counts = self.engine.counts
        self.engine._connections.discard(self)
        counts.connections -= 1
        if self._timer is not None:
            self._timer.cancel()
        if self._plan is not None:
            self._plan = None
            counts.running -= 1
            counts.cancelled += 1

    def abort(self) -> None:
        """Close at once; what runs counts as a fault of ours."""
        if self._plan is not None:
            self._end(fault=True)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._plan is None:
            self._take()

    def _take(self) -> None:
        """Take one whole request from the buffer, if it is there."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = buffer[:end]
        lower = head.lower()
        at = lower.find(b"\r\ncontent-length:")
        if at >= 0:
            stop = lower.find(b"\r\n", at + 17)
            length = int(lower[at + 17 : stop if stop > 0 else None])
            if length > BODY_LIMIT:
                self.transport.close()
                return
            if len(buffer) < end + 4 + length:
                if b"100-continue" in lower and len(buffer) == end + 4:
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            body, self._buffer = buffer[end + 4 : end + 4 + length], buffer[end + 4 + length :]
        elif b"\r\ntransfer-encoding:" in lower:
            parsed = _unchunk(buffer, end + 4)
            if parsed is None:
                return
            body, self._buffer = parsed[0], buffer[parsed[1] :]
        else:
            body, self._buffer = b"", buffer[end + 4 :]
        self._serve(head, body)

    def _serve(self, head: bytes, body: bytes) -> None:
        line = head[: head.find(b"\r\n")] if b"\r\n" in head else head
        words = line.split(b" ")
        if len(words) != 3 or words[2] not in {b"HTTP/1.1", b"HTTP/1.0"}:
            self.transport.write(whole(*answers.error(400, "not HTTP/1.1", "invalid_request_error")))
            self.transport.close()
            return
        method, target, _ = words
        path = target.decode("latin-1").partition("?")[0]
        if self.engine.keep_seen and not path.startswith("/control/"):
            self.engine.seen.append(seen_request(method, path, head, body))
        builder = ENDPOINTS.get(path)
        if method == b"POST" and builder is not None:
            self._answer(builder, path, head, body)
        else:
            status, answer = _page(self.engine, method, path, head, body)
            self.transport.write(head_of(status, len(answer)) + answer)
            if self._buffer:
                self._take()

    def _answer(self, endpoint: Endpoint, path: str, head: bytes, body: bytes) -> None:
        counts = self.engine.counts
        counts.requests += 1
        counts.running += 1
        counts.peak = max(counts.peak, counts.running)
        plan = _plan(self.engine, endpoint, path, head, body)
        self._plan, self._next = plan, 0
        if plan.delay_s:
            self._timer = self._loop.call_later(plan.delay_s, self._start)
        else:
            self._start()

    def _start(self) -> None:
        plan = self._plan
        if plan is None:
            return
        if plan.frames:
            self.transport.write(plan.frames[0])
        self._next = 1
        if len(plan.frames) <= 1:
            self._finish(plan)
        else:
            self._at = self._loop.time() + plan.pace_s
            self._schedule(plan)

    def _schedule(self, plan: Plan) -> None:
        if plan.pace_s:
            self._timer = self._loop.call_at(self._at, self._tick)
        else:
            self._loop.call_soon(self._tick)

    def _tick(self) -> None:
        plan = self._plan
        if plan is None:  # closed meanwhile
            return
        self.transport.write(plan.frames[self._next])
        if self._next == 1:  # the frame before it holds only the role
            self.engine.firsts.append(time.time())
        self._next += 1
        if self._next == len(plan.frames):
            self._finish(plan)
        else:
            self._at += plan.pace_s
            self._schedule(plan)

    def _finish(self, plan: Plan) -> None:
        if plan.ending == "hang":
            return
        self._end(fault=plan.fault)
        if plan.ending == "close":
            self.transport.close()
        elif self._buffer:
            self._take()

    def _end(self, *, fault: bool) -> None:
        self._plan = None
        counts = self.engine.counts
        counts.running -= 1
        if fault:
            counts.faults += 1
        else:
            counts.finished += 1


# --- what is answered ---------------------------------------------------------------------------


def _plan(engine: FakeEngine, endpoint: Endpoint, path: str, head: bytes, body: bytes) -> Plan:
    """What is written for one request."""
    try:
        asked = answers.decode_asked(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Plan([whole(*answers.error(400, str(error), "invalid_request_error"))])
    if refused := _unauthorised(engine, head) or _unknown(engine, asked):
        return Plan([whole(*refused)])
    behaviour = engine.next_behaviour(asked)
    early = refusal(behaviour) or broken_head(behaviour)
    return early or full(endpoint, asked, behaviour, (path, head, body))


def _unknown(engine: FakeEngine, asked: Asked) -> tuple[int, bytes] | None:
    if asked.model in engine.models:
        return None
    text = f"The model `{asked.model}` does not exist."
    return answers.error(404, text, "NotFoundError", "model_not_found")


def _page(engine: FakeEngine, method: bytes, path: str, head: bytes, body: bytes) -> tuple[int, bytes]:
    if path.startswith("/control/"):
        return _control(engine, method, path, body)
    if path in {"/health", "/health_generate"}:
        return (200, b"{}") if engine.healthy else answers.error(503, "Not healthy.", "server_error")
    if refused := _unauthorised(engine, head):
        return refused
    if method == b"GET" and path == "/v1/models":
        return 200, answers.models(engine.models)
    if method == b"GET" and path in engine.pages:
        return 200, engine.pages[path]
    return answers.error(404, f"Not Found: {path}", "NotFoundError")


def _control(engine: FakeEngine, method: bytes, path: str, body: bytes) -> tuple[int, bytes]:
    """GET counts, seen, firsts; PUT behaviour, script (a list); POST reset: for one in another process."""
    try:
        match method, path:
            case b"GET", "/control/counts":
                return 200, answers.encode(engine.counts)
            case b"GET", "/control/seen":
                rows = [{**s._asdict(), "body": s.body.decode("utf-8", "replace")} for s in engine.seen]
                return 200, answers.encode(rows)
            case b"GET", "/control/firsts":
                return 200, answers.encode(list(engine.firsts))
            case b"PUT", "/control/behaviour":
                engine.behaviour = msgspec.json.decode(body, type=Behaviour)
            case b"PUT", "/control/script":
                engine.script(*msgspec.json.decode(body, type=list[Behaviour]))
            case b"PUT", "/control/healthy":
                engine.healthy = msgspec.json.decode(body, type=bool)
            case b"POST", "/control/reset":
                engine.reset()
            case _:
                return answers.error(404, f"Not Found: {path}", "NotFoundError")
    except msgspec.MsgspecError as error:
        return answers.error(400, str(error), "invalid_request_error")
    return 200, b"{}"


def _unauthorised(engine: FakeEngine, head: bytes) -> tuple[int, bytes] | None:
    if not engine.key or seen_request(b"", "", head, b"").header("authorization") == f"Bearer {engine.key}":
        return None
    return answers.error(401, "Wrong key.", "authentication_error", "invalid_api_key")


def _unchunk(buffer: bytes, at: int) -> tuple[bytes, int] | None:
    """A chunked body that begins at ``at``, and where it ends; None while it is not whole."""
    parts: list[bytes] = []
    while True:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(buffer[at:line].split(b";")[0], 16)
        at = line + 2
        if len(buffer) < at + size + 2:
            return None
        if size == 0:
            return b"".join(parts), at + 2
        parts.append(buffer[at : at + size])
        at += size + 2


# --- running it ---------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running_engine(
    *,
    models: Iterable[str] = (MODEL,),
    behaviour: Behaviour = USUAL,
    key: str = "",
    pages: Mapping[str, bytes] | None = None,
    unix: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[FakeEngine]:
    """A fake engine in this process and loop; ``url`` is where it listens (``unix://…`` for a socket)."""
    engine = FakeEngine(models, behaviour, key, pages)
    await engine.open(unix or (host, port))
    try:
        yield engine
    finally:
        await engine.close()


async def _run(arguments: argparse.Namespace) -> None:
    behaviour = Behaviour(chunks=arguments.chunks, pace_s=arguments.pace)
    engine = FakeEngine(arguments.model or (MODEL,), behaviour, arguments.key, keep_seen=arguments.seen)
    await engine.open(Path(arguments.unix) if arguments.unix else ("127.0.0.1", arguments.port))
    sys.stdout.write(engine.url + "\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await engine.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness.engine", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 takes a free one")
    parser.add_argument("--unix", default="", help="path of a Unix socket instead of a port")
    parser.add_argument("--model", action="append", help="name of a model; may be repeated")
    parser.add_argument("--chunks", type=int, default=16, help="chunks of an answer")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds between two chunks of a stream")
    parser.add_argument("--key", default="", help="API key that it asks for")
    parser.add_argument("--seen", action="store_true", help="keep requests for GET /control/seen")
    uvloop.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
