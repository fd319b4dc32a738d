"""The worker's own wiring: what becomes of it when a part of it fails."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from moduai import app, settings
from moduai.accounts.keys import create_key, revoke_key
from moduai.engines.record import Engine
from moduai.engines.repository import add_engine
from moduai.store import migrate
from moduai.store.keyring import Keyring

BOTH = frozenset({"keys", "engines"})


async def test_keys_are_followed_though_an_engine_cannot_be_read(tmp_path: Path) -> None:
    loaded = settings.load(tmp_path / "home", {})
    await migrate.upgrade(loaded.database_url)
    worker = app.Worker(loaded)
    stranger = Keyring.open(tmp_path / "other")
    async with worker.database.begin() as connection:
        clear, info = await create_key(connection, name="a")
        sealed = Engine(id="eng_1", name="e", url="http://127.0.0.1:9", key="sk-other")
        await add_engine(connection, stranger, sealed)
    await worker._read(BOTH)
    assert worker.keys.find(clear.encode(), 0)
    assert worker.engines_unread
    async with worker.database.begin() as connection:
        await revoke_key(connection, info.id)
    await worker._read(BOTH)
    assert worker.keys.find(clear.encode(), 0) is None
    await worker.database.dispose()


@pytest.mark.parametrize("ends", ["fails", "is cancelled"])
async def test_a_part_that_fails_stops_the_worker(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    raised: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", raised.append)

    async def work() -> None:
        if ends == "fails":
            raise RuntimeError("broken")
        await asyncio.Event().wait()

    task = asyncio.create_task(work())
    task.add_done_callback(app._must_not_fail)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert raised == ([signal.SIGTERM] if ends == "fails" else [])
