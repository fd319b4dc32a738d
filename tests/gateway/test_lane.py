"""Requests through the lane: what passes, what is spliced, what the ledger says."""

from __future__ import annotations

import asyncio
import json
import socket

import msgspec
import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine, running_engine

from .conftest import (
    KEY,
    OTHER_KEY,
    READ_ONLY,
    Gateway,
    chat,
    engine_of,
    read_reply,
    request,
    running_gateway,
    shared,
    until,
)


async def test_a_question_is_answered_and_accounted_for(gateway: Gateway, fake: FakeEngine) -> None:
    reply = await gateway.ask()
    assert reply.status == 200
    assert reply.json["choices"][0]["message"]["content"]
    assert reply.headers["x-ai-generated"] == "true"
    (row,) = gateway.ledger.rows
    assert reply.headers["x-request-id"] == row.id
    assert (row.subject, row.organisation, row.key) == ("sub_a", "org_a", "key_a")
    assert (row.tokens_in, row.tokens_cached, row.tokens_source) == (12, 4, "engine")
    assert (row.outcome, row.status, row.engine, row.model, row.endpoint) == (
        "ok",
        200,
        "eng_1",
        MODEL,
        "chat",
    )
    assert row.accelerator_us == pytest.approx(4 * (row.duration_us - row.queue_us), rel=0.5)
    assert row.energy_mj == row.accelerator_us * 100 // 1000


async def test_the_body_passes_byte_for_byte(gateway: Gateway, fake: FakeEngine) -> None:
    text = b'[{"role":"user","content":"\\uac00 \xea\xb0\x80"}]'
    body = b'{ "model" : "fake-model",  "messages":' + text + b' , "top_p": 0.70}\n'
    reply = await gateway.raw(request("/v1/chat/completions", body))
    assert reply.status == 200
    assert fake.seen[-1].body == body
    assert KEY not in str(fake.seen[-1].headers)


async def test_fields_of_openai_pass_untouched(gateway: Gateway, fake: FakeEngine) -> None:
    fields = {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_object"},
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
            }
        ],
    }
    reply = await gateway.ask(**fields)
    assert reply.status == 200
    assert json.loads(fake.seen[-1].body) == chat(**fields)


@pytest.mark.parametrize("asked", [None, {"include_usage": False}, {"include_usage": True}, {}])
async def test_usage_of_streams_is_asked_for_and_passed_on_only_if_wanted(
    gateway: Gateway, fake: FakeEngine, asked: dict[str, bool] | None
) -> None:
    reply = await gateway.ask(stream=True, **({} if asked is None else {"stream_options": asked}))
    assert reply.status == 200
    assert reply.done
    assert json.loads(fake.seen[-1].body)["stream_options"]["include_usage"] is True
    wanted = bool(asked and asked.get("include_usage"))
    assert any(event.get("usage") for event in reply.events) is wanted
    (row,) = gateway.ledger.rows
    assert (row.tokens_out, row.tokens_source, row.stream) == (16, "engine", True)
    assert 0 < row.first_token_us <= row.duration_us


@pytest.mark.parametrize("fault", ["split_character", "no_usage", "no_done"])
async def test_odd_streams_that_are_right_pass(gateway: Gateway, fake: FakeEngine, fault: str) -> None:
    plain = await gateway.ask(stream=True)
    fake.script(Behaviour(fault=fault))  # type: ignore[arg-type]
    reply = await gateway.ask(stream=True)
    assert reply.whole
    texts = [
        "".join(c["delta"].get("content") or "" for e in r.events for c in e["choices"])
        for r in (plain, reply)
    ]
    assert texts[0] == texts[1]
    row = gateway.ledger.rows[-1]
    assert row.outcome == "ok"
    if fault == "no_usage":
        assert row.tokens_source == "counted"
        assert 16 <= row.tokens_out <= 18


async def test_other_endpoints(gateway: Gateway, fake: FakeEngine) -> None:
    reply = await gateway.ask("/v1/completions", model=MODEL, prompt="하나 둘")
    assert reply.json["choices"][0]["text"]
    reply = await gateway.ask("/v1/embeddings", model=MODEL, input=["a", "b"])
    assert len(reply.json["data"]) == 2
    reply = await gateway.ask("/v1/responses", model=MODEL, input="a", stream=True)
    assert reply.events[-1]["type"] == "response.completed"
    assert [row.endpoint for row in gateway.ledger.rows] == ["completions", "embeddings", "responses"]
    assert all(row.tokens_in > 0 and row.tokens_source == "engine" for row in gateway.ledger.rows)


