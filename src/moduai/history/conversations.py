"""A person's conversations: listed, searched, read, renamed, deleted. Text is unsealed only here.

Every function takes the person whose they are: what is another's is as if it were not there (fails
closed). Text whose key is lost is told as ``lost``, and everything else goes on.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, delete, exists, func, or_, select, update

from moduai.accounts.people import clean_line
from moduai.accounts.tables import people
from moduai.history.loader import ALL
from moduai.history.record import Conversation, PlaceError, Turn, TurnPlace, title_purpose, turn_purpose
from moduai.history.tables import conversations, turns
from moduai.history.text import unpack
from moduai.store.database import Connection, insert
from moduai.store.keyring import KeyringError
from moduai.store.subjects import SubjectKeys

SEARCHED = 5_000
"""Most turns, the newest, that one search unseals."""
MOST_TITLE = 100
MOST_LISTED = 200
MOST_SHOWN = 2_000
BARE_S = 86_400
"""How long a deleted conversation stays as a bare row."""
PURGED = 2_000
"""Most that one purge deletes."""
_BATCH = 100


async def list_conversations(
    connection: Connection,
    subjects: SubjectKeys,
    person: str,
    text: str = "",
    *,
    limit: int = 50,
    before: tuple[int, str] | None = None,
) -> list[Conversation]:
    """A person's conversations, the latest first, without their turns.

    With ``text``, those whose title or turns hold it, as far as ``SEARCHED`` turns reach. ``before`` is
    ``(updated_at, id)`` of the last one seen.
    """
    mine = conversations.c
    query = select(conversations).where(mine.person == person, mine.deleted_at == 0)
    query = query.order_by(mine.updated_at.desc(), mine.id.desc())
    if before is not None:
        at, name = before
        if not name.isprintable():
            return []
        query = query.where(or_(mine.updated_at < at, (mine.updated_at == at) & (mine.id < name)))
    limit, wanted = min(limit, MOST_LISTED), _folded(text.strip()[:MOST_TITLE])
    if not wanted:
        return [_conversation(subjects, row) for row in await connection.execute(query.limit(limit))]
    holding = await _holding(connection, subjects, person, wanted)
    found: list[Conversation] = []
    for number, row in enumerate(await connection.execute(query.limit(SEARCHED)), 1):
        one = _conversation(subjects, row)
        if one.id in holding or wanted in _folded(one.title):
            found.append(one)
        if len(found) == limit:
            break
        if number % _BATCH == 0:
            await asyncio.sleep(0)  # others have their turn
    return found


async def conversation_ids(connection: Connection, person: str) -> list[str]:
    """All of a person's conversations, the latest first."""
    mine = conversations.c
    query = select(mine.id).where(mine.person == person, mine.deleted_at == 0)
    return list(await connection.scalars(query.order_by(mine.updated_at.desc(), mine.id.desc())))


async def read_conversation(
    connection: Connection,
    subjects: SubjectKeys,
    person: str,
    conversation: str,
    *,
    most: int = MOST_SHOWN,
    every: bool = False,
) -> Conversation | None:
    """One conversation with the turns that are shown, the newest ``most`` of them, or with ``every`` turn in
    the order in which they were asked; None if the person has no such one.
    """
    row = await _find(connection, person, conversation)
    if row is None:
        return None
    if every:
        kept = await read_turns(connection, subjects, person, conversation)
    else:
        found = await connection.execute(select(*_BARE).where(turns.c.conversation == conversation))
        kept = await _with_text(connection, subjects, shown_path([_bare(each) for each in found])[-most:])
    return msgspec.structs.replace(_conversation(subjects, row), turns=tuple(kept))


async def read_turns(
    connection: Connection, subjects: SubjectKeys, person: str, conversation: str
) -> list[Turn]:
    """Every turn of a conversation in the order in which they were asked, shown or not."""
    query = select(*_BARE).where(turns.c.conversation == conversation, turns.c.person == person)
    kept = await connection.execute(query.order_by(turns.c.at, turns.c.id))
    return await _with_text(connection, subjects, [_bare(each) for each in kept])


async def read_turn(connection: Connection, subjects: SubjectKeys, person: str, turn: str) -> Turn | None:
    """One turn; None if the person has no such one."""
    query = select(turns).where(turns.c.id == turn, turns.c.person == person)
    row = (await connection.execute(query)).first()
    return None if row is None else _unsealed(subjects, _bare(row), bytes(row.sealed))


