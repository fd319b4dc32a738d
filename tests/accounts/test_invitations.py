from __future__ import annotations

import asyncio
import time

import pytest

from moduai.accounts.invitations import (
    KEPT_S,
    Invitation,
    find_invitation,
    invite,
    list_invitations,
    purge_invitations,
    revoke_invitation,
    use_invitation,
)
from moduai.accounts.organisations import AccountError, create_organisation
from moduai.accounts.people import create_person, find_people
from moduai.store.database import Database
from moduai.store.subjects import SubjectKeys

NOW = time.time()


async def make(db: Database, **fields: object) -> tuple[str, Invitation]:
    async with db.begin() as connection:
        return await invite(connection, **{"role": "resident", **fields})  # type: ignore[arg-type]


async def find(db: Database, token: str, now: float = NOW) -> Invitation | None:
    async with db.connect() as connection:
        return await find_invitation(connection, token, now)


async def every(db: Database) -> list[Invitation]:
    async with db.connect() as connection:
        return await list_invitations(connection, NOW, closed=True)


async def join(db: Database, subjects: SubjectKeys, token: str) -> str:
    """What a sign-up page does."""
    async with db.begin() as connection:
        found = await find_invitation(connection, token, NOW)
        role = found.role if found else "resident"
        person = await create_person(connection, subjects, role=role)
        await use_invitation(connection, token, person.id, NOW)
    return person.id


async def test_an_invitation_says_what_it_gives(db: Database) -> None:
    async with db.begin() as connection:
        busan = await create_organisation(connection, "busan")
    token, made = await make(
        db, role="operator", organisation="busan", note="night\u202e shift", made_by="cli"
    )
    assert await find(db, token) == made
    assert (made.role, made.organisation, made.organisation_name) == ("operator", busan.id, "busan")
    assert (made.note, made.made_by, made.state(NOW)) == ("night shift", "cli", "open")
    assert made.expires_at == made.created_at + 168 * 3600


async def test_the_token_is_nowhere_in_the_database(sqlite: Database) -> None:
    token, _ = await make(sqlite)
    await sqlite.dispose()
    assert sqlite.file is not None
    assert token[:8].encode() not in sqlite.file.read_bytes()


async def test_it_works_once(db: Database, subjects: SubjectKeys) -> None:
    token, made = await make(db, role="admin")
    person = await join(db, subjects, token)
    assert await find(db, token) is None
    with pytest.raises(AccountError, match="was used, has expired"):
        await join(db, subjects, token)
    (seen,) = await every(db)
    assert (seen.id, seen.used_by, seen.state(NOW)) == (made.id, person, "used")
    async with db.connect() as connection:
        assert [one.role for one in await find_people(connection, subjects)] == ["admin"], "no second person"
        assert await list_invitations(connection, NOW) == []


async def test_of_several_at_once_one_gets_in(db: Database, subjects: SubjectKeys) -> None:
    token, _ = await make(db)
    told = await asyncio.gather(*(join(db, subjects, token) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, str) for each in told) == 1
    assert sum(isinstance(each, AccountError) for each in told) == 3
    async with db.connect() as connection:
        assert len(await find_people(connection, subjects)) == 1


async def test_it_expires(db: Database, subjects: SubjectKeys) -> None:
    token, made = await make(db, hours=1)
    assert await find(db, token, made.expires_at - 1)
    assert await find(db, token, made.expires_at) is None
    assert (made.state(made.expires_at - 1), made.state(made.expires_at)) == ("open", "expired")
    async with db.begin() as connection:
        with pytest.raises(AccountError, match="expired"):
            await use_invitation(connection, token, "sub_1", made.expires_at)


async def test_it_can_be_taken_back_until_it_is_used(db: Database, subjects: SubjectKeys) -> None:
    token, made = await make(db)
    used, spent = await make(db)
    await join(db, subjects, used)
    async with db.begin() as connection:
        assert (await revoke_invitation(connection, made.id)).id == made.id
        for gone in (made.id, "inv_none", "\x00", "x" * 100_000):
            with pytest.raises(AccountError, match="there is no invitation"):
                await revoke_invitation(connection, gone)
        with pytest.raises(AccountError, match="block the person"):
            await revoke_invitation(connection, spent.id)
    assert await find(db, token) is None
    assert [one.id for one in await every(db)] == [spent.id]


@pytest.mark.parametrize("token", ["", "x", "é", "\ud800", "\x00", "x" * 1_000_000])
async def test_what_is_no_invitation(sqlite: Database, token: str) -> None:
    await make(sqlite)
    assert await find(sqlite, token) is None


async def test_what_makes_no_sense_is_refused(sqlite: Database) -> None:
    for fields, words in (
        ({"role": "root"}, "no role"),
        ({"role": "x" * 1_000_000}, "no role"),
        ({"hours": 0}, "1 to"),
        ({"hours": 10**9}, "1 to"),
        ({"organisation": "nobody"}, "modu org list"),
        ({"note": "x" * 1_000_000}, "at most 200"),
        ({"note": "a\x00"}, "printable"),
    ):
        with pytest.raises(AccountError, match=words) as caught:
            await make(sqlite, **fields)
        assert len(str(caught.value)) < 200
    assert await every(sqlite) == []


async def test_the_purge_leaves_what_may_still_be_asked_for(db: Database, subjects: SubjectKeys) -> None:
    used, spent = await make(db, hours=24 * 300)
    await join(db, subjects, used)
    await make(db, hours=1)
    _, later = await make(db, hours=24 * 300)
    for after, left in ((0, 3), (KEPT_S - 60, 3), (KEPT_S + 60, 2), (KEPT_S + 7200, 1)):
        async with db.begin() as connection:
            await purge_invitations(connection, NOW + after)
        assert len(await every(db)) == left
    assert (await every(db))[0].id == later.id
    assert spent.id != later.id
