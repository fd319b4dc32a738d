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
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop
from msgspec import Struct

from benchmarks.harness import answers
from benchmarks.harness.answers import Asked
from benchmarks.harness.behaviour import Behaviour

MODEL = "fake-model"
BODY_LIMIT = 256 * 2**20
SEEN_KEPT = 200
HALF = "모".encode()[:2]
REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found"}
REASONS |= {429: b"Too Many Requests", 500: b"Internal Server Error", 503: b"Service Unavailable"}


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


class Seen(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header field, or an empty text."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), "")


class Plan(NamedTuple):
    """What is written: the first frame at once, the others at the pace; then what happens."""

    frames: list[bytes]
    pace_s: float = 0.0
    ending: str = "keep"
    """keep, close or hang."""
    fault: bool = False
    delay_s: float = 0.0


class FakeEngine:
    """The engine's state: shared by its connections."""

    def __init__(
        self,
        models: Iterable[str] = (MODEL,),
        behaviour: Behaviour = Behaviour(),
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
        method, target, _ = line.split(b" ", 2)
        path = target.decode("latin-1").partition("?")[0]
        if self.engine.keep_seen and not path.startswith("/control/"):
            self.engine.seen.append(_seen(method, path, head, body))
        builder = ENDPOINTS.get(path)
        if method == b"POST" and builder is not None:
            self._answer(builder, path, head, body)
        else:
            status, answer = _page(self.engine, method, path, head, body)
            self.transport.write(_head(status, len(answer)) + answer)
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


class Endpoint(NamedTuple):
    """Builders of one path's answers."""

    body: Callable[[Asked, Behaviour], bytes]
    events: Callable[[Asked, Behaviour], list[bytes]] | None
    done: bool = True
    """Its streams end with [DONE]."""


ENDPOINTS = {
    "/v1/chat/completions": Endpoint(answers.chat, answers.chat_events),
    "/v1/completions": Endpoint(answers.completion, answers.completion_events),
    "/v1/embeddings": Endpoint(answers.embeddings, None),
    "/v1/responses": Endpoint(answers.response, answers.response_events, done=False),
}


def _plan(engine: FakeEngine, endpoint: Endpoint, path: str, head: bytes, body: bytes) -> Plan:
    if refused := _unauthorised(engine, head):
        return Plan([_whole(*refused)])
    try:
        asked = answers.decode_asked(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Plan([_whole(*answers.error(400, str(error), "invalid_request_error"))])
    if asked.model not in engine.models:
        text = f"The model `{asked.model}` does not exist."
        return Plan([_whole(*answers.error(404, text, "NotFoundError", "model_not_found"))])
    behaviour = engine.next_behaviour(asked)
    if early := _early(behaviour):
        return early
    if behaviour.fault == "echo":
        content = _echo(path, head, body)
        if asked.stream:
            event = answers._chunk(asked, [answers._delta(0, {"content": content}, None, "stop")])
            return _stream([event, answers.DONE], behaviour)
        return _json(answers.chat(asked, behaviour, content), behaviour)
    if not asked.stream or endpoint.events is None:
        if asked.plain and endpoint.body is answers.chat:
            most = asked.max_completion_tokens or asked.max_tokens
            return _plain_json(asked.model, most, behaviour)
        return _json(endpoint.body(asked, behaviour), behaviour)
    if asked.plain and endpoint.events is answers.chat_events:
        most = asked.max_completion_tokens or asked.max_tokens
        return _plain_stream(asked.model, most, asked.wants_usage, behaviour)
    events = endpoint.events(asked, behaviour)
    return _stream(events + [answers.DONE] if endpoint.done else events, behaviour)


@lru_cache(maxsize=256)
def _plain_json(model: str, most: int | None, behaviour: Behaviour) -> Plan:
    return _json(answers.plain_chat(model, most, behaviour), behaviour)


@lru_cache(maxsize=256)
def _plain_stream(model: str, most: int | None, wants_usage: bool, behaviour: Behaviour) -> Plan:
    return _stream([*answers.plain_events(model, most, wants_usage, behaviour), answers.DONE], behaviour)


def _early(behaviour: Behaviour) -> Plan | None:
    """Faults that need no answer's body."""
    error = answers.error
    match behaviour.fault:
        case "refuse":
            return Plan([_whole(*error(503, "The engine is overloaded.", "server_error"))])
        case "busy":
            extra = b"retry-after: %d\r\n" % behaviour.retry_after
            return Plan([_whole(*error(429, "Too many requests.", "rate_limit_error"), extra=extra)])
        case "bad_request":
            text = "This model's maximum context length is 8192 tokens."
            code = "context_length_exceeded"
            return Plan([_whole(*error(400, text, "invalid_request_error", code))])
        case "unauthorised":
            return Plan([_whole(*error(401, "Wrong key.", "authentication_error", "invalid_api_key"))])
        case "server_error":
            return Plan([_whole(500, b"Internal Server Error", kind=b"text/plain")])
        case "hang":
            return Plan([], ending="hang")
        case "die":
            return Plan([], ending="close", fault=True)
        case "half_head":
            return Plan([b"HTTP/1.1 200 OK\r\ncontent-ty"], ending="close", fault=True)
        case "garbage_http":
            return Plan([b"\x16\x03\x01\x02\x00\x01SSH-2.0 nonsense\r\n\r\n"], ending="close", fault=True)
        case "huge_head":
            line = b"x-pad: " + b"a" * min(behaviour.huge_bytes, 1_000_000) + b"\r\n"
            return Plan([_whole(200, b"{}", extra=line)], fault=True)
        case _:
            return None


def _json(body: bytes, behaviour: Behaviour) -> Plan:
    """A JSON answer, with the faults that have one."""
    half = len(body) // 2
    keep = "close" if behaviour.close else "keep"
    extra = b"connection: close\r\n" if behaviour.close else b""
    match behaviour.fault:
        case "slow_head":
            return Plan([_whole(200, body, extra=extra)], delay_s=behaviour.head_s, ending=keep)
        case "hang_mid":
            return Plan([_head(200, len(body)) + body[:half]], ending="hang")
        case "die_mid" | "error_mid":
            return Plan([_head(200, len(body)) + body[:half]], ending="close", fault=True)
        case "wrong_length":
            return Plan([_head(200, len(body) + 100) + body], ending="close", fault=True)
        case "garbage_json":
            return Plan([_whole(200, b'{"choices": [nonsense')], fault=True)
        case "half_character":
            return Plan([_whole(200, body[:-2] + HALF + b'"}')], fault=True)
        case "huge":
            pad = b'{"pad": "' + b"a" * behaviour.huge_bytes + b'"}'
            return Plan([_whole(200, pad)], fault=True)
        case "split_character":
            frames = _frames(_resplit(body, 7))
            return Plan([_stream_head(b"application/json", extra) + frames[0], *frames[1:]], ending=keep)
        case _ if behaviour.chunked:
            frames = _frames([body[:half], body[half:]])
            return Plan([_stream_head(b"application/json", extra) + frames[0], *frames[1:]], ending=keep)
        case _:
            return Plan([_whole(200, body, extra=extra)], ending=keep)


def _stream(events: list[bytes], behaviour: Behaviour) -> Plan:
    """An answer in events, with the faults that have one. Each event is one chunk; [DONE] and the end
    go out with the last one.
    """
    pace, after = behaviour.pace_s, behaviour.after + 1  # the first event holds only the role
    fault, ending = behaviour.fault, "close" if behaviour.close else "keep"
    head = _stream_head(b"text/event-stream; charset=utf-8", b"cache-control: no-cache\r\n")
    parts = _resplit(b"".join(events), 7) if fault == "split_character" else list(events)
    if fault == "no_done":
        parts.pop()
    frames = _frames(parts, join_last=fault != "no_done" and len(parts) > 1)
    if fault in {"hang_mid", "die_mid", "wrong_length"}:
        ending = "hang" if fault == "hang_mid" else "close"
        return Plan([head, *frames[:after]], pace, ending, fault=fault != "hang_mid")
    if fault in {"error_mid", "garbage_json", "half_character", "huge"}:
        return Plan([head, *frames[:after], *_bad_frames(behaviour)], pace, "close", fault=True)
    delay = behaviour.head_s if fault == "slow_head" else 0.0
    return Plan([head + frames[0], *frames[1:]], pace, ending, delay_s=delay)


def _bad_frames(behaviour: Behaviour) -> list[bytes]:
    """The bad event of a stream, with the end of the stream."""
    match behaviour.fault:
        case "error_mid":
            event = b"data: " + answers.error(500, "The engine failed.", "server_error")[1] + b"\n\n"
        case "half_character":
            event = b'data: {"choices": [{"index": 0, "delta": {"content": "' + HALF + b'"}}]}\n\n'
        case "huge":
            event = b"data: " + b"a" * behaviour.huge_bytes + b"\n\n"
        case _:
            event = b'data: {"choices": [nonsense\n\n'
    return _frames([event])


def _frames(parts: list[bytes], *, join_last: bool = False) -> list[bytes]:
    """Chunked framing. ``join_last``: the last two parts and the end go out in one write."""
    frames = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part]
    frames[-1] += b"0\r\n\r\n"
    if join_last and len(frames) > 1:
        last = frames.pop()
        frames[-1] += last
    return frames


def _resplit(body: bytes, size: int) -> list[bytes]:
    return [body[i : i + size] for i in range(0, len(body), size)]


def _head(status: int, length: int, kind: bytes = b"application/json", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (
        status,
        REASONS.get(status, b"OK"),
        kind,
        length,
        extra,
    )


def _stream_head(kind: bytes, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%btransfer-encoding: chunked\r\n\r\n" % (kind, extra)


def _whole(status: int, body: bytes, kind: bytes = b"application/json", extra: bytes = b"") -> bytes:
    return _head(status, len(body), kind, extra) + body


# --- the other paths ----------------------------------------------------------------------------


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
    """GET counts, seen; PUT behaviour, script (a list); POST reset. For engines in another process."""
    try:
        match method, path:
            case b"GET", "/control/counts":
                return 200, answers.encode(engine.counts)
            case b"GET", "/control/seen":
                rows = [{**s._asdict(), "body": s.body.decode("utf-8", "replace")} for s in engine.seen]
                return 200, answers.encode(rows)
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
    if not engine.key or _seen(b"", "", head, b"").header("authorization") == f"Bearer {engine.key}":
        return None
    return answers.error(401, "Wrong key.", "authentication_error", "invalid_api_key")


def _seen(method: bytes, path: str, head: bytes, body: bytes) -> Seen:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = tuple((k, v.strip()) for k, _, v in (line.partition(":") for line in lines))
    return Seen(method.decode("latin-1"), path, pairs, body)


def _echo(path: str, head: bytes, body: bytes) -> str:
    seen = _seen(b"POST", path, head, body)
    text = body.decode("utf-8", "replace")
    return answers.encode({"path": path, "headers": seen.headers, "body": text}).decode()


def _unchunk(buffer: bytes, at: int) -> tuple[bytes, int] | None:
    """A chunked body that begins at ``at``, and where it ends; None while it is not whole."""
    parts = []
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
    behaviour: Behaviour = Behaviour(),
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
