from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text

from moduai.accounts.organisations import create_organisation, list_organisations
from moduai.store import migrate
from moduai.store.database import Database, brief
from moduai.store.tables import changes


async def names(db: Database) -> list[str]:
    async with db.connect() as connection:
        return [found.name for found in await list_organisations(connection)]


async def add(db: Database, name: str) -> None:
    async with db.begin() as connection:
        await create_organisation(connection, name)


async def test_a_write_is_seen_and_an_error_undoes_all_of_it(db: Database) -> None:
    await add(db, "kept")

    async def fail_after_writing() -> None:
        async with db.begin() as connection:
            await create_organisation(connection, "undone")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        await fail_after_writing()
    assert await names(db) == ["kept"]


async def test_many_writers_at_once_all_succeed(db: Database) -> None:
    await asyncio.gather(*(add(db, f"n{number}") for number in range(30)))
    assert len(await names(db)) == 30


async def test_writes_of_one_process_take_their_turn(sqlite: Database) -> None:
    """In the order in which they came; before, they tried again and again, and some waited very long."""
    done: list[int] = []

    async def write(number: int) -> None:
        async with sqlite.begin() as connection:
            await create_organisation(connection, f"n{number}")
            done.append(number)

    await asyncio.gather(*map(write, range(30)))
    assert done == list(range(30))


async def test_what_reads_cannot_write(sqlite: Database) -> None:
    async with sqlite.connect() as connection:
        with pytest.raises(sqlite.errors, match="readonly"):
            await create_organisation(connection, "by mistake")


async def test_a_reader_does_not_wait_for_a_writer(sqlite: Database) -> None:
    async with sqlite.begin() as connection:
        await create_organisation(connection, "not yet")
        assert await asyncio.wait_for(names(sqlite), 1) == []


async def test_reads_of_one_connection_see_one_state(db: Database) -> None:
    async with db.connect() as connection:
        assert await list_organisations(connection) == []
        await add(db, "later")
        assert await list_organisations(connection) == []


async def test_a_missing_file_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'modu.db'}")
    with pytest.raises(db.errors) as caught:
        await names(db)
    assert brief(caught.value) == "unable to open database file"
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_failed_connection_leaves_no_thread_behind(tmp_path: Path) -> None:
    """It would report to an event loop that may have ended, and be an error that nobody can catch."""
    before = set(threading.enumerate())
    db = Database(f"sqlite+aiosqlite:///{tmp_path / 'modu.db'}")
    for _ in range(20):
        with pytest.raises(db.errors):
            await names(db)
        assert set(threading.enumerate()) <= before


async def test_a_replaced_file_is_noticed(sqlite: Database, tmp_path: Path) -> None:
    await add(sqlite, "old")
    other = tmp_path / "other"
    other.mkdir()
    with sqlite3.connect(tmp_path / "modu.db") as source, sqlite3.connect(other / "modu.db") as copy:
        source.backup(copy)
    copy.execute("DELETE FROM organisations")
    copy.commit()
    copy.close()
    source.close()
    (tmp_path / "modu.db").rename(tmp_path / "aside.db")
    with pytest.raises(sqlite.errors):
        await names(sqlite)
    (other / "modu.db").rename(tmp_path / "modu.db")
    for left in ("modu.db-wal", "modu.db-shm"):
        (tmp_path / left).unlink(missing_ok=True)
    assert await names(sqlite) == []


async def test_a_file_that_was_away_and_is_back_has_everything(sqlite: Database, tmp_path: Path) -> None:
    await add(sqlite, "before")
    (tmp_path / "modu.db").rename(tmp_path / "aside.db")
    with pytest.raises(sqlite.errors):
        await add(sqlite, "while it was away")
    (tmp_path / "aside.db").rename(tmp_path / "modu.db")
    await add(sqlite, "after")
    assert await names(sqlite) == ["after", "before"]


async def test_files_are_for_the_owner_only(sqlite: Database, tmp_path: Path) -> None:
    await add(sqlite, "anyone")
    modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}  # noqa: PTH116, PTH208
    assert modes == {"modu.db": 0o600, "modu.db-wal": 0o600, "modu.db-shm": 0o600}


async def test_foreign_keys_are_held(sqlite: Database) -> None:
    insert = text("INSERT INTO api_keys SELECT 'k',x'00','p','n','org_none','s','c','[]','','','',0,0,0")
    with pytest.raises(sqlite.errors, match="FOREIGN KEY"):
        async with sqlite.begin() as connection:
            await connection.execute(insert)


def test_a_memory_database_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a file"):
        Database("sqlite+aiosqlite:///:memory:")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in Database("postgresql+asyncpg://modu:secret@db.example/modu").shown()


async def test_a_path_with_odd_characters(tmp_path: Path) -> None:
    file = tmp_path / "a b#c=모두" / "modu.db"
    db = Database(f"sqlite+aiosqlite:///{file}")
    await migrate.upgrade(f"sqlite+aiosqlite:///{file}")
    async with db.connect() as connection:
        assert (await connection.execute(select(changes))).all() == []
    await db.dispose()


def test_what_the_gateway_imports_is_light() -> None:
    """Neither Alembic, nor cryptography, nor what PostgreSQL needs, until it is used."""
    program = (
        "import sys, moduai.store.database, moduai.store.feed, moduai.store.keyring, moduai.store.migrate;"
        "import moduai.accounts.table, moduai.accounts.keys, moduai.metering.segment;"
        "heavy = {'alembic', 'cryptography', 'asyncpg', 'typer', 'rich', 'sqlalchemy.dialects.postgresql'};"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environ
    )
    assert output.stdout.strip() == "[]"
