"""API keys: made, listed, revoked, and read for the gateway. Each write announces "keys"."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Collection, Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import Select, or_, select, update

from moduai.accounts.organisations import AccountError, default_organisation, get_organisation
from moduai.accounts.principal import Principal
from moduai.accounts.tables import api_keys, organisations, people
from moduai.store.database import Connection
from moduai.store.feed import announce

TOPIC = "keys"
PREFIX = 12
"""Characters of a key that are kept to be shown: 5 that all keys share and 7 of 43."""
SCOPES = {"inference": "ask models", "manage": "manage the service with the role of the key's person"}
"""What keys may do."""
SERVICE_CLASSES = ("standard", "resident", "guest", "public-duty", "research", "business", "batch")
"""Classes of service that always are: "standard" names none, the others stand in the shipped policy."""


class KeyInfo(Struct, frozen=True, kw_only=True):
    """What people may see of a key. Times are Unix seconds; 0: never."""

    id: str
    prefix: str
    name: str
    organisation: str
    """Its name."""
    subject: str
    service_class: str
    scopes: tuple[str, ...]
    region: str
    zone: str
    group: str
    created_at: int
    expires_at: int
    revoked_at: int

    def state(self, now: float) -> str:
        """active, expired or revoked."""
        if self.revoked_at:
            return "revoked"
        return "expired" if 0 < self.expires_at <= now else "active"


def new_key() -> str:
    """A key in clear: 256 random bits."""
    return "modu-" + secrets.token_urlsafe(32)


def digest(clear: bytes) -> bytes:
    """What is kept of a key: SHA-256. A key is random, so nothing slower is needed."""
    return hashlib.sha256(clear).digest()


async def create_key(  # noqa: PLR0913  (the fields of a key)
    connection: Connection,
    *,
    name: str,
    organisation: str = "",
    scopes: Iterable[str] = ("inference",),
    expires_at: int = 0,
    subject: str = "",
    service_class: str = "standard",
    region: str = "",
    zone: str = "",
    group: str = "",
    classes: Collection[str] = (),
) -> tuple[str, KeyInfo]:
    """Make a key and return it in clear, for the only time, with what is kept of it.

    ``organisation`` is a name or id (empty: the default one); ``subject`` is a new one unless given;
    ``classes`` are those of the policy in force, beside those that always are. Raises AccountError.
    """
    wanted = tuple(sorted(set(scopes)))
    _check(name, wanted, expires_at)
    if service_class not in (known := dict.fromkeys((*SERVICE_CLASSES, *classes))):
        raise AccountError(f"there is no class of service {service_class!r}: {', '.join(known)}")
    owner = await (
        get_organisation(connection, organisation) if organisation else default_organisation(connection)
    )
    clear = new_key()
    values = {
        "id": f"key_{secrets.token_hex(8)}",
        "prefix": clear[:PREFIX],
        "name": name,
        "subject": subject or f"sub_{secrets.token_hex(12)}",
        "service_class": service_class,
        "scopes": list(wanted),
        "region": region or owner.region,
        "zone": zone or owner.zone,
        "group": group,
        "created_at": int(time.time()),
        "expires_at": expires_at,
        "revoked_at": 0,
    }
    kept = {**values, "digest": digest(clear.encode()), "organisation": owner.id}
    await connection.execute(api_keys.insert().values(kept))
    await announce(connection, TOPIC)
    return clear, _info({**values, "organisation": owner.name})


async def list_keys(
    connection: Connection, *, organisation: str = "", subject: str = "", revoked: bool = False
) -> list[KeyInfo]:
    """Keys, oldest first; of one organisation or subject if named, and with the revoked ones if asked."""
    query = _query().order_by(api_keys.c.created_at, api_keys.c.id)
    if organisation:
        owner = await get_organisation(connection, organisation)
        query = query.where(api_keys.c.organisation == owner.id)
    if subject:
        query = query.where(api_keys.c.subject == subject)
    if not revoked:
        query = query.where(api_keys.c.revoked_at == 0)
    return [_info(dict(row)) for row in (await connection.execute(query)).mappings()]


async def find_key(connection: Connection, id_or_prefix: str) -> KeyInfo:
    """One key by its id, its shown prefix or the whole key. Raises AccountError if not exactly one."""
    text = id_or_prefix.strip() if id_or_prefix.isprintable() else ""
    match = or_(api_keys.c.id == text, api_keys.c.prefix == text, api_keys.c.digest == digest(text.encode()))
    rows = (await connection.execute(_query().where(match))).mappings().all()
    shown = text[:PREFIX] if text.startswith("modu-") else text[:40]
    if not rows:
        raise AccountError(f"there is no key {shown!r}: see modu key list")
    if len(rows) > 1:
        raise AccountError(f"{shown!r} fits {len(rows)} keys: give the id, see modu key list")
    return _info(dict(rows[0]))


async def revoke_key(connection: Connection, id_or_prefix: str) -> KeyInfo:
    """Refuse a key from now on, for good. One that is revoked already stays as it is."""
    found = await find_key(connection, id_or_prefix)
    await connection.execute(
        update(api_keys)
        .where(api_keys.c.id == found.id, api_keys.c.revoked_at == 0)
        .values(revoked_at=int(time.time()))
    )
    await announce(connection, TOPIC)
    return await find_key(connection, found.id)


async def place_keys(connection: Connection, subject: str, region: str, group: str) -> None:
    """Let a subject's keys count for another region and group."""
    mine = (api_keys.c.subject == subject, api_keys.c.revoked_at == 0)
    changed = await connection.execute(update(api_keys).where(*mine).values(region=region, group=group))
    if changed.rowcount:
        await announce(connection, TOPIC)


async def load_principals(connection: Connection) -> list[tuple[bytes, Principal]]:
    """Digest and principal of every key that is not revoked and whose person is not blocked, for
    ``KeyTable.replace``.
    """
    columns = [column for column in api_keys.c if column.name in _PRINCIPAL]
    blocked = select(people.c.id).where(people.c.state != "active")
    query = select(*columns).where(api_keys.c.revoked_at == 0, api_keys.c.subject.not_in(blocked))
    return [
        (
            bytes(row.digest),
            Principal(
                subject=row.subject,
                organisation=row.organisation,
                key=row.id,
                service_class=row.service_class,
                scopes=frozenset(row.scopes),
                expires_at=row.expires_at,
                region=row.region,
                zone=row.zone,
                group=row.group,
            ),
        )
        for row in await connection.execute(query)
    ]


_PRINCIPAL = {"id", "digest", *Principal.__struct_fields__}


def _query() -> Select[Any]:
    kept = [column for column in api_keys.c if column.name not in {"digest", "organisation"}]
    joined = api_keys.join(organisations, api_keys.c.organisation == organisations.c.id)
    return select(*kept, organisations.c.name.label("organisation")).select_from(joined)


def _info(values: dict[str, Any]) -> KeyInfo:
    return KeyInfo(**{**values, "scopes": tuple(values["scopes"])})


def _check(name: str, scopes: tuple[str, ...], expires_at: int) -> None:
    if not (0 < len(name) <= 100 and name.isprintable()):
        raise AccountError("a key's name has 1 to 100 printable characters")
    if unknown := set(scopes) - SCOPES.keys():
        raise AccountError(f"there is no scope {min(unknown)!r}: {', '.join(SCOPES)}")
    if not scopes:
        raise AccountError("a key needs at least one scope")
    if 0 < expires_at <= time.time():
        raise AccountError("a key cannot expire in the past")
