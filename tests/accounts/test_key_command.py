from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from sqlalchemy import text
from typer.testing import CliRunner

from moduai.accounts.keys import digest
from moduai.cli import key, org
from moduai.store.database import Database


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, app: object, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, [*arguments, "--home", str(home)], input=typed)  # type: ignore[arg-type]


def create(home: Path, *arguments: str) -> tuple[str, dict[str, object]]:
    result = run(home, key.app, "create", "ci", "--json", *arguments)
    assert result.exit_code == 0, result.output
    made = msgspec.json.decode(result.stdout)
    return made["key"], made


def digests(home: Path) -> list[bytes]:
    with sqlite3.connect(home / "modu.db") as connection:
        rows = connection.execute("SELECT digest FROM api_keys WHERE revoked_at = 0").fetchall()
    connection.close()
    return [row[0] for row in rows]


def test_a_key_is_made_on_an_empty_home_and_shown_once(home: Path) -> None:
    result = run(home, key.app, "create", "data team")
    clear = result.stdout.splitlines()[0]
    assert len(clear) == 48
    assert digests(home) == [digest(clear.encode())]
    shown = run(home, key.app, "list").stdout
    assert clear[:12] in shown
    assert clear not in shown
    assert clear not in run(home, key.app, "list", "--json").stdout


def test_quiet_prints_the_key_alone(home: Path) -> None:
    result = run(home, key.app, "create", "ci", "--quiet")
    assert digests(home) == [digest(result.stdout.strip().encode())]


def test_owner_scope_and_end_are_kept(home: Path) -> None:
    assert run(home, org.app, "create", "부산", "--region", "busan").exit_code == 0
    _, made = create(home, "--org", "부산", "--expires", "90d")
    assert (made["organisation"], made["region"], made["scopes"]) == (
        "부산",
        "busan",
        ["inference"],
    )
    lasts = int(str(made["expires_at"])) - int(str(made["created_at"]))
    assert lasts == pytest.approx(90 * 86_400, abs=60)
    _, made = create(home, "--expires", "2126-01-31")
    assert str(made["expires"]).startswith("2126-01-31")


def test_revoking_asks_and_says_that_it_is_for_good(home: Path) -> None:
    clear, made = create(home)
    result = run(home, key.app, "revoke", clear[:12], typed="n\n")
    assert result.exit_code == 1
    assert "cannot be undone" in result.stderr
    assert len(digests(home)) == 1
    assert run(home, key.app, "revoke", clear[:12]).exit_code == 1  # nothing typed: nothing done
    assert len(digests(home)) == 1
    assert run(home, key.app, "revoke", clear[:12], typed="y\n").exit_code == 0
    assert digests(home) == []
    again = run(home, key.app, "revoke", str(made["id"]))
    assert "was revoked before" in again.stdout


def test_revoking_by_id_without_asking(home: Path) -> None:
    _, made = create(home)
    result = run(home, key.app, "revoke", str(made["id"]), "--yes", "--json")
    assert msgspec.json.decode(result.stdout)["state"] == "revoked"
    assert run(home, key.app, "list").stdout.startswith("No keys yet")
    assert "revoked" in run(home, key.app, "list", "--all").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["create", ""], 1, "1 to 100"),
        (["create", "x", "--org", "nobody"], 1, "modu org list"),
        (["create", "x", "--expires", "soon"], 2, "is no time"),
        (["create", "x", "--expires", "2020-01-01"], 1, "past"),
        (["revoke", "modu-nothing"], 1, "modu key list"),
        (["list", "--org", "nobody"], 1, "modu org list"),
    ],
)
def test_mistakes_are_one_line(home: Path, arguments: list[str], status: int, words: str) -> None:
    create(home)
    result = run(home, key.app, *arguments)
    assert result.exit_code == status
    (line,) = result.stderr.splitlines()
    assert words in line


def test_a_newer_database_is_one_line(home: Path) -> None:
    create(home)
    with sqlite3.connect(home / "modu.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for arguments in (["list"], ["create", "x"]):
        result = run(home, key.app, *arguments)
        (line,) = result.stderr.splitlines()
        assert "newer than this Modu" in line


def test_a_database_that_does_not_answer_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "postgresql+asyncpg://modu:hunter2@127.0.0.1:1/modu"
    monkeypatch.setenv("MODU_DATABASE__URL", secret)
    result = run(home, key.app, "list")
    (line,) = result.stderr.splitlines()
    assert "does not answer" in line
    assert "hunter2" not in line


def test_organisations(home: Path) -> None:
    made = msgspec.json.decode(run(home, org.app, "create", "busan", "--json").stdout)
    assert [found["name"] for found in msgspec.json.decode(run(home, org.app, "list", "--json").stdout)] == [
        "busan"
    ]
    assert made["id"] in run(home, org.app, "show", "busan").stdout
    assert "already" in run(home, org.app, "create", "busan").stderr
    assert run(home, org.app, "show", "nobody").exit_code == 1


def test_a_running_gateway_would_hear_of_it(home: Path) -> None:
    """The command writes to the change feed."""
    create(home)

    async def version() -> int | None:
        db = Database(f"sqlite+aiosqlite:///{home / 'modu.db'}")
        async with db.connect() as connection:
            found: int | None = await connection.scalar(
                text("SELECT version FROM changes WHERE topic = 'keys'")
            )
        await db.dispose()
        return found

    assert asyncio.run(version()) == 1
