"""A person's conversations to take along: as JSON for programmes, as Markdown for people.

Both say of every answer that AI made it, and which model. Every turn is in them, also answers that were
made again; the Markdown shows a conversation as its page does. Written piece by piece, so that a long
history needs little memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from moduai.history.conversations import list_conversations, read_conversation, read_turns
from moduai.history.record import Conversation, Turn
from moduai.store.database import Connection
from moduai.store.subjects import SubjectKeys

FORMAT = 1
MADE_BY_AI = "All answers were made by AI and may be wrong. 모든 답변은 AI가 만들었으며 틀릴 수 있습니다."
LOST = "(cannot be read: its key is lost · 열쇠를 잃어 읽을 수 없습니다)"
_PAGE = 100
_MARKS = "`*_[]<>#|"


class _Head(Struct):
    format: int
    made_by_ai: str
    exported_at: str
    person: str


async def as_json(
    connection: Connection, subjects: SubjectKeys, person: str, now: float
) -> AsyncIterator[bytes]:
    """A JSON object: ``format``, ``made_by_ai``, ``exported_at``, ``person`` and ``conversations``."""
    head = msgspec.json.encode(_Head(FORMAT, MADE_BY_AI, _time(now), person))
    yield head[:-1] + b',"conversations":['
    first = True
    async for conversation in _all(connection, subjects, person):
        kept = tuple(await read_turns(connection, subjects, person, conversation.id))
        yield (b"" if first else b",\n") + msgspec.json.encode(
            msgspec.structs.replace(conversation, turns=kept)
        )
        first = False
    yield b"]}\n"


async def as_markdown(
    connection: Connection, subjects: SubjectKeys, person: str, now: float
) -> AsyncIterator[bytes]:
    """One document: a heading for each conversation, then questions as quotations and answers as they are."""
    yield f"> {MADE_BY_AI}\n>\n> {_time(now)}\n".encode()
    async for listed in _all(connection, subjects, person):
        conversation = await read_conversation(connection, subjects, person, listed.id)
        if conversation is not None:  # else deleted meanwhile
            title = conversation.title or (LOST if conversation.lost else "")
            yield f"\n# {_plain(title) or _time(conversation.created_at)}\n".encode()
            for turn in conversation.turns:
                yield _turn(turn).encode("utf-8", "replace")


async def _all(connection: Connection, subjects: SubjectKeys, person: str) -> AsyncIterator[Conversation]:
    before = None
    while True:
        page = await list_conversations(connection, subjects, person, limit=_PAGE, before=before)
        for conversation in page:
            yield conversation
        if len(page) < _PAGE:
            return
        before = (page[-1].updated_at, page[-1].id)


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
