from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from moduai.accounts import sign_in as module
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import change_person, create_person
from moduai.accounts.sign_in import (
    Attempts,
    BusyError,
    check_password,
    clean_login,
    identities_of,
    identity_digest,
    link_identity,
    make_credential,
    person_of_identity,
    set_password,
)
from moduai.accounts.tables import identities
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys

PASSWORD = "말이 배터리를 바르게"
ISSUER = "https://id.example.kr"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id with the least work that it takes: what is tested is who gets in."""
    from argon2 import PasswordHasher  # noqa: PLC0415

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    nobody = hasher.hash(b"nobody")
    monkeypatch.setattr(module, "_hasher", lambda: hasher)
    monkeypatch.setattr(module, "_nobody", lambda: nobody)


async def person_of(db: Database, subjects: SubjectKeys) -> str:
    async with db.begin() as connection:
        return (await create_person(connection, subjects)).id


async def give(db: Database, keyring: Keyring, person: str, login: str, password: str = PASSWORD) -> None:
    credential = await make_credential(keyring, login, password)
    async with db.begin() as connection:
        await set_password(connection, keyring, person, credential)


async def check(db: Database, keyring: Keyring, login: str, password: str = PASSWORD) -> str | None:
    return await check_password(db, keyring, login, password)


async def test_a_login_and_its_password_let_in(db: Database, subjects: SubjectKeys, keyring: Keyring) -> None:
    ann, ben = await person_of(db, subjects), await person_of(db, subjects)
    await give(db, keyring, ann, "Gildong")
    await give(db, keyring, ben, "홍길동@example.kr", "another password")
    assert await check(db, keyring, "gildong") == ann
    assert await check(db, keyring, "  GILDONG ") == ann
    assert await check(db, keyring, "ｇｉｌｄｏｎｇ") == ann, "width does not matter"
    assert await check(db, keyring, "홍길동@example.kr", "another password") == ben
    for login, password in (
        ("gildong", PASSWORD + "x"),
        ("gildong", ""),
        ("gildong", "another password"),
        ("nobody", PASSWORD),
        ("", ""),
        ("gildong\x00", PASSWORD),
        ("\ud800", "\ud800"),
        ("gildong", PASSWORD + " " * 1_000_000),
        ("x" * 1_000_000, PASSWORD),
    ):
        assert await check(db, keyring, login, password) is None


async def test_the_same_characters_typed_another_way_fit(
    sqlite: Database, subjects: SubjectKeys, keyring: Keyring
) -> None:
    """A Mac sends Hangul taken apart into its letters."""
    ann = await person_of(sqlite, subjects)
    await give(sqlite, keyring, ann, "gildong")
    assert await check(sqlite, keyring, "gildong", unicodedata.normalize("NFD", PASSWORD)) == ann


async def test_a_new_login_or_password_replaces_the_old(
    db: Database, subjects: SubjectKeys, keyring: Keyring
) -> None:
    ann, ben = await person_of(db, subjects), await person_of(db, subjects)
    await give(db, keyring, ann, "gildong")
    await give(db, keyring, ann, "gildong", "a newer password")
    assert await check(db, keyring, "gildong") is None
    assert await check(db, keyring, "gildong", "a newer password") == ann
    await give(db, keyring, ann, "hong")
    assert await check(db, keyring, "gildong", "a newer password") is None
    assert await check(db, keyring, "hong") == ann
    with pytest.raises(AccountError, match="another account"):
        await give(db, keyring, ben, "HONG")
    assert await check(db, keyring, "hong") == ann
    await give(db, keyring, ben, "gildong")
    assert await check(db, keyring, "gildong") == ben, "a login that was given up is free"


async def test_a_blocked_person_is_answered_like_a_wrong_password(
    db: Database, subjects: SubjectKeys, keyring: Keyring
) -> None:
    ann = await person_of(db, subjects)
    await give(db, keyring, ann, "gildong")
    async with db.begin() as connection:
        await link_identity(connection, keyring, ann, ISSUER, "1234")
        await change_person(connection, subjects, ann, state="blocked")
    assert await check(db, keyring, "gildong") is None
    async with db.connect() as connection:
        assert await person_of_identity(connection, keyring, ISSUER, "1234") is None


async def test_an_unknown_login_takes_the_same_work(
    sqlite: Database, subjects: SubjectKeys, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One password is hashed, with the same parameters, whether there is such a login or not."""
    ann = await person_of(sqlite, subjects)
    await give(sqlite, keyring, ann, "gildong")
    async with sqlite.begin() as connection:
        await change_person(connection, subjects, ann, state="blocked")
    work: list[str] = []
    hasher = module._hasher()

    class Counted:
        def verify(self, hashed: str, password: bytes) -> bool:
            work.append(hashed.rsplit("$", 2)[0])
            return hasher.verify(hashed, password)

    monkeypatch.setattr(module, "_hasher", Counted)
    for login, password in (("gildong", PASSWORD), ("gildong", "wrong"), ("nobody", PASSWORD), ("\x00", "")):
        assert await check(sqlite, keyring, login, password) is None
        assert work.pop() == "$argon2id$v=19$m=8,t=1,p=1"
        assert not work


