"""`modu person` and `modu invite` on a home folder of their own."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import msgspec
import pytest
from typer.testing import CliRunner

from moduai import settings
from moduai.accounts.invitations import find_invitation
from moduai.accounts.people import get_person
from moduai.accounts.sessions import find_session, start_session
from moduai.accounts.sign_in import check_password
from moduai.cli import invite, person
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys

PASSWORD = "correct horse battery"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def run(home, app, *arguments, typed=""):
    return CliRunner().invoke(app, [*arguments, "--home", str(home)], input=typed)


def told(home, app, *arguments, typed=""):
    """What a command answers in JSON."""
    result = run(home, app, *arguments, "--json", typed=typed)
    assert result.exit_code == 0, result.stderr
    return msgspec.json.decode(result.stdout)


def add(home, *arguments, typed=""):
    return told(home, person.app, "add", *arguments, typed=typed)["id"]


def ask(home, work):
    """Work on the database and its keys, as the service does."""

    async def do():
        db = Database(settings.load(home, {}).database_url)
        keyring = Keyring.open(home)
        subjects = SubjectKeys.open(home, keyring)
        try:
            async with db.begin() as connection:
                return await work(connection, keyring, subjects)
        finally:
            subjects.close()
            await db.dispose()

    return asyncio.run(do())


def may_sign_in(home):
    """Who signs in as kim."""

    async def do():
        db = Database(settings.load(home, {}).database_url)
        try:
            return await check_password(db, Keyring.open(home), "kim", PASSWORD)
        finally:
            await db.dispose()

    return asyncio.run(do())


def audited(home):
    connection = sqlite3.connect(home / "modu.db")
    rows = connection.execute("SELECT actor, action, target, detail FROM audit ORDER BY number").fetchall()
    connection.close()
    return rows


def test_a_person_is_added_shown_and_found(home):
    made = add(home, "홍길동", "--address", "gildong@example.kr", "--region", "KR-26")
    shown = told(home, person.app, "show", made)[0]
    assert (shown["name"], shown["role"], shown["organisation"]) == ("홍길동", "resident", "default")
    assert (shown["signs_in_by"], shown["sessions"], shown["keys"]) == ([], 0, [])
    assert [one["id"] for one in told(home, person.app, "list", "길동")] == [made]
    assert told(home, person.app, "list", "--role", "admin") == []
    assert "홍길동" in run(home, person.app, "list").stdout
    assert run(home, person.app, "list", "nobody").stdout.startswith("Nobody")
    assert audited(home)[0][:3] == ("cli", "person.add", made)
    assert "길동" not in str(audited(home))
    assert "gildong" not in str(audited(home))


def test_a_login_lets_in_until_it_is_blocked(home):
    made = add(home, "Kim", "--role", "operator", "--login", "kim", "--password-stdin", typed=PASSWORD + "\n")

    assert may_sign_in(home) == made
    assert told(home, person.app, "block", made)["state"] == "blocked"
    assert may_sign_in(home) is None
    run(home, person.app, "unblock", made)
    assert may_sign_in(home) == made
    assert [row[1] for row in audited(home)] == ["person.add", "person.change", "person.change"]
    changes = ['{"from":"active","state":"blocked"}', '{"from":"blocked","state":"active"}']
    assert [row[3] for row in audited(home)][1:] == changes


def test_a_new_role_or_password_signs_out(home):
    made = add(home, "Kim")

    async def start(connection, _, subjects):
        found = await get_person(connection, subjects, made)
        return (await start_session(connection, found, "", time.time()))[1]

    def valid(session):
        found = ask(home, lambda connection, *_: find_session(connection, session.digest, time.time()))
        return found is not None

    session = ask(home, start)
    assert valid(session)
    assert told(home, person.app, "role", made, "steward")["role"] == "steward"
    assert not valid(session)
    session = ask(home, start)
    typed = f"{PASSWORD}\n{PASSWORD}\n"  # asked for twice, unseen
    assert run(home, person.app, "password", made, "Kim", typed=typed).exit_code == 0
    assert not valid(session)
    assert PASSWORD not in str(audited(home))
    assert may_sign_in(home) == made
    assert audited(home)[1][1:] == ("person.change", made, '{"from":"resident","role":"steward"}')


def test_changing_touches_only_what_is_named(home):
    made = add(home, "Kim", "--region", "KR-11", "--group", "students")
    changed = told(home, person.app, "change", made, "--region", "", "--name", "Lee", "--language", "ko")
    assert (changed["name"], changed["region"], changed["group"]) == ("Lee", "", "students")
    assert audited(home)[-1][1:] == ("person.change", made, '{"language":"ko","region":"","sealed":["name"]}')
    assert run(home, person.app, "change", made).exit_code == 2
    assert "modu org list" in run(home, person.app, "change", made, "--org", "nobody").stderr
    assert told(home, person.app, "signout", made) == {"id": made, "sessions": 0}


def test_deleting_asks_and_is_for_good(home):
    made = add(home, "Kim")
    refused = run(home, person.app, "delete", made, typed="n\n")
    assert (refused.exit_code, "cannot be undone" in refused.stderr) == (1, True)
    assert run(home, person.app, "delete", made).exit_code == 1, "nothing typed: nothing done"
    assert len(told(home, person.app, "list")) == 1
    assert told(home, person.app, "delete", made, "--yes") == {"id": made, "deleted": True}
    assert told(home, person.app, "list") == []
    keys = SubjectKeys.open(home, Keyring.open(home))
    assert keys.destroyed().keys() == {made}
    keys.close()
    assert "there is no person" in run(home, person.app, "delete", made, "--yes").stderr
    assert audited(home)[-1][1:3] == ("person.delete", made)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["show", "sub_none"], 1, "modu person list"),
        (["role", "sub_none", "admin"], 1, "modu person list"),
        (["add", "x", "--role", "root"], 1, "role is one of"),
        (["add", "x", "--org", "nobody"], 1, "modu org list"),
        (["add", "x" * 1000], 1, "at most 100"),
        (["add", "x", "--login", "x", "--password-stdin"], 1, "a login has"),
        (["add", "x", "--login", "kim", "--password-stdin"], 1, "10 to 256"),
        (["add", "x", "--login", "kim"], 1, "--password-stdin"),
        (["list", "--org", "nobody"], 1, "modu org list"),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(home, arguments, status, words):
    add(home, "Kim")
    result = run(home, person.app, *arguments)
    assert result.exit_code == status
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("Password")]
    assert words in line
    assert len(told(home, person.app, "list")) == 1
    assert len(audited(home)) == 1


def test_with_a_lost_keyring_people_can_still_be_blocked(home, tmp_path):
    made = add(home, "Kim")
    (home / "keyring").rename(tmp_path / "aside")
    listed = run(home, person.app, "list", "--json")
    assert "names cannot be read" in listed.stderr
    assert msgspec.json.decode(listed.stdout)[0]["name"] == ""
    assert run(home, person.app, "block", made).exit_code == 0
    for arguments in (
        ["add", "Lee"],
        ["password", made, "kim", "--password-stdin"],
        ["delete", made, "--yes"],
    ):
        refused = run(home, person.app, *arguments, typed=PASSWORD)
        assert (refused.exit_code, "put back your copy" in refused.stderr) == (1, True)
    assert not (home / "keyring").exists(), "a lost keyring is not replaced unasked"
    (tmp_path / "aside").rename(home / "keyring")
    assert told(home, person.app, "list")[0]["name"] == "Kim"


def test_an_invitation_is_made_listed_and_taken_back(home):
    made = told(home, invite.app, "create", "--role", "admin", "--note", "first", "--expires", "90m")
    link = made["link"]
    token = link.rpartition("/join/")[2]
    assert link.startswith("http://127.0.0.1:8080/join/")
    assert made["expires_at"] - made["created_at"] == 2 * 3600, "whole hours, rounded up"
    found = ask(home, lambda connection, *_: find_invitation(connection, token, time.time()))
    assert (found.role, found.note, found.made_by) == ("admin", "first", "cli")
    listed = told(home, invite.app, "list")
    assert [(one["id"], one["state"]) for one in listed] == [(made["id"], "open")]
    assert token not in str(listed)
    assert told(home, invite.app, "revoke", made["id"]) == {"id": made["id"], "revoked": True}
    assert told(home, invite.app, "list") == []
    assert "modu invite list" in run(home, invite.app, "revoke", made["id"]).stderr
    assert [action for _, action, *_ in audited(home)] == ["invite.create", "invite.revoke"]
    assert token not in str(audited(home))


def test_a_link_names_the_address_that_people_use(home, monkeypatch):
    assert run(home, invite.app, "create", "--quiet", "--url", "https://ai.example.kr/").stdout.startswith(
        "https://ai.example.kr/join/"
    )
    monkeypatch.setenv("MODU_SIGN_IN__PUBLIC_URL", "https://modu.example.kr")
    assert run(home, invite.app, "create", "--quiet").stdout.startswith("https://modu.example.kr/join/")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["create", "--role", "root"], 1, "no role"),
        (["create", "--expires", "soon"], 2, "length of time"),
        (["create", "--expires", "500w"], 1, "lasts from"),
        (["create", "--url", "ftp://x"], 2, "https://host"),
        (["create", "--note", "x" * 201], 1, "at most 200"),
    ],
)
def test_a_mistaken_invitation_is_one_line(home, arguments, status, words):
    result = run(home, invite.app, *arguments)
    assert result.exit_code == status
    (line,) = result.stderr.splitlines()
    assert words in line
