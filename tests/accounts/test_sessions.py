from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, text

from moduai.accounts import sessions as module
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import Person, change_person, create_person, get_person
from moduai.accounts.sessions import (
    FRESH_S,
    GRACE_S,
    ROTATE_S,
    UNKNOWN,
    Session,
    SessionTable,
    cookie_name,
    device_of,
    digest,
    end_all,
    end_session,
    find_session,
    list_sessions,
    purge_sessions,
    rotate,
    start_session,
)
from moduai.accounts.tables import sessions
from moduai.store.database import Database
from moduai.store.subjects import SubjectKeys

NOW = 1_800_000_000.5
DAY = 86_400


async def person_of(db: Database, subjects: SubjectKeys, **fields: object) -> Person:
    async with db.begin() as connection:
        return await create_person(connection, subjects, **fields)  # type: ignore[arg-type]


async def start(
    db: Database, person: Person, now: float = NOW, device: str = "", **more: int
) -> tuple[str, Session]:
    async with db.begin() as connection:
        return await start_session(connection, person, device, now, **more)


async def find(db: Database, token: str, now: float) -> Session | None:
    async with db.connect() as connection:
        return await find_session(connection, digest(token.encode()), now)


async def turn(db: Database, session: Session, now: float) -> str | None:
    async with db.begin() as connection:
        return await rotate(connection, session, now)


async def version(db: Database) -> int:
    async with db.connect() as connection:
        query = text("SELECT version FROM changes WHERE topic = 'sessions'")
        return await connection.scalar(query) or 0


async def test_a_session_says_whose_it_is(db: Database, subjects: SubjectKeys) -> None:
    person = await person_of(
        db, subjects, role="officer", region="KR-26", group="students", language="ko", history=True
    )
    token, session = await start(db, person)
    assert await find(db, token, NOW) == session
    assert session.id.startswith("ses_")
    assert (session.person, session.role, session.organisation) == (person.id, "officer", person.organisation)
    assert (session.region, session.group, session.language) == ("KR-26", "students", "ko")
    who = session.principal
    assert (who.subject, who.organisation, who.key) == (person.id, person.organisation, "")
    assert (who.service_class, who.role, who.history) == ("resident", "officer", True)
    assert (who.region, who.group, who.expires_at) == ("KR-26", "students", session.expires_at)
    async with db.connect() as connection:
        assert (await get_person(connection, subjects, person.id)).seen_on == int(NOW) // DAY * DAY


async def test_the_token_is_nowhere_in_the_database(sqlite: Database, subjects: SubjectKeys) -> None:
    token, session = await start(sqlite, await person_of(sqlite, subjects))
    await sqlite.dispose()
    assert sqlite.file is not None
    kept = sqlite.file.read_bytes()
    assert session.digest in kept
    assert token[:8].encode() not in kept


async def test_each_sign_in_has_a_token_of_its_own(db: Database, subjects: SubjectKeys) -> None:
    """What a browser sent before it signed in is worth nothing afterwards: no session can be fixed."""
    person = await person_of(db, subjects)
    first, _ = await start(db, person)
    second, _ = await start(db, person)
    assert first != second
    assert len(first) == len(second) == 43
    assert await find(db, "chosen-by-somebody-else", NOW) is None


@pytest.mark.parametrize(
    ("role", "days", "lasts"), [("resident", 30, 30), ("resident", 7, 7), ("admin", 30, 1)]
)
async def test_it_ends_after_its_days_and_staff_sign_in_daily(
    sqlite: Database, subjects: SubjectKeys, role: str, days: int, lasts: int
) -> None:
    token, session = await start(sqlite, await person_of(sqlite, subjects, role=role), days=days)
    end = session.expires_at
    assert end == int(NOW) + lasts * DAY
    assert await find(sqlite, token, end - 1)
    assert await find(sqlite, token, end) is None
    async with sqlite.connect() as connection:
        assert await list_sessions(connection, session.person, end) == []


async def test_a_blocked_person_has_no_session_and_gets_none(db: Database, subjects: SubjectKeys) -> None:
    person = await person_of(db, subjects)
    token, _ = await start(db, person)
    async with db.begin() as connection:
        blocked = await change_person(connection, subjects, person.id, state="blocked")
    assert await find(db, token, NOW) is None
    for one in (person, blocked):  # also where the record was read before
        with pytest.raises(AccountError, match="blocked"):
            await start(db, one)
    async with db.begin() as connection:
        await change_person(connection, subjects, person.id, state="active")
    assert await find(db, token, NOW) is None, "signed out for good"


