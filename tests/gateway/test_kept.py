"""What a worker leaves to the next one: a real one is drained, and another goes on from what it kept."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import MODEL, FakeEngine

from moduai import settings
from moduai.accounts.keys import create_key
from moduai.accounts.organisations import create_organisation
from moduai.app import Worker
from moduai.engines.repository import add_engine
from moduai.gateway import kept
from moduai.gateway.policy_text import shipped
from moduai.scheduling import FairQueue
from moduai.store import migrate
from moduai.store.files import write

from .conftest import Gateway, Rows, engine_of, until

MUCH = 12


async def _prepare(home: Path, fake: FakeEngine) -> list[str]:
    """Keys of two organisations; one engine of one slot."""
    loaded = settings.load(home, {})
    await migrate.upgrade(loaded.database_url)
    worker, keys = Worker(loaded), []
    async with worker.database.begin() as connection:
        for name in ("heavy", "light"):
            made = await create_organisation(connection, name)
            keys.append((await create_key(connection, name=name, organisation=made.id))[0])
        engine = msgspec.structs.replace(engine_of(fake, concurrency=1), state="active")
        await add_engine(connection, worker.keyring, engine)
    await worker.database.dispose()
    return keys


@asynccontextmanager
async def _worker(home: Path) -> AsyncIterator[Gateway]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    worker = Worker(settings.load(home, {}, {"gateway.port": port}))
    await worker.start()
    try:
        await until(lambda: any(replica.is_open for replica in worker.fleet.replicas.values()))
        yield Gateway(worker.server, worker.lane, worker.fleet, Rows(), worker.keys, port)
    finally:
        await worker.stop()


def _owed(gateway: Gateway) -> dict[Any, int]:
    return dict(gateway.lane.line._pools[MODEL].tree.owed(9))


async def test_debts_outlive_a_restart_of_the_worker(tmp_path: Path, fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(fault="slow_head", head_s=0.02)
    home = tmp_path / "home"
    heavy, light = await _prepare(home, fake)
    async with _worker(home) as gateway:
        tasks = [asyncio.create_task(gateway.ask(key=key)) for key in [heavy] * MUCH + [light]]
        await until(lambda: sum(task.done() for task in tasks) >= MUCH // 2)
        before = _owed(gateway)
    replies = await asyncio.gather(*tasks)
    assert {reply.status for reply in replies} == {200, 503}
    assert any(len(path) == 2 for path in before)
    file = home / kept.FILE
    assert file.stat().st_mode & 0o777 == 0o600
    async with _worker(home) as gateway:
        after = _owed(gateway)
        assert after.keys() & {path for path in before if len(path) < 3}
        assert not file.exists(), "a crash would bring old debts back"
        fake.behaviour = Behaviour(fault="slow_head", head_s=0.1)
        tasks = [asyncio.create_task(gateway.ask(key=key)) for key in (light, heavy, light)]
        assert {reply.status for reply in await asyncio.gather(*tasks)} == {200}


def test_what_cannot_be_kept_or_read_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = FairQueue(shipped())
    kept.take_back(tmp_path, line)
    assert not caplog.records
    write(tmp_path / kept.FILE, b"\xff odd")
    kept.take_back(tmp_path, line)
    assert "damaged" in caplog.text
    assert not (tmp_path / kept.FILE).exists()
    (tmp_path / kept.FILE).mkdir()
    kept.take_back(tmp_path, line)
    assert "cannot be read" in caplog.text
    kept.keep(tmp_path, line)
    assert "cannot be kept" in caplog.text
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["line.state"]
