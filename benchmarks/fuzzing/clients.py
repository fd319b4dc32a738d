"""Runs a client's connection through the gateway and says which promise does not hold."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator

import msgspec

from benchmarks.fuzzing.bodies import Pairs, _plain, read_strictly
from benchmarks.fuzzing.requests import Step
from benchmarks.fuzzing.wire import Answer, BrokenError, Oracle, Request, read_answers
from benchmarks.fuzzing.world import KEY, READ_ONLY, Wire, World
from moduai.gateway.ask import USAGE
from moduai.gateway.connection import ClientConnection
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import CATALOGUE

LANE = {endpoint.path.encode() for endpoint in Endpoint}
STATUSES = {kind.status for kind in CATALOGUE.values()} | {200}
EARLY = {
    "bad_request", "host_missing", "host_not_allowed", "pipelining_refused", "upgrade_refused",
    "request_timeout", "body_too_large", "unsupported_encoding", "expectation_failed", "head_too_large",
}  # fmt: skip
"""Refused by the connection itself: no row."""
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
CRC = re.compile(rb'"crc":([0-9]+)')


class Life:
    """One connection while it lasts."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.fed: list[bytes] = []
        self.asked: list[tuple[bytes, bytes]] = []
        """Path and body of what reached an engine."""
        self.client: ClientConnection
        self.wire: Wire

    async def run(self, steps: list[Step]) -> None:
        """Live it. Whatever the code under test raises comes out."""
        self.client, self.wire = self.world.connect()
        for kind, data in steps:
            if self.wire.closing:
                break
            match kind:
                case "data":
                    self.fed.append(data)
                    self.client.data_received(data)
                case "engine":
                    self.engines()
                case "settle":
                    await self.world.settle()
                case "timeout" if self.client.deadline:
                    self.client.timed_out()
                case "pause":
                    self.client.pause_writing()
                case "resume":
                    self.client.resume_writing()

    def engines(self) -> None:
        """The engines answer what they were asked, in two or three reads, in any order."""
        under_way = []
        for upstream in self.world.upstreams:
            request = upstream.asked()
            if request is not None:
                self.asked.append(_taken(request))
                under_way.append((upstream, self._parts(*self.asked[-1])))
        while under_way:
            upstream, parts = self.rng.choice(under_way)
            if parts and not upstream.wire.closing:
                upstream.connection.data_received(parts.pop(0))
            else:
                under_way.remove((upstream, parts))

    def _parts(self, path: bytes, asked: bytes) -> list[bytes]:
        """An answer that names what it answers."""
        echo = b'"crc":%d' % zlib.crc32(path + asked)
        if b'"stream":true' in asked.replace(b" ", b""):
            first, last = b'data: {"choices":[1],%b}\n\n' % echo, b"data: [DONE]\n\n"
            parts = [
                SSE,
                *(b"%x\r\n%b\r\n" % (len(event), event) for event in (first, first, last)),
                b"0\r\n\r\n",
            ]
            return parts if self.rng.random() < 0.7 else [b"".join(parts)]
        body = b'{"choices":[],%b,"usage":{"prompt_tokens":1}}' % echo
        whole = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )
        return [whole] if self.rng.random() < 0.7 else [whole[:50], whole[50:90], whole[90:]]


