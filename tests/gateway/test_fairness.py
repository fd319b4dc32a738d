"""Fair sharing on the lane, of one gateway and of four: who goes first, what is shown, soft before hard."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine
from msgspec.structs import replace

from moduai.accounts.keys import digest
from moduai.accounts.principal import Principal
from moduai.engines.health import HealthWatch
from moduai.scheduling.estimate import Estimates
from moduai.settings import Upstream

from .conftest import KEY, OTHER_KEY, engine_of, request, running_gateway, until
from .site import Site, running_site

LIGHT = "light-model"
Make = Callable[..., AbstractAsyncContextManager[Site]]


@pytest.fixture(params=[1, 4], ids=["one process", "four gateways"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes the gateways in front of some engines."""
    return partial(running_site, tmp_path, request.param)


async def test_who_asks_once_does_not_wait_behind_who_asks_much(fake: FakeEngine, site: Make) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.05)
    async with site(engine_of(fake, concurrency=1)) as found:
        many = await found.fill(6)
        before = sum(task.done() for task in many)
        assert (await found.ask(key=OTHER_KEY)).status == 200
        assert sum(task.done() for task in many) - before <= 2
        await asyncio.gather(*many)
        assert [row.step for row in found.rows].count("queued") == 6


async def test_weights_are_followed_and_changed_without_a_restart(fake: FakeEngine, site: Make) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.01)
    async with site(engine_of(fake, concurrency=1)) as found:
        found.share("[class.standard.organisation.org_b]\nweight = 4\n")
        tasks = await found.fill(24, max_tokens=16)
        tasks += [asyncio.create_task(found.ask(key=OTHER_KEY, max_tokens=16)) for _ in range(24)]
        await asyncio.gather(*tasks)
        first = [row.organisation for row in found.rows][4:24]
        assert 15 <= first.count("org_b") <= 17


async def test_a_cap_leaves_places_free(fake: FakeEngine, site: Make) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.2)
    async with site(engine_of(fake, concurrency=4)) as found:
        found.share("cap = 50")
        tasks = [asyncio.create_task(found.ask()) for _ in range(4)]
        await until(lambda: found.waiting == 2)
        assert found.running == 2
        await asyncio.gather(*tasks)
        assert fake.counts.peak == 2


async def test_guests_share_by_network_and_then_by_guest(fake: FakeEngine, site: Make) -> None:
    """A thousand tokens of one network get what one guest of another gets."""
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.01)
    async with site(engine_of(fake, concurrency=1)) as found:
        guests = [
            (digest(f"g{n}".encode()), Principal(subject=f"gst_{n}", service_class="guest", network="net_a"))
            for n in range(20)
        ]
        one = Principal(subject="gst_one", service_class="guest", network="net_b")
        found.keys.replace([*guests, (digest(b"one"), one)])
        many = await found.asked([found.ask(key=f"g{n}") for n in range(20)])
        before = sum(task.done() for task in many)
        assert (await found.ask(key="one")).status == 200
        assert sum(task.done() for task in many) - before <= 3
        await asyncio.gather(*many)
        assert {row.organisation for row in found.rows} == {""}


async def test_soft_before_hard_answers_are_shortened(fake: FakeEngine, site: Make) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.4)
    async with site(engine_of(fake, concurrency=1)) as found:
        found.share(more="[pressure]\nshorten_after_s = 1\nshorten_to = 7\n")
        assert (await found.ask()).status == 200
        tasks = await found.fill(8, max_tokens=100)
        replies = await asyncio.gather(*tasks)
        rows = {row.id: row for row in found.rows}
        cut = [r for r in replies if rows[r.headers["x-request-id"]].step == "shortened"]
        assert cut
        assert all(r.headers["modu-step"] == "shortened" for r in cut)
        sent = [json.loads(seen.body)["max_tokens"] for seen in list(fake.seen)[1:]]
        assert sent.count(7) == len(cut)


async def test_soft_before_hard_a_lighter_model_answers_by_the_operators_rule(
    fake: FakeEngine, site: Make
) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.4)
    engine = engine_of(fake, concurrency=1)
    light = msgspec.structs.replace(
        engine, id="eng_2", name="light", models=(msgspec.structs.replace(engine.models[0], name=LIGHT),)
    )
    rule = f'lighter = {{ "{MODEL}" = "{LIGHT}" }}\n'
    async with site(engine, light) as found:
        found.share(more=f'[pressure]\nlighter_after_s = 1\nlighter_mode = "auto"\n{rule}')
        assert (await found.ask()).status == 200
        tasks = [asyncio.create_task(found.ask()) for _ in range(7)]
        replies = await asyncio.gather(*tasks)
        assert {reply.status for reply in replies} == {200}
        told = await asyncio.gather(*[found.ask(stream=True) for _ in range(7)])
        assert any(f": step=lighter model={LIGHT}\n\n".encode() in reply.body for reply in told)
        lighter = [row for row in found.rows if row.step == "lighter"]
        assert lighter
        assert {(row.model, row.engine) for row in lighter} == {(LIGHT, "eng_2")}