async def rename(
    connection: Connection, subjects: SubjectKeys, person: str, conversation: str, title: str
) -> bool:
    """Give a conversation another title; False if the person has no such one. Raises AccountError for a
    title that is too long or holds control characters, KeyringError where it cannot be sealed.
    """
    clean = clean_line(title, MOST_TITLE, "a title")
    if await _find(connection, person, conversation) is None:
        return False
    sealed = subjects.seal(person, title_purpose(conversation), clean.encode())
    mine = conversations.c
    where = (mine.id == conversation, mine.person == person, mine.deleted_at == 0)
    done = await connection.execute(update(conversations).where(*where).values(sealed_title=sealed))
    return done.rowcount == 1


async def delete_conversation(connection: Connection, person: str, conversation: str, now: float) -> bool:
    """Delete a conversation and its turns; False if it is not there (two tabs may delete the same one).

    It stays for a day as a bare row, also if it was not there yet: an answer that still runs, or a turn
    that waits to be loaded, does not bring it back.
    """
    try:
        TurnPlace.of(conversation, "")
    except PlaceError:
        return False
    mine = conversations.c
    bare = {"sealed_title": b"", "deleted_at": int(now)}
    where = (mine.id == conversation, mine.person == person, mine.deleted_at == 0)
    done = await connection.execute(update(conversations).where(*where).values(bare))
    if done.rowcount:
        await connection.execute(delete(turns).where(turns.c.conversation == conversation))
        return True
    if await _exists(connection, person):
        times = {"created_at": int(now), "updated_at": int(now)}
        new = insert(connection, conversations).values(id=conversation, person=person, **times, **bare)
        await connection.execute(new.on_conflict_do_nothing(index_elements=["id"]))
    return False


