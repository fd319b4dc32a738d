"""``modu engine`` as people call it: a process, a real database, real servers."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from benchmarks.harness.engine import running_engine
from typer.testing import CliRunner

from moduai.accounts.audit import list_entries
from moduai.cli import engine
from moduai.engines.repository import find_engine
from moduai.settings import load
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from tests.engines.conftest import KEY, http, serving

MODELS = {"data": [{"id": "a", "owned_by": "vllm", "max_model_len": 100}, {"id": "b", "owned_by": "vllm"}]}
ROUTES = {"GET /v1/models": http(json.dumps(MODELS).encode())}


async def modu(home: Path, *words: str, stdin: bytes = b"", **environ: str) -> tuple[int, str, str]:
    """Exit status, output, errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "moduai.cli",
        "engine",
        *words,
        "--home",
        str(home),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    out, err = await process.communicate(stdin)
    return process.returncode or 0, out.decode(), err.decode()


async def shown(home: Path, *words: str) -> dict:
    status, out, err = await modu(home, *words, "--json")
    assert status == 0, err
    return json.loads(out)


async def test_an_engine_is_added_listed_drained_removed_and_brought_back(tmp_path):
    async with serving(ROUTES) as url:
        options = ["--name", "lab", "--accelerator", "H100 SXM", "--count", "8", "--watts", "700", "--tools"]
        added = await shown(tmp_path, "add", url, *options, "--context", "64", "--model", "a")
        assert added["state"] == "active"
        assert (added["accelerator"], added["watts"], added["kind"]) == ("8 × H100 SXM", 700.0, "vllm")
        (model,) = added["models"]
        assert (model["name"], model["context"], model["tools"]) == ("a", 64, True)
        status, out, _ = await modu(tmp_path, "list")
        assert status == 0
        assert "lab" in out
        assert (await shown(tmp_path, "drain", "lab"))["state"] == "draining"
        assert (await shown(tmp_path, "resume", url))["state"] == "active"
        assert (await modu(tmp_path, "remove", "lab"))[0] == 2  # nobody there to ask
        assert (await shown(tmp_path, "remove", "lab", "--yes"))["state"] == "removed"
        assert "No engine yet" in (await modu(tmp_path, "list"))[1]
        again = await shown(tmp_path, "add", url)
    assert (again["id"], again["name"]) == (added["id"], "lab")


async def test_a_key_comes_from_the_environment_or_a_pipe_and_is_never_shown(tmp_path, embedded):
    status, out, err = await modu(tmp_path, "add", embedded.url, "--key-env", "ENGINE_KEY", ENGINE_KEY=KEY)
    assert (status, err) == (0, "")
    assert "gemma-3-270m" in out
    status, out, _ = await modu(tmp_path, "add", embedded.url, "--key", "-", stdin=f"{KEY}\n".encode())
    assert status == 0
    for words in (("show", embedded.url), ("show", embedded.url, "--json"), ("list", "--json")):
        _, out, err = await modu(tmp_path, *words)
        assert KEY not in out + err
    assert KEY.encode() not in (tmp_path / "modu.db").read_bytes()


async def test_a_key_is_changed_once_the_engine_takes_it(tmp_path, monkeypatch):
    async def typed(*words: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, engine.app, [*words, "--home", str(tmp_path)])

    async with running_engine(key="sk-old") as fake:
        name = fake.url.removeprefix("http://")
        monkeypatch.setenv("K", "sk-old")
        assert (await typed("add", fake.url, "--key-env", "K", "--watts", "7")).exit_code == 0
        monkeypatch.setenv("K", "sk-new")
        refused = await typed("key", name, "--key-env", "K")
        assert (refused.exit_code, "refuses the key" in refused.stderr) == (1, True), "nothing is changed"
        fake.key = "sk-new"
        changed = await typed("key", name, "--key-env", "K", "--json")
        assert (changed.exit_code, "sk-new" in changed.output) == (0, False)
        assert json.loads(changed.stdout)["watts"] == 7, "all else stays"
        assert (await typed("key", name)).exit_code == 2
    db = Database(load(tmp_path, {}).database_url)
    async with db.connect() as connection:
        kept = await find_engine(connection, Keyring.open(tmp_path), name)
        entries = await list_entries(connection, action="engine.key")
    await db.dispose()
    assert (kept.key, [entry.target for entry in entries]) == ("sk-new", [kept.id])


async def test_an_npu_tells_the_kind_that_http_cannot(tmp_path):
    async with serving(ROUTES) as url:
        assert (await shown(tmp_path, "add", url, "--accelerator", "ATOM-Max"))["kind"] == "rbln"


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("add", "http://127.0.0.1:1"), 1, "cannot be asked: nothing listens there"),
        (("add", "nonsense"), 2, "write http://host:port"),
        (("add", "http://h", "--key", "a", "--key-env", "B"), 2, "not both"),
        (("add", "http://h", "--key-env", "NOT_SET_ANYWHERE"), 2, "NOT_SET_ANYWHERE is empty"),
        (("show", "nobody"), 1, "there is no data in"),
        (("drain", "nobody"), 1, "there is no engine 'nobody'"),
    ],
)
async def test_a_mistake_is_one_line_that_says_what_to_do(tmp_path, words, status, says):
    code, out, err = await modu(tmp_path, *words)
    assert (code, out) == (status, "")
    assert says in err
    assert err.count("\n") == 1


async def test_a_model_that_is_not_there_and_a_name_that_is_taken(tmp_path):
    async with serving(ROUTES) as url, serving(ROUTES) as other:
        assert "it has: a, b" in (await modu(tmp_path, "add", url, "--model", "c"))[2]
        await shown(tmp_path, "add", url, "--name", "lab")
        assert "already an engine 'lab'" in (await modu(tmp_path, "add", other, "--name", "lab"))[2]


async def test_only_the_models_that_were_named_are_offered_and_under_these_names(tmp_path):
    async with serving(ROUTES) as url:
        added = await shown(tmp_path, "add", url, "--model", "a=small")
        (model,) = added["models"]
        assert (model["name"], model["served_as"], added["follows"]) == ("small", "a", False)
        both = await shown(tmp_path, "add", url, "--model", "a=small", "--model", "b")
        assert [model["name"] for model in both["models"]] == ["small", "b"]
        assert "two models" in (await modu(tmp_path, "add", url, "--model", "a=b", "--model", "b"))[2]
        assert "1 to 200 printable" in (await modu(tmp_path, "add", url, "--model", "a="))[2]
        assert "no model 'c'" in (await modu(tmp_path, "add", url, "--model", "c=x"))[2]
        every = await shown(tmp_path, "add", url)
    assert [model["name"] for model in every["models"]] == ["a", "b"]
    assert every["follows"] is True


async def test_looking_makes_no_database_and_one_of_a_newer_version_is_refused(tmp_path):
    for words in (("list",), ("show", "lab"), ("remove", "lab", "--yes")):
        status, _, err = await modu(tmp_path, *words)
        assert (status, "run modu up" in err) == (1, True)
    assert not (tmp_path / "modu.db").exists()
    assert "no engine" in (await modu(tmp_path, "drain", "lab"))[2]  # a write makes it
    with sqlite3.connect(tmp_path / "modu.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    for words in (("list",), ("drain", "lab")):
        assert "newer than this Modu" in (await modu(tmp_path, *words))[2]
