"""The audit log: who did what to what, in chains that show every change.

Words: an *entry* is one action of staff or of the service; entries of one *writer* stand in a *chain*,
each with the SHA-256 of its own canonical bytes, which hold the hash of the one before it; the *head*
of a chain is its last entry; the *root* of a day is the hash of all heads at its end and of the root
before it, signed (Ed25519, purpose "audit") and published.

Rule: an entry is written in the transaction of what it tells of, so neither is there without the other.
It holds ids, codes and numbers, never a person's text, name or address. Entries are never changed or
deleted. Fails closed: an action that cannot be recorded does not happen.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import func, select, tuple_

from moduai.accounts.tables import audit
from moduai.store.database import Connection

FIRST = bytes(32)
"""What stands for the previous hash in the first entry of a chain."""
MOST_WORD = 200
"""Longest actor, action, target or text in a detail, in characters: room for ids, not for people's text."""
MOST_DETAIL = 4000
"""Longest detail in characters of JSON."""
_LOCK = 0x6D6F6461
"""PostgreSQL's advisory locks of the log: one for all of it, and one a writer."""
_PAGE = 1000

Value = str | int | bool | list[str]
T = TypeVar("T", str, int, bytes)


class AuditError(ValueError):
    """An entry is not valid; nothing was recorded."""


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of the log."""

    writer: str
    number: int
    """Its place in the writer's chain, from 1."""
    at: int
    """Unix time in microseconds."""
    actor: str
    """A person's id, "cli" (who may use the machine's command line) or "system"."""
    action: str
    """What was done, such as ``key.revoke``."""
    target: str
    """The id it was done to; empty if there is none."""
    detail: str
    """Canonical JSON: an object of ids, codes and numbers."""
    previous: bytes
    hash: bytes

    @property
    def place(self) -> tuple[int, str, int]:
        """Where it stands among all entries: for ``list_entries(before=…)``."""
        return self.at, self.writer, self.number


async def record(
    connection: Connection,
    *,
    actor: str,
    action: str,
    target: str = "",
    detail: Mapping[str, Value] | None = None,
    writer: str = "",
) -> Entry:
    """Add an entry in the caller's write transaction; best as its last step, for it holds the chain's
    lock until the end. Two transactions of one writer wait for each other, so a chain cannot fork.

    ``writer`` is by default "cli", "system" or, for people, "people". Raises AuditError. Fails closed:
    where the entry cannot be written the whole transaction fails.
    """
    writer = writer or (actor if actor in {"cli", "system"} else "people")
    text = _canonical(detail or {})
    for name, value in (("writer", writer), ("actor", actor), ("action", action)):
        if not value:
            raise AuditError(f"an entry of the audit log needs its {name}")
    for value in (writer, actor, action, target):
        _check_word(value)
    await _lock(connection, writer)
    query = select(audit.c.number, audit.c.hash).where(audit.c.writer == writer)
    last = (await connection.execute(query.order_by(audit.c.number.desc()).limit(1))).first()
    number, previous = (last.number + 1, bytes(last.hash)) if last else (1, FIRST)
    fields: dict[str, Any] = {
        "writer": writer,
        "number": number,
        "at": time.time_ns() // 1000,
        "actor": actor,
        "action": action,
        "target": target,
        "detail": text,
        "previous": previous,
    }
    entry = Entry(**fields, hash=digest(**fields))
    await connection.execute(audit.insert().values(msgspec.structs.asdict(entry)))
    return entry


def digest(
    *, writer: str, number: int, at: int, actor: str, action: str, target: str, detail: str, previous: bytes
) -> bytes:
    """An entry's hash: SHA-256 of a JSON array of its fields, without spaces, in UTF-8, after a name."""
    fields = ["modu audit 1", writer, number, at, actor, action, target, detail, previous.hex()]
    return hashlib.sha256(msgspec.json.encode(fields)).digest()


async def list_entries(
    connection: Connection,
    *,
    actor: str = "",
    action: str = "",
    target: str = "",
    since: int = 0,
    before: tuple[int, str, int] | None = None,
    limit: int = 100,
) -> list[Entry]:
    """Entries, newest first. ``action`` may be the first part of one ("key" finds ``key.revoke``);
    ``since`` is Unix microseconds; ``before`` is the ``place`` of the last one of the page before.
    """
    order = (audit.c.at, audit.c.writer, audit.c.number)
    query = select(audit).where(audit.c.at >= since)
    if actor:
        query = query.where(audit.c.actor == actor)
    if action:
        beginning = audit.c.action.startswith(action + ".", autoescape=True)
        query = query.where((audit.c.action == action) | beginning)
    if target:
        query = query.where(audit.c.target == target)
    if before:
        query = query.where(tuple_(*order) < before)
    query = query.order_by(*(column.desc() for column in order)).limit(limit)
    return [_entry(row) for row in await connection.execute(query)]


async def every_entry(connection: Connection) -> AsyncIterator[Entry]:
    """All entries, chain by chain, in order; a thousand are in memory at a time."""
    order = (audit.c.writer, audit.c.number)
    query = select(audit).order_by(*order).limit(_PAGE)
    after: tuple[str, int] | None = None
    while True:
        rows = (await connection.execute(query.where(tuple_(*order) > after) if after else query)).all()
        for row in rows:
            yield _entry(row)
        if len(rows) < _PAGE:
            return
        after = (rows[-1].writer, rows[-1].number)


async def hold(connection: Connection) -> None:
    """Keep every writer from adding an entry until the caller's transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK, 0)))


async def _lock(connection: Connection, writer: str) -> None:
    """SQLite's write transactions follow each other; PostgreSQL's wait here for those of their writer."""
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock_shared(_LOCK, 0)))
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK + 1, func.hashtext(writer))))


def _canonical(detail: Mapping[str, Value]) -> str:
    for name, value in detail.items():
        _check_word(name)
        for part in value if isinstance(value, list) else (value,):
            if isinstance(part, str):
                _check_word(part)
            elif not isinstance(part, int):
                raise AuditError(f"{name!r} in a detail of the audit log is no text, number or list of texts")
    text = msgspec.json.encode(dict(detail), order="deterministic").decode()
    if len(text) > MOST_DETAIL:
        raise AuditError(f"a detail of the audit log has at most {MOST_DETAIL:,} characters")
    return text


def _check_word(value: str) -> None:
    if len(value) > MOST_WORD or not value.isprintable():
        raise AuditError(f"a word of the audit log has at most {MOST_WORD} printable characters")


def as_kind(value: object, kind: type[T]) -> T:
    """A value of a column, or one that ``record`` never wrote where it is of another kind: SQLite keeps
    whatever it is given, and what was tampered with must be told, not end in an error.
    """
    return value if isinstance(value, kind) else kind(_NEVER[kind])


def _entry(row: Any) -> Entry:
    fields: dict[str, Any] = {
        name: as_kind(value, _KINDS.get(name, str)) for name, value in row._mapping.items()
    }
    return Entry(**fields)


_KINDS: dict[str, type] = {"number": int, "at": int, "previous": bytes, "hash": bytes}
_NEVER: dict[type, Any] = {str: "\x00", int: -1, bytes: b""}