async def test_neither_names_nor_passwords_are_in_the_database(
    sqlite: Database, subjects: SubjectKeys, keyring: Keyring
) -> None:
    ann = await person_of(sqlite, subjects)
    await give(sqlite, keyring, ann, "gildong-the-brave", "correct horse battery")
    async with sqlite.begin() as connection:
        await link_identity(connection, keyring, ann, ISSUER, "subject-1234")
    await sqlite.dispose()
    assert sqlite.file is not None
    kept = sqlite.file.read_bytes()
    for clear in (b"gildong", b"horse", b"subject-1234"):
        assert clear not in kept
    assert b"$argon2id$" in kept


async def test_without_the_keyring_the_database_lets_nobody_in(
    sqlite: Database, subjects: SubjectKeys, keyring: Keyring
) -> None:
    ann = await person_of(sqlite, subjects)
    await give(sqlite, keyring, ann, "gildong")
    other = Keyring(b"\x01" * 32)
    assert await check(sqlite, other, "gildong") is None
    assert identity_digest(other, ISSUER, "1") != identity_digest(keyring, ISSUER, "1")
    await give(sqlite, other, ann, "gildong")  # what an administrator does after the keyring was lost
    assert await check(sqlite, other, "gildong") == ann


async def test_a_hash_that_is_damaged_lets_nobody_in(
    sqlite: Database, subjects: SubjectKeys, keyring: Keyring
) -> None:
    ann = await person_of(sqlite, subjects)
    await give(sqlite, keyring, ann, "gildong")
    for damaged in ("", "nonsense", "$argon2id$v=19$m=8,t=1,p=1$x$y", "$2b$12$abc"):
        async with sqlite.begin() as connection:
            await connection.execute(identities.update().values(password=damaged))
        assert await check(sqlite, keyring, "gildong") is None
        assert await check(sqlite, keyring, "gildong", "") is None


async def test_identities(db: Database, subjects: SubjectKeys, keyring: Keyring) -> None:
    ann, ben = await person_of(db, subjects), await person_of(db, subjects)
    async with db.begin() as connection:
        await link_identity(connection, keyring, ann, ISSUER, "1234")
        await link_identity(connection, keyring, ann, ISSUER, "1234")  # once more changes nothing
        await link_identity(connection, keyring, ben, "https://other.example", "1234")
        with pytest.raises(AccountError, match="another account"):
            await link_identity(connection, keyring, ben, ISSUER, "1234")
        for issuer, name in (("", "x"), ("x", ""), ("x" * 2000, "x"), ("x", "x" * 1_000_000)):
            with pytest.raises(AccountError, match="at most 1,024"):
                await link_identity(connection, keyring, ann, issuer, name)
    async with db.connect() as connection:
        assert await person_of_identity(connection, keyring, ISSUER, "1234") == ann
        assert await person_of_identity(connection, keyring, "https://other.example", "1234") == ben
        for issuer, name in ((ISSUER, "12345"), ("", ""), (ISSUER, "\x00\ud800"), (ISSUER, "1" * 1_000_000)):
            assert await person_of_identity(connection, keyring, issuer, name) is None
        assert [one.issuer for one in await identities_of(connection, ann)] == [ISSUER]
        assert await connection.scalar(select(func.count()).select_from(identities)) == 2


