"""Several workers of one machine: any of them tells of all, and what is away is told as away."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from benchmarks.harness.engine import FakeEngine

from moduai.gateway import workers
from moduai.gateway.metrics import ERRORS, QUEUE, WAITING, Figures, Times, joined, joined_times
from moduai.gateway.workers import Workers
from tests.gateway.conftest import Gateway, engine_of, request, running_gateway, until

METRICS = request("/metrics", b"", None, method="GET")


@contextlib.asynccontextmanager
async def three(fake: FakeEngine, folder: Path) -> AsyncIterator[tuple[Gateway, Gateway, asyncio.Server]]:
    """Two gateways that know of each other, and a third worker that takes connections and says nothing."""
    sockets = {name: folder / f"worker-{name}.sock" for name in ("1", "2", "3")}
    async with running_gateway(engine_of(fake)) as first, running_gateway(engine_of(fake)) as second:
        for name, gateway in (("1", first), ("2", second)):
            gateway.server.workers = Workers(gateway.server._routes.figures, name, sockets)
            await gateway.server.listen_alone(sockets[name])
        hangs = await asyncio.start_unix_server(lambda _, writer: open_.append(writer), sockets["3"])
        open_: list[asyncio.StreamWriter] = []
        try:
            yield first, second, hangs
        finally:
            hangs.close()
            for writer in open_:
                writer.close()


async def test_any_worker_tells_of_all_apart(
    fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WITHIN_S", 0.3)
    async with three(fake, tmp_path) as (first, second, _):
        for gateway in (first, first, second):
            assert (await gateway.ask()).status == 200
        told = {
            name: (await gateway.raw(METRICS)).body.decode().splitlines()
            for name, gateway in (("1", first), ("2", second))
        }
    ran = 'modu_requests_total{endpoint="chat",model="fake-model",outcome="ok",worker="%s"} %d'
    for lines in told.values():
        assert {ran % ("1", 2), ran % ("2", 1), 'modu_request_seconds_count{worker="1"} 2'} <= set(lines)
        assert {f'modu_worker_up{{worker="{name}"}} {up}' for name, up in (("1", 1), ("2", 1), ("3", 0))} <= {
            *lines
        }
        heads = [line for line in lines if line.startswith("# TYPE")]
        assert len(heads) == len(set(heads)), "each family has one head"


async def test_a_reader_who_leaves_is_not_waited_for(fake: FakeEngine, tmp_path: Path) -> None:
    async with three(fake, tmp_path) as (first, _, _):
        began = time.monotonic()
        _, writer = await first.connect()
        writer.write(METRICS)
        await until(lambda: first.server._looks)
        writer.close()
        await until(lambda: not first.server._looks)
        assert time.monotonic() - began < workers.WITHIN_S


async def test_a_worker_alone_has_no_label_and_only_gets_are_answered(gateway: Gateway) -> None:
    lines = (await gateway.raw(METRICS)).body.decode().splitlines()
    assert {"modu_retries_total 0", 'modu_worker_up{worker="1"} 1'} <= set(lines)
    assert (await gateway.raw(request("/metrics", b"", None))).code == "method_not_allowed"


def test_figures_are_joined_as_their_metrics_say() -> None:
    each = [Figures("a", 1, []), Figures("b", 2, [])]
    for one, errors, waits in ((each[0], 2, 7), (each[1], 3, 4)):
        one.put(ERRORS, {("line_full",): errors})
        one.put(WAITING, {("m",): waits})
        one.times[QUEUE.name] = Times([1, errors], 10)
    each[1].put(ERRORS, {("line_full",): 3, ("timeout",): 1})
    assert joined(each, ERRORS) == {("line_full",): 5, ("timeout",): 1}
    assert joined(each, WAITING) == {("m",): 7}, "both tell of the whole line"
    assert joined_times(each, QUEUE) == Times([2, 5], 20)
    assert joined(each[:0], ERRORS) == {}
