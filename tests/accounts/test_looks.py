from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from moduai.accounts import looks
from moduai.accounts.audit import list_entries
from moduai.accounts.looks import LookError, current_leave, end_leave, list_leave, looks_at, read, take_leave
from moduai.accounts.people import change_person, create_person
from moduai.store.database import Connection, Database
from moduai.store.keyring import SIZE, Keyring
from moduai.store.subjects import SubjectKeys

WHY = "asked to find a lost answer"


@pytest.fixture
def subjects(tmp_path: Path) -> Iterator[SubjectKeys]:
    opened = SubjectKeys.open(tmp_path, Keyring(bytes(SIZE)))
    yield opened
    opened.close()


class People:
    """A resident and staff, by their ids."""

    def __init__(self, db: Database, subjects: SubjectKeys) -> None:
        self.db, self.subjects = db, subjects

    async def make(self, role: str) -> str:
        async with self.db.begin() as connection:
            return (await create_person(connection, self.subjects, name="가나다", role=role)).id

    async def leave(self, staff: str, person: str, reason: str = WHY, hours: float = 1.0) -> looks.Leave:
        async with self.db.begin() as connection:
            return await take_leave(connection, staff, person, reason, hours)

    async def read(self, staff: str, person: str) -> str:
        return await read(self.db, staff=staff, person=person, what="cnv_1", reader=secret)

    async def actions(self) -> list[tuple[str, str, str]]:
        async with self.db.connect() as connection:
            found = await list_entries(connection, action="look")
        return [(entry.action, entry.actor, entry.target) for entry in found][::-1]


async def secret(connection: Connection) -> str:
    """Stands where text is unsealed."""
    assert await connection.scalar(text("SELECT count(*) FROM audit WHERE action = 'look.read'"))
    return "text"


@pytest.fixture
def some(db: Database, subjects: SubjectKeys) -> People:
    return People(db, subjects)


async def test_staff_read_with_leave_and_the_person_sees_it(some: People) -> None:
    resident, steward = await some.make("resident"), await some.make("steward")
    leave = await some.leave(steward, resident)
    assert leave.expires_at - leave.created_at == 3600
    assert await some.read(steward, resident) == "text"
    async with some.db.connect() as connection:
        (seen,) = await looks_at(connection, resident)
        assert await looks_at(connection, steward) == []
        assert await list_leave(connection, staff=steward) == await list_leave(connection)
        (entry,) = await list_entries(connection, action="look.read")
    assert (seen.role, seen.organisation, seen.reason) == ("steward", "default", WHY)
    assert seen.used_at >= seen.created_at
    assert entry.detail == f'{{"look":"{leave.id}","what":"cnv_1"}}'
    assert await some.actions() == [("look.leave", steward, resident), ("look.read", steward, resident)]


async def test_without_leave_nothing_is_read(some: People) -> None:
    resident, other, steward = [await some.make(role) for role in ("resident", "resident", "steward")]
    await some.leave(steward, other)
    with pytest.raises(LookError, match="take it first"):
        await some.read(steward, resident)
    with pytest.raises(LookError, match="take it first"):
        await some.read("cli", other)  # the leave of one is not another's
    assert [action for action, *_ in await some.actions()] == ["look.leave"]


async def test_leave_ends_by_itself_and_by_hand(some: People, monkeypatch: pytest.MonkeyPatch) -> None:
    resident, steward = await some.make("resident"), await some.make("steward")
    leave = await some.leave(steward, resident, hours=2)
    async with some.db.connect() as connection:
        assert await current_leave(connection, steward, resident, leave.expires_at - 1) == leave
        assert await current_leave(connection, steward, resident, leave.expires_at) is None
    monkeypatch.setattr(time, "time", lambda: leave.expires_at + 0.5)
    with pytest.raises(LookError, match="take it first"):
        await some.read(steward, resident)
    monkeypatch.undo()
    assert await some.read(steward, resident) == "text"
    async with some.db.begin() as connection:
        assert await end_leave(connection, steward, resident) == 1
    with pytest.raises(LookError, match="take it first"):
        await some.read(steward, resident)
    async with some.db.begin() as connection:
        assert await end_leave(connection, steward, resident) == 0


@pytest.mark.parametrize("role", ["resident", "operator", "officer", "committee"])
async def test_only_roles_that_may_look_do(sqlite: Database, subjects: SubjectKeys, role: str) -> None:
    some = People(sqlite, subjects)
    resident, staff = await some.make("resident"), await some.make(role)
    with pytest.raises(LookError, match="may not"):
        await some.leave(staff, resident)
    with pytest.raises(LookError, match="may not"):
        await some.leave("sub_nobody", resident)
    assert await some.actions() == []


@pytest.mark.parametrize("change", [{"role": "resident"}, {"state": "blocked"}])
async def test_leave_is_gone_with_the_role(
    sqlite: Database, subjects: SubjectKeys, change: dict[str, str]
) -> None:
    some = People(sqlite, subjects)
    resident, steward = await some.make("resident"), await some.make("steward")
    await some.leave(steward, resident)
    async with sqlite.begin() as connection:
        await change_person(connection, subjects, steward, **change)
    with pytest.raises(LookError, match="may not"):
        await some.read(steward, resident)


@pytest.mark.parametrize(
    ("reason", "hours", "words"),
    [
        ("because", 1, "at least 10"),
        (" " * 20, 1, "at least 10"),
        ("\u202e" * 20, 1, "at least 10"),
        ("x" * 501, 1, "at most 500"),
        (WHY + "\x1b[2J", 1, "printable"),
        (WHY, 25, "at most 24"),
        (WHY, 0, "at most 24"),
        (WHY, float("nan"), "at most 24"),
    ],
)
async def test_a_reason_and_an_end_are_needed(
    sqlite: Database, subjects: SubjectKeys, reason: str, hours: float, words: str
) -> None:
    some = People(sqlite, subjects)
    resident = await some.make("resident")
    with pytest.raises(LookError, match=words):
        await some.leave("cli", resident, reason, hours)
    with pytest.raises(LookError, match="no person"):
        await some.leave("cli", "sub_nobody")


async def test_the_reason_is_not_in_the_audit_log(sqlite: Database, subjects: SubjectKeys) -> None:
    """It may name people; the one it is about can read it, and staff who may look."""
    some = People(sqlite, subjects)
    await some.leave("cli", await some.make("resident"))
    async with sqlite.connect() as connection:
        assert WHY not in str(await list_entries(connection))


async def test_a_reading_that_fails_stands_in_the_log(sqlite: Database, subjects: SubjectKeys) -> None:
    some = People(sqlite, subjects)
    resident = await some.make("resident")
    await some.leave("cli", resident)

    async def fail(_: Connection) -> str:
        raise RuntimeError("no text")

    with pytest.raises(RuntimeError, match="no text"):
        await read(sqlite, staff="cli", person=resident, what="", reader=fail)
    assert [action for action, *_ in await some.actions()] == ["look.leave", "look.read"]


async def test_where_nothing_can_be_recorded_nothing_is_read(sqlite: Database, subjects: SubjectKeys) -> None:
    some = People(sqlite, subjects)
    resident = await some.make("resident")
    await some.leave("cli", resident)
    async with sqlite.begin() as connection:
        await connection.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    with pytest.raises(sqlite.errors):
        await some.read("cli", resident)