def test_a_providers_name_is_no_local_login(keyring: Keyring) -> None:
    """Two parts that meet in another place are another identity."""
    assert identity_digest(keyring, "a", "bc") != identity_digest(keyring, "ab", "c")
    assert identity_digest(keyring, "local", "x") != identity_digest(keyring, "1:local", "x")


@pytest.mark.parametrize(
    ("login", "password", "words"),
    [
        ("x", PASSWORD, "2 to 64"),
        ("a b", PASSWORD, "letters"),
        ("<script>", PASSWORD, "letters"),
        ("gil\u202edong", PASSWORD, "letters"),
        ("x" * 1_000_000, PASSWORD, "2 to 64"),
        ("gildong", "too short", "10 to 256"),
        ("gildong", "x" * 1_000_000, "10 to 256"),
        ("gildong", "aaaaaaaaaaab", "easy to guess"),
        ("gildong", "my-Gildong-123", "easy to guess"),
    ],
)
async def test_a_login_or_password_that_will_not_do(login: str, password: str, words: str) -> None:
    with pytest.raises(AccountError, match=words):
        await make_credential(Keyring(bytes(32)), login, password)


@given(st.text(max_size=80))
def test_a_login_is_compared_in_one_form(login: str) -> None:
    try:
        kept = clean_login(login)
    except AccountError:
        return
    assert clean_login(kept) == kept
    assert clean_login(f" {login.upper()} ") == clean_login(login.upper())
    assert 2 <= len(kept) <= 64


