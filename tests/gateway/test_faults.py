"""Engines that fail in every way: a clear error or a retry, one ledger row, nothing hung or leaked."""

from __future__ import annotations

import asyncio

import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import FakeEngine, running_engine

from moduai.gateway.exchange import sentence

from .conftest import OTHER_KEY, Gateway, chat, engine_of, read_reply, request, running_gateway, shared, until

BEFORE = ["refuse", "busy", "unauthorised", "server_error", "die", "half_head", "garbage_http", "huge_head"]
"""Faults before any byte of an answer: another replica may do better."""
INSIDE_JSON = ["die_mid", "garbage_json", "half_character", "wrong_length"]
INSIDE_STREAM = ["die_mid", "half_character", "error_mid"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", BEFORE)
async def test_before_the_first_byte_another_engine_answers(
    fake: FakeEngine, fault: str, stream: bool
) -> None:
    async with running_engine() as second, running_gateway(engine_of(fake), engine_of(second, 2)) as gateway:
        fake.behaviour = Behaviour(fault=fault)  # type: ignore[arg-type]
        for _ in range(4):
            reply = await gateway.ask(stream=stream)
            assert reply.status == 200
            assert reply.done or not stream
        assert all((row.outcome, row.engine) == ("ok", "eng_2") for row in gateway.ledger.rows)
        assert len(gateway.ledger.rows) == 4
        assert gateway.lane.stats.retries >= 1


@pytest.mark.parametrize("fault", [*BEFORE, *INSIDE_JSON])
async def test_a_json_answer_that_fails_is_one_clear_error(
    fake: FakeEngine, gateway: Gateway, fault: str
) -> None:
    fake.behaviour = Behaviour(fault=fault)  # type: ignore[arg-type]
    reply = await gateway.ask()
    assert reply.status in (502, 503)
    assert reply.code in ("engine_failed", "engine_bad_answer", "engine_unavailable")
    assert reply.whole
    (row,) = gateway.ledger.rows
    assert row.error == reply.code
    assert row.engine == "eng_1"


@pytest.mark.parametrize("fault", INSIDE_STREAM)
async def test_a_stream_that_breaks_ends_with_an_error_event(
    fake: FakeEngine, gateway: Gateway, fault: str
) -> None:
    fake.behaviour = Behaviour(fault=fault)  # type: ignore[arg-type]
    reply = await gateway.ask(stream=True)
    assert (reply.status, reply.whole, reply.done) == (200, True, False)
    assert "error" in reply.events[-1]
    (row,) = gateway.ledger.rows
    assert row.outcome == "failed"
    assert row.tokens_source == "counted"
    assert 1 <= row.tokens_out <= 5
    assert row.accelerator_us > 0


async def test_a_stream_of_garbage_is_refused(fake: FakeEngine, gateway: Gateway) -> None:
    fake.behaviour = Behaviour(fault="garbage_json")
    reply = await gateway.ask(stream=True)
    assert reply.whole
    assert gateway.ledger.rows[0].outcome in ("failed", "ok")


async def test_an_engine_that_refuses_the_request_is_passed_on(fake: FakeEngine, gateway: Gateway) -> None:
    fake.behaviour = Behaviour(fault="bad_request")
    for stream in (False, True):
        reply = await gateway.ask(stream=stream)
        assert (reply.status, reply.code) == (400, "context_length_exceeded")
        assert "8192" in reply.json["error"]["message"]
    assert {row.outcome for row in gateway.ledger.rows} == {"refused"}


@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_hangs_is_given_up(fake: FakeEngine, stream: bool) -> None:
    fake.behaviour = Behaviour(fault="hang")
    async with running_gateway(engine_of(fake), upstream={"first_byte_s": 0.3}) as gateway:
        reply = await gateway.ask(stream=stream)
        assert (reply.status, reply.code) == (504, "engine_timeout")
        assert gateway.ledger.rows[0].outcome == "timeout"
        await until(lambda: fake.counts.cancelled == 1)


async def test_an_engine_that_falls_silent_in_a_stream_is_given_up(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="hang_mid")
    async with running_gateway(engine_of(fake), upstream={"idle_s": 0.6}) as gateway:
        reply = await gateway.ask(stream=True)
        assert reply.events[-1]["error"]["code"] == "engine_timeout"
        assert not reply.done


async def test_an_engine_that_is_not_there(fake: FakeEngine) -> None:
    engine = engine_of(fake)
    await fake.close()
    async with running_gateway(engine) as gateway:
        for _ in range(3):
            reply = await gateway.ask()
            assert (reply.status, reply.code) == (502, "engine_failed")
        reply = await gateway.ask()  # the breaker is open now
        assert (reply.status, reply.code) == (503, "engine_unavailable")
        assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("fault", ["refuse", "busy", "unauthorised", "gone"])
async def test_what_an_engine_did_not_take_costs_nothing(fake: FakeEngine, fault: str) -> None:
    fake.behaviour = Behaviour(fault=fault if fault != "gone" else "")  # type: ignore[arg-type]
    engine = engine_of(fake)
    if fault == "gone":
        await fake.close()
    async with running_gateway(engine) as gateway:
        shared(gateway, "cap = 99")  # counted from the first
        await gateway.ask(messages=[{"role": "user", "content": "x" * 20_000}])
        (row,) = gateway.ledger.rows
        assert (row.engine, row.tokens_in, row.tokens_out, row.accelerator_us) == ("eng_1", 0, 0, 0)
        (pool,) = gateway.lane.line._pools.values()
        assert sum(branch.served for branch in pool.tree.root.branches.values()) <= 1


def states(gateway: Gateway) -> list[str]:
    return [replica.breaker.state for replica in gateway.fleet.replicas.values()]


async def test_a_request_that_no_engine_can_run_takes_none_away(fake: FakeEngine) -> None:
    async with running_engine() as second, running_engine() as third:
        engines = [engine_of(one, number) for number, one in enumerate((fake, second, third), 1)]
        async with running_gateway(*engines) as gateway:
            for _ in range(9):
                reply = await gateway.ask(x_fake={"fault": "server_error"})
                assert (reply.status, reply.code) == (502, "engine_failed")
            assert sum(each.counts.requests for each in (fake, second, third)) <= 18
            assert states(gateway) == ["closed"] * 3
            assert (await gateway.ask(key=OTHER_KEY)).status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_an_engine_that_fails_what_another_answers_is_at_fault(fake: FakeEngine, stream: bool) -> None:
    async with running_engine() as second, running_engine() as third:
        engines = [engine_of(one, number) for number, one in enumerate((fake, second, third), 1)]
        fake.behaviour = second.behaviour = Behaviour(fault="server_error")
        async with running_gateway(*engines) as gateway:
            replies = [await gateway.ask(stream=stream) for _ in range(6)]
            assert [reply.status for reply in replies].count(200) >= 5, "two that fail hide each other"
            failures = [replica.breaker._failures for replica in gateway.fleet.replicas.values()]
            assert failures[0] + failures[1] > 0 == failures[2]


def test_the_sentence_of_an_engine_is_passed_on() -> None:
    assert sentence(b'{"error":{"code":500,"message":"key role not found"}}') == "key role not found"
    for other in (b"Internal Server Error", b"[]", b'{"error":{"message":5}}', b"\xff", b"[" * 9999):
        assert not sentence(other)


async def test_an_engines_error_is_no_answer_of_tokens(fake: FakeEngine, gateway: Gateway) -> None:
    fake.behaviour = Behaviour(fault="bad_request")
    await gateway.ask()
    assert gateway.ledger.rows[0].tokens_out == 0


async def test_a_kept_connection_that_went_stale_is_no_failure(fake: FakeEngine, gateway: Gateway) -> None:
    for _ in range(3):
        assert (await gateway.ask()).status == 200
        fake.drop_connections()
        await asyncio.sleep(0)
    assert gateway.lane.stats.engine_failures == {}


async def test_an_answer_that_is_too_large_is_refused(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="huge", huge_bytes=5_000_000)
    async with running_gateway(engine_of(fake), limits={"answer_bytes": 1_000_000}) as gateway:
        assert (await gateway.ask()).code == "engine_bad_answer"


async def test_a_client_that_reads_slowly_slows_the_engine_and_loses_nothing(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=20_000)
    async with running_gateway(engine_of(fake)) as gateway:
        reader, writer = await gateway.connect()
        writer.write(request("/v1/chat/completions", chat(stream=True)))
        reply = await read_reply(reader, head_only=True)
        assert reply.status == 200
        body = b""
        async with asyncio.timeout(60):
            while not body.endswith(b"0\r\n\r\n"):
                body = (body + await reader.read(65_536))[-16:]
        writer.close()
        await until(lambda: gateway.ledger.rows)
        assert gateway.ledger.rows[0].tokens_out == 20_000


async def test_a_client_that_reads_nothing_is_let_go(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=400_000)
    async with running_gateway(engine_of(fake), limits={"write_s": 0.5}) as gateway:
        _, writer = await gateway.connect()
        writer.transport.pause_reading()
        writer.write(request("/v1/chat/completions", chat(stream=True)))
        await until(lambda: gateway.ledger.rows, 15)
        assert gateway.ledger.rows[0].outcome == "cancelled"
        writer.transport.abort()


async def test_the_engine_restarts_while_people_wait(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="hang")
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        tasks = [asyncio.create_task(gateway.ask()) for _ in range(3)]
        await until(lambda: sum(gateway.lane.line.waiting().values()) == 2)
        fake.behaviour = Behaviour()
        fake.drop_connections()
        replies = await asyncio.gather(*tasks)
        assert sorted(reply.status for reply in replies) == [200, 200, 502]
