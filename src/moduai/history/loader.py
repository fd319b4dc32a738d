"""Turns out of segments into the database, in the metering process. A turn that is loaded twice counts once.

Dropped, on purpose: turns of people who have no account any more, turns for a conversation that was
deleted (its bare row says so for a day), and turns that name someone else's conversation (fails closed).
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select, update

from moduai.accounts.tables import people
from moduai.history.record import Line
from moduai.history.recorder import SUFFIX
from moduai.history.tables import conversations, turns
from moduai.metering.loader import Kind, Rows
from moduai.store.database import Connection, insert

ALL = "all_"
"""A bare row with this and a person's id stands for all that the person had: what was asked before it was
deleted is dropped too, if it comes later."""


async def put_turns(connection: Connection, rows: Rows) -> None:
    """Put turns in, and make conversations that are new."""
    rows = await _of_people(connection, rows)
    rows = await _allowed(connection, rows)
    await _make(connection, rows)
    rows = await _allowed(connection, rows)  # again: an id that is new may be another's by now
    if not rows:
        return
    kept = [{name: row[name] for name in row if name != "title"} for row in rows]
    await connection.execute(insert(connection, turns).on_conflict_do_nothing(index_elements=["id"]), kept)
    mine = conversations.c
    later = update(conversations).where(mine.id == bindparam("name"), mine.updated_at < bindparam("at"))
    await connection.execute(later.values(updated_at=bindparam("at")), _latest(rows))


async def _of_people(connection: Connection, rows: Rows) -> Rows:
    """Those whose person has an account, which stays as long as this transaction."""
    wanted = select(people.c.id).where(people.c.id.in_({row["person"] for row in rows})).order_by(people.c.id)
    there = set(await connection.scalars(wanted.with_for_update(read=True, key_share=True)))
    return [row for row in rows if row["person"] in there]


async def _allowed(connection: Connection, rows: Rows) -> Rows:
    """Those whose conversation is the person's own and was not deleted, or is new."""
    names = {row["conversation"] for row in rows} | {ALL + row["person"] for row in rows}
    query = select(conversations.c.id, conversations.c.person, conversations.c.deleted_at)
    query = query.where(conversations.c.id.in_(names)).order_by(conversations.c.id)
    found = {row.id: row for row in await connection.execute(query.with_for_update(read=True))}

    def is_allowed(row: dict[str, Any]) -> bool:
        own, every = found.get(row["conversation"]), found.get(ALL + row["person"])
        if every is not None and row["at"] // 1_000_000 <= every.deleted_at:
            return False
        return own is None or (own.person == row["person"] and not own.deleted_at)

    return [row for row in rows if is_allowed(row)]


async def _make(connection: Connection, rows: Rows) -> None:
    """Make conversations that are not there; one whose first turn comes late gets its title then."""
    new = insert(connection, conversations)
    same = conversations.c
    untitled = (func.length(same.sealed_title) == 0) & (same.person == new.excluded.person)
    title = new.on_conflict_do_update(
        index_elements=["id"],
        set_={"sealed_title": new.excluded.sealed_title},
        where=untitled & (same.deleted_at == 0),
    )
    for statement, titled in ((title, True), (new.on_conflict_do_nothing(index_elements=["id"]), False)):
        if made := [_conversation(row) for row in rows if bool(row["title"]) is titled]:
            await connection.execute(statement, made)


def _conversation(row: dict[str, Any]) -> dict[str, Any]:
    at = row["at"] // 1_000_000
    times = {"created_at": at, "updated_at": at, "deleted_at": 0}
    return {"id": row["conversation"], "person": row["person"], "sealed_title": row["title"], **times}


def _latest(rows: Rows) -> list[dict[str, Any]]:
    """When each conversation was last asked in, in seconds."""
    latest: dict[str, int] = {}
    for row in rows:
        name = row["conversation"]
        latest[name] = max(latest.get(name, 0), row["at"] // 1_000_000)
    return [{"name": name, "at": at} for name, at in sorted(latest.items())]


TURNS = Kind("turns", SUFFIX, msgspec.json.Decoder(Line).decode, put_turns)
