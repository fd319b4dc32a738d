"""Clients' connections: several requests, mutated at every level, in any split, some left early."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from benchmarks.fuzzing import bodies
from benchmarks.fuzzing.world import KEY, READ_ONLY

GOOD = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}'
PROMPT = b'{"model":"m","prompt":"a"}'
STREAM = b'{"model":"m","messages":[],"stream":true}'


@dataclass
class Message:
    """A request in parts."""

    method: bytes = b"POST"
    target: bytes = b"/v1/chat/completions"
    version: bytes = b"HTTP/1.1"
    fields: list[bytes] = field(default_factory=list)
    body: bytes = b""
    chunked: bool = False


class Step(NamedTuple):
    """What happens next on a connection."""

    kind: str
    """data, engine (answers come), settle, timeout, pause, resume."""
    data: bytes = b""


AUTH = b"Authorization: Bearer " + KEY
VALID: list[Message] = [
    Message(fields=[b"Host: localhost", AUTH], body=GOOD % b"a"),
    Message(fields=[b"Host: localhost", AUTH], body=GOOD % b"a"),
    Message(fields=[b"Host: localhost", AUTH, b"User-Agent: x"], body=STREAM),
    Message(fields=[b"Host: localhost:8080", AUTH, b"Accept: */*"], body=STREAM, chunked=True),
    Message(fields=[b"Host: [::1]:1", AUTH, b"Expect: 100-continue"], body=GOOD % b"b"),
    Message(version=b"HTTP/1.0", fields=[AUTH], body=GOOD % b"c"),
    Message(version=b"HTTP/1.0", fields=[AUTH, b"Connection: keep-alive"], body=STREAM),
    Message(version=b"HTTP/1.0", fields=[AUTH, b"Connection: keep-alive"], body=GOOD % b"d"),
    Message(target=b"/v1/completions?x", fields=[b"Host: localhost", AUTH], body=PROMPT),
    Message(target=b"/v1/embeddings", fields=[b"host: LOCALHOST", AUTH], body=b'{"model":"m","input":"a"}'),
    Message(fields=[b"Host: localhost", b"Authorization: Bearer " + READ_ONLY], body=GOOD % b"e"),
    Message(fields=[b"Host: localhost", b"Authorization: Bearer modu-wrong"], body=GOOD % b"f"),
    Message(fields=[b"Host: localhost", AUTH], body=b'{"model":"none","messages":[]}'),
    Message(fields=[b"Host: localhost", AUTH], body=b"{]"),
    Message(b"GET", b"/v1/models", fields=[b"Host: localhost", AUTH]),
    Message(b"HEAD", b"/v1/models", fields=[b"Host: localhost", AUTH]),
    Message(b"GET", b"/v1/models", b"HTTP/1.0", [AUTH, b"Connection: keep-alive"]),
    Message(b"GET", b"/", fields=[b"Host: localhost", b"Cookie: a=b"]),
    Message(b"HEAD", b"/", fields=[b"Host: localhost"]),
    Message(b"GET", b"/health/ready", fields=[b"Host: localhost"]),
    Message(b"POST", b"/ask", fields=[b"Host: localhost"], body=b"a=b&c=d"),
]  # fmt: skip
FIELDS = [
    b"Content-Length: 5", b"Content-Length: 0", b"content-length: 4294967296", b"Content-Length: +5",
    b"Content-Length: 5, 5", b"Content-Length: 0x5", b"Content-Length:", b"Content-Length : 5",
    b"Content-Length: -1", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding : chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: identity",
    b"Connection: close", b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c",
    b"Connection: keep-alive, close", b"Expect: 100-continue", b"Expect: x", b"Host: evil.example",
    b"Host: localhost", b"Host:", AUTH, b"Authorization: Basic eA==", b"Authorization: Bearer",
    b"Content-Encoding: gzip", b"Content-Encoding: identity", b"X: y\r\n z", b"X: \x00", b"X: \x80\xff",
    b"X\x00: y", b": y", b"X y", b"X: y\n", b"X: y\rZ: w", b"Cookie: a", b"Cookie: b",
    b"X-Forwarded-For: 9.9.9.9", b"X: " + b"a" * 5000, b"Trailer: X", b"TE: trailers", b"Keep-Alive: 5",
    b"X-" + b"b" * 300 + b": y",
]  # fmt: skip
METHODS = [
    b"GET",
    b"HEAD",
    b"PUT",
    b"CONNECT",
    b"OPTIONS",
    b"PRI",
    b"post",
    b"TRACE",
    b"M-SEARCH",
    b"",
    b"GET ",
    b"X",
]
TARGETS = [
    b"/", b"*", b"/v1/models", b"/v1/queue", b"/v1/responses", b"http://localhost/v1/models",
    b"localhost:1", b"/metrics", b"//v1/models", b"/v1/%63hat/completions", b"/v1/chat/completions#x",
    b"/\x80", b"/a b", b"/v1/models/m", b"", b"/v1/models/" + b"x" * 300, b"/health/live",
    b"/v1/chat/completions/", b"/../v1/models", b"/\x00",
]  # fmt: skip
VERSIONS = [
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/0.9",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"",
    b"ICE/1.0",
    b"RTSP/1.0",
]
SIZES = [
    b"%x", b"%X", b"0%x", b"%x;a=b", b"%x ;a", b" %x", b"%x ", b"+%x", b"0x%x", b"-%x", b"%x;a=\"\r\"",
    b"%x\t", b"000000000000%x",
]  # fmt: skip
TAILS = [
    b"0\r\n\r\n", b"0\r\nT: v\r\n\r\n", b"0\r\n", b"0\n\n", b"00\r\n\r\n",
    b"0\r\nX: 1\r\nContent-Length: 3\r\n\r\n", b"ffffffffffffffff1\r\n", b"", b"0;x\r\n\r\n",
]  # fmt: skip
BYTES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b" ",
    b":",
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff",
    b"0\r\n\r\n",
    b"5",
]


def generate(rng: random.Random) -> list[Step]:
    """One connection's life."""
    steps: list[Step] = []
    piped = rng.random() < 0.15
    base = rng.choice(VALID)
    for _ in range(rng.choice((1, 1, 2, 2, 3, 5))):
        if rng.random() < 0.5:
            base = rng.choice(VALID)
        message = base
        if rng.random() < 0.4:  # the same head, another body: what a kept connection remembers
            message = replace(
                message,
                body=bodies.generate(rng) if rng.random() < 0.3 else GOOD % (b"x" * rng.randrange(120)),
            )
        data = render(rng, message, mutate=rng.random() < 0.35)
        if rng.random() < 0.15:
            data = garble(rng, data)
        steps += [Step("data", part) for part in split(rng, data)]
        if not piped:
            if rng.random() < 0.1:
                steps.append(Step(rng.choice(("pause", "resume", "timeout"))))
            if rng.random() < 0.9:  # else the next request comes while this one is under way
                steps += [Step("settle"), Step("engine")]
    if piped and rng.random() < 0.7:
        steps = [Step("data", part) for part in split(rng, b"".join(step.data for step in steps))]
    if rng.random() < 0.15:  # the client leaves
        steps = steps[: rng.randrange(len(steps) + 1)]
    return steps


