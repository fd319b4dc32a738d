"""``modu audit``, ``report``, ``switch`` and ``look`` as staff type them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from moduai import settings
from moduai.accounts import audit_roots
from moduai.accounts.audit import record
from moduai.accounts.audit_roots import seal_past
from moduai.accounts.people import create_person
from moduai.accounts.reports import ReportText, file_report
from moduai.cli import audit, backup, doctor, look, report, switch
from moduai.history.record import Text, title_purpose, turn_purpose
from moduai.history.tables import conversations, turns
from moduai.history.text import pack
from moduai.store import migrate
from moduai.store.database import Connection, Database
from moduai.store.keyring import Keyring
from moduai.store.signing import SigningKeys
from moduai.store.subjects import SubjectKeys

T = TypeVar("T")
DAY_S = 86_400


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def run(home: Path, app: object, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--home", str(home)])  # type: ignore[arg-type]


def said(home: Path, app: object, *arguments: str) -> Any:
    """The JSON answer of a command that must succeed."""
    result = run(home, app, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


def work(home: Path, do: Callable[[Database], Awaitable[T]]) -> T:
    """Something done to the home folder's database, which is made first."""
    url = f"sqlite+aiosqlite:///{home / 'modu.db'}"

    async def go() -> T:
        await migrate.upgrade(url)
        db = Database(url)
        try:
            return await do(db)
        finally:
            await db.dispose()

    return asyncio.run(go())


def write(home: Path, do: Callable[[Connection, SubjectKeys], Awaitable[T]]) -> T:
    """One write transaction, with the keys of subjects."""
    subjects = SubjectKeys.open(home, Keyring.open(home))

    async def go(db: Database) -> T:
        async with db.begin() as connection:
            return await do(connection, subjects)

    try:
        return work(home, go)
    finally:
        subjects.close()


def tamper(home: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(home / "modu.db")) as connection, connection:
        assert connection.execute(statement).rowcount


