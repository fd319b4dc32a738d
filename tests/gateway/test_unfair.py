"""What was tried to gain by, or to harm others with, on the lane."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine

from moduai.accounts.keys import digest
from moduai.accounts.principal import Principal
from moduai.engines.record import Engine
from moduai.gateway.ask import Ask, look
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import ApiError
from moduai.gateway.policy_file import from_modu
from moduai.gateway.shares import look as look_at_shares
from moduai.scheduling.ticket import NO_TICKET

from .conftest import OTHER_KEY, Gateway, chat, engine_of, request, running_gateway, shared, until

LIGHT = "light-model"


def asked(endpoint: Endpoint, **fields: object) -> Ask:
    body = json.dumps({"model": "m", endpoint.text: "a", **fields}, separators=(",", ":"))
    return look(body.encode(), endpoint, 8, frozenset())


@pytest.mark.parametrize(
    ("endpoint", "fields", "bound"),
    [
        (Endpoint.CHAT, {"max_output_tokens": 1}, 0),
        (Endpoint.CHAT, {"max_tokens": 400, "max_completion_tokens": 1}, 400),
        (Endpoint.CHAT, {"max_tokens": 1, "max_completion_tokens": 400}, 400),
        (Endpoint.COMPLETIONS, {"max_tokens": 400, "max_completion_tokens": 1}, 400),
        (Endpoint.COMPLETIONS, {"max_completion_tokens": 1}, 0),
        (Endpoint.RESPONSES, {"max_tokens": 1}, 0),
        (Endpoint.RESPONSES, {"max_output_tokens": 9, "max_tokens": 1}, 9),
    ],
)
def test_a_bound_that_the_engine_does_not_read_lowers_no_charge(
    endpoint: Endpoint, fields: dict[str, int], bound: int
) -> None:
    assert asked(endpoint, **fields).max_tokens == bound


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [("a", 1), ([1, 2, 3], 1), (["a, b"], 1), (["a", "b", "c"], 3), ([[1, 2], [3]], 2), ([], 1)],
)
def test_each_prompt_of_a_list_is_an_answer(prompt: object, choices: int) -> None:
    assert asked(Endpoint.COMPLETIONS, prompt=prompt).choices == choices
    assert asked(Endpoint.COMPLETIONS, prompt=prompt, n=2).choices == 2 * choices


def test_many_prompts_are_as_many_as_n() -> None:
    with pytest.raises(ApiError, match="number of prompts"):
        asked(Endpoint.COMPLETIONS, prompt=["a"] * 9)
    with pytest.raises(ApiError, match="more parts"):
        asked(Endpoint.COMPLETIONS, prompt=[""] * 260_000)


def test_what_no_engine_reads_is_no_prompt() -> None:
    fields = {"metadata": {"x": "y" * 40_000}, "instructions": "y" * 40_000, "tools": [{"a": "y" * 400}]}
    assert 100 < asked(Endpoint.CHAT, **fields).tokens < 120
    assert asked(Endpoint.RESPONSES, **fields).tokens > 10_000


def test_shortening_lowers_every_bound_and_raises_none() -> None:
    ask = asked(Endpoint.CHAT, max_tokens=50, max_completion_tokens=4000)
    assert ask.shorten(1024)
    sent = json.loads(ask.body)
    assert (sent["max_tokens"], sent["max_completion_tokens"]) == (50, 1024)
    ask = asked(Endpoint.COMPLETIONS, max_completion_tokens=9)
    assert ask.shorten(7)
    assert json.loads(ask.body)["max_tokens"] == 7
    ask = asked(Endpoint.EMBEDDINGS)
    before = ask.body
    assert not ask.shorten(7)
    assert ask.body == before


def test_a_usage_wish_that_is_not_true_is_spliced() -> None:
    ask = asked(Endpoint.CHAT, stream=True, stream_options={"include_usage": "no"})
    assert json.loads(ask.body)["stream_options"] == {"include_usage": True}


async def test_a_body_of_junk_keeps_nobody_waiting(fake: FakeEngine) -> None:
    """It would take the whole prefill budget, for as long as so long a prompt takes to compute."""
    fake.behaviour = Behaviour(fault="slow_head", head_s=1.5)
    async with running_gateway(engine_of(fake)) as gateway:
        junk = asyncio.create_task(gateway.ask(metadata={"x": "y" * 150_000}))
        await until(lambda: fake.counts.running)
        fake.behaviour = Behaviour()
        assert (await gateway.ask(key=OTHER_KEY)).status == 200
        assert not junk.done()
        assert gateway.ledger.rows[0].step == ""
        await junk


async def test_who_leaves_before_an_answer_comes_at_once_is_charged(fake: FakeEngine) -> None:
    """Or one could hold an engine by leaving just before the end, again and again, and stay first in line."""
    fake.behaviour = Behaviour(fault="slow_head", head_s=5)
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        shared(gateway, "cap = 99")  # counted from the first
        _, writer = await gateway.connect()
        writer.write(request("/v1/chat/completions", chat()))
        await until(lambda: fake.counts.running)
        (exchange,) = gateway.lane.exchanges
        before = exchange.ticket.charged
        writer.transport.abort()
        await until(lambda: not gateway.lane.exchanges)
        assert exchange.ticket.charged >= before > 0


@pytest.mark.parametrize("leaves", [True, False])
async def test_who_holds_an_engine_with_a_low_estimate_pays_for_the_time(
    fake: FakeEngine, leaves: bool
) -> None:
    """Short answers teach that one token is to be expected; then JSON requests run long, and end unseen."""
    fake.behaviour = Behaviour(fault="hang")
    async with running_gateway(engine_of(fake, concurrency=1), upstream={"first_byte_s": 0.6}) as gateway:
        shared(gateway, "cap = 99")  # counted from the first
        line = gateway.lane.line
        for second in range(1000):
            line._estimates.learn("key_a", MODEL, 1, second * 10**9)
        _, writer = await gateway.connect()
        writer.write(request("/v1/chat/completions", chat()))
        await until(lambda: fake.counts.running)
        (exchange,) = gateway.lane.exchanges
        ticket = exchange.ticket
        pool, step = line._pools[MODEL], line.pace(exchange.grant)[1]
        expected = pool.cost(ticket.uncached, ticket.out)
        if leaves:
            await until(lambda: ticket.charged > expected)
            writer.transport.abort()
        await until(lambda: exchange.over)
        held = (gateway.ledger.rows[0].duration_us - gateway.ledger.rows[0].queue_us) * 1000
        assert ticket.charged > pool.cost(ticket.uncached, held // step // 2) > expected
        writer.transport.abort()


def _light(engine: Engine, **can: bool) -> Engine:
    (model,) = engine.models
    capability = msgspec.structs.replace(model.capability, **can)
    light = msgspec.structs.replace(model, name=LIGHT, capability=capability)
    return msgspec.structs.replace(engine, id="eng_2", name="light", models=(light,))


def _gives_lighter(gateway: Gateway) -> None:
    rule = f'lighter = {{ "{MODEL}" = "{LIGHT}" }}\n'
    shared(gateway, more=f'[pressure]\nlighter_after_s = 1\nlighter_mode = "auto"\n{rule}')
    (pool,) = (each for name, each in gateway.lane.line._pools.items() if name == MODEL)
    pool.outlook.mean_run = 2_000_000_000


async def test_a_place_in_line_is_given_up_only_for_another(fake: FakeEngine) -> None:
    """No replica of the lighter model takes requests: whoever waits goes on waiting."""
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.05)
    engine = engine_of(fake, concurrency=1)
    async with running_gateway(engine, _light(engine)) as gateway:
        for _ in range(9):
            gateway.fleet.report("eng_2", ok=False, now=0)
        assert not gateway.fleet.replicas["eng_2"].is_open
        _gives_lighter(gateway)
        replies = await asyncio.gather(*[gateway.ask() for _ in range(4)])
        assert [reply.status for reply in replies] == [200] * 4


async def test_an_image_is_not_given_to_a_lighter_model_that_sees_none(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.05)
    engine = engine_of(fake, concurrency=1)
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    for sees in (False, True):
        async with running_gateway(engine, _light(engine, vision=sees)) as gateway:
            _gives_lighter(gateway)
            asking = [{"role": "user", "content": [picture]}]
            await asyncio.gather(*[gateway.ask(messages=asking) for _ in range(4)])
            assert any(row.model == LIGHT for row in gateway.ledger.rows) is sees


async def test_a_lighter_model_after_a_failure_is_charged_as_any_other(fake: FakeEngine) -> None:
    """What ran in vain stays charged where it ran; carried over, it would pay for much of the lighter."""
    engine = engine_of(fake, concurrency=1)
    other = msgspec.structs.replace(engine, id="eng_3", name="other")
    prices = f'[prices]\n"{MODEL}" = 1000\n"{LIGHT}" = 1\n'
    rule = f'lighter = {{ "{MODEL}" = "{LIGHT}" }}\n'
    more = f'{prices}[pressure]\nlighter_after_s = 1\nlighter_mode = "auto"\n{rule}'
    async with running_gateway(engine, other, _light(engine)) as gateway:
        shared(gateway, "person_cap = 90", more)  # so charges count from the start
        heavy, light = (gateway.lane.line._pools[name] for name in (MODEL, LIGHT))
        heavy.outlook.mean_run = 10_000_000_000
        slow = Behaviour(fault="slow_head", head_s=0.6)
        fake.script(slow, Behaviour(fault="die"), slow)
        tasks = [asyncio.create_task(gateway.ask(key=OTHER_KEY))]
        await until(lambda: fake.counts.running == 1)
        tasks.append(asyncio.create_task(gateway.ask()))
        await until(lambda: light.tree.root.running == 1)
        (charged,) = (e.ticket for e in gateway.lane.exchanges if e.ticket.pool == LIGHT)
        assert charged.charged == light.cost(charged.uncached, charged.out)
        (spent,) = (each.served for each in heavy.tree.root.branches.values())
        assert spent > 10 * charged.charged
        assert [reply.status for reply in await asyncio.gather(*tasks)] == [200, 200]
        assert {row.step for row in gateway.ledger.rows if row.model == LIGHT} == {"lighter"}


async def test_an_embedding_is_not_called_shortened(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.05)
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        shared(gateway, more="[pressure]\nshorten_after_s = 1\nshorten_to = 7\n")
        gateway.lane.line._pools[MODEL].outlook.mean_run = 2_000_000_000
        replies = await asyncio.gather(
            *[gateway.ask("/v1/embeddings", model=MODEL, input="a") for _ in range(4)]
        )
        assert {reply.status for reply in replies} == {200}
        assert not any(b"max_tokens" in seen.body for seen in fake.seen)
        assert "shortened" not in {row.step for row in gateway.ledger.rows}


async def test_who_slipped_in_counts_among_the_people_of_an_organisation(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.3)
    async with running_gateway(engine_of(fake)) as gateway:
        people = [
            (digest(f"p{n}".encode()), Principal(subject=f"sub_{n}", organisation="big")) for n in range(6)
        ]
        gateway.keys.replace(people)
        gateway.lane.line._to_learn = 0
        tasks = [asyncio.create_task(gateway.ask(key=f"p{n}")) for n in range(6)]
        await until(lambda: fake.counts.running == 6)
        assert {exchange.ticket for exchange in gateway.lane.exchanges} == {NO_TICKET}
        (model,) = look_at_shares(gateway.lane, from_modu(), 1).models
        assert [one.id for each in model.classes for one in each.organisations] == ["big"]
        await asyncio.gather(*tasks)


async def test_what_slipped_in_counts_towards_a_new_cap(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.3)
    async with running_gateway(engine_of(fake)) as gateway:
        gateway.lane.line._to_learn = 0
        tasks = [asyncio.create_task(gateway.ask()) for _ in range(4)]
        await until(lambda: fake.counts.running == 4)
        shared(gateway, "cap = 50")
        tasks += [asyncio.create_task(gateway.ask()) for _ in range(2)]
        await asyncio.gather(*tasks)
        assert fake.counts.peak == 4