async def was_deleted(connection: Connection, person: str, conversation: str, at: int) -> bool:
    """Whether a conversation that is not there was deleted, alone or with all others, after a turn of it was
    asked at ``at`` (microseconds), which may still be on its way.
    """
    mine = conversations.c
    alone = (mine.id == conversation) & (mine.deleted_at > 0)
    every = (mine.id == ALL + person) & (mine.deleted_at >= at // 1_000_000)
    bare = select(mine.id).where(mine.person == person, alone | every).limit(1)
    return await connection.scalar(bare) is not None


async def takes_turns(connection: Connection, person: str, conversation: str) -> bool:
    """Whether a turn may go there, as the loader judges: a conversation of the person's own that was not
    deleted, or an id that is nobody's yet. Fails closed.
    """
    mine = conversations.c
    row = (
        await connection.execute(select(mine.person, mine.deleted_at).where(mine.id == conversation))
    ).first()
    return row is None or (row.person == person and not row.deleted_at)


async def delete_all(connection: Connection, person: str, now: float) -> int:
    """Delete every conversation of a person, with answers that still run; how many there were."""
    if not await _exists(connection, person, lock=True):
        return 0
    at = int(now)
    bare = {"sealed_title": b"", "deleted_at": at}
    new = insert(connection, conversations).values(
        id=ALL + person, person=person, created_at=at, updated_at=at, **bare
    )
    await connection.execute(new.on_conflict_do_update(index_elements=["id"], set_={"deleted_at": at}))
    mine = conversations.c
    gone = await connection.execute(
        update(conversations).where(mine.person == person, mine.deleted_at == 0).values(bare)
    )
    await connection.execute(delete(turns).where(turns.c.person == person))
    return gone.rowcount


async def purge(connection: Connection, now: float, retention_days: int = 0, limit: int = PURGED) -> int:
    """Delete what is older than the retention (0: nothing is), and bare rows that are a day old, at most
    ``limit`` of each; how many turns there were. There may be more where it is ``limit``.
    """
    mine, gone = conversations.c, 0
    bare: ColumnElement[bool] = mine.deleted_at.between(1, int(now) - BARE_S - 1)
    if retention_days:
        before = int(now) - retention_days * 86_400
        old = select(turns.c.id).where(turns.c.at < before * 1_000_000).limit(limit)
        gone = (await connection.execute(delete(turns).where(turns.c.id.in_(old)))).rowcount
        empty = ~exists().where(turns.c.conversation == mine.id)
        bare |= (mine.updated_at < before) & (mine.deleted_at == 0) & empty
    over = select(mine.id).where(bare).limit(limit)
    await connection.execute(delete(conversations).where(mine.id.in_(over)))
    return gone


async def count(connection: Connection, person: str) -> tuple[int, int]:
    """How many conversations and turns are kept of a person."""
    mine = conversations.c
    kept = select(func.count()).where(mine.person == person, mine.deleted_at == 0)
    return (
        await connection.scalar(kept) or 0,
        await connection.scalar(select(func.count()).where(turns.c.person == person)) or 0,
    )


def shown_path(kept: Sequence[Turn]) -> list[Turn]:
    """The turns that are shown: at each step the newest of those that follow the one before it.

    A turn whose parent is not there (deleted by retention) counts as a first one.
    """
    known = {turn.id for turn in kept}
    following: dict[str, Turn] = {}
    for turn in sorted(kept, key=lambda turn: (turn.at, turn.id)):
        following[turn.parent if turn.parent in known else ""] = turn
    path: list[Turn] = []
    seen: set[str] = set()
    last = ""
    while (shown := following.get(last)) is not None and shown.id not in seen:
        path.append(shown)
        seen.add(shown.id)
        last = shown.id
    return path


async def _find(connection: Connection, person: str, conversation: str) -> Row[Any] | None:
    if not conversation.isprintable():  # no id is not, and PostgreSQL takes no NUL
        return None
    mine = conversations.c
    query = select(conversations).where(mine.id == conversation, mine.person == person, mine.deleted_at == 0)
    return (await connection.execute(query)).first()


async def _exists(connection: Connection, person: str, *, lock: bool = False) -> bool:
    """Whether there is such a person; ``lock``: and no turn of theirs is being loaded until we are done."""
    query = select(people.c.id).where(people.c.id == person)
    return (await connection.scalar(query.with_for_update() if lock else query)) is not None


async def _with_text(connection: Connection, subjects: SubjectKeys, bare: Sequence[Turn]) -> list[Turn]:
    """The same turns, unsealed."""
    whole: list[Turn] = []
    for start in range(0, len(bare), _BATCH):
        part = bare[start : start + _BATCH]
        query = select(turns.c.id, turns.c.sealed).where(turns.c.id.in_([turn.id for turn in part]))
        sealed = {each.id: bytes(each.sealed) for each in await connection.execute(query)}
        whole += [_unsealed(subjects, turn, sealed[turn.id]) for turn in part if turn.id in sealed]
        await asyncio.sleep(0)  # others have their turn
    return whole


async def _holding(connection: Connection, subjects: SubjectKeys, person: str, wanted: str) -> set[str]:
    """Conversations of which one of the newest turns holds a text."""
    holding: set[str] = set()
    query = select(turns).where(turns.c.person == person).order_by(turns.c.at.desc(), turns.c.id.desc())
    looked, last = 0, (1 << 62, "")
    while looked < SEARCHED:
        older = or_(turns.c.at < last[0], (turns.c.at == last[0]) & (turns.c.id < last[1]))
        rows = (await connection.execute(query.where(older).limit(_BATCH))).all()
        for row in rows:
            if row.conversation not in holding:
                turn = _unsealed(subjects, _bare(row), bytes(row.sealed))
                if wanted in _folded(turn.question) or wanted in _folded(turn.answer):
                    holding.add(row.conversation)
        if len(rows) < _BATCH:
            break
        looked, last = looked + len(rows), (rows[-1].at, rows[-1].id)
        await asyncio.sleep(0)
    return holding


def _folded(text: str) -> str:
    """Text as it is compared: without case, Hangul composed."""
    return unicodedata.normalize("NFC", text).casefold()


def _conversation(subjects: SubjectKeys, row: Row[Any]) -> Conversation:
    title, lost = "", False
    if row.sealed_title:
        try:
            title = subjects.unseal(row.person, title_purpose(row.id), bytes(row.sealed_title)).decode()
        except KeyringError:
            lost = True
    return Conversation(
        id=row.id, title=title, created_at=row.created_at, updated_at=row.updated_at, lost=lost
    )


_BARE = [column for column in turns.c if column.name != "sealed"]


def _bare(row: Row[Any]) -> Turn:
    """A turn without its text."""
    return Turn(**{column.name: getattr(row, column.name) for column in _BARE})


def _unsealed(subjects: SubjectKeys, turn: Turn, sealed: bytes) -> Turn:
    try:
        text = unpack(subjects.unseal(turn.person, turn_purpose(turn.id), sealed))
    except (KeyringError, msgspec.DecodeError):
        return msgspec.structs.replace(turn, lost=True)
    return msgspec.structs.replace(turn, question=text.question, answer=text.answer, notes=text.notes)
