"""Upgrades from every version and from nothing, with data in it, on both databases."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection as SyncConnection
from sqlalchemy import inspect, text

import moduai.accounts.tables
import moduai.engines.tables
import moduai.gateway.tables
import moduai.history.tables
import moduai.knowledge.tables
import moduai.metering.tables
import moduai.proposals.tables
import moduai.store.tables  # noqa: F401  (each import adds its tables to the metadata)
from moduai.store import migrate
from moduai.store.database import Database, metadata
from moduai.store.versions import head, versions
from tests.databases import Postgres

SEEDS = {
    "0001": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        "INSERT INTO engines VALUES ('eng_1', 'e', 'u', 'vllm', 's', 'active', 8, '{}', '[]', true, 1, 2)",
        "INSERT INTO segments VALUES ('w-1.jsonl', 42)",
        "INSERT INTO changes VALUES ('keys', 7)",
    ),
    "0002": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        "INSERT INTO people VALUES ('sub_1', 'org_1', 'resident', 'active', '', '', true, 'ko', 's', 1, 0)",
        "INSERT INTO deletions VALUES ('sub_2', 1)",
        "INSERT INTO identities VALUES ('d', 'sub_1', 'local', 'h', 1)",
        "INSERT INTO sessions VALUES ('ses_1', 'd', '', 'sub_1', 'Firefox', 1, 1, 1, 2)",
        "INSERT INTO invitations VALUES ('d', 'inv_1', 'admin', 'org_1', '', '', '', 1, 2, 0)",
        "INSERT INTO conversations VALUES ('cnv_1', 'sub_1', 's', 1, 1, 0)",
        "INSERT INTO turns VALUES ('t', 'cnv_1', 'sub_1', 1, 'm', 'e', 'ok', '', '', 's')",
        "INSERT INTO reports VALUES ('rep_1', '', 't', 'm', 'wrong', 'open', '', '', 's', 1, 0)",
        "INSERT INTO looks VALUES ('look_1', 'sub_3', 'sub_1', 'why', 1, 2, 0)",
        "INSERT INTO switches VALUES ('banner', '{}', 'sub_3', 1)",
        "INSERT INTO audit VALUES ('w', 1, 1, 'a', 'b', 'c', '{}', 'p', 'h')",
        "INSERT INTO audit_roots VALUES ('2026-01-01', '{}', 'r', 'k', 's')",
    ),
    "0003": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        (
            "INSERT INTO usage VALUES ('u', 1, 's', 'o', 'k', 'c', '', '', '', 'chat', 'm', 'e', false,"
            " 1, 0, 1, 'engine', 1, 1, 1, 1, 0, 200, 'ok', '', 'shortened')"
        ),
    ),
    "0004": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        "INSERT INTO collections VALUES ('col_1', '법', 'git', 'a', '', '', 'ready', 1, 1, '', '[]', 1, 2)",
        "INSERT INTO documents VALUES ('doc_1', 'col_1', '민법.md', 1, 1, 'd', 0, 3)",
        "INSERT INTO document_versions VALUES ('doc_1', 1, 'd', 1, '{}', 'x', 'y')",
    ),
    "0005": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        "INSERT INTO collections VALUES ('c', '법', 'api', 'a', '', '', 'ready', 1, 1, '', '[]', 1, 2, 3)",
    ),
    "0006": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        "INSERT INTO proposals VALUES ('p-1', 'kr', '{}', '', 'open', 'sub_1', 1, '', 0, '')",
        *(
            f"INSERT INTO usage VALUES ('u{at}', {at}, 's', 'o', 'k', 'c', '', '', '', 'chat', 'm', 'e',"
            " false, 1, 0, 1, 'engine', 1, 1, 1, 1, 0, 200, 'ok', '', '')"
            for at in (1, 3_600_000_000 * 5 + 7, 3_600_000_000 * 5 + 9, 4_102_444_800_000_000)
        ),
    ),
    "0007": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        (
            "INSERT INTO usage_hours VALUES (0, 's', 'o', 'k', 'm', 'e', '', '', 'ok', 'engine',"
            " 1, 1, 0, 1, 1, 1, 1, 1, 1, 0)"
        ),
        "INSERT INTO open_hours VALUES (0, 'l')",
    ),
    "0008": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        (
            "INSERT INTO usage VALUES ('u', 1, 's', 'o', 'k', 'c', '', '', '', 'chat', 'm', 'e', false,"
            " 1, 0, 1, 'engine', 1, 1, 1, 1, 0, 200, 'ok', '', '')"
        ),
    ),
    "0009": (
        "INSERT INTO organisations VALUES ('org_1', '서울', 'seoul', '', 1700000000)",
        "INSERT INTO api_keys VALUES ('k', 'd', 'p', 'n', 'org_1', 's', 'c', '[]', '', '', '', 1, 0, 0)",
        "INSERT INTO quotas VALUES ('org_1', 1000, 'month', 'cli', 1)",
        "INSERT INTO quota_books VALUES ('2026-11', 'org_1', 7, '{\"g\": [3, 1.5]}')",
    ),
}
"""What a database of each version holds before it is upgraded: add to it with each migration."""


PART = re.compile(r"usage_(to_\d+|\d+|default)")
"""A part of ``usage``, on PostgreSQL."""


async def counts(db: Database) -> dict[str, int]:
    """Rows of each table that the database has at its version."""
    async with db.connect() as connection:
        there = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        return {
            table.name: await connection.scalar(text(f'SELECT count(*) FROM "{table.name}"')) or 0
            for table in metadata.sorted_tables
            if table.name in there
        }


@pytest.mark.parametrize("version", versions())
async def test_an_upgrade_from_each_version_keeps_the_data(url: str, version: str) -> None:
    await migrate.upgrade(url, version)
    db = Database(url)
    async with db.begin() as connection:
        for statement in SEEDS[version]:
            await connection.execute(text(statement))
    before = await counts(db)
    assert await migrate.upgrade(url) == version
    assert await migrate.current(db) == head()
    after = await counts(db)
    assert {name: after[name] for name in before} == before
    assert before["api_keys"] == 1
    await db.dispose()


async def test_an_upgrade_from_nothing_makes_what_the_tables_say(url: str) -> None:
    db = Database(url)
    assert await migrate.current(db) is None
    assert await migrate.upgrade(url) == ""

    def differences(connection: SyncConnection) -> list[object]:
        opts = {"compare_type": True, "include_name": lambda name, *_: not PART.fullmatch(name or "")}
        return list(compare_metadata(MigrationContext.configure(connection, opts=opts), metadata))

    async with db.connect() as connection:
        assert await connection.run_sync(differences) == []
    await db.dispose()


async def test_upgrades_at_once_happen_once(url: str) -> None:
    had = await asyncio.gather(*(migrate.upgrade(url) for _ in range(4)))
    assert sorted(had) == ["", *[head()] * 3] or had == [""] * 4  # late ones find it done
    db = Database(url)
    await migrate.check(db)
    await db.dispose()


async def test_an_upgrade_lets_others_work_while_somebody_reads_for_long(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL who waits for a table has all others wait behind him: an upgrade does so for moments."""
    url = await postgres.make()
    await migrate.upgrade(url, "0006")
    monkeypatch.setattr(migrate, "LOCK_MS", 50)
    monkeypatch.setattr(migrate, "AGAIN_S", 0.02)
    monkeypatch.setattr(migrate, "TRIES", 100_000)
    reader = Database(url)
    async with reader.connect() as connection:
        await connection.execute(text("SELECT count(*) FROM usage"))
        upgrade = asyncio.create_task(migrate.upgrade(url))
        for _ in range(3):
            async with asyncio.timeout(60), reader.connect() as other:
                await other.execute(text("SELECT count(*) FROM usage"))
            await asyncio.sleep(0.05)
        assert not upgrade.done()
    assert await upgrade == "0006"
    await migrate.check(reader)
    monkeypatch.setattr(migrate, "TRIES", 2)
    monkeypatch.setattr(migrate, "_run", lambda connection, _: connection.execute(text("LOCK TABLE usage")))
    monkeypatch.setattr(migrate, "head", lambda: "9999")
    async with reader.connect() as connection:
        await connection.execute(text("SELECT count(*) FROM usage"))
        with pytest.raises(migrate.SchemaError, match="somebody reads"):
            await migrate.upgrade(url)
    await reader.dispose()


