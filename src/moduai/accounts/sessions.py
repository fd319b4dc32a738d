"""Sessions: how the page knows a resident. A cookie holds a random token, the database its digest.

A session begins at each sign-in with a new token (one that was there before is worth nothing), has a new
token every ``ROTATE_S``, and ends after the days of the settings, a staff member's after ``STAFF_S``.
Ending one and changing a person are announced, so that every worker lets go of what it knows within
milliseconds; beginning and rotating need not be: what a worker knows, it looks up again after ``FRESH_S``.
"""

from __future__ import annotations

import enum
import hmac
import secrets
from collections import OrderedDict
from hashlib import sha256
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Select, and_, delete, or_, select, update

from moduai.accounts.organisations import AccountError
from moduai.accounts.people import Person, note_seen
from moduai.accounts.principal import Principal
from moduai.accounts.roles import STAFF
from moduai.accounts.tables import people, sessions
from moduai.store.database import Connection, Database
from moduai.store.feed import announce

TOPIC = "sessions"
COOKIE = "modu_session"
SECURE_COOKIE = "__Host-modu_session"
"""The cookie's name on https: browsers take it from this host alone, for every path, over TLS."""
DAYS = 30
ROTATE_S = 12 * 3600
STAFF_S = 24 * 3600
"""Longest session of staff, whatever the settings say."""
FRESH_S = 30
"""How long a worker believes what it looked up."""
GRACE_S = 60 - FRESH_S
"""How long the previous token is taken after a rotation; with ``FRESH_S`` it works for 60 s at most."""
MOST_SESSIONS = 50
"""A person's; a further sign-in ends the oldest."""
MOST_DEVICE = 60
MOST_TOKEN = 100
"""Longest token that is looked at."""
HELD = 20_000
"""Sessions that a worker has in memory; and as many tokens that are none."""


class Unknown(enum.Enum):
    """Not in memory: ``load`` says what it is."""

    UNKNOWN = enum.auto()


UNKNOWN: Final = Unknown.UNKNOWN


class Session(Struct, frozen=True, kw_only=True):
    """A session that is valid now, and its person. Times are Unix seconds."""

    id: str
    person: str
    role: str
    organisation: str
    region: str
    group: str
    history: bool
    language: str
    created_at: int
    rotated_at: int
    expires_at: int
    until: int
    """When the token that it was found by is refused: ``expires_at``, or sooner for a previous token."""
    digest: bytes
    """That of its present token."""
    previous: bytes
    """That of the token before it; empty if there was none."""
    principal: Principal

    @property
    def form_token(self) -> str:
        """What forms of this session carry, so that no other site can send them."""
        return _form_token(self.digest)

    def takes(self, form_token: str) -> bool:
        """Whether a form is this session's, shown before its last rotation or since. Fails closed."""
        given = form_token.encode("utf-8", "replace")
        known = [_form_token(digest).encode() for digest in (self.digest, self.previous) if digest]
        return any(hmac.compare_digest(given, each) for each in known)


class SessionInfo(Struct, frozen=True, kw_only=True):
    """What a person may see of a session. ``seen_at`` is exact to ``ROTATE_S``."""

    id: str
    device: str
    created_at: int
    seen_at: int
    expires_at: int


def cookie_name(*, secure: bool) -> str:
    """The cookie's name: on https the one that no other host can set."""
    return SECURE_COOKIE if secure else COOKIE


def digest(token: bytes) -> bytes:
    """What is kept of a token: SHA-256. It is random, so nothing slower is needed."""
    return sha256(token).digest()


async def start_session(
    connection: Connection, person: Person, device: str, now: float, *, days: int = DAYS
) -> tuple[str, Session]:
    """Begin a session with a token of its own. ``device`` is shown to the person; see ``device_of``.

    Raises AccountError for a person who is blocked.
    """
    if person.state != "active":
        raise AccountError("this account is blocked")
    at, token = int(now), secrets.token_urlsafe(32)
    kept = digest(token.encode())
    lasts = min(days * 86_400, STAFF_S) if person.role in STAFF else days * 86_400
    values = {
        "id": f"ses_{secrets.token_hex(12)}",
        "digest": kept,
        "previous": b"",
        "person": person.id,
        "device": _shown(device),
        "created_at": at,
        "rotated_at": at,
        "seen_at": at,
        "expires_at": at + lasts,
    }
    await connection.execute(sessions.insert().values(values))
    await note_seen(connection, person.id, now)
    await _bound(connection, person.id)
    found = await find_session(connection, kept, now)
    if found is None:
        raise AccountError("this account is blocked")  # since ``person`` was read
    return token, found


