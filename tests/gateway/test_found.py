"""Defects that fuzzing found, each by the smallest input that showed it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import FakeEngine

from moduai.engines.http import Connection
from moduai.engines.record import Engine
from moduai.gateway import asgi
from moduai.gateway.ask import look
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import ApiError
from moduai.gateway.relay import EventRelay

from .conftest import Gateway, chat, engine_of, read_reply, request, running_gateway, until

OK_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DEEP = b"[" * 100_000 + b"]" * 100_000


@asynccontextmanager
async def raw_engine(*parts: bytes, pause_s: float = 0.0, close: bool = False) -> AsyncIterator[Engine]:
    """An engine that answers every request with the same bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                for part in parts:
                    writer.write(part)
                    await asyncio.sleep(pause_s)
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        fake: Any = SimpleNamespace(url=f"http://127.0.0.1:{port}", key="", models=("fake-model",))
        yield engine_of(fake)


# what clients send


@pytest.mark.parametrize("value", [DEEP, b'{"a":' * 50_000 + b"1" + b"}" * 50_000], ids=["lists", "objects"])
async def test_deep_nesting_is_invalid_json(gateway: Gateway, value: bytes) -> None:
    """RecursionError of msgspec leaves `look`: no answer, no row, a traceback; the connection breaks."""
    reply = await gateway.raw(request("/v1/chat/completions", b'{"model":"m","messages":%b}' % value))
    assert (reply.status, reply.code) == (400, "invalid_json")
    assert len(gateway.ledger.rows) == 1


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000], ids=["float", "integer"])
async def test_a_number_beyond_floats_beside_an_image_is_refused(gateway: Gateway, number: bytes) -> None:
    """ValidationError of msgspec leaves `_check_media`: no answer, no row; the connection breaks."""
    body = b'{"model":"fake-model","messages":[{"image_url":"data:,","x":%b}]}' % number
    reply = await gateway.raw(request("/v1/chat/completions", body))
    assert reply.status in (200, 400)
    assert len(gateway.ledger.rows) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"fake-model","messages":[],"model":"dear-model","x\\u003a":1}',
        b'{"model":"fake-model","model":"b:c","messages":[],"x\\u003ay\\u003a":1}',
    ],
)
def test_a_duplicate_is_seen_beside_a_name_with_an_escaped_colon(body: bytes) -> None:
    """The count of colons is made up for by a name whose colon is written as an escape."""
    with pytest.raises(ApiError, match="duplicate_field"):
        look(body, Endpoint.CHAT, 8, frozenset())