async def test_an_endpoint_that_no_engine_has_is_a_404_that_says_so(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake, responses=False)) as gateway:
        reply = await gateway.ask("/v1/responses", model=MODEL, input="a")
        assert (reply.status, reply.code) == (404, "endpoint_not_supported")
        assert "/v1/responses" in reply.json["error"]["message"]


async def test_models_are_listed_with_their_origin(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake, origin="Someone")) as gateway:
        reply = await gateway.raw(request("/v1/models", b"", method="GET"))
        assert [(m["id"], m["owned_by"]) for m in reply.json["data"]] == [(MODEL, "Someone")]
        one = await gateway.raw(request(f"/v1/models/{MODEL}", b"", method="GET"))
        assert one.json["modu"]["context"] == 8192
        none = await gateway.raw(request("/v1/models/none", b"", method="GET"))
        assert none.code == "model_not_found"


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        (None, 401, "missing_api_key"),
        ("modu-wrong", 401, "invalid_api_key"),
        ("", 401, "missing_api_key"),
        (READ_ONLY, 403, "scope_missing"),
    ],
)
async def test_keys(gateway: Gateway, key: str | None, status: int, code: str) -> None:
    reply = await gateway.raw(request("/v1/chat/completions", chat(), key))
    assert (reply.status, reply.code) == (status, code)


async def test_a_revoked_key_is_refused_at_once(gateway: Gateway) -> None:
    assert (await gateway.ask()).status == 200
    gateway.keys.replace([])
    assert (await gateway.ask()).code == "invalid_api_key"


async def test_no_engine_and_unknown_model() -> None:
    async with running_gateway() as gateway:
        assert (await gateway.ask()).code == "no_engine"
    async with running_engine() as fake, running_gateway(engine_of(fake)) as gateway:
        reply = await gateway.ask(model="other")
        assert (reply.status, reply.code) == (404, "model_not_found")
        assert [row.outcome for row in gateway.ledger.rows] == ["refused"]


async def test_a_name_that_the_engine_calls_otherwise(fake: FakeEngine) -> None:
    engine = engine_of(fake)
    renamed = msgspec.structs.replace(engine.models[0], name="public-name")
    async with running_gateway(msgspec.structs.replace(engine, models=(renamed,))) as gateway:
        reply = await gateway.ask(model="public-name", temperature=0.5)
        assert reply.status == 200
        assert json.loads(fake.seen[-1].body) == chat(model=MODEL, temperature=0.5)


async def test_a_full_engine_queues_shows_the_place_and_refuses_when_the_line_is_full(
    fake: FakeEngine,
) -> None:
    fake.behaviour = Behaviour(chunks=4, pace_s=0.15)
    line = {"hold_s": 0.1, "notice_s": 0.1}
    async with running_gateway(engine_of(fake, concurrency=1), line=line) as gateway:
        shared(gateway, "limits = { person = 2 }")
        warm = await gateway.ask(stream=True)
        assert warm.status == 200
        tasks = [asyncio.create_task(gateway.ask(stream=True)) for _ in range(3)]
        await until(lambda: sum(gateway.lane.line.waiting().values()) == 2)
        full = await gateway.ask()
        assert (full.status, full.code) == (429, "person_line_full")
        assert 1 <= int(full.headers["retry-after"]) <= 5
        queue = await gateway.raw(request("/v1/queue", b"", method="GET"))
        assert [entry["position"] for entry in queue.json["data"]] == [1, 2]
        assert queue.json["data"][1]["expected_wait_s"] >= 0
        other = await gateway.raw(request("/v1/queue", b"", OTHER_KEY, method="GET"))
        assert other.json["data"] == []
        replies = await asyncio.gather(*tasks)
        assert all(reply.done for reply in replies)
        assert fake.counts.peak == 1
        assert b": queue position=2 eta=" in b"".join(reply.body for reply in replies)
        waits = sorted(row.queue_us for row in gateway.ledger.rows if row.outcome == "ok")
        assert waits[-1] > 300_000


