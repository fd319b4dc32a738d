"""Leave to look: how staff may read one person's text, and how the person learns of it.

Words: *leave* is taken by one member of staff for one person, with a *reason* that the person is shown,
and ends by itself; a *look* is one reading under it.

Rule: no text of a person is read by staff without leave that is current, and no reading is without its
entry in the audit log, which is written before the text is unsealed. Both fail closed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import select, update

from moduai.accounts import audit
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import clean_line
from moduai.accounts.roles import may
from moduai.accounts.tables import looks, organisations, people
from moduai.store.database import Connection, Database

T = TypeVar("T")

LEAST_REASON, MOST_REASON = 10, 500
"""Length of a reason in characters."""
MOST_HOURS = 24
"""Longest leave."""


class LookError(ValueError):
    """Leave was not given or is not there; the text says what to do."""


class Leave(Struct, frozen=True, kw_only=True):
    """Leave that one member of staff took for one person. Times are Unix seconds; 0: never."""

    id: str
    staff: str
    """A person's id, or "cli"."""
    person: str
    reason: str
    created_at: int
    expires_at: int
    used_at: int
    """When text was last read under it."""


class Looked(Struct, frozen=True, kw_only=True):
    """What a person is told of leave that was taken for his or her text."""

    id: str
    role: str
    """The staff's role; "cli" for who may use the machine's command line, empty if no longer here."""
    organisation: str
    """Name of the staff's organisation."""
    reason: str
    created_at: int
    expires_at: int
    used_at: int
    """When text was last read; 0: not at all."""


async def take_leave(
    connection: Connection, staff: str, person: str, reason: str, hours: float = 1.0
) -> Leave:
    """Take leave to read ``person``'s text for at most ``MOST_HOURS``. Raises LookError, also where the
    role of ``staff`` may not look. Fails closed.
    """
    await _check_staff(connection, staff)
    try:
        reason = clean_line(reason, MOST_REASON, "a reason")
    except AccountError as error:
        raise LookError(str(error)) from None
    if len(reason) < LEAST_REASON:
        raise LookError(f"say why in at least {LEAST_REASON} characters: the person will read it")
    if not 0 < hours <= MOST_HOURS:
        raise LookError(f"leave lasts at most {MOST_HOURS} hours")
    if await connection.scalar(select(people.c.id).where(people.c.id == person)) is None:
        raise LookError(f"there is no person {person[:64]!r}")
    now = int(time.time())
    leave = Leave(
        id=f"look_{secrets.token_hex(8)}",
        staff=staff,
        person=person,
        reason=reason,
        created_at=now,
        expires_at=now + max(1, round(hours * 3600)),
        used_at=0,
    )
    await connection.execute(looks.insert().values(msgspec.structs.asdict(leave)))
    detail: dict[str, audit.Value] = {"look": leave.id, "expires_at": leave.expires_at}
    await audit.record(connection, actor=staff, action="look.leave", target=person, detail=detail)
    return leave


async def current_leave(connection: Connection, staff: str, person: str, now: float) -> Leave | None:
    """The leave of ``staff`` for ``person`` that ends last, if it has not ended. None fails closed."""
    query = select(looks).where(looks.c.staff == staff, looks.c.person == person, looks.c.expires_at > now)
    row = (await connection.execute(query.order_by(looks.c.expires_at.desc()).limit(1))).first()
    return Leave(**row._mapping) if row else None


async def read(
    db: Database, *, staff: str, person: str, what: str, reader: Callable[[Connection], Awaitable[T]]
) -> T:
    """Read a person's text as staff: the only way to it. ``what`` is the id of what is read, such as
    ``cnv_…`` (empty: the list of all); ``reader`` gets a connection and unseals. Raises LookError.

    The audit entry is committed before ``reader`` runs, so a reading cannot be without it; one that
    fails stands in the log all the same. Without current leave it fails closed.
    """
    async with db.begin() as connection:
        await _check_staff(connection, staff)
        now = time.time()
        leave = await current_leave(connection, staff, person, now)
        if leave is None:
            raise LookError(f"no leave to read the text of {person[:64]!r}: take it first, with a reason")
        await connection.execute(update(looks).where(looks.c.id == leave.id).values(used_at=int(now)))
        detail: dict[str, audit.Value] = {"look": leave.id, "what": what}
        await audit.record(connection, actor=staff, action="look.read", target=person, detail=detail)
    async with db.connect() as connection:
        return await reader(connection)


async def end_leave(connection: Connection, staff: str, person: str) -> int:
    """End leave before its time; returns how many were current."""
    now = int(time.time())
    current = (looks.c.staff == staff, looks.c.person == person, looks.c.expires_at > now)
    ended = await connection.execute(update(looks).where(*current).values(expires_at=now))
    if ended.rowcount:
        await audit.record(connection, actor=staff, action="look.end", target=person)
    return ended.rowcount


async def looks_at(connection: Connection, person: str, limit: int = 200) -> list[Looked]:
    """Who took leave to read this person's text, newest first: for the person."""
    staff = looks.outerjoin(people, looks.c.staff == people.c.id).outerjoin(
        organisations, people.c.organisation == organisations.c.id
    )
    query = (
        select(looks, people.c.role, organisations.c.name.label("organisation"))
        .select_from(staff)
        .where(looks.c.person == person)
        .order_by(looks.c.created_at.desc(), looks.c.id)
        .limit(limit)
    )
    return [_looked(row) for row in await connection.execute(query)]


async def list_leave(connection: Connection, *, staff: str = "", limit: int = 200) -> list[Leave]:
    """All leave that was taken, newest first; of one member of staff if named."""
    query = select(looks).order_by(looks.c.created_at.desc(), looks.c.id).limit(limit)
    if staff:
        query = query.where(looks.c.staff == staff)
    return [Leave(**row._mapping) for row in await connection.execute(query)]


async def _check_staff(connection: Connection, staff: str) -> None:
    """Staff who were blocked or have another role since may no longer look. Fails closed.

    Who may use the machine's command line holds the keys in any case, and is recorded as "cli".
    """
    if staff == "cli":
        return
    query = select(people.c.role).where(people.c.id == staff, people.c.state == "active")
    if not may(await connection.scalar(query) or "", "look"):
        raise LookError("your role may not look at people's text")


def _looked(row: Any) -> Looked:
    return Looked(
        id=row.id,
        role="cli" if row.staff == "cli" else row.role or "",
        organisation=row.organisation or "",
        reason=row.reason,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )
