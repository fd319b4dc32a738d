"""The metering process and PostgreSQL, as a gateway's people see their absence."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import httpx
import pytest
from benchmarks.harness import modu, process
from benchmarks.harness.modu import Home
from sqlalchemy.engine import make_url

from tests.databases import Postgres
from tests.faults.conftest import CPUS, LONG, until
from tests.service.test_faults import BODY, running

GONE_S = 60 if LONG else 0


def wait() -> None:
    """As long as a real fault may last, where that is asked for."""
    time.sleep(GONE_S)


def test_metering_that_is_paused_or_killed_is_named_and_loses_nothing(home: Home, tmp_path: Path) -> None:
    late = {"ledger__late_s": "1"}
    with running(home, tmp_path / "modu.log", **late) as here:
        metering = here.pids[1]
        ids = here.served(3)
        here.all_there(ids)
        os.kill(metering, signal.SIGSTOP)
        until(lambda: here.ready() == (200, {"status": "degraded", "degraded": ["metering"]}))
        ids += here.served(3)
        told = here.client.get("/metrics").text.splitlines()
        assert 'modu_degraded{mode="metering"} 1' in told
        (behind,) = (line for line in told if line.startswith("modu_ledger_behind_seconds "))
        assert float(behind.split()[1]) >= 1
        wait()
        os.kill(metering, signal.SIGCONT)
        here.all_there(ids)
        until(lambda: here.ready() == (200, {"status": "ready", "degraded": []}))
        os.kill(metering, signal.SIGKILL)
        ids += here.served(3)
        until(lambda: here.ready()[1]["degraded"] == ["metering"])
        command = [sys.executable, "-m", "moduai.metering"]
        environ = here.home.environ(log__level="warning", **late)
        with process.started(command, on=CPUS, log=here.log, environ=environ):
            here.all_there(ids)
            until(lambda: here.ready()[1]["degraded"] == [])


@pytest.fixture
def server() -> Iterator[Postgres]:
    made = Postgres()
    yield made
    made.remove()


async def rows(server: Postgres, name: str) -> list[str]:
    connection = await asyncpg.connect(user="postgres", host=str(server.folder), database=name)
    try:
        return [row["id"] for row in await connection.fetch("SELECT id FROM usage")]
    finally:
        await connection.close()


def test_postgresql_that_is_gone_and_another_server_in_its_place(
    server: Postgres, tmp_path: Path, prepared: Home
) -> None:
    url = asyncio.run(server.make())
    name = make_url(url).database or ""
    folder, log = tmp_path / "home", tmp_path / "modu.log"
    folder.mkdir(mode=0o700)
    (folder / "modu.toml").write_text(f'[database]\nurl = "{url}"\nlate_s = 1.0\n[ledger]\nlate_s = 1.0\n')
    engine = f"unix://{prepared.folder.parent / 'engine.sock'}"
    home = modu.prepare(folder, [engine])
    bearer = {"authorization": f"Bearer {home.key}"}
    ids: list[str] = []

    def asked(count: int) -> None:
        for _ in range(count):
            answer = client.post("/v1/chat/completions", json=BODY)
            assert answer.status_code == 200, answer.text
            ids.append(answer.headers["x-request-id"])

    def degraded() -> tuple[int, set[str]]:
        answer = client.get("/health/ready")
        return answer.status_code, set(answer.json()["degraded"])

    with (
        modu.running_modu(home, log, on=CPUS, beside=CPUS) as target,
        closing(httpx.Client(base_url=target.url, headers=bearer, timeout=60)) as client,
    ):
        asked(3)
        until(lambda: degraded() == (200, set()))
        server.stop()
        until(lambda: degraded() == (200, {"database", "metering"}))
        asked(5)
        strange = {"cookie": "modu_session=of-whom-nothing-is-known", "sec-fetch-site": "same-origin"}
        refused = httpx.get(f"{target.url}/v1/queue", headers=strange, timeout=60)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_ready")
        wait()
        asked(5)
        server.replace()
        until(lambda: degraded() == (200, set()))
        asked(3)
        until(lambda: set(ids) <= set(asyncio.run(rows(server, name))))
        found = asyncio.run(rows(server, name))
        assert len(found) == len(set(found)) == len(ids)
    assert "Traceback" not in log.read_text("utf-8", "replace")
