"""What the fake engine writes for one request: whole answers, streams, and their faults.

Words: a *plan* is the list of writes of one answer and what happens after the last. Rule: a plan is
made before its first byte is written, and plans of common requests are kept, so that serving under
load costs little.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from benchmarks.harness import answers
from benchmarks.harness.answers import Asked, StreamOptions
from benchmarks.harness.behaviour import Behaviour

HALF = "모".encode()[:2]
REASONS = {200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found"}
REASONS |= {429: b"Too Many Requests", 500: b"Internal Server Error", 503: b"Service Unavailable"}


class Plan(NamedTuple):
    """What is written: the first frame at once, the others at the pace; then what happens."""

    frames: list[bytes]
    pace_s: float = 0.0
    ending: str = "keep"
    """keep, close or hang."""
    fault: bool = False
    delay_s: float = 0.0


class Seen(NamedTuple):
    """One request as it arrived."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The value of a header field, or an empty text."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), "")


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


def full(endpoint: Endpoint, asked: Asked, behaviour: Behaviour, received: tuple[str, bytes, bytes]) -> Plan:
    """An answer with a body."""
    content = _echo(*received) if behaviour.fault == "echo" else None
    plain = asked.plain and content is None and endpoint.body is answers.chat
    most = asked.max_completion_tokens or asked.max_tokens
    if not asked.stream or endpoint.events is None:
        if plain:
            return _plain_json(asked.model, most, behaviour)
        body = endpoint.body(asked, behaviour) if content is None else answers.chat(asked, behaviour, content)
        return _json(body, behaviour)
    if plain:
        return _plain_stream(asked.model, most, asked.wants_usage, behaviour)
    events = [answers.chat_event(asked, content)] if content else endpoint.events(asked, behaviour)
    return _stream([*events, answers.DONE] if endpoint.done else events, behaviour)


@lru_cache(maxsize=256)
def _plain_json(model: str, most: int | None, behaviour: Behaviour) -> Plan:
    return _json(answers.chat(Asked(model=model, max_tokens=most), behaviour), behaviour)


@lru_cache(maxsize=256)
def _plain_stream(model: str, most: int | None, wants_usage: bool, behaviour: Behaviour) -> Plan:
    options = StreamOptions(include_usage=wants_usage)
    asked = Asked(model=model, max_tokens=most, stream_options=options)
    return _stream([*answers.chat_events(asked, behaviour), answers.DONE], behaviour)


REFUSALS = {
    "refuse": answers.error(503, "The engine is overloaded.", "server_error"),
    "busy": answers.error(429, "Too many requests.", "rate_limit_error"),
    "bad_request": answers.error(
        400,
        "This model's maximum context length is 8192 tokens.",
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "unauthorised": answers.error(401, "Wrong key.", "authentication_error", "invalid_api_key"),
    "server_error": (500, b"Internal Server Error"),
}


def refusal(behaviour: Behaviour) -> Plan | None:
    """Answers that are whole, and not what was asked for."""
    if behaviour.fault not in REFUSALS:
        return None
    kind = b"text/plain" if behaviour.fault == "server_error" else b"application/json"
    extra = b"retry-after: %d\r\n" % behaviour.retry_after if behaviour.fault == "busy" else b""
    return Plan([whole(*REFUSALS[behaviour.fault], kind=kind, extra=extra)])


def broken_head(behaviour: Behaviour) -> Plan | None:
    """Faults at or before the head."""
    plan = None
    match behaviour.fault:
        case "hang":
            plan = Plan([], ending="hang")
        case "die":
            plan = Plan([], ending="close", fault=True)
        case "half_head":
            plan = Plan([b"HTTP/1.1 200 OK\r\ncontent-ty"], ending="close", fault=True)
        case "garbage_http":
            plan = Plan([b"\x16\x03\x01\x02\x00\x01SSH-2.0 nonsense\r\n\r\n"], ending="close", fault=True)
        case "huge_head":
            line = b"x-pad: " + b"a" * min(behaviour.huge_bytes, 1_000_000) + b"\r\n"
            plan = Plan([whole(200, b"{}", extra=line)], fault=True)
    return plan


def _json(body: bytes, behaviour: Behaviour) -> Plan:
    """A JSON answer, whole or with a fault in its body."""
    half, length = body[: len(body) // 2], len(body)
    match behaviour.fault:
        case "hang_mid":
            plan = Plan([head(200, length) + half], ending="hang")
        case "die_mid" | "error_mid":
            plan = Plan([head(200, length) + half], ending="close", fault=True)
        case "wrong_length":
            plan = Plan([head(200, length + 100) + body], ending="close", fault=True)
        case "garbage_json":
            plan = Plan([whole(200, b'{"choices": [nonsense')], fault=True)
        case "half_character":
            plan = Plan([whole(200, body[:-2] + HALF + b'"}')], fault=True)
        case "huge":
            plan = Plan([whole(200, b'{"pad": "' + b"a" * behaviour.huge_bytes + b'"}')], fault=True)
        case _:
            plan = _right_json(body, behaviour)
    return plan


def _right_json(body: bytes, behaviour: Behaviour) -> Plan:
    ending = "close" if behaviour.close else "keep"
    extra = b"connection: close\r\n" if behaviour.close else b""
    if behaviour.chunked or behaviour.fault == "split_character":
        size = 7 if behaviour.fault == "split_character" else len(body) // 2 + 1
        frames = _frames(_resplit(body, size))
        return Plan([stream_head(b"application/json", extra) + frames[0], *frames[1:]], ending=ending)
    delay = behaviour.head_s if behaviour.fault == "slow_head" else 0.0
    return Plan([whole(200, body, extra=extra)], ending=ending, delay_s=delay)


def _stream(events: list[bytes], behaviour: Behaviour) -> Plan:
    """An answer in events, with the faults that have one. Each event is one chunk; [DONE] and the end
    go out with the last one.
    """
    pace, after = behaviour.pace_s, behaviour.after + 1  # the first event holds only the role
    fault, ending = behaviour.fault, "close" if behaviour.close else "keep"
    head = stream_head(b"text/event-stream; charset=utf-8", b"cache-control: no-cache\r\n")
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


def head(status: int, length: int, kind: bytes = b"application/json", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (
        status,
        REASONS.get(status, b"OK"),
        kind,
        length,
        extra,
    )


def stream_head(kind: bytes, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n%btransfer-encoding: chunked\r\n\r\n" % (kind, extra)


def whole(status: int, body: bytes, kind: bytes = b"application/json", extra: bytes = b"") -> bytes:
    return head(status, len(body), kind, extra) + body


def seen_request(method: bytes, path: str, head: bytes, body: bytes) -> Seen:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = tuple((k, v.strip()) for k, _, v in (line.partition(":") for line in lines))
    return Seen(method.decode("latin-1"), path, pairs, body)


def _echo(path: str, head: bytes, body: bytes) -> str:
    seen = seen_request(b"POST", path, head, body)
    text = body.decode("utf-8", "replace")
    return answers.encode({"path": path, "headers": seen.headers, "body": text}).decode()
