"""Forgetting a person: their key is destroyed, their rows go, and both are remembered and replayed.

Words: a *deletion* is remembered in the database and beside the keys, which are in no backup; to
*replay* is to bring both to the same state after either was put back from an older copy. Rule: what one
of the two remembers is done in the other, so a deletion is undone only where older copies of both are
put back. What stays are usage rows and audit entries, which hold the person's opaque id and no text.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Table, delete, select, union

from moduai.accounts.tables import (
    api_keys,
    deletions,
    identities,
    looks,
    people,
    quotas,
    reports,
    sessions,
)
from moduai.history.tables import conversations, turns
from moduai.store.database import Connection, Database, insert
from moduai.store.feed import announce
from moduai.store.subjects import SubjectKeys

_OWN: tuple[Table, ...] = (turns, conversations, reports, looks, sessions, identities)
"""Tables whose rows of a person go, in an order that their references allow."""
_BATCH = 500


async def delete_account(connection: Connection, subjects: SubjectKeys, person: str, now: float) -> bool:
    """Delete a person and all that is theirs, and destroy their key; False if there is no such person.

    Raises SubjectsAwayError: the key is there still, and the caller's transaction must not commit. If that
    fails after the key was destroyed, the next start deletes the rows.
    """
    query = select(people.c.id).where(people.c.id == person).with_for_update()
    if await connection.scalar(query) is None:
        return False
    await _remember(connection, {person: int(now)})
    await _remove(connection, [person])
    subjects.destroy(person, int(now))
    return True


async def replay(database: Database, subjects: SubjectKeys) -> int:
    """Bring the database and the keys to the same state; how many people were forgotten by it.

    Cheap where there is nothing to do. Raises one of ``database.errors``, or SubjectsAwayError.
    """
    destroyed = subjects.destroyed()
    async with database.connect() as connection:
        rows = await connection.execute(select(deletions.c.person, deletions.c.at))
        logged: dict[str, int] = {row.person: row.at for row in rows}
        left = await _left(connection, logged.keys() | destroyed.keys())
    for person in logged.keys() - destroyed.keys():
        subjects.destroy(person, logged[person])
    missing = {person: destroyed[person] for person in destroyed.keys() - logged.keys()}
    if missing or left:
        async with database.begin() as connection:
            await _remember(connection, missing)
            await _remove(connection, left)
    return len(left)


async def _left(connection: Connection, forgotten: Collection[str]) -> list[str]:
    """Those of the forgotten of whom the database still has something."""
    names, left = sorted(forgotten), set[str]()
    for start in range(0, len(names), _BATCH):
        part = names[start : start + _BATCH]
        found = [select(table.c.person).where(table.c.person.in_(part)) for table in _OWN]
        found += [select(people.c.id).where(people.c.id.in_(part))]
        found += [select(api_keys.c.subject).where(api_keys.c.subject.in_(part))]
        left.update(await connection.scalars(union(*found)))
    return sorted(left)


async def _remember(connection: Connection, gone: dict[str, int]) -> None:
    if gone:
        rows = [{"person": person, "at": at} for person, at in gone.items()]
        statement = insert(connection, deletions).on_conflict_do_nothing(index_elements=["person"])
        await connection.execute(statement, rows)


async def _remove(connection: Connection, persons: Collection[str]) -> None:
    """Delete rows; sessions end and keys are refused by the feed within milliseconds."""
    names = sorted(persons)
    for start in range(0, len(names), _BATCH):
        part = names[start : start + _BATCH]
        for table in _OWN:
            await connection.execute(delete(table).where(table.c.person.in_(part)))
        await connection.execute(delete(people).where(people.c.id.in_(part)))
        mine = select(api_keys.c.id).where(api_keys.c.subject.in_(part))
        await connection.execute(delete(quotas).where(quotas.c.owner.in_(part) | quotas.c.owner.in_(mine)))
        await connection.execute(delete(api_keys).where(api_keys.c.subject.in_(part)))
    for topic in ("people", "sessions", "keys", "quotas") if names else ():
        await announce(connection, topic)
