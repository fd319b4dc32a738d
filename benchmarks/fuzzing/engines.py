"""Engines' answers: mutated, cut, garbled and late; the client must get a clear end and the ledger a row."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.fuzzing.requests import garble, split
from benchmarks.fuzzing.wire import Answer, BrokenError, decode_answer, read_answers
from benchmarks.fuzzing.world import KEY, LATE_NS, Upstream, World

EVENTS = [
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    'data: {"choices":[{"delta":{"content":"안녕 😀"}}]}\n\n'.encode(),
    b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}\n\n',
    b'data: {"choices":[{}],"usage":null}\n\n',
    b'data: {"error":{"message":"x"}}\n\n',
    b"event: x\ndata: {}\n\n",
    b": ping\n\n",
    b"data: [DONE]\n\n",
    b'data: {"choices":[]}\r\n\r\n',
]
ODD_EVENTS = [
    b"data: {\n\n", b"data: \xff\n\n", b"\n\n", b"x\n\n", b'data: {"usage":[}\n\n',
    b'data: {"usage":1}\n\n', b"data:\n\n", b'data: {"choices":1,"error":2}\n\n',
    b'data: {"usage":{"prompt_tokens":-1}}\n\n', b"\xec\x95", b"data: a", b"\r\r",
    b'data: {"usage":{"prompt_tokens":%b}}\n\n' % (b"9" * 50), b"data: " + b"[" * 3000 + b'"usage":\n\n',
    b"retry: 1\n\n", b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n',
    b'data: {"a":' + b"[" * 3000 + b',"usage":1}\n\n',
]  # fmt: skip
DOCUMENTS = [
    b'{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":3,"completion_tokens":5}}',
    '{"choices":[],"x":"안녕"}'.encode(), b'{"usage":null}', b'{"error":{"message":"too long: context"}}',
    b'{"error":"x"}', b"{}", b"[]", b"", b"null", b"{", b'{"usage":1}',
    b'{"usage":{"prompt_tokens":%b}}' % (b"9" * 60), b'{"a":"\xff"}', b"<html>", b'{"a":' + b"[" * 3000,
    b'{"usage":{"prompt_tokens":1.5}}', b"[" * 2000 + b"]" * 2000, b'{"error":{"message":"\\ud800"}}',
    b"\xef\xbb\xbf{}",
]  # fmt: skip
STATUSES = [
    b"200 OK", b"200 OK", b"200 OK", b"200 OK", b"200", b"400 Bad Request", b"401 No", b"404 Not Found",
    b"413 x", b"429 Busy", b"500 Oops", b"502 x", b"503 x", b"504 x", b"100 Continue", b"101 Switching",
    b"204 No Content", b"206 x", b"301 x", b"304 x", b"600 x", b"000 x", b"20 OK", b"2000 OK", b"-20 x",
    b"", b"99\xb9",
]  # fmt: skip
FIELDS = [
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: x",
    b"Content-Length : 4", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"transfer-encoding: CHUNKED", b"Connection: close", b"Connection: Close", b"Content-Type: text/plain",
    b"X: y\n", b"X", b" X: y", b"Content-Encoding: gzip", b"X: \x00",
    b"Content-Length: 99999999999999999999", b"Trailer: a", b"Content-Length:7", b"X: y\rContent-Length: 3",
]  # fmt: skip
FRAMINGS = ("chunked", "chunked", "chunked", "close", "length", "length", "chunked")
"""The first five for streams, those from the fifth for JSON."""
INTERIM = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    b"HTTP/1.1 102 x\r\n\r\n" * 30,
]
SIZES = [b"%x", b"%x", b"%x", b"%X", b"0%x", b"%x;a=b", b" %x", b"%x ", b"+%x", b"0x%x", b"-%x", b"%xg"]
TAILS = [
    b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nT: v\r\n\r\n", b"0\r\n", b"", b"000\r\n\r\n",
    b"0\r\n\r\nx", b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
]  # fmt: skip


@dataclass
class Played:
    """What an engine did for one attempt."""

    sent: bytes
    closed: bool
    clean: bool
    """Sent as a right engine sends: it must come through as it is."""


def answer(rng: random.Random, *, odd: float) -> bytes:
    """An engine's answer, wrong somewhere with the chance ``odd``."""

    def strange() -> bool:
        return rng.random() < odd

    stream = rng.random() < 0.6
    status = rng.choice(STATUSES) if strange() else b"200 OK"
    version = b"HTTP/1.0" if strange() and strange() else b"HTTP/1.1"
    fields = [
        b"Content-Type: text/event-stream; charset=utf-8" if stream else b"Content-Type: application/json"
    ]
    if strange():
        fields.insert(rng.randrange(2), rng.choice(FIELDS))
    if stream:
        pieces = [rng.choice(EVENTS) for _ in range(rng.randrange(6))]
        if strange():
            pieces.insert(rng.randrange(len(pieces) + 1), rng.choice(ODD_EVENTS))
    else:
        pieces = [rng.choice(DOCUMENTS) if strange() else DOCUMENTS[0]]
    framing = rng.choice(FRAMINGS[:5] if stream else FRAMINGS[4:])
    if framing == "chunked":
        fields.append(b"Transfer-Encoding: chunked")
        if rng.random() < 0.3:
            pieces = split(rng, b"".join(pieces))
        size = rng.choice(SIZES) if strange() else b"%x"
        body = b"".join(size % len(piece) + b"\r\n" + piece + b"\r\n" for piece in pieces if piece)
        body += rng.choice(TAILS) if strange() else b"0\r\n\r\n"
    else:
        body = b"".join(pieces)
        if framing == "length":
            wrong = rng.choice((-1, 1, 5)) if strange() and strange() else 0
            fields.append(b"Content-Length: %d" % max(0, len(body) + wrong))
        else:
            fields.append(b"Connection: close")
    head = b"%b %b\r\n%b\r\n\r\n" % (version, status, b"\r\n".join(fields))
    return (rng.choice(INTERIM) if strange() and strange() else b"") + head + body