async def test_another_role_signs_out_and_the_same_does_not(db: Database, subjects: SubjectKeys) -> None:
    person = await person_of(db, subjects)
    token, _ = await start(db, person)
    async with db.begin() as connection:
        await change_person(connection, subjects, person.id, role="resident", region="KR-11")
    found = await find(db, token, NOW)
    assert found is not None
    assert found.region == "KR-11"
    async with db.begin() as connection:
        await change_person(connection, subjects, person.id, role="admin")
    assert await find(db, token, NOW) is None


async def test_rotation(db: Database, subjects: SubjectKeys) -> None:
    old, session = await start(db, await person_of(db, subjects))
    assert await turn(db, session, NOW + ROTATE_S - 2) is None
    later = NOW + ROTATE_S + DAY
    new = await turn(db, session, later)
    assert new is not None
    assert await turn(db, session, later) is None, "of two requests at once, one turns it"
    found = await find(db, new, later)
    assert found is not None
    assert (found.id, found.expires_at) == (session.id, session.expires_at), "it does not last longer"
    previous = await find(db, old, later + GRACE_S - 1)
    assert previous is not None
    assert previous.until == previous.principal.expires_at == int(later) + GRACE_S
    assert await find(db, old, later + GRACE_S) is None
    assert await find(db, new, later + DAY)
    async with db.connect() as connection:
        (listed,) = await list_sessions(connection, session.person, later)
    assert listed.seen_at == int(later)


async def test_forms_from_before_a_rotation_are_still_taken(db: Database, subjects: SubjectKeys) -> None:
    _, first = await start(db, await person_of(db, subjects))
    new = await turn(db, first, NOW + ROTATE_S)
    assert new
    second = await find(db, new, NOW + ROTATE_S)
    assert second
    assert second.takes(first.form_token)
    assert second.takes(second.form_token)
    assert first.form_token != second.form_token
    _, other = await start(db, await person_of(db, subjects))
    for wrong in ("", other.form_token, first.form_token[:-1], first.form_token + "0", "\ud800", "é"):
        assert not second.takes(wrong)


async def test_an_ended_session_is_refused(db: Database, subjects: SubjectKeys) -> None:
    person, other = await person_of(db, subjects), await person_of(db, subjects)
    token, session = await start(db, person)
    kept, one = await start(db, person)
    theirs, _ = await start(db, other)
    assert await version(db) == 0
    async with db.begin() as connection:
        assert not await end_session(connection, session.id, person=other.id), "not another's"
        assert await end_session(connection, session.id, person=person.id)
        assert not await end_session(connection, session.id)
    assert await find(db, token, NOW) is None
    assert await version(db) == 1
    gone, _ = await start(db, person)
    async with db.begin() as connection:
        assert await end_all(connection, person.id, keep=one.id) == 1
    assert await find(db, gone, NOW) is None
    assert await find(db, kept, NOW)
    async with db.begin() as connection:
        assert await end_all(connection, person.id) == 1
    assert await find(db, theirs, NOW)
    assert await version(db) == 3


async def test_a_person_has_so_many_at_most(
    db: Database, subjects: SubjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SESSIONS", 3)
    person = await person_of(db, subjects)
    tokens = [(await start(db, person, NOW + number))[0] for number in range(5)]
    found = [bool(await find(db, token, NOW + 5)) for token in tokens]
    assert found == [False, False, True, True, True]


async def test_the_purge_takes_what_has_ended(db: Database, subjects: SubjectKeys) -> None:
    person = await person_of(db, subjects)
    await start(db, person, days=1)
    await start(db, person, days=3)
    async with db.begin() as connection:
        assert await purge_sessions(connection, NOW + DAY + 1) == 1
        assert await purge_sessions(connection, NOW + DAY + 1) == 0
        assert await connection.scalar(select(func.count()).select_from(sessions)) == 1


async def test_what_a_device_says_of_itself_is_cut(sqlite: Database, subjects: SubjectKeys) -> None:
    person = await person_of(sqlite, subjects)
    await start(sqlite, person, device="\u202e<b>\x00" + "x" * 1_000_000)
    async with sqlite.connect() as connection:
        (listed,) = await list_sessions(connection, person.id, NOW)
    assert listed.device == "<b>" + "x" * 57


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox · Linux"),
        (
            "(Linux; Android 10; K) SamsungBrowser/27.0 Chrome/125.0 Safari/537.36",
            "Samsung Internet · Android",
        ),
        ("(Windows NT 10.0; Win64; x64) Chrome/130.0.0.0 Whale/4.29 Safari/537.36", "Whale · Windows"),
        ("(iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari · iPhone"),
        ("curl/8", ""),
        ("<script>" * 100_000, ""),
    ],
)
def test_devices_in_words(agent: str, shown: str) -> None:
    assert device_of(agent) == shown


def test_the_cookie_on_https_is_this_hosts_alone() -> None:
    assert cookie_name(secure=True) == "__Host-modu_session"
    assert cookie_name(secure=False) == "modu_session"


