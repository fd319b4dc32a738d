"""The signed root of each past day: what the audit log was, said so that it cannot be unsaid.

Words: a root's *statement* is its day, the root before it and the head of every chain at the end of that
day (UTC); the *root* is SHA-256 of the statement, and is signed. The *published* roots are the JSON that
``GET /audit/roots.json`` answers: whoever keeps a copy can show later that the log was changed.

Several processes may seal at once: each day gets one root.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import func, select

from moduai.accounts.audit import FIRST, as_kind, hold
from moduai.accounts.tables import audit, audit_roots
from moduai.store.database import Connection, Database, brief
from moduai.store.feed import announce
from moduai.store.keyring import KeyringError
from moduai.store.signing import SigningKeys

TOPIC = "audit roots"
PURPOSE = "audit"
MARGIN_S = 120
"""A day is sealed this long after its end: clocks of several machines may differ."""
MOST_DAYS = 366
"""Days that are sealed one by one after a long rest, and days that are published."""
EVERY_S = 60.0

log = logging.getLogger(__name__)


class SealError(ValueError):
    """A day cannot be sealed; the text says why."""


class Head(Struct, frozen=True):
    """The last entry of a chain at the end of a day."""

    number: int
    hash: str
    """In hexadecimal."""


class Root(Struct, frozen=True, kw_only=True):
    """The root of one day, as it is published. Bytes are written in hexadecimal."""

    day: str
    """Such as 2026-11-21, in UTC."""
    previous: str
    """The root before it; zeros for the first."""
    heads: dict[str, Head]
    """By writer."""
    root: str
    key: str
    """Id of the key that signed it."""
    signature: str


class Published(Struct, frozen=True, kw_only=True):
    """What is published: the newest roots, oldest first, and the public keys to check them."""

    keys: dict[str, str]
    roots: list[Root]


class _Said(Struct):
    """What the table's column ``heads`` holds."""

    previous: str
    heads: dict[str, Head]


def digest(day: str, previous: str, heads: dict[str, Head]) -> bytes:
    """A root: SHA-256 of a JSON array of its statement, without spaces, in UTF-8, after a name."""
    chains = [[writer, heads[writer].number, heads[writer].hash] for writer in sorted(heads)]
    return hashlib.sha256(msgspec.json.encode(["modu audit root 1", day, previous, chains])).digest()


async def seal_day(connection: Connection, signing: SigningKeys, day: str) -> Root | None:
    """Seal one past day in the caller's write transaction; None if it is sealed already.

    Raises SealError for a day that is not over or before one that is sealed, and KeyringError.
    """
    end = _end(day)
    if time.time() < end + MARGIN_S:
        raise SealError(f"{day} is not over yet")
    await hold(connection)  # nothing is added meanwhile, and of several that seal one does
    last = await _last(connection)
    if last is not None and last.day >= day:
        if await connection.scalar(select(audit_roots.c.day).where(audit_roots.c.day == day)):
            return None
        raise SealError(f"{last.day} is sealed already, so {day} cannot be any more")
    previous = last.root if last is not None else FIRST.hex()
    heads = await _heads(connection, end)
    root = digest(day, previous, heads)
    key, signature = signing.sign(PURPOSE, root)
    said = msgspec.json.encode(_Said(previous, heads), order="deterministic").decode()
    values = {"day": day, "heads": said, "root": root, "key": key, "signature": signature}
    await connection.execute(audit_roots.insert().values(values))
    await announce(connection, TOPIC)
    return Root(day=day, previous=previous, heads=heads, root=root.hex(), key=key, signature=signature.hex())


async def seal_past(db: Database, signing: SigningKeys, now: float) -> int:
    """Seal every day that is over, from the first entry on; returns how many were sealed. Raises
    KeyringError, or one of ``db.errors``.
    """
    async with db.connect() as connection:
        last = await connection.scalar(select(func.max(audit_roots.c.day)))
        first = await connection.scalar(select(func.min(audit.c.at)))
    if first is None:
        return 0
    end = _day(now - MARGIN_S)
    begin = max(_day(first / 1e6), end - timedelta(days=MOST_DAYS))
    if last:
        begin = max(begin, date.fromisoformat(last) + timedelta(days=1))
    sealed = 0
    while begin < end:
        async with db.begin() as connection:
            sealed += await seal_day(connection, signing, begin.isoformat()) is not None
        begin += timedelta(days=1)
    return sealed


class Sealing:
    """Seals each day once it is over."""

    def __init__(self, db: Database, home: Path) -> None:
        self._db, self._home = db, home
        self.failing = ""
        """Why nothing could be sealed at the last try; empty: it could."""

    async def run(self) -> None:
        """Seal until cancelled.

        While the database or the keyring is away, nothing is sealed and it is said in the log; entries are
        recorded all the same, and the day is sealed later. Fails open.
        """
        failures: tuple[type[Exception], ...] = (KeyringError, SealError, *self._db.errors)
        while True:
            was = self.failing
            try:
                await seal_past(self._db, SigningKeys.open(self._home), time.time())
                self.failing = ""
            except failures as error:
                self.failing = brief(error)
                if self.failing != was:
                    log.warning("the audit log cannot be sealed", extra={"why": self.failing})
            await asyncio.sleep(EVERY_S)


async def roots(connection: Connection, limit: int = 0) -> list[Root]:
    """Roots, oldest first; only the newest ones if there is a ``limit``."""
    query = select(audit_roots).order_by(audit_roots.c.day.desc())
    rows = await connection.execute(query.limit(limit) if limit else query)
    return [_root(row) for row in rows][::-1]


async def published(connection: Connection, home: Path, limit: int = MOST_DAYS) -> Published:
    """The newest roots and their public keys; without keys where the keyring is away."""
    try:
        keys = SigningKeys.open(home, create=False).public(PURPOSE)
    except KeyringError:
        keys = {}
    return Published(keys=keys, roots=await roots(connection, limit))


async def _last(connection: Connection) -> Root | None:
    found = await roots(connection, 1)
    return found[0] if found else None


async def _heads(connection: Connection, end: int) -> dict[str, Head]:
    """The last entry of each chain that is of before ``end`` (Unix seconds)."""
    newest = (
        select(audit.c.writer, func.max(audit.c.number).label("number"))
        .where(audit.c.at < end * 1_000_000)
        .group_by(audit.c.writer)
        .subquery()
    )
    same = (audit.c.writer == newest.c.writer) & (audit.c.number == newest.c.number)
    query = select(audit.c.writer, audit.c.number, audit.c.hash).join(newest, same)
    return {row.writer: Head(row.number, bytes(row.hash).hex()) for row in await connection.execute(query)}


def _root(row: Any) -> Root:
    """A row that does not read as a root is one that says nothing: it will not fit its hash."""
    try:
        said = msgspec.json.decode(row.heads, type=_Said)
    except msgspec.DecodeError:
        said = _Said("", {})
    return Root(
        day=as_kind(row.day, str),
        previous=said.previous,
        heads=said.heads,
        root=as_kind(row.root, bytes).hex(),
        key=as_kind(row.key, str),
        signature=as_kind(row.signature, bytes).hex(),
    )


def _day(seconds: float) -> date:
    return datetime.fromtimestamp(seconds, UTC).date()


def _end(day: str) -> int:
    """The first second after a day."""
    start = datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC)
    return int(start.timestamp()) + 86_400