async def test_few_passwords_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    await asyncio.gather(*(module._hashing(work) for _ in range(20)))
    assert most <= module.AT_ONCE
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    told = await asyncio.gather(*(module._hashing(work) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(each, BusyError) for each in told) == 20 - 3 - module.AT_ONCE
    await module._hashing(work)


async def test_nobody_keeps_a_connection_while_passwords_are_checked(
    sqlite: Database, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many who sign in at once would otherwise take every connection of the worker."""
    checking, go_on = threading.Semaphore(0), threading.Event()

    def fits(*_: object) -> bool:
        checking.release()
        return go_on.wait(10)

    monkeypatch.setattr(module, "_fits", fits)
    asked = [asyncio.create_task(check(sqlite, keyring, f"name-{number}")) for number in range(20)]
    await asyncio.to_thread(checking.acquire)
    async with sqlite.begin() as connection:
        assert await connection.scalar(select(func.count()).select_from(identities)) == 0
    go_on.set()
    assert set(await asyncio.gather(*asked)) == {None}


class TestAttempts:
    ANN, NET = "gildong", "192.0.2.0/24"

    def fail(self, attempts: Attempts, times: int, now: float, login: str = ANN, network: str = NET) -> float:
        """So many wrong attempts, each as soon as it may be; the time after them."""
        for _ in range(times):
            while wait := attempts.begin(login, network, now):
                now += wait
        return now

    def test_a_few_are_free_then_each_wait_is_twice_as_long(self) -> None:
        attempts = Attempts()
        now = self.fail(attempts, 5, 100.0)
        assert now == 100.0
        waits = []
        for _ in range(12):
            waits.append(attempts.begin(self.ANN, self.NET, now))
            now = self.fail(attempts, 1, now)
        assert waits[:4] == [1, 2, 4, 8]
        assert waits[-1] == 900
        assert waits == sorted(waits)

    def test_a_wait_that_is_asked_for_again_does_not_grow(self) -> None:
        attempts = Attempts()
        now = self.fail(attempts, 8, 100.0)
        assert {attempts.begin(self.ANN, self.NET, now) for _ in range(50)} == {8.0}

    def test_many_at_once_gain_nothing(self) -> None:
        attempts = Attempts()
        assert [attempts.begin(self.ANN, self.NET, 100.0) for _ in range(50)].count(0.0) == 5

    def test_success_forgets(self) -> None:
        attempts = Attempts()
        for _ in range(200):
            assert attempts.begin(self.ANN, self.NET, 100.0) == 0.0
            attempts.succeeded(self.ANN, self.NET)

    def test_guessing_from_everywhere_is_slowed_but_does_not_lock_the_owner_out(self) -> None:
        attempts = Attempts()
        now, tried = 100.0, 0
        for number in range(2000):
            tried += attempts.begin(self.ANN, f"net-{number}", now) == 0.0
        assert tried == 20
        assert 0 < attempts.begin(self.ANN, "home", now) <= 60
        assert attempts.begin("other", "home", now) == 0.0

    def test_who_takes_each_turn_does_not_lock_the_owner_out_of_a_device_that_is_known(self) -> None:
        attempts = Attempts()
        for second in range(600):  # each of many networks tries once a second
            for number in range(30):
                attempts.begin(self.ANN, f"net-{number}", 100.0 + second)
        assert attempts.begin(self.ANN, "home", 699.0) > 0
        assert attempts.begin(self.ANN, "home", 699.0, "her browser") == 0.0
        attempts.succeeded(self.ANN, "home", "her browser")
        tried = sum(
            attempts.begin(self.ANN, f"away-{number}", 700.0, "stolen") == 0.0 for number in range(99)
        )
        assert tried == 20, "a device has a count too"

    def test_one_network_that_tries_many_names_is_slowed(self) -> None:
        attempts = Attempts()
        tried = sum(attempts.begin(f"name-{number}", self.NET, 100.0) == 0.0 for number in range(2000))
        assert tried == 30
        assert attempts.begin("name", "another network", 100.0) == 0.0

    def test_after_a_while_all_is_forgotten(self) -> None:
        attempts = Attempts()
        now = self.fail(attempts, 20, 100.0)
        assert attempts.begin(self.ANN, self.NET, now) > 0
        assert attempts.begin(self.ANN, self.NET, now + Attempts.FORGET_S) == 0.0

    def test_a_name_written_another_way_is_the_same(self) -> None:
        attempts = Attempts()
        for login in ("gildong", "GILDONG", " Gildong ", "ｇｉｌｄｏｎｇ", "gilDong"):
            attempts.begin(login, self.NET, 100.0)
        assert attempts.begin("gildong", self.NET, 100.0) > 0

    @settings(max_examples=50)
    @given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=30))
    def test_sharing_a_cell_is_never_looser(self, tries: list[tuple[str, str]]) -> None:
        """With one cell for everything, nothing is let through that would not be alone."""
        apart, together = Attempts(), Attempts()
        together._cell = lambda kind, text: 0  # type: ignore[method-assign]
        for login, network in tries:
            if together.begin(login, network, 100.0) == 0.0:
                assert apart.begin(login, network, 100.0) == 0.0

    def test_memory_is_fixed(self) -> None:
        attempts = Attempts()
        for number in range(3000):
            attempts.begin(f"name-{number}" * 1000, f"net-{number}", 100.0)
        assert len(attempts._failed) == len(attempts._at) == Attempts.CELLS


def test_passwords_are_hashed_as_owasp_asks() -> None:
    program = (
        "import sys; from moduai.accounts import sign_in\n"
        "assert 'argon2' not in sys.modules, 'it is loaded when somebody signs in'\n"
        "print(sign_in._hash(bytes(32), 'x'))"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=environ)
    assert told.stdout.startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")
