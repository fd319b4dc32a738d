"""Organisations: the owners of keys."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable

from msgspec import Struct
from sqlalchemy import or_, select

from moduai.accounts.tables import organisations
from moduai.store.database import Connection

DEFAULT = "default"
"""Name of the organisation that owns keys for which none was named; made at first use."""


class AccountError(ValueError):
    """An organisation or key is unknown, ambiguous or not valid; the text says what to do."""


class Organisation(Struct, frozen=True, kw_only=True):
    """An owner of keys. ``region`` and ``zone`` are coarse and may be empty; keys inherit them."""

    id: str
    name: str
    region: str = ""
    zone: str = ""
    created_at: int
    """Unix time in seconds."""


async def create_organisation(
    connection: Connection, name: str, *, region: str = "", zone: str = ""
) -> Organisation:
    """Add an organisation. Raises AccountError where the name is taken or not valid."""
    name = name.strip()
    if not (0 < len(name) <= 100 and name.isprintable()) or name.startswith("org_"):
        raise AccountError("an organisation's name has 1 to 100 printable characters, and no org_ in front")
    if await _find(connection, name):
        raise AccountError(f"there is already an organisation {name!r}")
    made = Organisation(
        id=f"org_{secrets.token_hex(8)}", name=name, region=region, zone=zone, created_at=int(time.time())
    )
    await connection.execute(organisations.insert().values(_fields(made)))
    return made


async def get_organisation(connection: Connection, name_or_id: str) -> Organisation:
    """One organisation by its name or id. Raises AccountError where there is none."""
    found = await _find(connection, name_or_id.strip())
    if found is None:
        raise AccountError(f"there is no organisation {name_or_id[:100]!r}: see modu org list")
    return found


async def default_organisation(connection: Connection) -> Organisation:
    """The organisation ``DEFAULT``, made if it is not there yet."""
    return await _find(connection, DEFAULT) or await create_organisation(connection, DEFAULT)


async def list_organisations(connection: Connection) -> list[Organisation]:
    """All of them, by name."""
    rows = await connection.execute(select(organisations).order_by(organisations.c.name))
    return [Organisation(**row) for row in rows.mappings()]


async def names(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The names of these organisations by id, of those that there are."""
    query = select(organisations.c.id, organisations.c.name).where(organisations.c.id.in_(list(ids)))
    return {row.id: row.name for row in await connection.execute(query)}


async def _find(connection: Connection, name_or_id: str) -> Organisation | None:
    if not name_or_id.isprintable():  # no name is not, and PostgreSQL takes no NUL
        return None
    match = or_(organisations.c.id == name_or_id, organisations.c.name == name_or_id)
    row = (await connection.execute(select(organisations).where(match))).mappings().first()
    return Organisation(**row) if row else None


def _fields(organisation: Organisation) -> dict[str, object]:
    return {name: getattr(organisation, name) for name in organisation.__struct_fields__}
