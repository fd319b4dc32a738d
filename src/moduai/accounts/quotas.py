"""Limits for a day or a month: set and cleared by staff, read for the gateway.

Words: an *owner* is an organisation, a key or a subject (a person, or the programme that a key without a
person stands for), by its id; its *limit* is in tokens, those read and those written, as every answer's
``usage.total_tokens`` and the ledger have them. A limit of a class of the policy counts for each of its
people who has none here. Each write is in the audit log and announces "quotas".
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import delete, select, tuple_

from moduai.accounts import audit
from moduai.accounts.keys import find_key
from moduai.accounts.organisations import AccountError, get_organisation
from moduai.accounts.tables import api_keys, people, quota_books, quotas
from moduai.store.database import Connection, insert
from moduai.store.feed import announce

TOPIC = "quotas"
MOST = 1_000_000_000_000_000
"""Highest limit, in tokens."""
KEPT_DAYS = 40
"""How long it is known what was used: the month before this one is over for nine days at least."""
PURGED = 5000
"""Most that one purge deletes."""

Each = Literal["day", "month"]


class Limit(Struct, frozen=True):
    """So many tokens in each day or month, in the time zone of the installation."""

    tokens: int
    each: Each = "day"


class Quota(Struct, frozen=True, kw_only=True):
    """A limit that was set."""

    owner: str
    tokens: int
    each: Each
    set_by: str
    set_at: int
    """Unix time in seconds."""


class Standing(Struct, frozen=True):
    """What is known of an owner's use in a period."""

    used: int = 0
    held: int = 0
    """Tokens that gateways hold for requests of the next seconds."""


async def find_owner(connection: Connection, text: str) -> str:
    """The id of an owner: of an organisation also by its name, of a key by how it begins. Raises AccountError
    where there is none.
    """
    text = text.strip()
    if text.startswith(("key_", "modu-")):
        return (await find_key(connection, text)).id
    if not text.startswith("sub_") or not text.isprintable():
        return (await get_organisation(connection, text)).id
    for column in (people.c.id, api_keys.c.subject):
        if await connection.scalar(select(column).where(column == text).limit(1)):
            return text
    raise AccountError(f"there is no person {text[:40]!r}: see modu person list")


async def set_quota(connection: Connection, owner: str, limit: Limit, actor: str) -> Quota:
    """Set a limit in place of the one before; ``owner`` as for ``find_owner``. Raises AccountError."""
    if not 1 <= limit.tokens <= MOST:
        raise AccountError(f"a limit is 1 to {MOST:,} tokens; to refuse somebody, revoke or block")
    owner = await find_owner(connection, owner)
    made = Quota(owner=owner, tokens=limit.tokens, each=limit.each, set_by=actor, set_at=int(time.time()))
    row = asdict(made)
    statement = insert(connection, quotas).values(row)
    await connection.execute(statement.on_conflict_do_update(index_elements=["owner"], set_=row))
    await announce(connection, TOPIC)
    detail: dict[str, audit.Value] = {"tokens": limit.tokens, "each": limit.each}
    await audit.record(connection, actor=actor, action="quota.set", target=owner, detail=detail)
    return made


async def clear_quota(connection: Connection, owner: str, actor: str) -> bool:
    """Take a limit away; False if there was none. Raises AccountError for an owner that there is not."""
    owner = await find_owner(connection, owner)
    gone = await connection.execute(delete(quotas).where(quotas.c.owner == owner))
    if not gone.rowcount:
        return False
    await announce(connection, TOPIC)
    await audit.record(connection, actor=actor, action="quota.clear", target=owner)
    return True


async def list_quotas(connection: Connection) -> list[Quota]:
    """All that were set, by owner."""
    rows = await connection.execute(select(quotas).order_by(quotas.c.owner))
    return [Quota(**row) for row in rows.mappings()]


async def load_limits(connection: Connection) -> dict[str, Limit]:
    """All that were set, for the gateway."""
    rows = await connection.execute(select(quotas.c.owner, quotas.c.tokens, quotas.c.each))
    return {row.owner: Limit(row.tokens, row.each) for row in rows}


async def limit_of(connection: Connection, owner: str) -> Limit | None:
    """The limit that was set for an owner, by id."""
    query = select(quotas.c.tokens, quotas.c.each).where(quotas.c.owner == owner)
    row = (await connection.execute(query)).first()
    return Limit(row.tokens, row.each) if row else None


async def standing(connection: Connection, owner: str, since: str, now: float) -> Standing:
    """What was used in the day or month that begins so."""
    here = (quota_books.c.since == since, quota_books.c.owner == owner)
    row = (await connection.execute(select(quota_books).where(*here))).first()
    if row is None:
        return Standing()
    return Standing(row.used, sum(tokens for tokens, until in row.leases.values() if until > now))


async def purge_books(connection: Connection, now: float) -> int:
    """Delete what was used in days and months that are long over, at most `PURGED`; how many."""
    before = f"{datetime.fromtimestamp(now, UTC) - timedelta(days=KEPT_DAYS):%Y-%m-%d}"
    key = (quota_books.c.since, quota_books.c.owner)
    old = select(*key).where(quota_books.c.since < before).limit(PURGED)
    return (await connection.execute(delete(quota_books).where(tuple_(*key).in_(old)))).rowcount
