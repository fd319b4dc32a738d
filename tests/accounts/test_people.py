from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from moduai.accounts import people as module
from moduai.accounts.keys import create_key, load_principals
from moduai.accounts.organisations import AccountError, create_organisation, get_organisation
from moduai.accounts.people import (
    Person,
    change_person,
    clean_name,
    create_person,
    find_people,
    get_person,
    note_seen,
)
from moduai.accounts.roles import PERMISSIONS, ROLES, STAFF, may
from moduai.store.database import Database
from moduai.store.keyring import KeyringError
from moduai.store.subjects import SubjectGoneError, SubjectKeys

NAME = "홍길동"


async def make(db: Database, subjects: SubjectKeys, **fields: object) -> Person:
    async with db.begin() as connection:
        return await create_person(connection, subjects, **{"name": NAME, **fields})  # type: ignore[arg-type]


async def get(db: Database, subjects: SubjectKeys, person: str) -> Person:
    async with db.connect() as connection:
        return await get_person(connection, subjects, person)


async def change(db: Database, subjects: SubjectKeys, person: str, **fields: object) -> Person:
    async with db.begin() as connection:
        return await change_person(connection, subjects, person, **fields)


async def topics(db: Database) -> dict[str, int]:
    async with db.connect() as connection:
        rows = await connection.execute(text("SELECT topic, version FROM changes"))
        return {row.topic: row.version for row in rows}


async def test_a_person_is_kept_with_all_that_was_said(db: Database, subjects: SubjectKeys) -> None:
    async with db.begin() as connection:
        busan = await create_organisation(connection, "busan")
    made = await make(
        db,
        subjects,
        address="gildong@example.kr",
        role="operator",
        organisation="busan",
        region="KR-26",
        group="students",
        language="ko",
        history=True,
    )
    assert made.id.startswith("sub_")
    assert (made.organisation, made.state, made.seen_on) == (busan.id, "active", 0)
    assert await get(db, subjects, made.id) == made


async def test_without_anything_a_person_is_a_resident_of_the_default_organisation(
    db: Database, subjects: SubjectKeys
) -> None:
    made = await make(db, subjects, name="")
    async with db.connect() as connection:
        assert made.organisation == (await get_organisation(connection, "default")).id
    assert (made.role, made.region, made.group, made.history) == ("resident", "", "", False)


async def test_names_and_addresses_are_nowhere_in_the_database(
    sqlite: Database, subjects: SubjectKeys
) -> None:
    await make(sqlite, subjects, name="Gildong Hong", address="gildong@example.kr")
    await sqlite.dispose()
    assert sqlite.file is not None
    kept = sqlite.file.read_bytes()
    assert b"operator" not in kept
    assert b"Gildong" not in kept
    assert b"example.kr" not in kept


async def test_changes(db: Database, subjects: SubjectKeys) -> None:
    made = await make(db, subjects, region="KR-11", group="students")
    await change(db, subjects, made.id, region="", group="teachers", history=True, language="en")
    found = await get(db, subjects, made.id)
    assert (found.region, found.group, found.history, found.language) == ("", "teachers", True, "en")
    await change(db, subjects, made.id, name="새 이름", address="a@b")
    found = await get(db, subjects, made.id)
    assert (found.name, found.address, found.group) == ("새 이름", "a@b", "teachers")
    assert await change(db, subjects, made.id) == found, "nothing to change changes nothing"


async def test_keys_count_where_their_person_lives(db: Database, subjects: SubjectKeys) -> None:
    made = await make(db, subjects, region="KR-26", group="students")
    async with db.begin() as connection:
        await create_key(connection, name="a", subject=made.id, region="KR-26", group="students")
        await create_key(connection, name="b", region="KR-50")
    await change(db, subjects, made.id, region="KR-11")
    async with db.connect() as connection:
        places = {(one.region, one.group) for _, one in await load_principals(connection)}
    assert places == {("KR-11", "students"), ("KR-50", "")}
    assert (await topics(db))["keys"] == 3


