"""Engines in a real database, with their keys sealed."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from moduai.engines import repository
from moduai.engines.record import Capability, Engine, Hardware, Model
from moduai.engines.repository import EngineError
from moduai.engines.tables import engines
from moduai.store.database import Database
from moduai.store.keyring import Keyring, KeyringError
from moduai.store.migrate import upgrade
from moduai.store.tables import changes

ENGINE = Engine(
    id="eng_1",
    name="lab",
    url="http://10.0.0.5:8000",
    kind="vllm",
    key="sk-secret",
    concurrency=64,
    hardware=Hardware(kind="H100 SXM", count=8, watts=700),
    models=(Model(name="a", upstream_name="org/a", capability=Capability(context=10, tools=True)),),
    follows=False,
)


@pytest.fixture
async def keyring(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path)


@pytest.fixture
async def database(tmp_path: Path):
    url = f"sqlite+aiosqlite:///{tmp_path / 'modu.db'}"
    await upgrade(url)
    database = Database(url)
    yield database
    await database.dispose()


async def announced(database: Database) -> int:
    async with database.connect() as connection:
        query = select(changes.c.version).where(changes.c.topic == "engines")
        return (await connection.execute(query)).scalar() or 0


async def test_what_is_written_is_read_and_the_key_is_sealed(database, keyring):
    async with database.begin() as connection:
        await repository.add_engine(connection, keyring, ENGINE)
    async with database.connect() as connection:
        assert await repository.list_engines(connection, keyring) == [ENGINE]
        row = (await connection.execute(select(engines))).mappings().one()
    assert b"sk-secret" not in row["sealed_key"]
    assert "sk-secret" not in str({name: value for name, value in row.items() if name != "sealed_key"})


async def test_every_write_is_announced(database, keyring):
    seen = [await announced(database)]
    works = [
        lambda c: repository.add_engine(c, keyring, ENGINE),
        lambda c: repository.set_models(c, "eng_1", ()),
        lambda c: repository.set_state(c, "eng_1", "draining"),
        lambda c: repository.remove(c, "eng_1"),
    ]
    for work in works:
        async with database.begin() as connection:
            await work(connection)
        seen.append(await announced(database))
    assert seen == sorted(set(seen))


async def test_models_change_and_nothing_else(database, keyring):
    async with database.begin() as connection:
        await repository.add_engine(connection, keyring, ENGINE)
        await repository.set_state(connection, "eng_1", "draining")
        await repository.set_models(connection, "eng_1", (Model(name="b", upstream_name="b"),))
        found = await repository.find_engine(connection, keyring, "lab")
    assert found.state == "draining"
    assert found.key == "sk-secret"
    assert [model.name for model in found.models] == ["b"]


async def test_one_is_found_by_id_name_and_any_spelling_of_its_url(database, keyring):
    async with database.begin() as connection:
        await repository.add_engine(connection, keyring, ENGINE)
        for named in ("eng_1", "lab", "http://10.0.0.5:8000", "http://10.0.0.5:8000/v1/"):
            assert (await repository.find_engine(connection, keyring, named)).id == "eng_1"
        with pytest.raises(EngineError, match="there is no engine 'x'"):
            await repository.find_engine(connection, keyring, "x")


async def test_a_removed_one_is_kept_but_found_only_when_asked_for(database, keyring):
    async with database.begin() as connection:
        await repository.add_engine(connection, keyring, ENGINE)
        await repository.remove(connection, "eng_1")
        with pytest.raises(EngineError):
            await repository.find_engine(connection, keyring, "lab")
        assert (await repository.find_engine(connection, keyring, "lab", removed=True)).state == "removed"
        await repository.add_engine(connection, keyring, ENGINE)
        assert (await repository.find_engine(connection, keyring, "lab")).state == "active"


async def test_what_is_not_there_cannot_be_changed(database, keyring):
    async with database.begin() as connection:
        for work in (
            repository.set_state(connection, "no", "active"),
            repository.set_models(connection, "no", ()),
        ):
            with pytest.raises(EngineError):
                await work


async def test_another_keyring_reads_nothing(database, keyring, tmp_path):
    async with database.begin() as connection:
        await repository.add_engine(connection, keyring, ENGINE)
        with pytest.raises(KeyringError):
            await repository.list_engines(connection, Keyring.open(tmp_path / "other"))


def test_urls_are_kept_in_one_form():
    assert repository.canonical("https://h/v1") == "https://h"
    assert repository.canonical("http://h:80/a/v1/") == "http://h/a"
    assert repository.canonical("unix:///tmp/e.sock") == "unix:///tmp/e.sock"
    with pytest.raises(EngineError):
        repository.canonical("h")
