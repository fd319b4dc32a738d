"""Hostile and odd HTTP: a clear error, and nothing hung."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from benchmarks.harness.engine import MODEL, FakeEngine

from .conftest import KEY, Gateway, chat, engine_of, read_reply, request, running_gateway

AUTH = f"Authorization: Bearer {KEY}\r\n"
POST = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n{AUTH}"
BODY = json.dumps(chat())


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ("\x16\x03\x01 nonsense\r\n\r\n", 400, "bad_request"),
        ("GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, "bad_request"),
        ("GET /health/live HTTP/1.1\r\n\r\n", 400, "host_missing"),
        ("GET /health/live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, "bad_request"),
        ("GET /health/live HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "host_not_allowed"),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_request"),
        ("CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, None),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            400,
            "upgrade_refused",
        ),
        (f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (f"{POST}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, "bad_request"),
        (f"{POST}Content-Length: +5\r\n\r\nhello", 400, "bad_request"),
        (f"{POST}Content-Length : 5\r\n\r\nhello", 400, "bad_request"),
        (f"{POST}Transfer-Encoding: chunked\r\n\r\nzz\r\nhello", 400, "bad_request"),
        (f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, None),
        (f"{POST}X: a\r\n b\r\nContent-Length: 0\r\n\r\n", 400, "bad_request"),
        (f"{POST}X: a\nContent-Length: 0\r\n\r\n", 400, None),
        (f"{POST}Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", 415, "unsupported_encoding"),
        (f"{POST}Expect: gold\r\nContent-Length: 0\r\n\r\n", 417, "expectation_failed"),
        (f"{POST}Content-Length: 99999999999\r\n\r\n", 413, "body_too_large"),
        (f"{POST}" + "".join(f"X-{n}: y\r\n" for n in range(150)) + "\r\n", 431, "head_too_large"),
        (f"{POST}X: {'y' * 40_000}\r\n\r\n", 431, "head_too_large"),
        (f"{POST}X: {'y' * 40_000}", 431, "head_too_large"),
        (f"{POST.replace('POST', 'GET')}\r\n", 405, "method_not_allowed"),
        (f"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\n", 404, "not_found"),
        (f"DELETE /v1/models HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\n", 405, "method_not_allowed"),
        (
            "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic YTpi\r\n\r\n",
            401,
            "missing_api_key",
        ),
    ],
)
async def test_bad_requests_are_refused_with_a_code(
    gateway: Gateway, data: str, status: int, code: str | None
) -> None:
    reply = await gateway.raw(data.encode("latin-1"))
    assert reply.status == status
    assert reply.json["error"]["message"]
    if code:
        assert reply.code == code


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'{"model": tru}', "invalid_json"),
        (b'\xff\xfe{"model":"m"}', "invalid_json"),
        (b'{"model":"m","messages":"\xff"}', "invalid_json"),
        (b'{"model":1,"messages":[]}', "invalid_body"),
        (b'{"messages":[]}', "invalid_body"),
        (b'{"model":"m"}', "invalid_body"),
        (b'{"model":"m","messages":[],"stream":"yes"}', "invalid_body"),
        (b'{"model":"m","messages":[],"max_tokens":"9"}', "invalid_body"),
        (b'{"model":"m","messages":[],"max_tokens":-1}', "invalid_body"),
        (b'{"model":"m","messages":[],"n":9}', "value_not_allowed"),
        (b'{"model":"m","messages":[],"n":1,"n":8}', "duplicate_field"),
        (b'{"model":"m","messages":[{"a":"b:c"}],"model":"x:y"}', "duplicate_field"),
        (b'{"model":"m","messages":[],"mod\\u0065l":"x"}', "duplicate_field"),
        (b'{"model":"m","messages":[],"Model":"x"}', "field_not_allowed"),
        ('{"model":"m","messages":[],"ſtream":true}'.encode(), "field_not_allowed"),
        (b'{"model":"m","messages":[],"priority":-5}', "field_not_allowed"),
        (b'{"model":"m","messages":[],"Priority":-5}', "field_not_allowed"),
        (b'{"model":"m","messages":[],"chat_template_kwargs":{}}', "field_not_allowed"),
        (b'{"model":"m","messages":[],"ignore_eos":true}', "field_not_allowed"),
        (b'{"model":"m","messages":[],"id_slot":0}', "field_not_allowed"),
        (
            b'{"model":"m","messages":[{"content":[{"image_url":{"url":"http://10.0.0.1/"}}]}]}',
            "image_url_not_allowed",
        ),
        (
            b'{"model":"m","messages":[{"content":[{"image\\u005furl":{"url":"http://10.0.0.1/"}}]}]}',
            "image_url_not_allowed",
        ),
        (
            b'{"model":"m","messages":[{"content":[{"IMAGE_URL":"file:///etc/passwd"}]}]}',
            "image_url_not_allowed",
        ),
    ],
)
async def test_bad_bodies_are_refused_and_leave_a_row(
    gateway: Gateway, fake: FakeEngine, body: bytes, code: str
) -> None:
    reply = await gateway.raw(request("/v1/chat/completions", body))
    assert (reply.status, reply.code) == (400, code)
    (row,) = gateway.ledger.rows
    assert (row.outcome, row.error, row.subject) == ("refused", code, "sub_a")
    assert fake.counts.requests == 0


async def test_an_operator_may_allow_a_field(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake), gateway={"allowed_fields": ["ignore_eos"]}) as gateway:
        assert (await gateway.ask(ignore_eos=True)).status == 200
        assert (await gateway.ask(priority=1)).code == "field_not_allowed"


async def test_colons_everywhere_are_no_duplicates(gateway: Gateway) -> None:
    body = {
        "metadata": {"a:b": "c:d"},
        "x:y:z": [{"k": ":"}],
        "messages": [{"role": "user", "content": '":":'}],
    }
    assert (await gateway.ask(**body)).status == 200


async def test_a_body_surely_too_long_for_the_context(gateway: Gateway) -> None:
    reply = await gateway.ask(messages=[{"role": "user", "content": "가" * 100_000}])
    assert (reply.status, reply.code) == (400, "context_length_exceeded")


async def test_a_body_over_the_limit_is_refused_before_it_is_read(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake), limits={"body_bytes": 1000}) as gateway:
        for framing in ("Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n186a0\r\n"):
            reader, writer = await gateway.connect()
            writer.write(f"{POST}{framing}".encode() + b"x" * 40_000)
            reply = await read_reply(reader)
            assert (reply.status, reply.code) == (413, "body_too_large")
            writer.close()


async def test_chunked_and_split_bodies(gateway: Gateway, fake: FakeEngine) -> None:
    body = BODY.encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:7], body[7:50], body[50:])) + b"0\r\n\r\n"
    reader, writer = await gateway.connect()
    for byte in f"{POST}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert (await read_reply(reader)).status == 200
    assert fake.seen[-1].body == body
    writer.close()


async def test_expect_100_continue(gateway: Gateway) -> None:
    reader, writer = await gateway.connect()
    writer.write(f"{POST}Expect: 100-continue\r\nContent-Length: {len(BODY.encode())}\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY.encode())
    assert (await read_reply(reader)).status == 200
    writer.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_http_1_0(gateway: Gateway, stream: bool) -> None:
    body = json.dumps(chat(stream=stream))
    head = f"POST /v1/chat/completions HTTP/1.0\r\n{AUTH}Content-Length: {len(body)}\r\n\r\n"
    reader, writer = await gateway.connect()
    writer.write((head + body).encode())
    raw = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert raw.startswith(b"HTTP/1.1 200")
    assert b"chunked" not in raw.partition(b"\r\n\r\n")[0]
    assert (b"data: [DONE]\n\n" in raw) is stream


async def test_pipelined_requests_are_refused_after_the_first_answer(
    gateway: Gateway, fake: FakeEngine
) -> None:
    reader, writer = await gateway.connect()
    writer.write(request("/v1/chat/completions", chat()) * 2)
    assert (await read_reply(reader)).status == 200
    second = await read_reply(reader)
    assert (second.status, second.code) == (400, "pipelining_refused")
    assert await reader.read() == b""
    writer.close()
    assert fake.counts.requests == 1


async def test_a_smuggled_request_is_never_served(gateway: Gateway, fake: FakeEngine) -> None:
    inner = f"{POST}Content-Length: {len(BODY)}\r\n\r\n{BODY}"
    for framing in (
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
    ):
        data = f"{POST}{framing}\r\n\r\n0\r\n\r\n{inner}".encode()
        assert (await gateway.raw(data)).status == 400
    assert fake.counts.requests == 0


async def test_slow_heads_and_bodies_are_given_up(fake: FakeEngine) -> None:
    limits = {"head_s": 0.3, "body_s": 0.3}
    async with running_gateway(engine_of(fake), limits=limits) as gateway:
        for start in ("POST /v1/chat", f"{POST}Content-Length: 100\r\n\r\n{{"):
            reader, writer = await gateway.connect()
            writer.write(start.encode())
            reply = await read_reply(reader)
            assert (reply.status, reply.code) == (408, "request_timeout")
            writer.close()
        reader, writer = await gateway.connect()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


async def test_a_slow_client_that_keeps_sending_is_given_up_too(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake), limits={"head_s": 0.4}) as gateway:
        reader, writer = await gateway.connect()

        async def drip() -> None:
            writer.write(b"GET /health/live HTTP/1.1\r\n")
            for number in range(1000):
                writer.write(f"X-{number}: y\r\n".encode())
                await asyncio.sleep(0.05)

        task = asyncio.create_task(drip())
        assert (await read_reply(reader)).status in (408, 431)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        writer.close()


async def test_too_many_connections(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake), limits={"connections": 2}) as gateway:
        held = [await gateway.connect() for _ in range(2)]
        reader, writer = await gateway.connect()
        assert (await read_reply(reader)).code == "too_many_connections"
        for _, other in held:
            other.close()
        writer.close()


async def test_a_repeated_head_with_a_revoked_key_is_refused(gateway: Gateway) -> None:
    reader, writer = await gateway.connect()
    for _ in range(2):
        writer.write(request("/v1/chat/completions", chat()))
        assert (await read_reply(reader)).status == 200
    gateway.keys.replace([])
    writer.write(request("/v1/chat/completions", chat()))
    assert (await read_reply(reader)).code == "invalid_api_key"
    writer.close()


async def test_a_repeated_head_with_other_lengths_and_splits(gateway: Gateway, fake: FakeEngine) -> None:
    reader, writer = await gateway.connect()
    for size in (0, 5, 2000, 1, 0, 40_000):
        body = chat(user="u" * size)
        data = request("/v1/chat/completions", body)
        writer.write(data[: len(data) // 2])
        await asyncio.sleep(0.01)
        writer.write(data[len(data) // 2 :])
        assert (await read_reply(reader)).status == 200
        writer.write(data)
        assert (await read_reply(reader)).status == 200
        assert json.loads(fake.seen[-1].body) == body
    writer.write(request("/v1/embeddings", {"model": MODEL, "input": "a"}))
    assert (await read_reply(reader)).json["object"] == "list"
    writer.close()


async def test_pages_are_served_beside_the_lane(fake: FakeEngine) -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, body=(await receive())["body"])
        if scope["path"] == "/boom":
            raise RuntimeError("boom")
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        for part in (b"one ", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    proxy = {"behind_proxy": ["127.0.0.0/8"], "allowed_hosts": ["modu.example"]}
    async with running_gateway(engine_of(fake), app=lambda: app, gateway=proxy) as gateway:
        reader, writer = await gateway.connect()
        head = "POST /a%20b?q=1 HTTP/1.1\r\nHost: modu.example\r\nContent-Length: 3\r\n"
        forwarded = "X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\n"
        writer.write(f"{head}{forwarded}\r\nabc".encode())
        reply = await read_reply(reader)
        assert (reply.status, reply.body) == (200, b"one two")
        assert (seen["path"], seen["query_string"], seen["body"]) == ("/a b", b"q=1", b"abc")
        assert (seen["scheme"], seen["client"][0]) == ("https", "203.0.113.9")
        writer.write(b"HEAD / HTTP/1.1\r\nHost: modu.example\r\n\r\n")
        assert (await read_reply(reader, head_only=True)).status == 200
        writer.write(request("/v1/chat/completions", chat()))
        assert (await read_reply(reader)).status == 200
        writer.write(b"GET /boom HTTP/1.1\r\nHost: modu.example\r\n\r\n")
        assert (await read_reply(reader)).status == 500
        writer.close()


async def test_metrics_are_not_for_who_asks_through_a_proxy_listed_or_not(fake: FakeEngine) -> None:
    """A proxy on this machine that is not listed would else have the world look like this machine."""
    for listed in ([], ["127.0.0.1"]):
        async with running_gateway(engine_of(fake), gateway={"behind_proxy": listed}) as gateway:
            for path in ("/metrics", "/metrics/shares"):
                assert (await gateway.raw(request(path, b"", None, method="GET"))).status == 200
                for field in (
                    "X-Forwarded-For: 1.2.3.4",
                    "Forwarded: for=1.2.3.4",
                    "X-Real-IP: ::1",
                    "Via: x",
                ):
                    asked = request(path, b"", None, f"{field}\r\n", method="GET")
                    assert (await gateway.raw(asked)).status == 404, field


@pytest.mark.source
async def test_metrics_are_for_this_machine_and_for_listed_collectors(fake: FakeEngine) -> None:
    """A collector has a connection of its own: what comes through a proxy is never one."""
    metrics = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n%b\r\n"
    listed = {"scraped_by": ["10.1.0.0/16", "fd00::/8"]}
    async with running_gateway(engine_of(fake), gateway=listed) as gateway:
        statuses = {}
        for address in ("127.0.0.1", "10.1.2.3", "fd00::1", "10.2.0.1"):
            gateway.server.peer = lambda _, found=address: (found, True)
            statuses[address] = (await gateway.raw(metrics % b"")).status
        assert statuses == {"127.0.0.1": 200, "10.1.2.3": 200, "fd00::1": 200, "10.2.0.1": 404}
        gateway.server.peer = lambda _: ("10.1.2.3", True)
        assert (await gateway.raw(metrics % b"X-Forwarded-For: 10.1.2.3\r\n")).status == 404
        assert (await gateway.raw(metrics.replace(b"/metrics", b"/metrics/shares") % b"")).status == 404