def _taken(request: bytes) -> tuple[bytes, bytes]:
    """Path and body of a request to an engine. Raises BrokenError."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    lengths = [line for line in lines if line.lower().startswith(b"content-length:")]
    words = first.split(b" ")
    if len(words) != 3 or words[0] != b"POST" or lengths != [b"Content-Length: %d" % len(body)]:
        raise BrokenError(f"an engine was sent {request[:80]!r}")
    return words[1], body


async def check(world: World, steps: list[Step], rng: random.Random) -> str | None:
    """What does not hold for this connection; None if all does."""
    before = len(world.rows.rows)
    life = Life(world, rng)
    problem: str | None = None
    try:
        await life.run(steps)
        await world.settle()
        left = rng.random() < 0.1 or life.wire.closing
        if not left:
            life.engines()
            await world.settle()
        client, wire = life.client, life.wire
        problem = next(_judge(world, life, left), None)
        client.connection_lost(None)
        wire.closing = True
        await world.settle()
    except (Exception, RecursionError) as error:  # noqa: BLE001  (whatever escapes is a finding)
        problem = f"{type(error).__name__} escapes: {str(error)[:80]}"
        life.client.connection_lost(None)
    world.end_engines()
    await world.settle()
    world.heal()
    leaks = world.leaks()
    if leaks and problem is None:
        problem = leaks[0]
    if leaks:
        await world.let_go()
    problem = problem or next(_rows(world, life, before), None)
    del world.rows.rows[:]
    return problem


def _judge(world: World, life: Life, left: bool) -> Iterator[str]:
    """Look at a connection while it is still known."""
    oracle = Oracle(b"".join(life.fed))
    closed = life.wire.closing or life.wire.ended
    yield from _engine_requests(life, oracle)
    try:
        answers = read_answers(bytes(life.wire.sent), oracle.methods)
    except BrokenError as error:
        yield str(error)
        return
    yield from _answers(answers, oracle, closed=closed, aborted=life.wire.aborted)
    yield from _mixed_up(life, answers, oracle)
    if left or closed or world.lane.exchanges:
        return
    if oracle.refused:
        yield "llhttp refuses the bytes, the connection stays"
    if len(answers) != len(oracle.requests):
        yield f"{len(oracle.requests)} requests, {len(answers)} answers, and nothing under way"


def _engine_requests(life: Life, oracle: Oracle) -> Iterator[str]:
    """Each was sent by the client, in this order, with this body and a good key."""
    rest = (request for request in oracle.requests if _token(request) == KEY)
    for path, body in life.asked:
        if not any(_same(request, path, body) for request in rest):
            yield "an engine was asked what llhttp does not read from a good key"


def _token(request: Request) -> bytes:
    scheme, _, token = (request.field(b"authorization") or b"").partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _same(request: Request, path: bytes, body: bytes) -> bool:
    if request.method != b"POST" or request.target.partition(b"?")[0] != path:
        return False
    if request.body == body:
        return True
    end = request.body.rfind(b"}")
    if body == request.body[:end] + b"," + USAGE + b"}":
        return True
    sent, came = read_strictly(body), read_strictly(request.body)
    if sent is None or came is None:
        return False
    return _without_options(sent) == _without_options(came)


def _without_options(pairs: Pairs) -> object:
    return {name: _plain(value) for name, value in pairs if name != "stream_options"}


def _answers(answers: list[Answer], oracle: Oracle, *, closed: bool, aborted: bool) -> Iterator[str]:
    for answer in answers:
        if answer.status not in STATUSES:
            yield f"status {answer.status}"
        if answer.status >= 400 and answer.whole and answer.body and _code(answer) not in CATALOGUE:
            yield f"an error with the code {_code(answer)!r}"
    if any(answer.until_close for answer in answers[:-1]):
        yield "an answer follows one that only the connection's end ends"
    if answers and answers[-1].until_close and b"\r\n\r\nHTTP/1.1 " in answers[-1].body:
        yield "an answer stands inside another"
    if answers and not answers[-1].whole and closed and not aborted:
        yield "an answer was cut without a broken connection"
    allowed = len(oracle.requests) + 1
    if len(answers) > allowed:
        yield f"{len(answers)} answers for {len(oracle.requests)} requests"
    if len(answers) == allowed and (answers[-1].status < 400 or not closed):
        yield "an answer that nobody asked for"


def _mixed_up(life: Life, answers: list[Answer], oracle: Oracle) -> Iterator[str]:
    """The answer to each request is the one that an engine gave for it."""
    asked = {zlib.crc32(path + body): (path, body) for path, body in life.asked}
    for request, answer in zip(oracle.requests, answers, strict=False):
        told = {int(crc) for crc in CRC.findall(answer.body)}
        if len(told) > 1 or any(not _same(request, *asked[crc]) for crc in told):
            yield "an answer is of another request"


def _code(answer: Answer) -> str:
    try:
        return str(msgspec.json.decode(answer.body)["error"]["code"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "?"


def _rows(world: World, life: Life, before: int) -> Iterator[str]:
    """One row for each request of the lane that a good key made, and none else."""
    rows = world.rows.rows[before:]
    ids = [row.id.encode() for row in rows]
    if len(set(ids)) != len(ids):
        yield "a row stands twice"
    oracle = Oracle(b"".join(life.fed))
    try:
        answers = read_answers(bytes(life.wire.sent), oracle.methods)
    except BrokenError:
        return
    shown = [each for answer in answers if (each := answer.fields.get(b"x-request-id")) is not None]
    if set(shown) - set(ids):
        yield "an answer without its row"
    unseen = [row for row in rows if row.id.encode() not in shown]
    if len(unseen) > 1 or any(row.outcome != "cancelled" for row in unseen):
        yield f"rows without an answer: {[row.outcome for row in unseen]}"
    for request, answer in zip(oracle.requests, answers, strict=False):
        lane = (
            request.method == b"POST"
            and request.target.partition(b"?")[0] in LANE
            and _token(request) in {KEY, READ_ONLY}
        )
        if lane and answer.body and b"x-request-id" not in answer.fields and _code(answer) not in EARLY:
            yield f"no row for a request of the lane (answered {answer.status})"
        if not lane and b"x-request-id" in answer.fields:
            yield "a row for what is no request of the lane"
