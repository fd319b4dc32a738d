"""Conversations that are kept for a resident: as pages show them, and as the next question needs them.

Rule: what the model reads again, and what a page shows as said before, are turns that the server recorded;
nothing that a page posts back becomes one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from starlette.exceptions import HTTPException

from moduai.history import conversations
from moduai.history.record import Conversation, PlaceError, Turn, TurnPlace, title_of
from moduai.web.conversation import Said
from moduai.web.forms import FormError
from moduai.web.site import Site
from moduai.web.visitor import Visitor

RECENT = 30
"""Conversations beside the page."""
SHOWN = 50
"""Newest turns of a conversation that its page shows at first."""
MOST_SHOWN = 500
"""Newest turns that it shows when all are asked for."""
AWAIT_S = 1.5
"""How long a turn that another worker recorded is waited for."""


class Before(NamedTuple):
    """Where a question goes: its conversation (empty: a new one), and what it follows."""

    conversation: str = ""
    parent: str = ""
    turns: Sequence[Said] = ()


def keeps(visitor: Visitor) -> bool:
    """Whether this visitor's turns are recorded."""
    return visitor.session is not None and visitor.principal.history


async def recent(site: Site, visitor: Visitor) -> list[Conversation]:
    """The newest conversations, to stand beside the page; none while the database is away."""
    if visitor.session is None or not keeps(visitor):
        return []
    services = site.services
    try:
        async with services.database.connect() as connection:
            return await conversations.list_conversations(
                connection, services.subjects, visitor.session.person, limit=RECENT
            )
    except services.database.errors:
        return []


async def read(site: Site, visitor: Visitor, id: str) -> Conversation:  # noqa: A002
    """One conversation with the turns that are shown. 404 where this person has none of that id."""
    if visitor.session is None or not id.startswith("cnv_") or not _well_formed(id, ""):
        raise HTTPException(404)
    found = await _awaited(site, visitor.session.person, id)
    if found is None:
        raise HTTPException(404)
    return found


async def _awaited(site: Site, person: str, id: str) -> Conversation | None:  # noqa: A002
    """It may be on its way: None if it was deleted, or has not come after ``AWAIT_S``."""
    deadline = time.monotonic() + AWAIT_S
    while True:
        found = await _stored(site, person, id)
        fresh = site.fresh.of(person, id)
        if fresh and not found and await _was_deleted(site, fresh[-1]):
            site.fresh.drop(id)
            return None
        if found or fresh:
            return _with_fresh(found, id, fresh)
        if time.monotonic() > deadline:  # a page may be loaded again before its first turn is there
            return None
        await asyncio.sleep(0.15)


async def before(site: Site, visitor: Visitor, conversation: str, parent: str | None) -> Before:
    """What a question follows. ``parent``: a turn's id, "" for a first turn, None for the newest.

    A parent that is not found after ``AWAIT_S`` counts as the newest. A conversation that is not there and
    was not deleted is one whose only question left the line without an answer: it begins anew. Raises
    FormError for one that was deleted, perhaps in another tab, or is somebody else's: fails closed.
    """
    if not conversation or visitor.session is None:
        return Before()
    person = visitor.session.person
    if not (_well_formed(conversation, parent or "") and await _is_open(site, person, conversation)):
        raise FormError("conversation_gone", 404)
    found = await _awaited(site, person, conversation) if parent != "" else None
    if found is None:
        return Before(conversation)
    turns = found.turns
    if parent is not None and _position(turns, parent) is None:
        turns = await _path_to(site, person, conversation, parent) or turns
    until = len(turns) - 1 if parent is None else _position(turns, parent)
    kept = turns if until is None else turns[: until + 1]
    return Before(conversation, kept[-1].id if kept else "", kept)


def _well_formed(conversation: str, turn: str) -> bool:
    try:
        TurnPlace.of(conversation, turn)
    except PlaceError:
        return False
    return True


def _position(turns: Sequence[Turn], id: str) -> int | None:  # noqa: A002
    return next((at for at, turn in enumerate(turns) if turn.id == id), None)


async def _path_to(site: Site, person: str, conversation: str, last: str) -> tuple[Turn, ...]:
    """The turns that lead to one that is not shown (another tab asked otherwise), or is still on its way."""
    services, deadline = site.services, time.monotonic() + AWAIT_S
    while True:
        async with services.database.connect() as connection:
            known = await conversations.read_turns(connection, services.subjects, person, conversation)
        by_id = {turn.id: turn for turn in (*known, *site.fresh.of(person, conversation))}
        if last in by_id or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.15)
    path: list[Turn] = []
    while (turn := by_id.pop(last, None)) is not None:
        path.append(turn)
        last = turn.parent
    return tuple(reversed(path))


async def _stored(site: Site, person: str, id: str) -> Conversation | None:  # noqa: A002
    services = site.services
    async with services.database.connect() as connection:
        return await conversations.read_conversation(connection, services.subjects, person, id)


async def _is_open(site: Site, person: str, conversation: str) -> bool:
    async with site.services.database.connect() as connection:
        return await conversations.takes_turns(connection, person, conversation)


async def _was_deleted(site: Site, turn: Turn) -> bool:
    async with site.services.database.connect() as connection:
        return await conversations.was_deleted(connection, turn.person, turn.conversation, turn.at)


def _with_fresh(found: Conversation | None, id: str, fresh: Sequence[Turn]) -> Conversation:  # noqa: A002
    """The shown path goes on where a fresh turn follows it, or turns off where it replaces what followed."""
    turns = list(found.turns) if found else []
    for turn in fresh:
        if any(turn.id == known.id for known in turns):
            continue
        at = -1 if not turn.parent else _position(turns, turn.parent)
        if at is None or any(known.at > turn.at for known in turns[at + 1 :]):
            continue
        turns[at + 1 :] = [turn]
    if found:
        return msgspec.structs.replace(found, turns=tuple(turns))
    now = int(time.time())
    title = title_of(turns[0].question) if turns else ""
    return Conversation(id=id, title=title, created_at=now, updated_at=now, turns=tuple(turns))