class Play:
    """One request, and what engines do about it."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.attempts: list[Played] = []
        self.odd = rng.choice((0.0, 0.05, 0.15, 0.4))
        self.late = False

    async def run(self) -> None:
        """Until nothing is asked of an engine any more."""
        for _ in range(8):
            waiting = [
                (upstream, request)
                for upstream in list(self.world.upstreams)
                if (request := upstream.asked())
            ]
            for upstream, _request in waiting:
                self.play(upstream)
            await self.world.settle()
            if not waiting:
                return

    def play(self, upstream: Upstream) -> None:
        """Answer: in parts, perhaps cut, perhaps never to the end."""
        rng = self.rng
        data = answer(rng, odd=self.odd)
        garbled = rng.random() < self.odd
        if garbled:
            data = garble(rng, data)
        cut = rng.random() < self.odd
        if cut:
            data = data[: rng.randrange(len(data) + 1)]
        closes = cut or b"Connection: close" in data or rng.random() < self.odd
        self.late |= not closes
        sent = b""
        for part in split(rng, data):
            if upstream.wire.closing:
                break
            sent += part
            upstream.connection.data_received(part)
            if rng.random() < 0.02 and self.world.lane.exchanges:
                next(iter(self.world.lane.exchanges)).check_time(time.monotonic_ns())
        ends = rng.random() < 0.7
        if closes and not upstream.wire.closing:
            if ends:
                upstream.connection.eof_received()
            upstream.wire.closing = True
            upstream.connection.connection_lost(None if rng.random() < 0.7 else ConnectionResetError("reset"))
        self.attempts.append(
            Played(
                sent, closes and ends, clean=(ends or not closes) and not self.odd and not garbled and not cut
            )
        )


async def check(world: World, rng: random.Random) -> str | None:
    """What does not hold for one request; None if all does."""
    stream = rng.random() < 0.6
    usage = rng.random() < 0.4
    version = b"HTTP/1.0" if rng.random() < 0.1 else b"HTTP/1.1"
    options = b',"stream_options":{"include_usage":true}' if usage else b""
    body = b'{"model":"m","messages":[]%b%b}' % (
        b',"stream":true' if stream else b"",
        options if stream else b"",
    )
    client, wire = world.connect()
    play = Play(world, rng)
    problem: str | None = None
    try:
        client.data_received(
            b"POST /v1/chat/completions %b\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (version, KEY, len(body), body)
        )
        await play.run()
        for later in range(1, 5):  # the engine is silent: much later it is given up
            for exchange in list(world.lane.exchanges):
                exchange.check_time(time.monotonic_ns() + later * LATE_NS)
            await play.run()
        problem = _judge(world, play, bytes(wire.sent), closed=wire.closing, usage_wanted=usage or not stream)
        if wire.aborted:
            problem = problem or "the client's connection was broken off"
        client.connection_lost(None)
        wire.closing = True
    except (Exception, RecursionError) as error:  # noqa: BLE001  (whatever escapes is a finding)
        problem = f"{type(error).__name__} escapes: {str(error)[:80]}"
        client.connection_lost(None)
    world.end_engines()
    await world.settle()
    world.end_engines()
    world.heal()
    leaks = world.leaks()
    if leaks:
        await world.let_go()
    if problem is None and leaks:
        problem = leaks[0]
    if problem is None and len(world.rows.rows) != 1:
        problem = f"{len(world.rows.rows)} rows for one request"
    del world.rows.rows[:]
    return problem


def _judge(world: World, play: Play, sent: bytes, *, closed: bool, usage_wanted: bool) -> str | None:
    """The client has one complete, valid answer, and a right engine's words came through unchanged."""
    if world.lane.exchanges:
        return "still under way after every deadline"
    try:
        answers = read_answers(sent, [b"POST"])
    except BrokenError as error:
        return str(error)
    if len(answers) != 1:
        return f"{len(answers)} answers for one request"
    if not answers[0].whole:
        return "the answer is cut"
    if answers[0].until_close and not closed:
        return "the answer has no end"
    return next(_payload(world, play, answers[0], usage_wanted=usage_wanted), None)


def _payload(world: World, play: Play, got: Answer, *, usage_wanted: bool) -> Iterator[str]:
    row = world.rows.rows[-1] if world.rows.rows else None
    try:
        got.body.decode()
    except UnicodeDecodeError:
        yield "the client was sent half a character"
    if row is None or not play.attempts:
        return
    last = play.attempts[-1]
    read = decode_answer(last.sent, closed=last.closed)
    if row.outcome == "ok":
        if read is None or read[0] != 200:
            return  # we and llhttp may differ about what is broken; framing was judged before
        if b"".join(got.body.split()) == b"".join((b"data:" + read[1]).split()):
            return  # a JSON answer where a stream had begun
        if _lines(read[1]) != _lines(got.body) and (usage_wanted or b'"usage"' not in read[1]):
            yield "the client was sent other bytes than the engine gave"
    elif last.clean and read is not None and b'"error":' not in read[1]:
        yield f"a right answer was refused: {row.outcome} {row.error}"


def _lines(stream: bytes) -> list[bytes]:
    """Lines that are not empty: the last event's blank line may be added, blank lines before it dropped."""
    return [line for line in stream.splitlines() if line]