async def test_a_failed_upgrade_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = migrate._run

    def fail(connection: SyncConnection, to: str) -> None:
        run(connection, to)
        raise RuntimeError("power cut")

    monkeypatch.setattr(migrate, "_run", fail)
    with pytest.raises(RuntimeError, match="power cut"):
        await migrate.upgrade(url)
    db = Database(url)
    assert await migrate.current(db) is None
    monkeypatch.undo()
    await migrate.upgrade(url)
    assert await migrate.current(db) == head()
    await db.dispose()


async def test_a_newer_database_is_refused_in_one_line(db: Database, url: str) -> None:
    async with db.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for refused in (migrate.upgrade(url), migrate.check(db)):
        with pytest.raises(migrate.SchemaError) as caught:
            await refused
        assert "schema 9999, newer than this Modu" in str(caught.value)
        assert "\n" not in str(caught.value)


async def test_a_database_without_schema_is_told_apart(url: str) -> None:
    db = Database(url)
    with pytest.raises(migrate.SchemaError, match="no data in"):
        await migrate.check(db)
    await db.dispose()


def test_a_start_at_head_does_not_import_alembic(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'modu.db'}"
    asyncio.run(migrate.upgrade(url))
    program = (
        "import asyncio, sys; from moduai.store import migrate\n"
        f"print(asyncio.run(migrate.upgrade({url!r})), 'alembic' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=environ
    )
    assert output.stdout.split() == [head(), "False"]


def test_every_version_is_numbered_and_seeded() -> None:
    found = versions()
    assert found == [f"{number:04}" for number in range(1, len(found) + 1)]
    assert SEEDS.keys() == set(found)