async def test_soft_before_hard_a_lighter_model_is_offered_then_a_refusal_names_a_time(
    fake: FakeEngine, site: Make
) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.5)
    rule = f'lighter = {{ "{MODEL}" = "{LIGHT}" }}\n'
    async with site(engine_of(fake, concurrency=1)) as found:
        found.share(more=f"[pressure]\nlighter_after_s = 1\nrefuse_after_s = 3\n{rule}")
        assert (await found.ask()).status == 200
        tasks = [asyncio.create_task(found.ask()) for _ in range(24)]
        await until(lambda: any(task.done() for task in tasks))
        line: list[dict[str, Any]] = []
        while not any(entry["lighter_model"] == LIGHT for entry in line):
            tasks.append(asyncio.create_task(found.ask()))  # the line stays as long
            line = (await found.next().raw(request("/v1/queue", b"", method="GET"))).json["data"]
            await asyncio.sleep(0.02)
        assert all(entry["expected_wait_s"] >= 0 for entry in line)
        replies = await asyncio.gather(*tasks)
        refused = [reply for reply in replies if reply.status == 429]
        assert {reply.code for reply in refused} == {"overloaded"}
        assert all(int(reply.headers["retry-after"]) >= 1 for reply in refused)
        assert sum(reply.status == 200 for reply in replies) >= 4


async def test_a_stream_hears_its_place_and_range(fake: FakeEngine, site: Make) -> None:
    fake.behaviour = Behaviour(chunks=4, pace_s=0.1)
    line = {"hold_s": 0.05, "notice_s": 0.05}
    async with site(engine_of(fake, concurrency=1), line=line) as found:
        await found.ask(stream=True)
        replies = await asyncio.gather(*[found.ask(stream=True) for _ in range(4)])
        text = b"".join(reply.body for reply in replies)
        assert b": queue position=3 eta=" in text
        assert all(reply.done for reply in replies)


async def test_who_leaves_the_line_is_gone_from_it(fake: FakeEngine, site: Make) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.3)
    async with site(engine_of(fake, concurrency=1)) as found:
        tasks = await found.fill(3)
        _, writer = await found.next().connect()
        writer.write(request("/v1/chat/completions", {"model": MODEL, "messages": []}, KEY))
        await until(lambda: found.waiting == 3)
        writer.close()
        await until(lambda: found.waiting == 2)
        await asyncio.gather(*tasks)


def cache(blocks: int, used: float) -> bytes:
    """What vLLM tells of a KV cache of so many blocks."""
    return (
        b'vllm:num_requests_running{engine="0",model_name="m"} 0.0\n'
        b'vllm:kv_cache_usage_perc{engine="0",model_name="m"} %.2f\n'
        b'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="%d"} 1.0\n' % (used, blocks)
    )


async def test_the_room_that_an_engine_tells_bounds_what_it_is_sent(fake: FakeEngine) -> None:
    """Of answers of 256 tokens, as new ones are expected to be, four fit into 1,280 tokens. Then others use
    half of it; then the engine comes back with more; and where it tells no more, that still counts.
    """
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.2)
    engine = replace(engine_of(fake, concurrency=8), kind="vllm")
    async with running_gateway(engine) as gateway:
        lane = gateway.lane
        watch = HealthWatch(lane.fleet, Upstream(health_s=0.01), _nothing, lane.supply.loaded)

        async def most(told: bytes) -> int:
            """Requests that run at once after the engine has told this."""
            fake.pages["/metrics"] = told
            fake.reset()
            watch.tick(time.monotonic() + 1)
            await until(lambda: not watch._running)
            assert [seen.path for seen in fake.seen] == ["/health", "/metrics"]
            lane.line._estimates = Estimates()  # the short answers of before teach nothing
            await asyncio.gather(*[gateway.ask() for _ in range(8)])
            assert all(row.outcome == "ok" for row in gateway.ledger.rows)
            return fake.counts.peak

        assert await most(b"vllm:num_requests_running 0.0\n") == 8
        assert await most(cache(80, 0.0)) == 4
        assert await most(cache(80, 0.5)) == 2
        assert await most(cache(800, 0.0)) == 8
        assert await most(cache(80, 0.0)) == 4
        assert await most(b"vllm:num_requests_running 0.0\n") == 4


async def _nothing(_engine: object) -> None:
    raise AssertionError("no engine has changed")
