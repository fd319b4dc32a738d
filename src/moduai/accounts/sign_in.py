"""How people sign in: identities (an issuer's name for a person), local passwords, and how often to try.

An identity is kept as a digest with a key from the keyring, so the database does not say who anybody is
elsewhere. A password is hashed with argon2id, over a digest with another such key: a stolen database alone
cannot be guessed at. An answer for an unknown name is the same, and takes the same work, as for a wrong
password.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import time
import unicodedata
from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from sqlalchemy import delete, select, update

from moduai.accounts.organisations import AccountError
from moduai.accounts.tables import identities, people
from moduai.store.database import Connection, Database
from moduai.store.keyring import Keyring

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

LOCAL = "local"
"""Issuer of the names that people sign in with here."""
LEAST_PASSWORD, MOST_PASSWORD = 10, 256
MOST_LOGIN = 64
MOST_NAME = 1024
"""Longest name that an issuer may have for a person."""
AT_ONCE = 2
"""Passwords that are hashed at once; each takes 19 MiB and some 50 ms of a processor."""
MOST_WAITING = 100
"""Passwords that wait to be hashed: some three seconds; further people are told to try again."""


LIMITS = {"pair": (5, 900), "login": (20, 60), "network": (30, 300)}
"""How many may fail, and the longest wait in seconds: a login from one network, a login, a network."""


class TakenError(AccountError):
    """The login or identity is another person's."""


class BusyError(AccountError):
    """Too many passwords are waiting to be checked: worth trying again in a moment."""


class Credential(Struct, frozen=True):
    """A login and what is kept of its password."""

    login: str
    hashed: str


class Identity(Struct, frozen=True, kw_only=True):
    """One way that a person signs in; whose name it is cannot be read back."""

    issuer: str
    created_at: int


def identity_digest(keyring: Keyring, issuer: str, name: str) -> bytes:
    """What is kept of an issuer's name for a person."""
    said = f"{len(issuer)}:{issuer}:{name}".encode("utf-8", "surrogatepass")
    return hmac.digest(keyring.secret("identities"), said, "sha256")


async def link_identity(
    connection: Connection, keyring: Keyring, person: str, issuer: str, name: str
) -> None:
    """Let a person sign in as an issuer's ``name``. Raises AccountError where that is someone's already."""
    if not (issuer and name and len(issuer) <= MOST_NAME and len(name) <= MOST_NAME):
        raise AccountError(f"an identity has an issuer and a name of at most {MOST_NAME:,} characters each")
    await _link(connection, identity_digest(keyring, issuer, name), person, issuer, "")


async def person_of_identity(connection: Connection, keyring: Keyring, issuer: str, name: str) -> str | None:
    """Id of the person whom an issuer knows as ``name``; None where there is none, or it is blocked."""
    if len(issuer) > MOST_NAME or len(name) > MOST_NAME:
        return None
    query = select(people.c.id).select_from(identities.join(people, identities.c.person == people.c.id))
    query = query.where(identities.c.digest == identity_digest(keyring, issuer, name))
    found: str | None = await connection.scalar(query.where(people.c.state == "active"))
    return found


async def identities_of(connection: Connection, person: str) -> list[Identity]:
    """The ways in which a person signs in, the oldest first."""
    query = select(identities.c.issuer, identities.c.created_at).where(identities.c.person == person)
    rows = await connection.execute(query.order_by(identities.c.created_at, identities.c.issuer))
    return [Identity(**row._mapping) for row in rows]


async def make_credential(keyring: Keyring, login: str, password: str) -> Credential:
    """What is to be kept of a login and its password. It takes a while, so no transaction should be open.

    Raises AccountError where either will not do, BusyError.
    """
    login = clean_login(login)
    _check_password(password, login)
    return Credential(login, await _hashing(_hash, keyring.secret("passwords"), password))


async def set_password(connection: Connection, keyring: Keyring, person: str, credential: Credential) -> None:
    """Let a person sign in here with a login and a password, instead of any that they had.

    Raises TakenError where the login is another's.
    """
    kept = identity_digest(keyring, LOCAL, credential.login)
    others = (identities.c.person == person, identities.c.issuer == LOCAL, identities.c.digest != kept)
    await connection.execute(delete(identities).where(*others))
    mine = update(identities).where(identities.c.digest == kept, identities.c.person == person)
    if (await connection.execute(mine.values(password=credential.hashed))).rowcount == 0:
        await _link(connection, kept, person, LOCAL, credential.hashed)


async def check_password(database: Database, keyring: Keyring, login: str, password: str) -> str | None:
    """Id of the person with this login and password; None if either is wrong or the person is blocked.

    Fails closed. It takes the same work whatever is wrong: an unknown login is checked against a hash that
    nothing fits. No connection is held while it is checked. Raises BusyError, or one of ``database.errors``.
    """
    query = select(identities.c.person, identities.c.password, people.c.state)
    query = query.select_from(identities.join(people, identities.c.person == people.c.id))
    wanted = identity_digest(keyring, LOCAL, _folded(login[:MOST_NAME]))
    async with database.connect() as connection:
        row = (await connection.execute(query.where(identities.c.digest == wanted))).first()
    secret, given = keyring.secret("passwords"), password[:MOST_PASSWORD]
    hashed = row.password if row is not None and row.password else ""
    fits = await _hashing(_fits, secret, hashed, given)
    if row is None or not (fits and row.state == "active" and len(password) <= MOST_PASSWORD):
        return None
    return str(row.person)


