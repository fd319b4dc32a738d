"""What staff and programmes are told of how the service is shared: a real lane in front of a fake engine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine

from moduai.accounts.keys import digest
from moduai.accounts.principal import Principal
from moduai.gateway.local import Begun, Delta, Done, LocalAsk, Place
from moduai.gateway.metrics import CATALOGUE, exposition, figures
from moduai.gateway.policy_file import from_modu
from moduai.gateway.policy_text import parse
from moduai.gateway.shares import Shares, look
from moduai.metering.disclosure import LEAST
from moduai.scheduling.calibration import SECOND

from .conftest import KEY, Gateway, Reply, engine_of, request, running_gateway, until

SLOW = Behaviour(fault="slow_head", head_s=2.0)
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "안녕?"}]}


def person(number: int, organisation: str, **fields: Any) -> tuple[bytes, Principal]:
    name = f"{organisation}{number}"
    who = Principal(subject=f"sub_{name}", organisation=organisation, service_class="resident", **fields)
    return digest(name.encode()), who


async def asking(gateway: Gateway, *keys: str) -> list[asyncio.Task[Reply]]:
    """A request by each of these keys, all of them in the lane."""
    before = len(gateway.lane.exchanges)
    tasks = [asyncio.create_task(gateway.ask(key=key)) for key in keys]
    await until(lambda: len(gateway.lane.exchanges) == before + len(keys))
    return tasks


def told(gateway: Gateway) -> Shares:
    return look(gateway.lane, from_modu(), 1)


@asynccontextmanager
async def crowd(fake: FakeEngine, slow: Behaviour = SLOW) -> Any:
    """Seven people of one organisation, two of another and three guests of two networks, on two places. Who
    has a place keeps it until all are there; the others are quick.
    """
    fake.behaviour = slow
    async with running_gateway(engine_of(fake, concurrency=2)) as gateway:
        guests = [
            (
                digest(f"g{n}".encode()),
                Principal(subject=f"g{n}", service_class="guest", network=f"net_{n % 2}"),
            )
            for n in range(3)
        ]
        people = [person(n, "big") for n in range(7)] + [person(n, "small") for n in range(2)]
        gateway.keys.replace(guests + people)
        tasks = await asking(
            gateway, *(f"big{n}" for n in range(7)), "small0", "small1", *(f"g{n}" for n in range(3))
        )
        yield gateway, tasks
        fake.behaviour = Behaviour()
        await asyncio.gather(*tasks)


async def test_what_each_is_due_and_has(fake: FakeEngine) -> None:
    async with crowd(fake) as (gateway, tasks):
        model = told(gateway).models[0]
        assert (model.id, model.running, model.waiting, model.places) == (MODEL, 2, 10, 2)
        by_id = {each.id: each for each in model.classes}
        assert list(by_id) == ["resident", "guest", "public-duty", "research", "business", "batch"]
        resident, guest = by_id["resident"], by_id["guest"]
        assert (resident.weight, resident.guarantee, resident.cap) == (10, 40, 100)
        assert (resident.person_cap, guest.person_cap) == (100, 5)
        assert resident.title == {"ko": "주민", "en": "Residents"}
        assert (resident.running + guest.running, resident.waiting + guest.waiting) == (2, 10)
        assert (guest.networks, guest.organisations, guest.kept_back) == (2, [], 0)
        assert by_id["batch"].running == by_id["batch"].waiting == 0
        assert resident.ahead_s is not None
        assert by_id["batch"].ahead_s is None
        fake.behaviour = Behaviour()
        await asyncio.gather(*tasks)
        after = told(gateway)
        parts = [each.part for each in after.models[0].classes if each.part]
        assert sum(parts) == 100
        assert after.steps["queued"] == 10
        assert (after.policy.source, after.policy.problems) == ("shipped", [])


async def test_organisations_of_few_people_are_a_number(fake: FakeEngine) -> None:
    """And where the ones kept back were fewer than five together, the smallest that is shown goes too."""
    async with crowd(fake) as (gateway, _):
        resident = told(gateway).models[0].classes[0]
        assert (resident.organisations, resident.kept_back) == ([], 2)
        more = [person(n, "third") for n in range(LEAST)] + [person(n, "fourth") for n in range(LEAST)]
        gateway.keys.replace(more)
        tasks = await asking(gateway, *(f"third{n}" for n in range(5)), *(f"fourth{n}" for n in range(5)))
        resident = told(gateway).models[0].classes[0]
        shown = [one.id for one in resident.organisations]
        assert "small" not in shown
        assert len(shown) == 2
        assert resident.kept_back == 2
        fake.behaviour = Behaviour()
        await asyncio.gather(*tasks)


async def test_a_class_at_its_cap_is_said_to_be(fake: FakeEngine) -> None:
    fake.behaviour = SLOW
    title = 'title = { ko = "모두", en = "All" }'
    rules = f'name = "t"\ndefault = "rest"\n[class.resident]\n{title}\ncap = 50\n[class.rest]\n{title}\n'
    async with running_gateway(engine_of(fake, concurrency=4)) as gateway:
        gateway.lane.set_policy(parse(rules))
        gateway.keys.replace([person(n, "big") for n in range(4)])
        tasks = await asking(gateway, *(f"big{n}" for n in range(4)))
        model = told(gateway).models[0]
        assert [(each.running, each.waiting, each.at_cap) for each in model.classes] == [
            (2, 2, True),
            (0, 0, False),
        ]
        gateway.lane.set_policy(parse(rules.replace("[class.resident]", "[class.other]")))
        gone = told(gateway).models[0].classes[-1]
        assert (gone.id, gone.title, gone.at_cap) == ("resident", {}, False)
        fake.behaviour = Behaviour()
        await asyncio.gather(*tasks)
        await until(lambda: not gateway.lane.exchanges)
        assert [each.id for each in told(gateway).models[0].classes] == ["other", "rest"]


async def test_metrics_tell_of_shares_steps_and_forecasts(fake: FakeEngine) -> None:
    async with crowd(fake, Behaviour(fault="slow_head", head_s=0.3)) as (gateway, tasks):
        text = exposition({"1": figures(gateway.lane)}).decode()
        waiting = gateway.lane.line.waiting()[MODEL]
        lines = [line for line in text.splitlines() if line.startswith("modu_share_waiting{")]
        assert sum(float(line.split()[-1]) for line in lines) == waiting
        assert f'modu_share_running{{model="{MODEL}",class="resident"}}' in text
        ours = [metric.name for metric in CATALOGUE if not metric.name.startswith("modu_search")]
        assert all(f"# TYPE {name} " in text for name in ours)
        fake.behaviour = Behaviour()
        await asyncio.gather(*tasks)
        text = exposition({"1": figures(gateway.lane)}).decode()
        assert 'modu_steps_total{step="queued"} 10' in text
        assert f'modu_share_cost_seconds_total{{model="{MODEL}",class="guest"}} 0.0' in text
        calibration = gateway.lane.line._pools[MODEL].outlook.calibration  # a wait of seconds takes seconds
        calibration.learn(calibration.forecast(1, 4 * SECOND), 5 * SECOND)
        text = exposition({"1": figures(gateway.lane)}).decode()
        assert f'modu_wait_error_ratio{{model="{MODEL}",kind="light"}} ' in text
        assert f'modu_wait_cover_ratio{{model="{MODEL}",kind="light"}} 1.0' in text
        assert told(gateway).models[0].forecasts[0].cover == 100


async def test_shares_are_told_on_this_machine_only(fake: FakeEngine) -> None:
    async with running_gateway(engine_of(fake), gateway={"behind_proxy": ["127.0.0.1"]}) as gateway:
        forwarded = "X-Forwarded-For: 203.0.113.9\r\n"
        reply = await gateway.raw(request("/metrics/shares", b"", None, forwarded, method="GET"))
        assert (reply.status, reply.code) == (404, "not_found")
    async with running_gateway(engine_of(fake)) as gateway:
        reply = await gateway.raw(request("/metrics/shares", b"", None, method="GET"))
        assert reply.json["models"][0]["id"] == MODEL
        assert (await gateway.raw(request("/metrics/shares", b"", KEY))).code == "method_not_allowed"


async def page_events(gateway: Gateway, subject: str, **body: Any) -> list[Any]:
    who = Principal(subject=subject, service_class="guest", network="net_a")
    return [event async for event in LocalAsk(gateway.lane)({**ASK, **body}, who)]


async def test_a_page_is_told_its_place_with_its_range_and_the_lighter_model(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=2, pace_s=0.08)
    title = '[class.all]\ntitle = { ko = "모두", en = "All" }\n'
    pressure = f'[pressure]\nlighter_after_s = 1\n[pressure.lighter]\n"{MODEL}" = "a lighter model"\n'
    line = {"hold_s": 0.05, "notice_s": 0.1}
    async with running_gateway(engine_of(fake, concurrency=1), line=line) as gateway:
        gateway.lane.set_policy(parse(f'name = "t"\ndefault = "all"\n{pressure}{title}'))
        await page_events(gateway, "first")
        everyone = await asyncio.gather(*(page_events(gateway, f"g{n}") for n in range(5)))
        places = [event for events in everyone for event in events if isinstance(event, Place)]
        known = [place for place in places if place.wait_s is not None]
        assert len(places) > 5, "it is told again while it waits"
        assert all(place.low_s <= place.wait_s <= place.high_s for place in known)
        assert {place.lighter for place in known} >= {"a lighter model"}
        for events in everyone:
            assert isinstance(events[0], Begun)
            assert any(isinstance(event, Delta) for event in events)
            assert isinstance(events[-1], Done)
        assert {events[-1].step for events in everyone} == {"", "queued"}


async def test_a_page_is_told_that_a_lighter_model_answered(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=2, pace_s=0.1)
    engine = engine_of(fake, concurrency=1)
    model = msgspec.structs.replace(engine.models[0], name="light")
    light = msgspec.structs.replace(engine, id="eng_2", name="light", models=(model,))
    title = '[class.all]\ntitle = { ko = "모두", en = "All" }\n'
    rule = (
        f'[pressure]\nlighter_after_s = 1\nlighter_mode = "auto"\n[pressure.lighter]\n"{MODEL}" = "light"\n'
    )
    async with running_gateway(engine, light) as gateway:
        gateway.lane.set_policy(parse(f'name = "t"\ndefault = "all"\n{rule}{title}'))
        await page_events(gateway, "first")
        everyone = await asyncio.gather(*(page_events(gateway, f"g{n}") for n in range(7)))
        answered = {(events[-1].model, events[-1].step) for events in everyone}
        assert ("light", "lighter") in answered
        assert answered <= {("light", "lighter"), (MODEL, ""), (MODEL, "queued")}


async def test_a_page_is_told_what_the_pressure_did_to_its_answer(fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=12, pace_s=0.02)
    title = '[class.all]\ntitle = { ko = "모두", en = "All" }\n'
    pressure = "[pressure]\nshorten_after_s = 1\nshorten_to = 3\n"
    async with running_gateway(engine_of(fake, concurrency=1)) as gateway:
        gateway.lane.set_policy(parse(f'name = "t"\ndefault = "all"\n{pressure}{title}'))
        await page_events(gateway, "one", max_tokens=12)
        everyone = await asyncio.gather(*(page_events(gateway, "one", max_tokens=12) for _ in range(7)))
        cut = [events[-1] for events in everyone if events[-1].step == "shortened"]
        assert cut
        assert {done.model for done in cut} == {MODEL}
