"""Turns out of segments into the database, in the metering process. A turn that is loaded twice counts once.

The bytes that passed are read here, off the lane: what is kept is the last question and the answer's text,
sealed again, and a title for a new conversation. Dropped, on purpose: turns of people who have no account
any more, turns for a conversation that was deleted (its bare row says so for a day), and turns that name
someone else's conversation (fails closed).
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select, update

from moduai.accounts.tables import people
from moduai.history.record import Line, title_of, title_purpose, turn_purpose
from moduai.history.recorder import SIZE, SUFFIX
from moduai.history.tables import conversations, turns
from moduai.history.text import pack, unpack
from moduai.metering.loader import Batch, Kind, Rows
from moduai.store.database import Connection, insert
from moduai.store.keyring import KeyringError
from moduai.store.subjects import SubjectKeys, SubjectsAwayError

ALL = "all_"
"""A bare row with this and a person's id stands for all that the person had: what was asked before it was
deleted is dropped too, if it comes later."""
_decode = msgspec.msgpack.Decoder(list[Line]).decode


def turns_kind(subjects: SubjectKeys) -> Kind:
    """Segments of turns, for ``metering.loader.Loader``."""
    return Kind("turns", SUFFIX, read_turns, partial(put_turns, subjects))


def read_turns(handle: int, offset: int) -> Batch | None:
    """The next whole batch of a segment. A size of 0 is no batch but what a power cut left."""
    size = int.from_bytes(os.pread(handle, SIZE, offset))
    content = os.pread(handle, size, offset + SIZE)
    if not size or len(content) < size:
        return None
    batch = Batch([], [], offset + SIZE + size)
    try:
        batch.rows += map(msgspec.structs.asdict, _decode(content))
    except (msgspec.DecodeError, UnicodeDecodeError):
        batch.rejected.append(content)
    return batch


async def put_turns(subjects: SubjectKeys, connection: Connection, rows: Rows) -> Rows:
    """Put turns in, and make conversations that are new; none is refused. Raises SubjectsAwayError: try
    again.
    """
    rows = await _of_people(connection, rows)
    rows = [_read(subjects, row) for row in await _allowed(connection, rows)]
    await _make(connection, rows)
    rows = await _allowed(connection, rows)  # again: an id that is new may be another's by now
    if not rows:
        return []
    kept = [{name: row[name] for name in row if name != "title"} for row in rows]
    await connection.execute(insert(connection, turns).on_conflict_do_nothing(index_elements=["id"]), kept)
    mine = conversations.c
    later = update(conversations).where(mine.id == bindparam("name"), mine.updated_at < bindparam("at"))
    await connection.execute(later.values(updated_at=bindparam("at")), _latest(rows))
    return []


def _read(subjects: SubjectKeys, row: dict[str, Any]) -> dict[str, Any]:
    """The row with its text sealed, and a title if it is a first turn. One that cannot be unsealed stays as
    it is: with its key it can be read later, and until then it is told as lost.
    """
    person, turn, conversation, title = row["person"], row["id"], row["conversation"], b""
    try:
        text = unpack(subjects.unseal(person, turn_purpose(turn), row["sealed"]))
        sealed = subjects.seal(person, turn_purpose(turn), pack(text))
        if not row["parent"]:
            clear = title_of(text.question).encode("utf-8", "replace")
            title = subjects.seal(person, title_purpose(conversation), clear)
    except SubjectsAwayError:
        raise
    except (KeyringError, msgspec.DecodeError):
        return {**row, "title": b""}
    return {**row, "sealed": sealed, "title": title}


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
