from __future__ import annotations

import time

import pytest
from sqlalchemy import text

from moduai.accounts.keys import (
    PREFIX,
    KeyInfo,
    create_key,
    digest,
    list_keys,
    load_principals,
    new_key,
    revoke_key,
)
from moduai.accounts.organisations import (
    AccountError,
    create_organisation,
    get_organisation,
    list_organisations,
)
from moduai.accounts.principal import Principal
from moduai.accounts.table import KeyTable
from moduai.store.database import Database

NOW = time.time()


async def make(db: Database, **fields: object) -> tuple[str, KeyInfo]:
    async with db.begin() as connection:
        return await create_key(connection, **{"name": "test", **fields})  # type: ignore[arg-type]


async def load(db: Database) -> KeyTable:
    table = KeyTable()
    async with db.connect() as connection:
        table.replace(await load_principals(connection))
    return table


async def test_a_key_is_found_with_all_that_was_said_of_it(db: Database) -> None:
    async with db.begin() as connection:
        owner = await create_organisation(connection, "서울시", region="seoul", zone="z1")
    clear, info = await make(
        db, organisation="서울시", group="students", zone="z2", scopes=["inference", "inference"]
    )
    principal = (await load(db)).find(clear.encode(), NOW)
    assert principal is not None
    assert (principal.key, principal.organisation, principal.subject) == (info.id, owner.id, info.subject)
    assert (principal.region, principal.zone, principal.group) == ("seoul", "z2", "students")
    assert principal.scopes == {"inference"}
    assert info.organisation == "서울시"
    assert clear.startswith(info.prefix)
    assert len(info.prefix) == PREFIX


async def test_the_key_is_nowhere_in_the_database(sqlite: Database) -> None:
    clear, _ = await make(sqlite)
    await sqlite.dispose()
    assert sqlite.file is not None
    kept = sqlite.file.read_bytes()
    assert digest(clear.encode()) in kept
    assert clear[PREFIX : PREFIX + 8].encode() not in kept


@pytest.mark.parametrize(
    "token", [b"", b"modu-", b"modu-" + b"a" * 43, b"\xff" * 100], ids=["empty", "prefix", "unknown", "bytes"]
)
async def test_what_is_no_key_is_refused(db: Database, token: bytes) -> None:
    await make(db)
    assert (await load(db)).find(token, NOW) is None


async def test_an_expired_key_is_refused_from_that_second_on(db: Database) -> None:
    end = int(time.time()) + 60
    clear, info = await make(db, expires_at=end)
    table = await load(db)
    assert table.find(clear.encode(), end - 1)
    assert table.find(clear.encode(), end) is None
    assert (info.state(end - 1), info.state(end)) == ("active", "expired")


@pytest.mark.parametrize("by", ["id", "prefix", "whole"])
async def test_a_revoked_key_is_refused_for_good(db: Database, by: str) -> None:
    clear, info = await make(db)
    other, _ = await make(db)
    async with db.begin() as connection:
        gone = await revoke_key(connection, {"id": info.id, "prefix": info.prefix, "whole": clear}[by])
    assert (gone.id, gone.state(NOW)) == (info.id, "revoked")
    async with db.begin() as connection:
        assert await revoke_key(connection, info.id) == gone  # the first time stays
    table = await load(db)
    assert table.find(clear.encode(), NOW) is None
    assert table.find(other.encode(), NOW)


async def test_each_write_is_announced(db: Database) -> None:
    async def version() -> int:
        async with db.connect() as connection:
            return await connection.scalar(text("SELECT version FROM changes WHERE topic = 'keys'")) or 0

    _, info = await make(db)
    assert await version() == 1
    async with db.begin() as connection:
        await revoke_key(connection, info.id)
    assert await version() == 2


async def test_lists(db: Database) -> None:
    async with db.begin() as connection:
        await create_organisation(connection, "other")
    _, first = await make(db)
    _, second = await make(db, organisation="other")
    async with db.begin() as connection:
        await revoke_key(connection, first.id)
    async with db.connect() as connection:
        assert await list_keys(connection) == [second]
        assert {key.id for key in await list_keys(connection, revoked=True)} == {first.id, second.id}
        assert await list_keys(connection, organisation="default") == []
        assert [found.name for found in await list_organisations(connection)] == ["default", "other"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "1 to 100"),
        ({"name": "a\nb"}, "printable"),
        ({"scopes": ["root"]}, "no scope 'root'"),
        ({"scopes": ["metrics"]}, "no scope 'metrics'"),
        ({"scopes": []}, "at least one"),
        ({"expires_at": 1}, "past"),
        ({"service_class": "gold"}, "class of service"),
        ({"organisation": "nobody"}, "modu org list"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(
    sqlite: Database, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(AccountError, match=words):
        await make(sqlite, **fields)


async def test_an_unknown_key_is_named_without_its_secret(sqlite: Database) -> None:
    clear = new_key()
    async with sqlite.begin() as connection:
        with pytest.raises(AccountError) as caught:
            await revoke_key(connection, clear)
    assert clear[:PREFIX] in str(caught.value)
    assert clear not in str(caught.value)


async def test_a_prefix_that_two_keys_share_is_refused(sqlite: Database) -> None:
    _, first = await make(sqlite)
    await make(sqlite)
    async with sqlite.begin() as connection:
        await connection.execute(text("UPDATE api_keys SET prefix = :p"), {"p": first.prefix})
        with pytest.raises(AccountError, match="fits 2 keys: give the id"):
            await revoke_key(connection, first.prefix)


async def test_what_is_no_text_for_a_database_is_unknown(db: Database) -> None:
    async with db.begin() as connection:
        for odd in ("a\x00b", "\ud800", "\n", "\u202e"):
            with pytest.raises(AccountError, match="there is no key"):
                await revoke_key(connection, odd)
            with pytest.raises(AccountError, match="there is no organisation"):
                await get_organisation(connection, odd)


async def test_organisations_by_name_and_id(db: Database) -> None:
    async with db.begin() as connection:
        made = await create_organisation(connection, " Busan ", region="busan")
        assert await get_organisation(connection, "Busan") == made
        assert await get_organisation(connection, made.id) == made
        for name, words in (("Busan", "already"), ("", "1 to 100"), ("org_x", "org_")):
            with pytest.raises(AccountError, match=words):
                await create_organisation(connection, name)


def test_a_look_up_takes_microseconds() -> None:
    """About 1 us here; the limit leaves room for a busy machine."""
    table = KeyTable()
    keys = [new_key().encode() for _ in range(1000)]
    principal = Principal(subject="sub_1")
    table.replace((digest(key), principal) for key in keys)
    assert len(table) == 1000
    start = time.process_time()
    for key in keys * 20:
        table.find(key, NOW)
    assert (time.process_time() - start) / 20_000 < 10e-6
