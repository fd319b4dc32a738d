"""What staff do reaches the running service: stops within moments, roots of past days for everyone."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from moduai import settings
from moduai.accounts.audit import record
from moduai.app import Worker
from moduai.cli import audit, switch
from moduai.store import migrate
from tests.conftest import Service, until


def modu(service: Service, app: object, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--home", str(service.home)])  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def client(clean: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=clean.url, headers=clean.bearer, timeout=60) as made:
        yield made


def ask(client: httpx.Client, model: str) -> httpx.Response:
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "?"}]}
    return client.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize(
    ("what", "code"), [("fake-model", "model_stopped"), ("--service", "service_stopped")]
)
def test_a_stop_reaches_the_gateway_and_so_does_its_end(
    clean: Service, client: httpx.Client, what: str, code: str
) -> None:
    assert ask(client, "fake-model").is_success
    modu(clean, switch.app, "stop", what, "--words", "ko=점검 중")
    try:
        until(lambda: ask(client, "fake-model").status_code == 503)
        error = ask(client, "fake-model").json()["error"]
        assert error["code"] == code
        assert "점검 중" in error["message"]
    finally:
        modu(clean, switch.app, "start", what)
    until(lambda: ask(client, "fake-model").is_success)


def test_roots_are_published_to_everyone(clean: Service) -> None:
    with httpx.Client(base_url=clean.url, timeout=60) as anyone:
        found = anyone.get("/audit/roots.json")
        assert found.headers["content-type"] == "application/json"
        assert found.json().keys() == {"keys", "roots"}
        assert anyone.post("/audit/roots.json").status_code == 405
    assert "is whole" in modu(clean, audit.app, "verify")


async def test_a_worker_seals_past_days_and_hears_of_it_by_the_feed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = settings.load(tmp_path / "home", {"MODU_GATEWAY__PORT": "0"})
    await migrate.upgrade(loaded.database_url)
    worker = Worker(loaded)
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 2 * 86_400 * 10**9)
    async with worker.database.begin() as connection:
        await record(connection, actor="system", action="test")
    monkeypatch.undo()
    await worker.start()
    try:
        async with asyncio.timeout(60):
            while not (roots := msgspec.json.decode(worker.roots or b'{"roots":[]}')["roots"]):  # noqa: ASYNC110  (no event tells it)
                await asyncio.sleep(0.01)
        assert roots[0]["heads"]["system"]["number"] == 1
    finally:
        await worker.stop()
        gc.unfreeze()