async def test_a_repeated_head_after_another_method_is_answered_whole(gateway: Gateway) -> None:
    """A head that is taken as repeated keeps method and version of the request in between."""
    again = request("/v1/chat/completions", chat())
    reader, writer = await gateway.connect()
    for _ in range(2):
        writer.write(again)
        assert (await read_reply(reader)).status == 200
    writer.write(b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n" % _key())
    assert (await read_reply(reader, head_only=True)).status == 200
    writer.write(again)
    async with asyncio.timeout(60):
        assert (await read_reply(reader)).json["choices"]
    writer.close()


async def test_a_repeated_head_after_http_1_0_keeps_its_version(gateway: Gateway) -> None:
    """The stream must be chunked again, and the connection stay, for the client of HTTP/1.1."""
    again = request("/v1/chat/completions", chat(stream=True))
    reader, writer = await gateway.connect()
    writer.write(again)
    assert (await read_reply(reader)).done
    writer.write(
        b"GET /v1/models HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n"
        b"Authorization: Bearer %b\r\n\r\n" % _key()
    )
    assert (await read_reply(reader)).status == 200
    writer.write(again)
    reply = await read_reply(reader)
    assert reply.headers.get("transfer-encoding") == "chunked"
    writer.close()


async def test_nothing_follows_a_body_that_ends_with_the_connection(gateway: Gateway) -> None:
    """An HTTP/1.0 stream ends when the connection does: the refusal of a pipelined request is read as
    part of the answer.
    """
    first = request("/v1/chat/completions", chat(stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    first = first.replace(b"Host:", b"Connection: keep-alive\r\nHost:", 1)
    reader, writer = await gateway.connect()
    writer.write(first)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_refusal_of_head_has_no_body(gateway: Gateway) -> None:
    """RFC 9110, 9.3.2: a client that reuses its parser takes the body for the next answer."""
    reader, writer = await gateway.connect()
    writer.write(b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.endswith(b"\r\n\r\n")


async def test_trailers_are_bounded(gateway: Gateway) -> None:
    """Fields after the last chunk are collected without a limit, without a key, for a minute."""
    reader, writer = await gateway.connect()
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    writer.write(b"trailer: %b\r\n" % (b"x" * 1000) * 4000)  # 4 MB; the head may have 32 kB and 100 fields
    async with asyncio.timeout(60):
        reply = await read_reply(reader)
    writer.close()
    assert reply.status in (400, 413, 431)


async def test_small_chunks_do_not_cost_much_more_memory_than_their_bytes(gateway: Gateway) -> None:
    """A body of two-byte chunks is kept as one object a chunk: some thirty times its size."""
    import tracemalloc  # noqa: PLC0415

    _, writer = await gateway.connect()
    head = request("/v1/chat/completions", b"", headers="Transfer-Encoding: chunked\r\n")
    writer.write(head.replace(b"Content-Length: 0\r\n", b"", 1))
    tracemalloc.start()
    chunks, size = b"2\r\nab\r\n" * 20_000, 0
    for _ in range(10):
        writer.write(chunks)
        await writer.drain()
        size += 40_000
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    writer.close()
    assert used < 8 * size, f"{used:,} bytes for a body of {size:,}"


async def test_a_repeated_head_is_not_served_while_an_answer_is_under_way(
    gateway: Gateway, fake: FakeEngine
) -> None:
    """The third request ran beside the second: answers may mix, and only the last one is cancelled."""
    again = request("/v1/chat/completions", chat())
    reader, writer = await gateway.connect()
    for _ in range(2):
        writer.write(again)
        assert (await read_reply(reader)).status == 200
    fake.behaviour = Behaviour(fault="hang")
    writer.write(again)
    await until(lambda: fake.counts.running == 1)
    writer.write(again)
    await asyncio.sleep(0.2)
    assert fake.counts.running == 1
    writer.close()
    await until(lambda: not gateway.lane.exchanges)


async def test_a_slow_reader_of_a_large_page_leaves_no_task_behind(fake: FakeEngine) -> None:
    """The last write of a page pauses it, the page is over, nobody resumes it: its task stays."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(20_000_000)})

    async with running_gateway(engine_of(fake), app=lambda: app) as gateway:
        _, writer = await gateway.connect()
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await asyncio.sleep(0.3)
        writer.transport.abort()
        await until(lambda: not gateway.server.connections)
        await asyncio.sleep(0.05)
        left = list(asgi._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        assert not left


@pytest.mark.parametrize("value", [b"9" * 5000, b"-" + b"9" * 5000], ids=["long", "negative"])
def test_names_with_colons_beside_a_long_number(value: bytes) -> None:
    """`_unique` reads with `json`: ValueError of a number over 4300 digits leaves `look`."""
    body = b'{"model":"m","messages":[],"x:y":1,"seed":%b}' % value
    try:
        look(body, Endpoint.CHAT, 8, frozenset())
    except ApiError as error:
        assert error.code == "invalid_json"  # noqa: PT017


def test_names_with_colons_beside_nesting() -> None:
    """... and RecursionError where `json` gives up before msgspec does."""
    for depth in (900, 980, 1000):
        body = b'{"model":"m","messages":[],"x:y":%b1%b}' % (b'{"a":' * depth, b"}" * depth)
        try:
            look(body, Endpoint.CHAT, 8, frozenset())
        except ApiError as error:
            assert error.code == "invalid_json"  # noqa: PT017


async def test_a_refusal_after_head_has_its_body(gateway: Gateway) -> None:
    """The method of the request before is taken for this one's: 431 promises a body and sends none."""
    reader, writer = await gateway.connect()
    writer.write(b"HEAD /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n" % _key())
    await read_reply(reader, head_only=True)
    writer.write(b"GET /v1/models HTTP/1.1\r\nX: %b" % (b"a" * 40_000))
    reply = await read_reply(reader)
    writer.close()
    assert reply.status == 431
    assert reply.whole


async def test_an_idle_connection_keeps_its_deadline_after_a_slow_answer(fake: FakeEngine) -> None:
    """`resume_writing` after the answer's end clears the deadline: the idle connection stays for ever."""
    async with running_gateway(engine_of(fake), limits={"idle_s": 0.3}) as gateway:
        fake.behaviour = Behaviour(fault="huge", huge_bytes=8_000_000)
        reader, writer = await gateway.connect()
        writer.transport.pause_reading()
        writer.write(request("/v1/chat/completions", chat()))
        await until(lambda: gateway.ledger.rows)
        await asyncio.sleep(0.1)
        writer.transport.resume_reading()
        await read_reply(reader)
        await until(lambda: not gateway.server.connections, 3)
        writer.close()


# what engines send


async def test_a_fragment_of_a_failed_engine_is_not_passed_on(fake: FakeEngine) -> None:
    """What was held back of the first engine's stream stands before the second engine's first event."""
    part = b'data: {"choices":[{"delta":{"content":"half'
    async with (
        raw_engine(SSE, b"%x\r\n%b\r\n" % (len(part), part), pause_s=0.05, close=True) as first,
        running_gateway(first, engine_of(fake, 2)) as gateway,
    ):
        reply = await gateway.ask(stream=True)
        assert reply.status == 200
        assert b"half" not in reply.body


async def test_an_answer_of_deep_nesting_is_a_bad_answer() -> None:
    """RecursionError leaves `_end_whole` after the receiver was let go: the client hangs (300 s)."""
    body = b'{"choices":%b}' % DEEP
    async with raw_engine(OK_JSON % (len(body), body)) as engine, running_gateway(engine) as gateway:
        async with asyncio.timeout(60):
            reply = await gateway.ask()
        assert (reply.status, reply.code) == (502, "engine_bad_answer")


async def test_an_event_of_deep_nesting_is_a_bad_answer() -> None:
    first, second = b'data: {"choices":[]}\n\n', b'data: {"choices":%b,"usage":1}\n\n' % DEEP
    parts = [b"%x\r\n%b\r\n" % (len(each), each) for each in (first, second)]
    async with (
        raw_engine(SSE, *parts, b"0\r\n\r\n", pause_s=0.05) as engine,
        running_gateway(engine) as gateway,
    ):
        async with asyncio.timeout(60):
            reply = await gateway.ask(stream=True)
        assert reply.whole
        assert reply.events[-1]["error"]["code"] == "engine_bad_answer"


@pytest.mark.source
async def test_many_interim_answers_are_bounded(fake: FakeEngine) -> None:
    """One call deeper for each: RecursionError leaves `data_received`."""
    lost: list[str] = []
    pool: Any = SimpleNamespace(give=len, forget=lambda _: None, repeated=None)
    connection = Connection(pool)
    connection.connection_made(SimpleNamespace(write=len, abort=lambda: None, is_closing=lambda: False))  # type: ignore[arg-type]
    receiver: Any = SimpleNamespace(passing=None, broken=lost.append)
    connection.send(b"GET / HTTP/1.1\r\n\r\n", receiver)
    connection.data_received(b"HTTP/1.1 100 Continue\r\n\r\n" * 5000)
    assert len(lost) <= 1


async def test_a_long_thought_is_no_silence_inside_the_answer(fake: FakeEngine) -> None:
    """`idle_s` counts from the grant, not from the last bytes, once a JSON answer has begun."""
    async with running_gateway(engine_of(fake), upstream={"idle_s": 0.3, "first_byte_s": 60}) as gateway:
        body = b'{"choices":[]}'
        head = OK_JSON % (len(body), b"")
        async with raw_engine() as _, _thinker(head + body[:5], body[5:]) as engine:
            gateway.fleet.apply([engine])
            reply = await gateway.ask()
        assert reply.status == 200, reply.body


@asynccontextmanager
async def _thinker(first: bytes, rest: bytes) -> AsyncIterator[Engine]:
    """Thinks for a second, then answers in two parts 0.2 s apart ... as often as the sweep needs."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        await asyncio.sleep(1)
        data = first + rest
        cut = len(first)
        writer.write(data[:cut])
        for at in range(cut, len(data)):  # never silent for 0.3 s
            await asyncio.sleep(0.1)
            writer.write(data[at : at + 1])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        fake: Any = SimpleNamespace(url=f"http://127.0.0.1:{port}", key="", models=("fake-model",))
        yield engine_of(fake, 2)


@pytest.mark.parametrize("line", [b": ping\n\n", b'data:{"choices":[]}\n\n'], ids=["comment", "no space"])
async def test_comments_and_unspaced_data_are_no_silence(line: bytes) -> None:
    """Only the text "data: {" counts as life; bytes of any kind should."""
    parts = [b"%x\r\n%b\r\n" % (len(line), line)] * 14
    async with (
        raw_engine(SSE, *parts, b"0\r\n\r\n", pause_s=0.1) as engine,
        running_gateway(engine, upstream={"idle_s": 0.6}) as gateway,
    ):
        reply = await gateway.ask(stream=True)
        assert b"engine_timeout" not in reply.body


class _Sink:
    framed = True

    def __init__(self) -> None:
        self.sent = b""

    def head(self, *_: Any) -> None: ...

    def write(self, data: bytes) -> None:
        self.sent += data


def relay_to(sink: _Sink, *, usage_wanted: bool = True) -> EventRelay:
    def refused() -> None:
        raise AssertionError("the stream was refused")

    return EventRelay(sink, refused, usage_wanted=usage_wanted)  # type: ignore[arg-type]


def test_usage_is_read_where_a_chunk_ends_inside_its_name() -> None:
    """A border of chunks inside the name hid the event from the ledger."""
    sink = _Sink()
    relay = relay_to(sink, usage_wanted=False)
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}\n\n'
    chunk = lambda payload: b"%x\r\n%b\r\n" % (len(payload), payload)  # noqa: E731
    relay.feed(b'data: {"choices":[{}]}\n\n')
    for part in (usage[:26], usage[26:]):
        assert not relay.passing(chunk(part))
        relay.feed(part)
    assert relay.usage is not None
    assert b"prompt_tokens" not in sink.sent


def test_usage_is_read_with_a_space_after_its_name() -> None:
    relay = relay_to(_Sink())
    relay.feed(b'data: {"choices":[],"usage" :{"prompt_tokens":3,"completion_tokens":5}}\n\n')
    assert relay.usage is not None


def test_an_event_without_its_blank_line_is_read_for_usage_too() -> None:
    sink = _Sink()
    relay = relay_to(sink, usage_wanted=False)
    relay.feed(b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}\n')
    assert relay.finish()
    assert relay.usage is not None


def test_text_that_looks_like_an_event_is_not_counted() -> None:
    """A model that writes about event streams is charged for more tokens than it wrote."""
    relay = relay_to(_Sink())
    event = (
        b"data: " + json.dumps({"choices": [{"delta": {"content": 'data: {"a":1}\ndata: {"b":2}'}}]}).encode()
    )
    relay.feed(event + b"\n\n")
    assert relay.pieces == 1


async def test_a_json_answer_to_a_stream_that_waited_is_one_event(fake: FakeEngine) -> None:
    """Lines of a pretty-printed JSON body would be lines of the event without "data:"."""
    body = json.dumps({"choices": [], "usage": None}, indent=2).encode()
    async with (
        raw_engine(b"", OK_JSON % (len(body), body), pause_s=0.5) as engine,
        running_gateway(
            Engine(**{f: getattr(engine, f) for f in engine.__struct_fields__} | {"concurrency": 1}),
            line={"hold_s": 0.05, "notice_s": 1.0},
        ) as gateway,
    ):
        replies = await asyncio.gather(*(gateway.ask(stream=True) for _ in range(2)))
        waited = next(reply for reply in replies if reply.headers["content-type"].startswith("text/event"))
        lines = [line for line in waited.body.decode().split("\n") if line]
        assert all(line.startswith(("data:", ":")) for line in lines), waited.body


async def test_usage_beyond_what_a_database_holds_does_not_cost_the_row() -> None:
    """Such a row is put aside by the loader, so the request is in no report."""
    body = b'{"choices":[],"usage":{"prompt_tokens":%b,"completion_tokens":1}}' % (b"9" * 30)
    async with raw_engine(OK_JSON % (len(body), body)) as engine, running_gateway(engine) as gateway:
        await gateway.ask()
        await until(lambda: gateway.ledger.rows)
        assert gateway.ledger.rows[0].tokens_in < 2**63


def _key() -> bytes:
    from .conftest import KEY  # noqa: PLC0415

    return KEY.encode()


# one loop serves everybody, so one request may not hold it for seconds


def test_a_large_event_in_small_reads_is_kept_whole() -> None:
    """It took 24 s of CPU for 4 MB in reads of 1 kB, when every read searched all that was held."""
    sink = _Sink()
    relay = relay_to(sink)
    relay.feed(b'data: {"choices":["')
    for _ in range(2000):
        relay.feed(b"x" * 1000)
    assert not sink.sent
    relay.feed(b'"]}\n')
    relay.feed(b"\n")
    assert sink.sent.count(b"x") == 2_000_000


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[%b"_url"]}' % (b"{}," * 1_500_000),
        b'{"model":"m","messages":[],%b}' % b",".join(b'"k%d":1' % number for number in range(400_000)),
    ],
    ids=["objects beside _url", "names"],
)
def test_a_strange_body_does_not_hold_the_loop(body: bytes) -> None:
    """20 MB of these would take 3 s and 600 MB of memory, while every stream stands still."""
    with pytest.raises(ApiError, match="value_not_allowed"):
        look(body, Endpoint.CHAT, 8, frozenset())


async def test_refusals_while_the_ledger_is_full_do_not_grow_without_bound(gateway: Gateway) -> None:
    """Each refusal adds a row to the buffer that is full: memory grows for as long as clients ask."""
    gateway.ledger.full = gateway.ledger.failing = True
    for _ in range(20):
        assert (await gateway.ask()).code == "ledger_unavailable"
    assert len(gateway.ledger.rows) <= 1


async def test_half_an_event_at_the_end_is_not_made_whole() -> None:
    """`finish` gives the torn event its blank line: clients then parse half a JSON document and raise.
    An event stream drops an event that has no blank line; the row says "ok" for a cut answer.
    """
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    part = b'data: {"choices":[{}]}\n\ndata: {"choices":[{"delta":{"content":"'
    async with raw_engine(head, part, pause_s=0.05, close=True) as engine, running_gateway(engine) as gateway:
        reply = await gateway.ask(stream=True)
        assert "error" in reply.events[-1]  # each event is whole JSON, and the last one says what happened
        assert gateway.ledger.rows[0].outcome == "failed"
