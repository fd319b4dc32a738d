"""A deleted account stays deleted, whatever older copy is put back."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from moduai import settings
from moduai.accounts.keys import create_key
from moduai.accounts.people import create_person, get_person
from moduai.accounts.quotas import Limit, set_quota
from moduai.accounts.reports import ReportText, file_report
from moduai.accounts.sessions import start_session
from moduai.accounts.tables import api_keys, deletions, people, quotas, reports, sessions
from moduai.app import Worker
from moduai.cli.backup import backup_app, restore_app
from moduai.history.forgetting import delete_account, replay
from moduai.history.tables import conversations, turns
from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectGoneError, SubjectKeys, SubjectsAwayError
from tests.history.conftest import World, new_person

TABLES = (people, conversations, turns, sessions, reports, api_keys, quotas)


async def left(db: Database) -> dict[str, int]:
    async with db.connect() as connection:
        return {
            table.name: await connection.scalar(select(func.count()).select_from(table)) or 0
            for table in TABLES
        }


async def settle(db: Database, subjects: SubjectKeys, person: str) -> None:
    """Everything that a person may have, but conversations."""
    async with db.begin() as connection:
        await start_session(connection, await get_person(connection, subjects, person), "", time.time())
        await create_key(connection, name="김하나의 열쇠", subject=person)
        await set_quota(connection, person, Limit(5), "cli")
        text = ReportText(question="q", answer="a", remark="r")
        await file_report(connection, subjects, person=person, turn="t", model="m", reason="wrong", text=text)


async def delete(db: Database, subjects: SubjectKeys, person: str) -> bool:
    async with db.begin() as connection:
        return await delete_account(connection, subjects, person, time.time())


async def test_everything_of_a_person_goes_and_nothing_of_others(world: World) -> None:
    other = await new_person(world.db, world.subjects, "이둘")
    for person in (world.person, other):
        await settle(world.db, world.subjects, person)
        await world.keep(person=person)
    world.hear("아직")  # waits in memory, then in a segment
    assert await delete(world.db, world.subjects, world.person)
    assert not await delete(world.db, world.subjects, world.person)
    await world.load()
    assert await left(world.db) == dict.fromkeys((table.name for table in TABLES), 1)
    with pytest.raises(SubjectGoneError):
        world.subjects.seal(world.person, "x", b"")
    assert world.subjects.seal(other, "x", b"")


async def test_turns_that_wait_in_segments_are_dropped(world: World) -> None:
    world.hear()
    await world.recorder.flush()
    assert await delete(world.db, world.subjects, world.person)
    await world.loader.load_once()
    assert (await left(world.db))["turns"] == 0


async def test_without_the_keys_nothing_is_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise SubjectsAwayError("locked")

    await world.keep()
    monkeypatch.setattr(world.subjects, "destroy", away)
    with pytest.raises(SubjectsAwayError):
        await delete(world.db, world.subjects, world.person)
    assert (await left(world.db))["turns"] == 1


async def test_what_the_keys_remember_is_deleted_from_the_database(world: World) -> None:
    await settle(world.db, world.subjects, world.person)
    await world.keep()
    assert await replay(world.db, world.subjects) == 0
    world.subjects.destroy(world.person, 7)  # the rows are still there: an older database was put back
    assert await replay(world.db, world.subjects) == 1
    assert not any((await left(world.db)).values())
    async with world.db.connect() as connection:
        assert (await connection.execute(select(deletions))).all() == [(world.person, 7)]
    assert await replay(world.db, world.subjects) == 0


async def test_what_the_database_remembers_is_destroyed_beside_the_keys(world: World, tmp_path: Path) -> None:
    older = tmp_path / "older.db"
    shutil.copy(world.subjects.file, older)
    await world.keep()
    assert await delete(world.db, world.subjects, world.person)
    world.subjects.close()
    shutil.copy(older, world.subjects.file)
    keys = SubjectKeys.open(world.home, Keyring.open(world.home))
    assert world.person not in keys.destroyed()
    assert await replay(world.db, keys) == 0
    assert world.person in keys.destroyed()
    keys.close()


def run(app: Any, *arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


async def test_an_older_backup_brings_no_account_back(tmp_path: Path) -> None:
    """Backup, delete, restore: by the command, and for a database that was put back by hand."""
    home, file = tmp_path / "home", tmp_path / "backup.tar.gz"
    url = settings.load(home, {}).database_url
    await migrate.upgrade(url)
    subjects = SubjectKeys.open(home, Keyring.open(home))
    db = Database(url)
    async with db.begin() as connection:
        person = (await create_person(connection, subjects, name="김하나")).id
    await asyncio.to_thread(run, backup_app, str(file), "--home", str(home))
    older = tmp_path / "older.db"
    await db.dispose()  # writes its log into the file
    shutil.copy(home / "modu.db", older)
    assert await delete(db, subjects, person)
    await db.dispose()

    told = await asyncio.to_thread(run, restore_app, str(file), "--home", str(home), "--force")
    assert "1 account that had been deleted" in told
    assert (await left(db))["people"] == 0
    await db.dispose()

    for end in ("", "-wal", "-shm"):
        (home / f"modu.db{end}").unlink(missing_ok=True)
    shutil.copy(older, home / "modu.db")
    assert (await left(db))["people"] == 1
    worker = Worker(settings.load(home, {}))
    await worker._read(frozenset())
    assert (await left(db))["people"] == 0
    with pytest.raises(SubjectGoneError):
        subjects.unseal(person, "profile", b"\x01" + bytes(40))
    await worker.database.dispose()
    worker.subjects.close()
    subjects.close()
    await db.dispose()
