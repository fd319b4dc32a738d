"""``modu strategy propose|proposals|accept|reject`` as officers type them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from moduai.accounts.audit import Entry, list_entries
from moduai.cli import strategy
from moduai.gateway.policy_text import parse
from moduai.packs.read import read
from moduai.packs.where import SHIPPED
from moduai.proposals.repository import propose
from moduai.proposals.rows import Given
from moduai.store import migrate
from moduai.store.database import Database

CHANGE = ("--day", "2026-11-20", "--claim", "a-gpus-50000", "--status", "funded", "--source", "a")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(strategy.app, [*arguments, "--home", str(home)])


def said(home: Path, *arguments: str) -> Any:
    result = run(home, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


def by_officer(home: Path) -> str:
    """A proposal of somebody with an account."""
    pack = read(SHIPPED / "kr", parse)
    given = Given(claim="a-gpus-50000", status="done", day="2026-11-21", source="a")

    async def go() -> str:
        url = f"sqlite+aiosqlite:///{home / 'modu.db'}"
        await migrate.upgrade(url)
        db = Database(url)
        async with db.begin() as connection:
            made = await propose(connection, pack, given, by="sub_1")
        await db.dispose()
        return made.id

    return asyncio.run(go())


def audited(home: Path) -> list[Entry]:
    async def go() -> list[Entry]:
        db = Database(f"sqlite+aiosqlite:///{home / 'modu.db'}")
        async with db.connect() as connection:
            found = await list_entries(connection, limit=10)
        await db.dispose()
        return found

    return asyncio.run(go())


def test_what_the_machine_proposes_it_does_not_accept(home: Path) -> None:
    made = said(home, "propose", *CHANGE)
    assert (made["state"], made["made_by"]) == ("open", "cli")
    for deed in ("accept", "reject"):
        refused = run(home, deed, made["id"])
        assert refused.exit_code == 1
        assert "another officer" in refused.output
    theirs = by_officer(home)
    assert said(home, "accept", theirs, "--note", "seen")["state"] == "accepted"
    assert [one["id"] for one in said(home, "proposals", "--state", "open")] == [made["id"]]
    entry = said(home, "show", "gpus-50000")["entry"]
    assert {one["claim"]["id"]: one["status"] for one in entry["claims"]}["a-gpus-50000"] == "done"
    actions = [(entry.action, entry.actor, entry.target) for entry in audited(home)]
    assert actions == [("plan.accept", "cli", theirs), ("plan.propose", "cli", made["id"])]


def test_what_does_not_fit_is_told_in_one_line(home: Path) -> None:
    refused = run(home, "propose", *CHANGE[:3], "nothing", *CHANGE[4:])
    assert refused.exit_code == 1
    assert "there is no claim 'nothing'" in refused.output
    new = ("--item", "gpus-50000", "--who", "msit", "--what", "하나", "--what", "one", "--day", "2026-11-20")
    assert "source_title needs one line" in run(home, "propose", *new).output
    titled = (
        "--source-title",
        "하나",
        "--source-title",
        "One",
        "--publisher",
        "X",
        "--url",
        "https://example.org/1",
    )
    assert said(home, "propose", *new, *titled)["rows"]["claim"]["what"] == {"ko": "하나", "en": "one"}
    assert run(home, "proposals").output.count("p-") == 1


def test_who_is_in_charge_since(home: Path) -> None:
    since = ("--item", "gpus-50000", "--owner", "-", "--needs", "ai-talent", "--needs", "data-opening")
    made = said(home, "propose", *since, "--day", "2026-11-20", "--source", "a")
    row = made["rows"]["revision"]
    assert (row["owner"], row["needs"]) == ("", ["ai-talent", "data-opening"])
    assert "gpus-50000" in run(home, "proposals").output
    assert "propose one thing" in run(home, "propose", *since, "--what", "x", "--day", "2026-11-20").output
