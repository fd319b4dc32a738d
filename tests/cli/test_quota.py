"""``modu quota`` as staff type it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from moduai.cli import key, quota
from moduai.gateway.policy_file import FILE

POLICY = """
name = "x"
default = "business"
[class.business]
title = { en = "Businesses" }
quota = 20_000
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, app: object, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--home", str(home)])  # type: ignore[arg-type]


def said(home: Path, app: object, *arguments: str) -> Any:
    result = run(home, app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


def test_limits_are_set_listed_shown_and_cleared(home: Path) -> None:
    made = said(home, key.app, "create", "app")
    assert "No limits" in run(home, quota.app, "list").stdout
    (home / FILE).write_text(POLICY)
    by_class = said(home, quota.app, "show", made["subject"])
    assert [(one["tokens"], one["each"], one["from"]) for one in by_class] == [
        (20000, "day", "class business")
    ]
    assert said(home, quota.app, "show", made["id"]) == []
    told = run(home, quota.app, "set", made["prefix"], "5000", "--each", "month").stdout
    assert told == f"{made['id']} may use 5,000 tokens each month.\n"
    said(home, quota.app, "set", "default", "9000")
    (shown,) = said(home, quota.app, "show", made["id"])
    assert (shown["left"], shown["from"], len(shown["since"])) == (5000, "set", 7)
    rows = said(home, quota.app, "list")
    assert {(row["owner"][:4], row["name"], row["tokens"]) for row in rows} == {
        ("clas", "each person", 20000),
        ("key_", "", 5000),
        ("org_", "default", 9000),
    }
    assert run(home, quota.app, "clear", made["id"]).stdout == "The limit is gone.\n"
    assert run(home, quota.app, "clear", made["id"]).stdout == "There was no limit.\n"


def test_what_makes_no_sense_is_refused(home: Path) -> None:
    said(home, key.app, "create", "app")
    for arguments, status in (
        (("set", "nobody", "5"), 1),
        (("set", "default", "0"), 2),
        (("set", "default", "9" * 19), 1),
        (("set", "default", "5", "--each", "year"), 2),
        (("show", "sub_nobody"), 1),
    ):
        result = run(home, quota.app, *arguments)
        assert result.exit_code == status, result.output