async def test_changes_are_announced_and_a_new_person_is_not(db: Database, subjects: SubjectKeys) -> None:
    made = await make(db, subjects)
    assert "people" not in await topics(db)
    await change(db, subjects, made.id, region="KR-11")
    assert await topics(db) == {"people": 1}
    await change(db, subjects, made.id, state="blocked")
    assert await topics(db) == {"people": 2, "keys": 1, "sessions": 1}


async def test_keys_of_a_blocked_person_are_refused_until_they_are_unblocked(
    db: Database, subjects: SubjectKeys
) -> None:
    made = await make(db, subjects)
    async with db.begin() as connection:
        await create_key(connection, name="mine", subject=made.id, service_class="resident")
        await create_key(connection, name="another's")

    async def names() -> int:
        async with db.connect() as connection:
            return len(await load_principals(connection))

    assert await names() == 2
    await change(db, subjects, made.id, state="blocked")
    assert await names() == 1
    await change(db, subjects, made.id, state="active")
    assert await names() == 2


SENSELESS = (
    ({"name": "x" * 101}, "at most 100"),
    ({"name": "가" * 1_000_000}, "at most 100"),
    ({"name": "a\x00b"}, "printable"),
    ({"name": "\ud800"}, "printable"),
    ({"address": "no address"}, "e-mail"),
    ({"address": "a@b\u202ec"}, "e-mail"),
    ({"address": "<script>@x"}, "e-mail"),
    ({"address": "a" * 1_000_000 + "@b"}, "e-mail"),
    ({"role": "root"}, "role is one of"),
    ({"organisation": "nobody"}, "modu org list"),
    ({"region": "Seoul, Jongno-gu 1"}, "short code"),
    ({"region": "x" * 33}, "short code"),
    ({"group": "<b>"}, "short code"),
    ({"language": "klingon!"}, "language"),
    ({"history": "yes"}, "true or false"),
)


async def test_what_makes_no_sense_is_refused(sqlite: Database, subjects: SubjectKeys) -> None:
    made = await make(sqlite, subjects)
    for fields, words in SENSELESS:
        with pytest.raises(AccountError, match=words) as caught:
            await make(sqlite, subjects, **fields)
        assert len(str(caught.value)) < 200
        with pytest.raises(AccountError, match=words):
            await change(sqlite, subjects, made.id, **fields)
    for field in ("id", "sealed_profile", "created_at", "nothing"):
        with pytest.raises(AccountError, match="can be changed"):
            await change(sqlite, subjects, made.id, **{field: "x"})
    assert await get(sqlite, subjects, made.id) == made
    async with sqlite.connect() as connection:
        assert await find_people(connection, subjects) == [made]


async def test_what_is_nobody(db: Database, subjects: SubjectKeys) -> None:
    async with db.connect() as connection:
        for person in ("", "sub_", "sub_zzzz", "' OR 1=1", "a\x00b", "\ud800", "x" * 1_000_000):
            with pytest.raises(AccountError, match="there is no person") as caught:
                await get_person(connection, subjects, person)
            assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("  홍  길동\n", "홍 길동"),
        ("\u202eevil\u202c \u2066x\u2069\u200e\u200f\u061c", "evil x"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("e\u0301", "é"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
    ],
)
def test_a_name_is_kept_as_its_characters(given: str, kept: str) -> None:
    """Markup is text: pages escape it. Direction marks, which could show a name as another, go."""
    assert clean_name(given) == kept


@given(st.text(max_size=200))
def test_a_kept_name_is_clean_whatever_was_given(given: str) -> None:
    try:
        kept = clean_name(given)
    except AccountError:
        return
    assert len(kept) <= 100
    assert clean_name(kept) == kept
    assert not any(unicodedata.bidirectional(char) in {"LRE", "RLE", "LRO", "RLO", "PDF"} for char in kept)
    assert "\n" not in kept
    assert "\x00" not in kept