def clean_login(login: str) -> str:
    """A login as it is compared: case and width do not matter. Raises AccountError."""
    folded = _folded(login[: 4 * MOST_LOGIN])
    if not (2 <= len(folded) <= MOST_LOGIN and all(char.isalnum() or char in "-_.@+" for char in folded)):
        raise AccountError(f"a login has 2 to {MOST_LOGIN} letters, digits or -_.@+")
    return folded


def same_login(login: str) -> str:
    """Anything as it is compared with logins."""
    return _folded(login[:MOST_NAME])


class Attempts:
    """How often one may try to sign in, in the memory of one worker.

    Counted are a login from one network, a login from anywhere, and a network: each may fail a few times,
    then waits twice as long after each failure. A login alone waits a minute at most; but who tries it from
    many networks takes each turn, so a *device* on which its owner signed in before has a count of its own
    instead: nobody locks an owner out there. Counts lie in a fixed number of cells, by a digest that only
    this process can make: two that share a cell make it stricter, never looser, and memory is bounded. Fails
    closed: an attempt counts before it is checked, so many at once gain nothing.
    """

    CELLS = 1 << 16
    FORGET_S = 3600

    def __init__(self, limits: Mapping[str, tuple[int, int]] = LIMITS) -> None:
        """``limits``: of which kinds there are counts, how many may fail and the longest wait in seconds."""
        self._limits = limits
        self._key = os.urandom(32)
        self._failed = array("H", bytes(2 * self.CELLS))
        self._at = array("d", bytes(8 * self.CELLS))

    def begin(self, login: str, network: str, now: float, device: str = "") -> float:
        """Seconds to wait before another attempt; 0.0: go on, and this attempt counts as failed until
        ``succeeded``. ``now`` must not go back: give ``time.monotonic()``. ``device`` names one on which this
        login signed in before; the caller has made sure of that.
        """
        cells = self._cells(login, network, device)
        wait = max(self._wait(cell, kind, now) for kind, cell in cells.items())
        if wait > 0:
            return wait
        for cell in cells.values():
            self._failed[cell] = min(self._count(cell, now) + 1, 60_000)
            self._at[cell] = now
        return 0.0

    def succeeded(self, login: str, network: str, device: str = "") -> None:
        """Take back what ``begin`` counted, and forget the login's failures."""
        cells = self._cells(login, network, device)
        self._failed[cells["pair"]] = self._failed[cells["login"]] = 0
        self._failed[cells["network"]] = max(self._failed[cells["network"]] - 1, 0)

    def _cells(self, login: str, network: str, device: str) -> dict[str, int]:
        name = same_login(login)
        said = {"pair": f"{network}\n{name}", "login": f"{device}\n{name}", "network": network}
        return {kind: self._cell(kind, said[kind]) for kind in self._limits}

    def _cell(self, kind: str, text: str) -> int:
        person = kind.encode()
        hashed = blake2b(text.encode("utf-8", "replace"), key=self._key, person=person, digest_size=8)
        return int.from_bytes(hashed.digest(), "big") % self.CELLS

    def _count(self, cell: int, now: float) -> int:
        return self._failed[cell] if now < self._at[cell] + self.FORGET_S else 0

    def _wait(self, cell: int, kind: str, now: float) -> float:
        free, longest = self._limits[kind]
        over = self._count(cell, now) - free
        if over < 0:
            return 0.0
        return max(self._at[cell] + min(2.0 ** min(over, 12), longest) - now, 0.0)


async def _link(connection: Connection, kept: bytes, person: str, issuer: str, hashed: str) -> None:
    taken = await connection.scalar(select(identities.c.person).where(identities.c.digest == kept))
    if taken is not None and taken != person:
        raise TakenError("this name belongs to another account")
    if taken is None:
        values = {"digest": kept, "person": person, "issuer": issuer, "password": hashed}
        await connection.execute(identities.insert().values({**values, "created_at": int(time.time())}))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _check_password(password: str, login: str) -> None:
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise AccountError(f"a password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters")
    if len(set(password)) < 5 or login in password.casefold():
        raise AccountError("this password is too easy to guess: a few words that only you would put together")


async def _hashing(work: Callable[..., T], *arguments: object) -> T:
    """Work in one of ``AT_ONCE`` threads, so that memory and processor stay bounded. Raises BusyError where
    ``MOST_WAITING`` wait already (fails closed).
    """
    if len(_at_work) >= AT_ONCE + MOST_WAITING:
        raise BusyError("many people are signing in: try again in a moment")
    future = asyncio.get_running_loop().run_in_executor(_threads(), work, *arguments)
    _at_work.add(future)
    future.add_done_callback(_at_work.discard)
    return await future


_at_work: set[asyncio.Future[Any]] = set()


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "password")


@cache
def _hasher() -> PasswordHasher:
    """Argon2id with OWASP's parameters for 19 MiB (Password Storage Cheat Sheet)."""
    from argon2 import PasswordHasher  # noqa: PLC0415  (only who signs in here needs it)

    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


@cache
def _nobody() -> str:
    """A hash that nothing fits."""
    return _hasher().hash(os.urandom(32))


def _hash(secret: bytes, password: str) -> str:
    return _hasher().hash(_keyed(secret, password))


def _fits(secret: bytes, hashed: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415

    nobody = _nobody()  # made in either case
    try:
        return _hasher().verify(hashed or nobody, _keyed(secret, password))
    except (VerificationError, InvalidHashError):
        return False


def _keyed(secret: bytes, password: str) -> bytes:
    """The same for every way in which a keyboard writes the same characters."""
    said = unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
    return hmac.digest(secret, said, "sha256")
