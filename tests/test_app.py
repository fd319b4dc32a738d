"""The worker's own wiring: what becomes of it when a part of it fails."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from moduai import app, settings
from moduai.accounts.keys import create_key, revoke_key
from moduai.engines.record import Capability, Engine, Model
from moduai.engines.repository import add_engine
from moduai.gateway.metrics import exposition, figures
from moduai.knowledge.types import Query, SearchAwayError
from moduai.knowledge.wire import Status
from moduai.service import probe
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


async def test_models_for_pages_are_open_ones_for_chat_each_once(tmp_path: Path) -> None:
    worker = app.Worker(settings.load(tmp_path / "home", {}))
    chat = Model(name="a", upstream_name="x")
    other = Model(name="e", upstream_name="e", capability=Capability(chat=False, embeddings=True))
    worker.fleet.apply(
        [
            Engine(id=f"eng_{number}", name="e", url=f"http://127.0.0.1:{number}", models=(chat, other))
            for number in (1, 2)
        ]
    )
    assert [model.name for model in worker._models()] == ["a"]
    await worker.database.dispose()


ORPHANED = """
import os, socket, subprocess, sys
listening = socket.create_server(("127.0.0.1", 0))
environ = {**os.environ, "MODU_LISTEN_FD": str(listening.fileno())}
worker = subprocess.Popen([sys.executable, "-m", "moduai.app"], env=environ, pass_fds=[listening.fileno()])
print(worker.pid, listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_worker_ends_with_its_supervisor_though_no_kernel_tells_it(tmp_path: Path) -> None:
    """Its parent here asks for no signal at its end (PR_SET_PDEATHSIG), as on macOS."""
    environ = {**os.environ, "MODU_HOME": str(tmp_path / "home")}
    supervisor = subprocess.Popen(
        [sys.executable, "-c", ORPHANED],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert supervisor.stdin is not None
    assert supervisor.stdout is not None
    pid, port = map(int, supervisor.stdout.readline().split())
    try:
        deadline = time.monotonic() + 60
        while asyncio.run(probe(f"http://127.0.0.1:{port}", "/health/live", within_s=5)) is None:
            assert time.monotonic() < deadline
        supervisor.kill()
        supervisor.wait()
        while listens(port):
            assert time.monotonic() < deadline, "the worker kept the port"
            time.sleep(0.02)
    finally:
        supervisor.stdin.close()
        supervisor.stdout.close()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def test_gateways_with_one_keyring_hash_prompts_alike(tmp_path: Path) -> None:
    for name in ("one", "two", "apart"):
        (tmp_path / name).mkdir(mode=0o700)
    Keyring.open(tmp_path / "one")
    (tmp_path / "two" / "keyring").symlink_to(tmp_path / "one" / "keyring")
    workers = [app.Worker(settings.load(tmp_path / name, {})) for name in ("one", "two", "apart")]
    one, two, apart = (worker.lane.prefix_key for worker in workers)
    assert one == two != apart
    for worker in workers:
        await worker.database.dispose()


async def test_readiness_and_metrics_tell_of_search(tmp_path: Path) -> None:
    worker = app.Worker(settings.load(tmp_path / "home", {}))
    assert worker.watch
    assert worker.search
    assert "search" in worker.degraded(), "until it was seen it counts as away"
    worker.watch.status = Status("building", documents=3)
    assert "search" in worker.degraded()
    worker.watch.status = Status("ready", documents=3, passages=7, behind=1, morphemes=0.5)
    assert "search" not in worker.degraded()
    with pytest.raises(SearchAwayError):
        await worker.search.search(Query("apple"))
    told = exposition({"1": figures(worker.lane, worker._searches())}).decode().splitlines()
    assert {
        "modu_search_up 1",
        "modu_search_documents 3",
        "modu_search_passages 7",
        "modu_search_behind 1",
        "modu_search_morphemes_ratio 0.5",
        'modu_searches_total{outcome="away"} 1',
        "modu_search_seconds_count 1",
    } <= set(told)
    worker.watch.status = None
    told = exposition({"1": figures(worker.lane, worker._searches())}).decode().splitlines()
    assert "modu_search_up 0" in told
    assert not [line for line in told if line.startswith("modu_search_documents ")], (
        "old figures are not told"
    )
    await worker.database.dispose()


async def test_where_nothing_is_searched_nothing_is_told_of_it(tmp_path: Path) -> None:
    worker = app.Worker(settings.load(tmp_path / "home", {}, {"knowledge.enabled": False}))
    assert worker.search is None
    assert "search" not in worker.degraded()
    assert b"modu_search" not in exposition({"1": figures(worker.lane, worker._searches())})
    await worker.database.dispose()
