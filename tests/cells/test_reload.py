"""`modu reload`: every process is another one afterwards, and nobody was failed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from benchmarks.harness import modu, process
from sqlalchemy import text
from typer.testing import CliRunner

from moduai import service
from moduai.cli.reload import app
from moduai.gateway import kept
from moduai.settings import load
from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.versions import head

BODY = {"model": "fake-model", "messages": [{"role": "user", "content": "?"}]}


def workers(supervisor: int) -> dict[int, str]:
    """The service's processes that serve or dispatch, by id."""
    names = {pid: process.command(pid) for pid in process.tree(supervisor)[1:]}
    return {pid: name for pid, name in names.items() if "moduai.app" in name or "moduai.cells" in name}


def reload(environ: dict[str, str]) -> None:
    command = [sys.executable, "-m", "moduai.cli", "reload"]
    subprocess.run(command, check=True, env={**os.environ, **environ}, capture_output=True)


@pytest.mark.parametrize("count", [1, 2])
async def test_nobody_is_failed(tmp_path: Path, count: int) -> None:
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    with process.engine_process(tmp_path / "engine.log", on=cpus) as engine:
        home = await modu.aprepare(tmp_path / "home", [engine], concurrency=4)
        given = {"gateway__workers": str(count), "knowledge__enabled": "false"}
        with modu.up(home, tmp_path / "modu.log", on=cpus, settings=given) as supervisor:
            url = await asyncio.to_thread(
                modu.wait_for_status, home.folder, supervisor, tmp_path / "modu.log"
            )
            await asyncio.to_thread(modu.wait_for_model, url, home.key)
            before = workers(supervisor.pid)
            stop = asyncio.Event()
            asking = [asyncio.create_task(person(url, home.key, stop)) for _ in range(6)]
            await asyncio.to_thread(reload, home.environ())
            async with asyncio.timeout(90):
                while "replaced: all" not in (tmp_path / "modu.log").read_text():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                while before.keys() & workers(supervisor.pid).keys():  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            await asyncio.sleep(0.2)
            stop.set()
            answers = await asyncio.gather(*asking)
            assert len(workers(supervisor.pid)) == len(before)
            told = await asyncio.to_thread(lambda: httpx.get(f"{url}/metrics", timeout=60).text)
            assert [f'modu_worker_up{{worker="{n}"}} 1' in told for n in (1, 2)] == [True, count == 2]
            assert told.count("modu_retries_total{worker=") == (2 if count == 2 else 0)
    assert all(answers)
    assert {status for each in answers for status in each} == {200}


async def person(url: str, key: str, stop: asyncio.Event) -> list[int]:
    """Asks without a pause, on one connection as long as it is kept."""
    got = []
    async with httpx.AsyncClient(
        base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=60
    ) as client:
        while not stop.is_set():
            answer = await client.post("/v1/chat/completions", json=BODY)
            got.append(answer.status_code)
    return got


async def test_what_an_answer_promised_is_kept(tmp_path: Path) -> None:
    """A connection that was promised to stay open serves one more request after its gateway was replaced."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    slow = {**BODY, "stream": True, "x_fake": {"chunks": 20, "pace_s": 0.05}}
    with process.engine_process(tmp_path / "engine.log", on=cpus) as engine:
        home = await modu.aprepare(tmp_path / "home", [engine])
        with modu.running_modu(home, tmp_path / "modu.log", on=cpus, beside=cpus) as target:
            only = httpx.Limits(max_connections=1)
            headers = {"authorization": f"Bearer {home.key}"}
            async with httpx.AsyncClient(
                base_url=target.url, headers=headers, limits=only, timeout=60
            ) as client:
                async with client.stream("POST", "/v1/chat/completions", json=slow) as answer:
                    lines = answer.aiter_lines()
                    assert await anext(lines)
                    assert "connection" not in answer.headers
                    os.kill(target.pids[0], signal.SIGUSR1)
                    assert "data: [DONE]" in [line async for line in lines]
                again = await client.post("/v1/chat/completions", json=BODY)
                assert (again.status_code, again.headers["connection"]) == (200, "close")
        assert not (home.folder / kept.FILE).exists(), "the one after the next would read it, too late"


@pytest.mark.parametrize("had", ["0007", "0006", "9999"])
def test_the_database_is_brought_along_first_or_nothing_is_replaced(tmp_path: Path, had: str) -> None:
    url = load(tmp_path, {}).database_url

    async def prepared() -> None:
        await migrate.upgrade(url, min(had, "0007"))
        db = Database(url)
        async with db.begin() as connection:
            await connection.execute(text(f"UPDATE alembic_version SET version_num = '{had}'"))
        await db.dispose()

    async def found() -> str | None:
        db = Database(url)
        try:
            return await migrate.current(db)
        finally:
            await db.dispose()

    asyncio.run(prepared())
    lock = service.hold(tmp_path)
    supervisor = subprocess.Popen(["sleep", "60"])  # it ends at the signal that replaces processes
    try:
        service.write_status(tmp_path, service.Service(supervisor.pid, "http://127.0.0.1:1", 1))
        said = CliRunner().invoke(app, ["--home", str(tmp_path)])
        if had == "0007":
            assert (said.exit_code, supervisor.wait(60)) == (0, -signal.SIGUSR1), said.output
            assert asyncio.run(found()) == head()
        else:
            assert (said.exit_code, supervisor.poll()) == (1, None)
            assert said.stderr.count("\n") == 1
            assert {"0006": "stop, and `modu up`", "9999": "install the newer Modu"}[had] in said.stderr
            assert asyncio.run(found()) == had
    finally:
        supervisor.kill()
        supervisor.wait()
        os.close(lock)