async def test_people_are_found_by_id_name_and_address(db: Database, subjects: SubjectKeys) -> None:
    ann = await make(db, subjects, name="Ann Seo", address="ann@example.kr", role="admin")
    ben = await make(db, subjects, name="서벤", address="ben@example.kr")

    async def found(text: str = "", **narrow: object) -> set[str]:
        async with db.connect() as connection:
            people = await find_people(connection, subjects, text, **narrow)  # type: ignore[arg-type]
        return {person.id for person in people}

    assert await found() == {ann.id, ben.id}
    assert await found("ann") == await found("ANN S") == await found(ann.id) == {ann.id}
    assert await found(ben.id[:20]) == {ben.id}
    assert await found("example.kr") == {ann.id, ben.id}
    assert await found("서") == {ben.id}
    assert await found(role="admin") == {ann.id}
    assert await found(organisation=ann.organisation) == {ann.id, ben.id}
    assert await found(organisation="org_none") == set()
    for nobody in ("sub_%", "%", "_", "\x00", "\ud800", "x" * 1_000_000):
        assert await found(nobody) == set()


async def test_pages_of_people_have_each_once(
    db: Database, subjects: SubjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 4)
    async with db.begin() as connection:
        made = {(await create_person(connection, subjects, name=f"p{n % 2}")).id for n in range(11)}
    for wanted, expected in (("", 11), ("p1", 5)):
        seen, after = [], ""
        async with db.connect() as connection:
            while page := await find_people(connection, subjects, wanted, limit=3, after=after):
                seen += [person.id for person in page]
                after = seen[-1]
        assert len(seen) == len(set(seen)) == expected
        assert set(seen) <= made
        assert seen == sorted(seen)


async def test_a_search_has_an_end(
    sqlite: Database, subjects: SubjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    async with sqlite.begin() as connection:
        for _ in range(7):
            await create_person(connection, subjects, name="p")
        assert len(await find_people(connection, subjects, "p", most=4)) == 4
        assert len(await find_people(connection, subjects, "p")) == 7


async def test_with_a_lost_key_only_names_are_missing(db: Database, subjects: SubjectKeys) -> None:
    made = await make(db, subjects, role="admin", region="KR-11", address="a@b")
    subjects.close()
    subjects.file.write_bytes(b"damaged")
    found = await get(db, subjects, made.id)
    assert (found.name, found.address, found.role, found.region) == ("", "", "admin", "KR-11")
    assert (await change(db, subjects, made.id, state="blocked")).state == "blocked"
    with pytest.raises(KeyringError):
        await change(db, subjects, made.id, name="new")
    with pytest.raises(KeyringError):
        await make(db, subjects)
    assert (await get(db, subjects, made.id)).state == "blocked"


async def test_a_destroyed_key_seals_no_new_name(sqlite: Database, subjects: SubjectKeys) -> None:
    made = await make(sqlite, subjects)
    subjects.destroy(made.id, 1)
    assert (await get(sqlite, subjects, made.id)).name == ""
    with pytest.raises(SubjectGoneError):
        await change(sqlite, subjects, made.id, name="back again")


async def test_only_the_day_is_kept_of_when_a_person_was_here(db: Database, subjects: SubjectKeys) -> None:
    made = await make(db, subjects)
    for now, day in ((86_400 * 10 + 5_000.5, 10), (86_400 * 9, 10), (86_400 * 11, 11)):
        async with db.begin() as connection:
            await note_seen(connection, made.id, now)
        assert (await get(db, subjects, made.id)).seen_on == day * 86_400


def test_roles() -> None:
    assert ROLES == ("resident", "operator", "steward", "officer", "committee", "admin")
    everything = frozenset().union(*PERMISSIONS.values())
    assert PERMISSIONS["admin"] == everything
    assert {role for role in ROLES if may(role, "people")} == {"admin"}
    assert {role for role in ROLES if may(role, "look")} == {"steward", "admin"}
    assert set(ROLES) - {"resident"} == STAFF
    assert not any(may("resident", permission) for permission in everything)


@given(role=st.text(), permission=st.text())
def test_an_unknown_role_or_permission_gives_nothing(role: str, permission: str) -> None:
    assert may(role, permission) == (permission in PERMISSIONS.get(role, ()))
    assert not may("", permission)
    assert not may("admin", permission + "?")