def render(rng: random.Random, message: Message, *, mutate: bool) -> bytes:  # noqa: C901, PLR0912  (a table)
    """A message's bytes; with ``mutate``, changed in one to three places."""
    method, target, version = message.method, message.target, message.version
    fields, body = list(message.fields), message.body
    length, framed = b"Content-Length: %d", message.chunked
    size, tail, end = b"%x", b"0\r\n\r\n", b"\r\n"
    for _ in range(rng.choice((1, 1, 2, 3)) if mutate else 0):
        match rng.randrange(11):
            case 0:
                method = rng.choice(METHODS)
            case 1:
                target = rng.choice(TARGETS)
            case 2:
                version = rng.choice(VERSIONS)
            case 3 | 4:
                fields.insert(rng.randrange(len(fields) + 1), rng.choice(FIELDS))
            case 5 if fields:
                fields.pop(rng.randrange(len(fields)))
            case 6:
                framed = not framed
            case 7:
                length = rng.choice(
                    (
                        b"Content-Length: %d0",
                        b"content-length:%d",
                        b"X: %d",
                        b"Content-Length: 00%d",
                        b"Content-Length: %d ",
                    )
                )
            case 8:
                size, framed = rng.choice(SIZES), True
            case 9:
                tail, framed = rng.choice(TAILS), True
            case _:
                end = rng.choice((b"\n", b"\r", b"\r\r\n", b"\r\n"))
    if framed:
        fields.append(b"Transfer-Encoding: chunked")
        body = (
            b"".join(size % len(part) + b"\r\n" + part + b"\r\n" for part in split(rng, body) if part) + tail
        )
    elif body or method == b"POST":
        fields.append(length % len(body))
    return (
        b"%b %b %b\r\n" % (method, target, version) + b"".join(each + end for each in fields) + b"\r\n" + body
    )


def garble(rng: random.Random, data: bytes) -> bytes:
    """Change some bytes, whatever they mean."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data = data[:at] + rng.choice(BYTES) + data[at:]
            case 1:
                data = data[:at] + data[at + rng.randrange(1, 20) :]
            case 2:
                data = data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
            case 3:
                data = data[:at]
            case _:
                data = data[:at] + data[at : at + rng.randrange(1, 80)] + data[at:]
    return data


def split(rng: random.Random, data: bytes) -> list[bytes]:
    """Reads of any size, whole most often."""
    chance = rng.random()
    if chance < 0.6 or len(data) < 2:
        return [data]
    if chance < 0.62 and len(data) < 300:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(rng.randrange(len(data)) for _ in range(rng.choice((1, 1, 2, 4))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
