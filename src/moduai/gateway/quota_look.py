"""What somebody may use in a day or month and has used, from the database: for people and staff, not for the
lane. It is as old as the last telling of each gateway, a few seconds.
"""

from __future__ import annotations

import math

from msgspec import Struct
from sqlalchemy import select

from moduai.accounts.quotas import Each, Limit, limit_of, standing
from moduai.accounts.tables import api_keys, people
from moduai.gateway import policy_file
from moduai.gateway.policy_text import parse
from moduai.packs import choose
from moduai.scheduling.policy import Policy, trusted
from moduai.scheduling.quota import period
from moduai.settings import Loaded
from moduai.store.database import Connection


class Look(Struct, frozen=True, kw_only=True):
    """An owner's limit, and what was used of it in the present day or month."""

    owner: str
    tokens: int
    """The limit, in tokens read and written."""
    each: Each
    class_name: str
    """The class of the policy that gives it; empty: it was set for this owner."""
    since: str
    """The day or month, such as 2026-11-22 or 2026-11."""
    used: int
    held: int
    """Held by gateways for what runs now and in the next seconds."""
    left: int
    renews_at: int
    """Unix time in seconds."""


async def look(connection: Connection, loaded: Loaded, owner: str, now: float) -> Look | None:
    """How an owner stands, by id; None: there is no limit, and so nothing is counted."""
    limit, class_name = await limit_of(connection, owner), ""
    if limit is None and (class_name := await _class_of(connection, loaded, owner)):
        limit = Limit(policy_file.read(loaded).policy.classes[class_name].quota)
    if limit is None or not limit.tokens:
        return None
    present = period(limit.each, now, choose.zone(loaded, parse))
    found = await standing(connection, owner, present.since, now)
    return Look(
        owner=owner,
        tokens=limit.tokens,
        each=limit.each,
        class_name=class_name,
        since=present.since,
        used=found.used,
        held=found.held,
        left=max(0, limit.tokens - found.used),
        renews_at=math.ceil(present.ends),
    )


async def _class_of(connection: Connection, loaded: Loaded, owner: str) -> str:
    """The class of a person or of a key's own subject; empty for all others."""
    policy: Policy = trusted(policy_file.read(loaded).policy, loaded.settings.people.groups)
    person = select(people.c.organisation, people.c.group).where(people.c.id == owner)
    if found := (await connection.execute(person)).first():
        return policy.place("resident", found.organisation, found.group).class_name
    key = select(api_keys.c.service_class, api_keys.c.organisation, api_keys.c.group, api_keys.c.zone)
    row = (await connection.execute(key.where(api_keys.c.subject == owner).limit(1))).first()
    return policy.place(*row).class_name if row else ""