async def test_json_requests_wait_in_line_too(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.1)
    async with running_gateway(engine_of(fake, concurrency=2)) as gateway:
        replies = await asyncio.gather(*(gateway.ask() for _ in range(6)))
        assert [reply.status for reply in replies] == [200] * 6
        assert fake.counts.peak == 2


async def test_the_longest_wait_ends_with_an_error_in_the_stream(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="hang")
    line = {"max_wait_s": 0.6, "hold_s": 0.05}
    async with running_gateway(engine_of(fake, concurrency=1), line=line) as gateway:
        hanging = asyncio.create_task(gateway.ask())
        await until(lambda: fake.counts.running == 1)
        reply = await gateway.ask(stream=True)
        assert (reply.status, reply.done, reply.whole) == (200, False, True)
        assert reply.events[-1]["error"]["code"] == "wait_too_long"
        assert gateway.ledger.rows[-1].outcome == "timeout"
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        await until(lambda: not gateway.lane.exchanges)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_cancels_upstream_and_frees_its_place(
    fake: FakeEngine, stream: bool
) -> None:
    fake.behaviour = Behaviour(chunks=1000, pace_s=0.01) if stream else Behaviour(fault="hang")
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        reader, writer = await gateway.connect()
        writer.write(request("/v1/chat/completions", chat(stream=stream)))
        await until(lambda: fake.counts.running == 1)
        if stream:
            await read_reply(reader, head_only=True)
            await reader.readuntil(b"data: ")
        writer.transport.abort()
        await until(lambda: fake.counts.cancelled == 1)
        await until(lambda: len(gateway.ledger.rows) == 1)
        row = gateway.ledger.rows[0]
        assert (row.outcome, row.error, row.status) == ("cancelled", "client_left", 200 if stream else 499)
        assert row.tokens_out >= 1 or not stream
        fake.behaviour = Behaviour()
        assert (await gateway.ask()).status == 200


async def test_leaving_the_line_frees_the_place_in_it(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="hang")
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        first, second = [asyncio.create_task(gateway.ask()) for _ in range(2)]
        await until(lambda: sum(gateway.lane.line.waiting().values()) == 1)
        for task in (second, first):
            task.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await until(lambda: len(gateway.ledger.rows) == 2)
        assert {row.engine for row in gateway.ledger.rows} == {"", "eng_1"}


async def test_keep_alive_serves_many_requests_on_one_connection(gateway: Gateway, fake: FakeEngine) -> None:
    reader, writer = await gateway.connect()
    for _ in range(5):
        writer.write(request("/v1/chat/completions", chat()))
        assert (await read_reply(reader)).status == 200
        writer.write(request("/health/live", b"", None, method="GET"))
        assert (await read_reply(reader)).json == {"status": "live"}
    writer.close()
    assert fake.counts.accepted == 1


async def test_drain_ends_what_runs_refuses_who_waits_and_cuts_off_what_is_too_long(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=10, pace_s=0.02)
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        running = asyncio.create_task(gateway.ask(stream=True))
        await until(lambda: fake.counts.running == 1)
        waiting = asyncio.create_task(gateway.ask())
        await until(lambda: sum(gateway.lane.line.waiting().values()) == 1)
        assert await gateway.server.drain(5.0) == 0
        assert (await running).done
        refused = await waiting
        assert (refused.status, refused.code) == (503, "draining")


async def test_what_was_not_begun_says_so_and_goes_elsewhere(fake: FakeEngine) -> None:
    """Who waits, and who still stands in the backlog; not what runs, which is cut off here."""
    asked = request("/v1/chat/completions", chat(), KEY, "Modu-Elsewhere: @elsewhere\r\n")
    fake.behaviour = Behaviour(fault="hang")
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        running = asyncio.create_task(gateway.raw(asked))
        await until(lambda: fake.counts.running == 1)
        waiting = [
            asyncio.create_task(gateway.raw(each))
            for each in (asked, request("/v1/chat/completions", chat()))
        ]
        await until(lambda: sum(gateway.lane.line.waiting().values()) == 2)
        late = socket.create_connection(("127.0.0.1", gateway.port))
        late.sendall(asked)  # in the kernel: the loop has not run since
        assert await gateway.server.drain(0.2) == 1
        last = await asyncio.to_thread(late.recv, 4096)
        late.close()
        ran, again, plain = await running, *await asyncio.gather(*waiting)
    assert b"503 Service" in last
    assert b"x-accel-redirect: @elsewhere\r\n" in last
    assert {reply.code for reply in (ran, again, plain)} == {"draining"}
    assert again.headers["x-accel-redirect"] == "@elsewhere"
    assert [reply.headers.get("modu-begun") for reply in (ran, again, plain)] == [None, "no", "no"]
    assert "x-accel-redirect" not in ran.headers | plain.headers


