"""A person's conversations to take along: as JSON for programmes, as Markdown for people.

Both say of every answer that AI made it, and which model. Every turn is in the JSON, also answers that were
made again; the Markdown shows a conversation as its page does, from its first turn on. Written conversation
by conversation, so that a long history needs little memory, and no connection is held while somebody reads
slowly: each conversation is as it was when its turn came, and one that was deleted meanwhile is left out.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from moduai.history.conversations import conversation_ids, read_conversation
from moduai.history.record import Turn
from moduai.store.database import Database
from moduai.store.subjects import SubjectKeys

FORMAT = 1
MADE_BY_AI = "All answers were made by AI and may be wrong. 모든 답변은 AI가 만들었으며 틀릴 수 있습니다."
LOST = "(cannot be read: its key is lost · 열쇠를 잃어 읽을 수 없습니다)"
_MARKS = "`*_[]<>#|"


class _Head(Struct):
    format: int
    made_by_ai: str
    exported_at: str
    person: str


async def as_json(database: Database, subjects: SubjectKeys, person: str, now: float) -> AsyncIterator[bytes]:
    """A JSON object: ``format``, ``made_by_ai``, ``exported_at``, ``person`` and ``conversations``."""
    head = msgspec.json.encode(_Head(FORMAT, MADE_BY_AI, _time(now), person))
    yield head[:-1] + b',"conversations":['
    first = True
    for each in await _ids(database, person):
        async with database.connect() as connection:
            found = await read_conversation(connection, subjects, person, each, every=True)
        if found is not None:
            yield (b"" if first else b",\n") + msgspec.json.encode(found)
            first = False
    yield b"]}\n"


async def as_markdown(
    database: Database, subjects: SubjectKeys, person: str, now: float
) -> AsyncIterator[bytes]:
    """One document: a heading for each conversation, then questions as quotations and answers as they are."""
    yield f"> {MADE_BY_AI}\n>\n> {_time(now)}\n".encode()
    for each in await _ids(database, person):
        async with database.connect() as connection:
            found = await read_conversation(connection, subjects, person, each, most=sys.maxsize)
        if found is not None:
            title = found.title or (LOST if found.lost else "")
            yield f"\n# {_plain(title) or _time(found.created_at)}\n".encode("utf-8", "replace")
            for turn in found.turns:
                yield _turn(turn).encode("utf-8", "replace")


async def _ids(database: Database, person: str) -> list[str]:
    async with database.connect() as connection:
        return await conversation_ids(connection, person)


def _turn(turn: Turn) -> str:
    question, answer = (LOST, LOST) if turn.lost else (turn.question, turn.answer)
    asked = "\n".join(f"> {line}".rstrip() for line in question.splitlines() or [""])
    notes = "".join(f" · {note}" for note in turn.notes)
    state = "" if turn.outcome == "ok" else f" · {turn.outcome}"
    return f"\n{asked}\n\n{answer}\n\n*AI: {_plain(turn.model)} · {_time(turn.at / 1e6)}{state}{notes}*\n"


def _plain(text: str) -> str:
    """Text in which no letter is a mark of Markdown."""
    return "".join(f"\\{char}" if char in _MARKS or char == "\\" else char for char in text)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