async def test_the_table_knows_a_token_after_it_was_loaded(db: Database, subjects: SubjectKeys) -> None:
    token, session = await start(db, await person_of(db, subjects))
    table, cookie = SessionTable(), token.encode()
    assert table.find(cookie, NOW) is UNKNOWN
    assert await table.load(db, cookie, NOW) == session
    assert table.find(cookie, NOW + FRESH_S - 1) == session
    assert table.find(cookie, NOW + FRESH_S) is UNKNOWN
    assert await table.load(db, b"nonsense", NOW) is None
    assert table.find(b"nonsense", NOW) is None
    assert table.find(b"x" * 1_000_000, NOW) is None
    assert table.find(b"", NOW) is UNKNOWN
    assert len(table) == 1


async def test_the_table_forgets_when_told(sqlite: Database, subjects: SubjectKeys) -> None:
    token, session = await start(sqlite, await person_of(sqlite, subjects))
    other, _ = await start(sqlite, await person_of(sqlite, subjects))
    table = SessionTable()
    for cookie in (token, other, "nonsense"):
        await table.load(sqlite, cookie.encode(), NOW)
    before = table.version
    table.drop(session.person)
    assert table.find(token.encode(), NOW) is UNKNOWN
    assert isinstance(table.find(other.encode(), NOW), Session)
    table.clear()
    assert table.find(other.encode(), NOW) is UNKNOWN
    assert table.find(b"nonsense", NOW) is UNKNOWN
    assert table.version == before + 2
    async with sqlite.begin() as connection:
        await end_all(connection, session.person)
    assert await table.load(sqlite, token.encode(), NOW) is None


async def test_what_was_read_before_a_change_is_not_kept(
    sqlite: Database, subjects: SubjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session ends and the feed tells it while an older look at it is still under way."""
    token, session = await start(sqlite, await person_of(sqlite, subjects))
    table = SessionTable()

    async def look(*_: object) -> Session:
        table.clear()
        return session

    monkeypatch.setattr(module, "find_session", look)
    await table.load(sqlite, token.encode(), NOW)
    assert table.find(token.encode(), NOW) is UNKNOWN


async def test_a_previous_token_is_not_believed_longer_than_it_is_good(
    sqlite: Database, subjects: SubjectKeys
) -> None:
    token, session = await start(sqlite, await person_of(sqlite, subjects))
    later = NOW + ROTATE_S
    await turn(sqlite, session, later)
    table = SessionTable()
    assert await table.load(sqlite, token.encode(), later + GRACE_S - 2)
    assert isinstance(table.find(token.encode(), later + GRACE_S - 2), Session)
    assert table.find(token.encode(), later + GRACE_S) is UNKNOWN
    assert await table.load(sqlite, token.encode(), later + GRACE_S) is None
    # a worker that knew the token before the rotation
    table = SessionTable()
    table.put(session.digest, session, later - 1)
    assert table.find(token.encode(), later + 60) is UNKNOWN


async def test_while_the_database_is_away_known_sessions_stay_good(
    sqlite: Database, subjects: SubjectKeys, tmp_path: Path
) -> None:
    token, session = await start(sqlite, await person_of(sqlite, subjects))
    table, cookie = SessionTable(), token.encode()
    await table.load(sqlite, cookie, NOW)
    await sqlite.dispose()
    assert sqlite.file
    sqlite.file.rename(tmp_path / "away")
    assert await table.load(sqlite, cookie, NOW + 3600) == session
    with pytest.raises(sqlite.errors):
        await table.load(sqlite, b"never seen", NOW)
    table.clear()
    with pytest.raises(sqlite.errors):
        await table.load(sqlite, cookie, NOW)
    (tmp_path / "away").rename(sqlite.file)
    assert await table.load(sqlite, cookie, NOW + 3600) == session


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", 10)
    table = SessionTable()
    for number in range(100):
        table.put(bytes([number]) * 32, None, NOW)
    assert len(table._none) == 10
    assert len(table) == 0


@given(token=st.binary(max_size=200))
def test_no_token_is_a_session_of_an_empty_table(token: bytes) -> None:
    assert not isinstance(SessionTable().find(token, NOW), Session)


async def test_a_look_up_takes_microseconds(sqlite: Database, subjects: SubjectKeys) -> None:
    """Under 1 µs here; the limit leaves room for a busy machine."""
    token, _ = await start(sqlite, await person_of(sqlite, subjects))
    table, cookie = SessionTable(), token.encode()
    await table.load(sqlite, cookie, NOW)
    begun = time.process_time()
    for _ in range(10_000):
        table.find(cookie, NOW)
    assert (time.process_time() - begun) / 10_000 < 10e-6