@pytest.fixture
def sealed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose audit log has three entries and the root of yesterday."""
    monkeypatch.setattr(audit_roots, "MARGIN_S", 0)

    async def fill(db: Database) -> int:
        now = time.time_ns()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: now - DAY_S * 10**9)
            async with db.begin() as connection:
                for number in range(3):
                    await record(connection, actor="cli", action=f"test.{number}", target="key_1")
        return await seal_past(db, SigningKeys.open(home), time.time())

    assert work(home, fill) == 1
    return home


def test_a_whole_log_is_said_to_be_whole(sealed: Path) -> None:
    result = run(sealed, audit.app, "verify")
    assert result.exit_code == 0
    assert result.stdout.startswith("✓ the audit log is whole: 3 entries in 1 chain, 1 root, the last of 2")
    assert said(sealed, audit.app, "verify")["ok"] is True


def test_roots_are_signed_with_another_key_where_there_is_one(sealed: Path, tmp_path: Path) -> None:
    was = said(sealed, audit.app, "roots")["roots"][0]["key"]
    key = said(sealed, audit.app, "rotate")["key"]
    assert said(sealed, audit.app, "roots")["keys"].keys() == {was, key}
    entry = said(sealed, audit.app, "list", "--action", "audit.rotate")[0]
    assert (entry["target"], entry["actor"]) == (key, "cli")
    assert run(sealed, audit.app, "verify").exit_code == 0
    unsealed = run(tmp_path / "other", audit.app, "rotate")
    assert (unsealed.exit_code, "there is no key yet" in unsealed.stderr) == (1, True)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE audit SET actor = 'sub_1' WHERE number = 2", "entry 2 of chain cli was changed"),
        ("DELETE FROM audit WHERE number = 3", "its end was cut off"),
        ("UPDATE audit_roots SET signature = root", "signature"),
    ],
)
def test_what_is_wrong_is_told_with_status_1(sealed: Path, statement: str, words: str) -> None:
    tamper(sealed, statement)
    result = run(sealed, audit.app, "verify")
    assert result.exit_code == 1
    assert words in result.stdout
    assert "is not whole: 1 problem" in result.stdout
    result = run(sealed, audit.app, "verify", "--json")
    assert result.exit_code == 1
    assert words in msgspec.json.decode(result.stdout)["problems"][0]


def test_a_kept_copy_shows_what_the_log_lost(sealed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "roots.json"
    copy.write_text(run(sealed, audit.app, "roots", "--json").stdout)
    assert run(sealed, audit.app, "verify", "--published", str(copy)).exit_code == 0
    tamper(sealed, "DELETE FROM audit_roots")
    (sealed / "keyring" / "signing.json").unlink()
    assert run(sealed, audit.app, "verify").exit_code == 0  # whoever has machine and keyring can forget
    result = run(sealed, audit.app, "verify", "--published", str(copy))
    assert result.exit_code == 1
    assert "was published and is not here" in result.stdout
    for bad, words in ((tmp_path / "none", "cannot be read"), (sealed / "modu.db", "is no copy")):
        result = run(sealed, audit.app, "verify", "--published", str(bad))
        assert (result.exit_code, words in result.stderr) == (1, True)


def test_a_lost_signing_key_is_told(sealed: Path) -> None:
    (sealed / "keyring" / "signing.json").unlink()
    result = run(sealed, audit.app, "verify")
    assert result.exit_code == 1
    assert "put back keyring/signing.json" in result.stdout
    assert not (sealed / "keyring" / "signing.json").exists()


def test_entries_and_roots_are_shown(sealed: Path) -> None:
    assert [row["action"] for row in said(sealed, audit.app, "list")] == ["test.2", "test.1", "test.0"]
    assert [row["number"] for row in said(sealed, audit.app, "list", "--action", "test.1")] == [2]
    assert len(said(sealed, audit.app, "list", "--limit", "2", "--target", "key_1", "--actor", "cli")) == 2
    assert said(sealed, audit.app, "list", "--since", "1h") == []
    assert "key_1" in run(sealed, audit.app, "list").stdout
    (root,) = said(sealed, audit.app, "roots")["roots"]
    assert root["heads"]["cli"]["number"] == 3
    assert root["root"] in run(sealed, audit.app, "roots").stdout


def test_a_model_is_stopped_and_started(home: Path) -> None:
    result = run(home, switch.app, "stop", "gemma", "--words", "ko=점검 중")
    assert result.exit_code == 0
    assert "gemma is stopped" in result.stdout
    assert "no engine has a model 'gemma' now" in result.stderr  # a slip of the pen stops nothing
    (row,) = said(home, switch.app, "show")
    assert (row["name"], row["words"], row["by"]) == ("model:gemma", {"ko": "점검 중"}, "cli")
    assert said(home, switch.app, "start", "gemma") == {"name": "model:gemma", "cleared": True}
    assert "was not stopped" in run(home, switch.app, "start", "gemma").stdout
    assert run(home, switch.app, "show").stdout.startswith("Nothing is set")
    actions = [row["action"] for row in said(home, audit.app, "list", "--action", "switch")]
    assert actions == ["switch.clear", "switch.set"]


def test_the_service_is_stopped_and_started(home: Path) -> None:
    result = run(home, switch.app, "stop", "--service")
    assert "modu switch start --service" in result.stdout
    assert result.stderr == ""
    assert said(home, switch.app, "show")[0]["name"] == "service"
    assert "takes requests again" in run(home, switch.app, "start", "--service").stdout


def test_a_banner_is_shown_for_a_time(home: Path) -> None:
    row = said(home, switch.app, "banner", "--words", "en=Maintenance", "--level", "warning", "--until", "2h")
    assert row["until_s"] == pytest.approx(time.time() + 7200, abs=60)
    assert "Maintenance" in run(home, switch.app, "show").stdout
    assert said(home, switch.app, "banner", "--clear")["cleared"]


@pytest.mark.parametrize(
    ("app", "arguments", "status", "words"),
    [
        (switch.app, ["stop"], 2, "--service for all"),
        (switch.app, ["stop", "gemma", "--service"], 2, "--service for all"),
        (switch.app, ["banner"], 1, "needs words"),
        (switch.app, ["banner", "--words", "ko=x", "--until", "2020-01-01"], 1, "past"),
        (switch.app, ["banner", "--words", "ko=x", "--until", "soon"], 2, "is no time"),
        (switch.app, ["banner", "--words", "x"], 2, "LANGUAGE=TEXT"),
        (report.app, ["list", "--state", "gone"], 2, "handled"),
        (report.app, ["show", "rep_none"], 1, "modu report list"),
        (report.app, ["close", "rep_none"], 1, "modu report list"),
        (report.app, ["close", "rep_none", "--dismiss", "--reopen"], 2, "do not go together"),
        (look.app, ["take", "sub_none", "--reason", "a good reason"], 1, "no person"),
        (look.app, ["read", "sub_none"], 1, "take it first"),
    ],
)
def test_mistakes_are_one_line(
    home: Path, app: object, arguments: list[str], status: int, words: str
) -> None:
    write(home, lambda connection, _: record(connection, actor="system", action="test"))
    result = run(home, app, *arguments)
    assert result.exit_code == status
    (line,) = result.stderr.splitlines()
    assert words in line


async def file_one(connection: Connection, subjects: SubjectKeys) -> str:
    text = ReportText(question="누구?", answer="\x1b[2J나", remark="틀림")
    return await file_report(
        connection, subjects, person="sub_1", turn="t-1", model="m", reason="wrong", text=text
    )


def test_a_report_is_read_and_closed(home: Path) -> None:
    made = write(home, file_one)
    assert said(home, report.app, "list")[0]["id"] == made
    shown = run(home, report.app, "show", made).stdout
    assert "\x1b" not in shown
    assert "[remark]\n틀림" in shown
    assert said(home, report.app, "show", made)["text"]["question"] == "누구?"
    assert said(home, report.app, "close", made, "--note", "fixed")["state"] == "handled"
    assert run(home, report.app, "list").stdout == "No open reports.\n"
    assert said(home, report.app, "list", "--state", "all")[0]["note"] == "fixed"
    assert said(home, report.app, "close", made, "--reopen")["state"] == "open"
    actions = [row["action"] for row in said(home, audit.app, "list", "--target", made)]
    assert actions == ["report.handle", "report.handle", "report.read", "report.read"]


def test_a_report_without_its_key_is_told(home: Path) -> None:
    made = write(home, file_one)
    (home / "keyring" / "master.key").write_text("00" * 32)
    result = run(home, report.app, "show", made)
    assert result.exit_code == 0
    assert "The text cannot be read: its key is lost" in result.stdout


async def keep_one(connection: Connection, subjects: SubjectKeys) -> str:
    """A person with one conversation of one turn."""
    person = (await create_person(connection, subjects, name="길동")).id
    title = subjects.seal(person, title_purpose("cnv_1"), "수도".encode())
    sealed = subjects.seal(person, turn_purpose("t-1"), pack(Text("수도는?", "서울\x1b")))
    await connection.execute(
        conversations.insert().values(
            id="cnv_1", person=person, sealed_title=title, created_at=1, updated_at=2, deleted_at=0
        )
    )
    row = {"id": "t-1", "conversation": "cnv_1", "person": person, "at": 1_000_000, "model": "m"}
    rest = {"engine": "e", "outcome": "ok", "consent": "", "parent": "", "sealed": sealed}
    await connection.execute(turns.insert().values(**row, **rest))
    return person


def test_text_is_read_only_with_leave(home: Path) -> None:
    person = write(home, keep_one)
    for arguments in ([person], [person, "cnv_1"]):
        result = run(home, look.app, "read", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "take it first" in result.stderr
    why = "asked us to find an answer"
    assert "You may read" in run(home, look.app, "take", person, "--reason", why).stdout
    assert said(home, look.app, "read", person)[0]["title"] == "수도"
    shown = run(home, look.app, "read", person, "cnv_1").stdout
    assert "> 수도는?" in shown
    assert "\x1b" not in shown
    (turn,) = said(home, look.app, "read", person, "cnv_1")["turns"]
    assert turn["answer"] == "서울\x1b"
    assert "no conversation" in run(home, look.app, "read", person, "cnv_2").stderr
    (seen,) = said(home, look.app, "show", person)
    assert (seen["role"], seen["reason"], seen["used_at"] > 0) == ("cli", why, True)
    assert said(home, look.app, "list")[0]["person"] == person
    assert said(home, look.app, "end", person) == {"ended": 1}
    assert run(home, look.app, "read", person, "cnv_1").exit_code == 1
    log = said(home, audit.app, "list", "--target", person)
    assert [row["action"] for row in log] == ["look.end", *["look.read"] * 4, "look.leave"]
    assert "수도" not in str(log)
    assert run(home, audit.app, "verify").exit_code == 0


def test_backup_and_restore_are_recorded(sealed: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.gz"
    assert run(sealed, backup.backup_app, str(file)).exit_code == 0
    assert said(sealed, audit.app, "list", "--limit", "1")[0]["action"] == "data.backup"
    new = tmp_path / "new"
    assert run(new, backup.restore_app, str(file)).exit_code == 0
    assert [row["action"] for row in said(new, audit.app, "list", "--action", "data")] == ["data.restore"]
    result = run(new, audit.app, "verify")
    assert result.exit_code == 1
    assert "put back keyring/signing.json" in result.stdout  # it is in no backup
    shutil.copytree(sealed / "keyring", new / "keyring")
    assert run(new, audit.app, "verify").exit_code == 0


def test_a_broken_database_can_be_backed_up_all_the_same(sealed: Path, tmp_path: Path) -> None:
    tamper(sealed, "UPDATE alembic_version SET version_num = '0001'")
    result = run(sealed, backup.backup_app, str(tmp_path / "b.tar.gz"))
    assert result.exit_code == 0
    assert "is not in the audit log" in result.stderr


def test_the_doctor_looks_at_the_log(sealed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = settings.load(sealed, {})
    (finding,) = asyncio.run(doctor.audit(loaded))
    assert (finding.state, finding.told) == ("ok", "whole: 3 entries")
    monkeypatch.setattr(doctor, "AUDIT_LOOKED_AT", 2)
    assert asyncio.run(doctor.audit(loaded))[0].told.startswith("1 root in order")
    monkeypatch.undo()
    tamper(sealed, "DELETE FROM audit WHERE number = 3")
    (finding,) = asyncio.run(doctor.audit(loaded))
    assert finding.state == "problem"
    assert "its end was cut off" in finding.told
    tamper(sealed, "UPDATE alembic_version SET version_num = '0001'")
    assert asyncio.run(doctor.audit(loaded))[0].state == "warning"
