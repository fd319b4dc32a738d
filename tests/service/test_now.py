"""``modu now`` and ``modu shares`` against the running service."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from moduai import service as running
from moduai.cli import shares
from moduai.cli.now import app
from moduai.gateway.shares import Shares
from tests.conftest import Service, until


@pytest.fixture
def up(clean: Service) -> Iterator[Service]:
    """The service with the status file that its supervisor would write."""
    lock = running.hold(clean.home)
    running.write_status(clean.home, running.Service(os.getpid(), clean.url, int(time.time())))
    yield clean
    (clean.home / "run" / "service.json").unlink()
    os.close(lock)


def test_now_tells_of_engines_errors_and_the_last_hour(up: Service) -> None:
    body = {"model": "nobody", "messages": [{"role": "user", "content": "?"}]}
    httpx.post(f"{up.url}/v1/chat/completions", json=body, headers=up.bearer)
    until(up.rows)  # usage comes into the database a moment later
    result = CliRunner().invoke(app, ["--json", "--home", str(up.home)])
    assert result.exit_code == 0, result.output
    told = msgspec.json.decode(result.stdout)
    assert told["status"] in {"ready", "degraded"}
    assert told["engines"][0]["open"] is True
    assert "model_not_found" in {error["code"] for error in told["errors"]}
    assert told["last_hour"]["requests"] >= 1
    shown = CliRunner().invoke(app, ["--home", str(up.home)])
    assert "fake-0" in shown.stdout
    assert "Last hour:" in shown.stdout


def test_shares_tells_of_classes_and_the_policy(up: Service) -> None:
    result = CliRunner().invoke(shares.app, ["--json", "--home", str(up.home)])
    assert result.exit_code == 0, result.output
    told = msgspec.json.decode(result.stdout, type=Shares)
    assert told.policy.source == "pack"
    assert "resident" in [each.id for each in told.models[0].classes]
    shown = CliRunner().invoke(shares.app, ["--home", str(up.home)]).stdout
    assert "places run" in shown
    assert "public-duty" in shown
    assert told.policy.digest in shown


def test_now_without_a_service_says_what_to_do(tmp_path: Path) -> None:
    for each in (app, shares.app):
        result = CliRunner().invoke(each, ["--home", str(tmp_path)])
        assert result.exit_code == 1
        assert "modu up starts it" in result.stderr
