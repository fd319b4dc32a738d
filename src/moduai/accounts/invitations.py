"""Invitations: links that let one person in, once, with a role. Their tokens are kept as digests only."""

from __future__ import annotations

import secrets
import time
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, delete, select, update

from moduai.accounts.organisations import AccountError, default_organisation, get_organisation
from moduai.accounts.people import clean_line
from moduai.accounts.roles import ROLES
from moduai.accounts.sessions import digest
from moduai.accounts.tables import invitations, organisations
from moduai.store.database import Connection

HOURS = 168
MOST_HOURS = 24 * 365
MOST_NOTE = 200
KEPT_S = 30 * 86_400
"""How long one that was used or has expired can still be seen."""


class Invitation(Struct, frozen=True, kw_only=True):
    """What may be seen of an invitation. Times are Unix seconds; 0: never."""

    id: str
    role: str
    organisation: str
    """Its id."""
    organisation_name: str
    note: str
    made_by: str
    used_by: str
    created_at: int
    expires_at: int
    used_at: int

    def state(self, now: float) -> str:
        """open, used or expired."""
        if self.used_at:
            return "used"
        return "expired" if self.expires_at <= now else "open"


async def invite(
    connection: Connection,
    *,
    role: str,
    organisation: str = "",
    note: str = "",
    made_by: str = "",
    hours: int = HOURS,
) -> tuple[str, Invitation]:
    """Make an invitation and return its token, for the only time: the link is ``/join/TOKEN``.

    ``organisation`` is a name or id (empty: the default one). Raises AccountError.
    """
    if role not in ROLES:
        raise AccountError(f"there is no role {role[:40]!r}: {', '.join(ROLES)}")
    if not 0 < hours <= MOST_HOURS:
        raise AccountError(f"an invitation lasts from 1 to {MOST_HOURS:,} hours")
    note = clean_line(note, MOST_NOTE, "a note")
    owner = await (
        get_organisation(connection, organisation) if organisation else default_organisation(connection)
    )
    token, now = secrets.token_urlsafe(32), int(time.time())
    values: dict[str, Any] = {
        "id": f"inv_{secrets.token_hex(8)}",
        "role": role,
        "organisation": owner.id,
        "note": note,
        "made_by": made_by,
        "used_by": "",
        "created_at": now,
        "expires_at": now + hours * 3600,
        "used_at": 0,
    }
    await connection.execute(invitations.insert().values({**values, "digest": digest(token.encode())}))
    return token, Invitation(**values, organisation_name=owner.name)


async def find_invitation(connection: Connection, token: str, now: float) -> Invitation | None:
    """The invitation of a token; None where it is unknown, used, expired or revoked (fails closed)."""
    query = _query().where(_open(token, now))
    row = (await connection.execute(query)).first()
    return Invitation(**row._mapping) if row else None


async def use_invitation(connection: Connection, token: str, person: str, now: float) -> Invitation:
    """Use it up for a person who was made in the same transaction. Raises AccountError where it is unknown,
    used, expired or revoked: of several at once, one wins, and the caller's transaction must not commit.
    """
    used = {"used_by": person, "used_at": int(now)}
    found = await find_invitation(connection, token, now)
    if found is not None:
        changed = await connection.execute(update(invitations).where(_open(token, now)).values(used))
        if changed.rowcount == 1:
            return found
    raise AccountError("this invitation was used, has expired or was taken back: ask for another")


async def list_invitations(connection: Connection, now: float, *, closed: bool = False) -> list[Invitation]:
    """Open ones, the latest first; with the used and expired ones if asked."""
    query = _query().order_by(invitations.c.created_at.desc(), invitations.c.id)
    if not closed:
        query = query.where(invitations.c.used_at == 0, invitations.c.expires_at > int(now))
    return [Invitation(**row._mapping) for row in await connection.execute(query)]


async def revoke_invitation(connection: Connection, invitation: str) -> Invitation:
    """Take one back by id before it is used. Raises AccountError where there is none or it was used."""
    query = _query().where(invitations.c.id == invitation)
    row = (await connection.execute(query)).first() if invitation.isprintable() else None
    if row is None:
        raise AccountError(f"there is no invitation {invitation[:40]!r}: see modu invite list")
    where = (invitations.c.id == invitation, invitations.c.used_at == 0)
    if (await connection.execute(delete(invitations).where(*where))).rowcount != 1:
        raise AccountError(f"{invitation} was used: block the person instead, see modu person list")
    return Invitation(**row._mapping)


async def revoke_open(connection: Connection) -> int:
    """Take back all that were not used; how many."""
    return (await connection.execute(delete(invitations).where(invitations.c.used_at == 0))).rowcount


async def purge_invitations(connection: Connection, now: float) -> int:
    """Delete those that were used or expired ``KEPT_S`` ago; how many."""
    before = int(now) - KEPT_S
    over = (invitations.c.expires_at <= before) | (
        (invitations.c.used_at > 0) & (invitations.c.used_at <= before)
    )
    return (await connection.execute(delete(invitations).where(over))).rowcount


def _open(token: str, now: float) -> Any:
    found = invitations.c.digest == digest(token.encode("utf-8", "replace"))
    return found & (invitations.c.used_at == 0) & (invitations.c.expires_at > int(now))


def _query() -> Select[Any]:
    kept = [column for column in invitations.c if column.name != "digest"]
    joined = invitations.join(organisations, invitations.c.organisation == organisations.c.id)
    return select(*kept, organisations.c.name.label("organisation_name")).select_from(joined)