async def find_session(connection: Connection, token_digest: bytes, now: float) -> Session | None:
    """The session of a token; None if there is none, it has ended or its person is blocked (fails closed)."""
    by = or_(
        sessions.c.digest == token_digest,
        and_(sessions.c.previous == token_digest, sessions.c.rotated_at > int(now) - GRACE_S),
    )
    query = _QUERY.where(by, sessions.c.expires_at > int(now), people.c.state == "active")
    row = (await connection.execute(query)).first()
    if row is None:
        return None
    values = dict(row._mapping)
    values["digest"], values["previous"] = bytes(row.digest), bytes(row.previous)
    current = values["digest"] == token_digest
    until = row.expires_at if current else min(row.expires_at, row.rotated_at + GRACE_S)
    principal = Principal(
        subject=row.person,
        organisation=row.organisation,
        service_class="resident",
        expires_at=until,
        region=row.region,
        group=row.group,
        history=row.history,
        role=row.role,
    )
    return Session(**values, until=until, principal=principal)


async def rotate(connection: Connection, session: Session, now: float) -> str | None:
    """A new token, if it is time for one; None if not, or if another request was first."""
    at = int(now)
    if at < session.rotated_at + ROTATE_S:
        return None
    token = secrets.token_urlsafe(32)
    new = {"digest": digest(token.encode()), "previous": session.digest, "rotated_at": at, "seen_at": at}
    where = (sessions.c.id == session.id, sessions.c.digest == session.digest, sessions.c.expires_at > at)
    changed = await connection.execute(update(sessions).where(*where).values(new))
    if changed.rowcount != 1:
        return None
    await note_seen(connection, session.person, now)
    return token


async def end_session(connection: Connection, session: str, *, person: str = "") -> bool:
    """End one by id, only if it is ``person``'s where one is named; whether there was one."""
    if not session.isprintable():
        return False
    where = [sessions.c.id == session, *([sessions.c.person == person] if person else [])]
    return await _end(connection, delete(sessions).where(*where)) == 1


async def end_all(connection: Connection, person: str, *, keep: str = "") -> int:
    """End every session of a person but the one named ``keep``; how many there were."""
    where = (sessions.c.person == person, sessions.c.id != keep)
    return await _end(connection, delete(sessions).where(*where))


async def end_everybodys(connection: Connection) -> int:
    """End every session there is; how many there were."""
    return await _end(connection, delete(sessions))


async def list_sessions(connection: Connection, person: str, now: float) -> list[SessionInfo]:
    """A person's sessions that have not ended, the latest first."""
    columns = [sessions.c[name] for name in SessionInfo.__struct_fields__]
    query = select(*columns).where(sessions.c.person == person, sessions.c.expires_at > int(now))
    query = query.order_by(sessions.c.seen_at.desc(), sessions.c.id)
    return [SessionInfo(**row._mapping) for row in await connection.execute(query)]


async def purge_sessions(connection: Connection, now: float) -> int:
    """Delete those that have ended; how many. Nothing is announced: they are refused already."""
    gone = await connection.execute(delete(sessions).where(sessions.c.expires_at <= int(now)))
    return gone.rowcount


def device_of(user_agent: str) -> str:
    """A browser and a system in words, for people to know their sessions by; no versions are kept."""
    text = user_agent[:1000]
    browser = next((name for mark, name in _BROWSERS if mark in text), "")
    system = next((name for mark, name in _SYSTEMS if mark in text), "")
    return " · ".join(filter(None, (browser, system)))


class SessionTable:
    """What a worker knows of sessions, by the digest of their tokens. Fails closed: what it does not know
    must be looked up.
    """

    __slots__ = ("_held", "_none", "version")

    def __init__(self) -> None:
        self._held: OrderedDict[bytes, tuple[Session, float]] = OrderedDict()
        self._none: OrderedDict[bytes, float] = OrderedDict()
        self.version = 0
        """Grows with every change: what was found before may no longer be true."""

    def __len__(self) -> int:
        return len(self._held)

    def find(self, token: bytes, now: float) -> Session | Unknown | None:
        """The session of a token; None for what is known to be none; ``UNKNOWN`` if ``load`` must tell."""
        if len(token) > MOST_TOKEN:
            return None
        by = sha256(token).digest()
        found = self._held.get(by)
        if found is None:
            return None if _fresh(self._none.get(by, 0.0), now) else UNKNOWN
        session, fresh_until = found
        if now >= session.until:
            return None if now >= session.expires_at else UNKNOWN
        return session if _fresh(fresh_until, now) else UNKNOWN

    def put(self, token_digest: bytes, session: Session | None, now: float) -> None:
        """Remember what a token is, for ``FRESH_S``; the longest unused are forgotten beyond ``HELD``."""
        self._none.pop(token_digest, None)
        if session is None:
            self._held.pop(token_digest, None)
            self._none[token_digest] = now + FRESH_S
            _keep(self._none)
        else:
            self._held[token_digest] = (session, now + FRESH_S)
            self._held.move_to_end(token_digest)
            _keep(self._held)

    def drop(self, person: str) -> None:
        """Forget one person's sessions."""
        for by in [by for by, (session, _) in self._held.items() if session.person == person]:
            del self._held[by]
        self.version += 1

    def clear(self) -> None:
        """Forget all: on the topics "sessions" and "people"."""
        self._held.clear()
        self._none.clear()
        self.version += 1

    async def load(self, db: Database, token: bytes, now: float) -> Session | None:
        """The session of a token, from the database if it is not known well enough.

        While the database is away, a session that was known stays good until it expires or a change is
        heard of (keys do the same); for any other token one of ``db.errors`` is raised: fails closed.
        """
        known = self.find(token, now)
        if not isinstance(known, Unknown):
            return known
        by, version = sha256(token).digest(), self.version
        try:
            async with db.connect() as connection:
                session = await find_session(connection, by, now)
        except db.errors:
            held = self._held.get(by)
            if held is None or now >= held[0].until:
                raise
            return held[0]
        if version == self.version:  # or what was read may be older than a change heard of meanwhile
            self.put(by, session, now)
        return session


def _fresh(until: float, now: float) -> bool:
    """Nothing is believed for longer than ``FRESH_S``, also where the clock went back. Fails closed."""
    return now < until <= now + FRESH_S


def _keep(held: OrderedDict[bytes, Any]) -> None:
    if len(held) > HELD:
        held.popitem(last=False)


async def _end(connection: Connection, statement: Any) -> int:
    gone: int = (await connection.execute(statement)).rowcount
    if gone:
        await announce(connection, TOPIC)
    return gone


async def _bound(connection: Connection, person: str) -> None:
    """End a person's oldest sessions beyond ``MOST_SESSIONS``."""
    newest = select(sessions.c.id).where(sessions.c.person == person)
    newest = newest.order_by(sessions.c.created_at.desc(), sessions.c.id).offset(MOST_SESSIONS)
    if older := (await connection.execute(newest)).scalars().all():
        await _end(connection, delete(sessions).where(sessions.c.id.in_(older)))


def _form_token(session_digest: bytes) -> str:
    return hmac.digest(session_digest, b"modu form", "sha256")[:20].hex()


def _shown(device: str) -> str:
    return "".join(char for char in device[: 4 * MOST_DEVICE] if char.isprintable())[:MOST_DEVICE]


_BROWSERS = (
    ("Whale/", "Whale"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("KAKAOTALK", "KakaoTalk"),
    ("NAVER(", "Naver"),
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)
_OF_SESSION = ("id", "person", "created_at", "rotated_at", "expires_at", "digest", "previous")
_OF_PERSON = ("role", "organisation", "region", "group", "history", "language")
_QUERY: Select[Any] = select(
    *(sessions.c[name] for name in _OF_SESSION), *(people.c[name] for name in _OF_PERSON)
).select_from(sessions.join(people, sessions.c.person == people.c.id))