async def test_a_gateway_that_leaves_serves_and_keeps_no_connection(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake)) as gateway:
        gateway.lane.leaving = True
        reply = await gateway.ask()
        assert (reply.status, reply.headers["connection"]) == (200, "close")


async def test_a_draining_engine_ends_what_it_runs_and_takes_nothing_new(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=10, pace_s=0.02)
    async with running_engine() as second, running_gateway(engine_of(fake), engine_of(second, 2)) as gateway:
        tasks = [asyncio.create_task(gateway.ask(stream=True)) for _ in range(2)]
        await until(lambda: fake.counts.running == 1)
        draining = msgspec.structs.replace(engine_of(fake), state="draining")
        gateway.fleet.apply([draining, engine_of(second, 2)])
        assert all(reply.done for reply in await asyncio.gather(*tasks))
        before = fake.counts.requests
        for _ in range(4):
            assert (await gateway.ask()).status == 200
        assert fake.counts.requests == before


async def test_one_model_on_two_engines_is_spread(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.2)
    async with (
        running_engine(behaviour=fake.behaviour) as second,
        running_gateway(engine_of(fake, concurrency=2), engine_of(second, 2, concurrency=2)) as gateway,
    ):
        await asyncio.gather(*(gateway.ask() for _ in range(4)))
        assert (fake.counts.peak, second.counts.peak) == (2, 2)


async def test_the_ledger_being_full_refuses_requests(gateway: Gateway) -> None:
    gateway.ledger.full = gateway.ledger.failing = True
    reply = await gateway.ask()
    assert (reply.status, reply.code) == (503, "ledger_unavailable")


async def test_the_wait_at_the_end_of_the_line_is_a_metric(fake: FakeEngine) -> None:
    """What a cluster scales by."""
    metrics = request("/metrics", b"", None, method="GET")
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        name = f'modu_wait_expected_seconds{{model="{MODEL}"}} '
        assert name not in (await gateway.raw(metrics)).body.decode(), "nothing is known before an answer"
        await gateway.ask()
        assert f"{name}0.0\n" in (await gateway.raw(metrics)).body.decode()


async def test_an_engine_that_has_gone_leaves_no_series_and_no_counter_goes_back(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake)) as gateway:
        lane = gateway.lane
        assert (await gateway.ask()).status == 200
        lane.engine_failed("eng_1", counts=False)
        before = lane.stats.total("requests", 0, 1, 3), lane.stats.total("tokens_out", 1)
        fake.behaviour = Behaviour(fault="slow_head", head_s=0.2)
        running = asyncio.create_task(gateway.ask())
        await until(lambda: fake.counts.running)
        gateway.fleet.apply([])
        lane._sweep()
        assert list(lane.clocks) == ["eng_1"], "it still runs something"
        assert (await running).status == 200
        await until(lambda: not lane.clocks)
        assert not lane.stats.engine_failures
        assert {name[2] for name in lane.stats.groups} == {""}
        after = lane.stats.total("requests", 0, 1, 3), lane.stats.total("tokens_out", 1)
        for old, new in zip(before, after, strict=True):
            assert all(new[key] == 2 * count for key, count in old.items() if count)


async def test_metrics_count(gateway: Gateway) -> None:
    await gateway.ask()
    await gateway.raw(request("/v1/chat/completions", chat(), None))
    reply = await gateway.raw(request("/metrics", b"", None, method="GET"))
    text = reply.body.decode()
    assert f'modu_requests_total{{endpoint="chat",model="{MODEL}",outcome="ok"}} 1' in text
    assert 'modu_errors_total{code="missing_api_key"} 1' in text
    assert f'modu_tokens_total{{model="{MODEL}",kind="in"}} 12' in text
    assert "modu_request_seconds_count 1" in text
