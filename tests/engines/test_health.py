"""The watch against real servers that go away and come back."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress

from msgspec.structs import replace

from moduai.engines.breaker import FIRST_PAUSE
from moduai.engines.fleet import Fleet
from moduai.engines.health import HealthWatch
from moduai.engines.record import Capability, Engine, Model
from moduai.engines.telemetry import Load
from moduai.settings import Upstream
from tests.engines.conftest import http, serving

FAST = Upstream(health_s=0.05, discover_s=0.2, first_byte_s=10)


def listing(*names: str) -> bytes:
    data = [{"id": name, "owned_by": "vllm", "max_model_len": 100} for name in names]
    return http(json.dumps({"data": data}).encode())


def record(url: str, *names: str, kind: str = "vllm") -> Engine:
    models = tuple(Model(name=n, upstream_name=n, capability=Capability(context=100)) for n in names)
    return Engine(id="e1", name="lab", url=url, kind=kind, models=models)


class Watched:
    """A fleet of one engine under watch."""

    def __init__(self, engine: Engine) -> None:
        self.fleet = Fleet(FAST)
        self.fleet.apply([engine])
        self.changed: list[Engine] = []
        self.watch = HealthWatch(self.fleet, FAST, self._found)

    async def _found(self, engine: Engine) -> None:
        self.changed.append(engine)
        self.fleet.apply([engine])

    @property
    def is_open(self) -> bool:
        return self.fleet.replicas["e1"].is_open

    async def until(self, true, within_s: float = 60.0) -> None:
        task = asyncio.create_task(self.watch.run())
        try:
            deadline = time.monotonic() + within_s
            while not true():
                assert time.monotonic() < deadline, "it did not happen"
                assert not task.done()
                await asyncio.sleep(0.01)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_an_engine_that_goes_away_is_left_alone_and_taken_back():
    routes = {"GET /health": http(b""), "GET /v1/models": listing("a")}
    async with serving(routes) as url:
        watched = Watched(record(url, "a"))
        routes["GET /health"] = http(b"", "503 Service Unavailable")
        await watched.until(lambda: not watched.is_open)
        began = time.monotonic_ns()
        routes["GET /health"] = http(b"")
        await watched.until(lambda: watched.is_open)
    assert time.monotonic_ns() - began > FIRST_PAUSE // 2
    assert watched.changed == []


async def test_an_engine_that_refuses_is_noticed():
    async with serving({}) as url:
        pass
    watched = Watched(record(url, "a"))
    await watched.until(lambda: not watched.is_open)


async def test_other_models_are_told():
    routes = {"GET /health": http(b""), "GET /v1/models": listing("a")}
    async with serving(routes) as url:
        watched = Watched(record(url, "a"))
        routes["GET /v1/models"] = listing("a", "b")
        await watched.until(lambda: watched.changed)
    assert [model.name for model in watched.changed[0].models] == ["a", "b"]
    assert watched.changed[0].id == "e1"


async def test_a_listing_that_cannot_be_read_changes_nothing():
    seen: list[str] = []
    routes = {"GET /health": http(b""), "GET /v1/models": http(b"oops")}
    async with serving(routes, seen=seen) as url:
        watched = Watched(record(url, "a"))
        await watched.until(lambda: sum("/v1/models" in head for head in seen) >= 2)
    assert watched.changed == []
    assert watched.is_open


async def test_a_failing_listener_does_not_end_the_watch():
    routes = {"GET /health": http(b""), "GET /v1/models": listing("b")}
    async with serving(routes) as url:
        watched = Watched(record(url, "a"))
        calls: list[Engine] = []

        async def fails(engine: Engine) -> None:
            calls.append(engine)
            raise RuntimeError("the database is away")

        watched.watch = HealthWatch(watched.fleet, FAST, fails)
        await watched.until(lambda: len(calls) >= 2)


async def test_a_cloud_is_asked_rarely_and_only_for_its_models():
    seen: list[str] = []
    async with serving({"GET /v1/models": listing("a")}, seen=seen) as url:
        watched = Watched(record(url, "a", kind="openai"))
        await watched.until(lambda: len(seen) >= 1)
        began = time.monotonic()
        await watched.until(lambda: time.monotonic() - began > 0.3)
    assert len(seen) == 1
    assert seen[0].startswith("GET /v1/models")


async def test_weights_that_load_at_the_start_are_no_trouble_but_a_later_absence_is(caplog):
    caplog.set_level("INFO")
    routes = {"GET /health": http(b"", "503 Service Unavailable")}
    async with serving(routes) as url:
        watched = Watched(record(url, "a", kind="embedded"))
        await watched.until(lambda: not watched.is_open)
        routes["GET /health"] = http(b"")
        await watched.until(lambda: watched.is_open)
        routes["GET /health"] = http(b"", "503 Service Unavailable")
        await watched.until(lambda: not watched.is_open)
    told = [(record.levelname, record.message) for record in caplog.records]
    assert told == [
        ("INFO", "engine is not ready yet"),
        ("INFO", "engine is ready"),
        ("WARNING", "engine is away"),
    ]


async def test_models_that_were_named_stay_the_only_ones_and_a_missing_one_is_told(caplog):
    seen: list[str] = []
    routes = {"GET /health": http(b""), "GET /v1/models": listing("b")}
    async with serving(routes, seen=seen) as url:
        watched = Watched(replace(record(url, "a", "b"), follows=False))
        await watched.until(lambda: sum("/v1/models" in head for head in seen) >= 2)
    assert watched.changed == []
    told = [one for one in caplog.records if one.message == "engine lacks models it was added for"]
    assert told[0].models == ["a"]


async def test_the_load_is_told_with_the_checks():
    seen: list[str] = []
    told: list[tuple[str, Load]] = []
    routes = {"GET /health": http(b""), "GET /metrics": http(b"vllm:num_requests_running 3\n")}
    async with serving(routes, seen=seen) as url:
        watched = Watched(record(url, "a"))
        watched.watch = HealthWatch(watched.fleet, FAST, watched._found, lambda *load: told.append(load))
        await watched.until(lambda: len(told) >= 2)
    assert told[0] == ("e1", Load(running=3))


async def test_an_engine_without_a_load_to_tell_is_asked_again_only_with_its_models():
    seen: list[str] = []
    routes = {"GET /health": http(b""), "GET /v1/models": listing("a")}
    async with serving(routes, seen=seen) as url:
        watched = Watched(record(url, "a"))
        await watched.until(lambda: sum("/v1/models" in head for head in seen) >= 2)
    checks = sum("/health" in head for head in seen)
    assert 2 <= sum("/metrics" in head for head in seen) <= 3 < checks
    assert watched.is_open
