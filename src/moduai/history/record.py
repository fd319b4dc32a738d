"""Turns and conversations: as they are asked for, as they are kept, and as people see them.

Times are Unix seconds, a turn's in microseconds.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from msgspec import Struct

from moduai.accounts.people import visible_line

Note = Literal["cut", "choices", "tools", "media"]
"""What a kept text does not show: ``cut``: it was longer; ``choices``: further answers; ``tools``: calls of
tools; ``media``: images, sounds or files, which stand as ``[image]`` and so on."""
MOST_TITLE = 60
"""Letters of a title that is made from a question."""

_CONVERSATION = re.compile(r"cnv_[0-9A-Za-z-]{1,64}")
_TURN = re.compile(r"[0-9A-Za-z-]{1,64}")


class PlaceError(ValueError):
    """A conversation's or a turn's id does not have their form; the text says which."""


class TurnPlace(NamedTuple):
    """Where a turn goes."""

    conversation: str = ""
    """Its conversation; empty: a new one, whose id is ``cnv_`` and the turn's id."""
    parent: str = ""
    """The turn that it follows; empty: it is a first one."""

    @classmethod
    def of(cls, conversation: str, parent: str) -> TurnPlace:
        """Check ids that come from outside. Raises PlaceError. Fails closed."""
        if conversation and not _CONVERSATION.fullmatch(conversation):
            raise PlaceError("a conversation's id is cnv_ and letters, digits or hyphens")
        if parent and not _TURN.fullmatch(parent):
            raise PlaceError("a turn's id is letters, digits or hyphens")
        return cls(conversation, parent)

    def conversation_of(self, turn: str) -> str:
        """Id of the conversation that the turn with this id belongs to."""
        return self.conversation or f"cnv_{turn}"


NEW = TurnPlace()
"""A new conversation."""


class Text(Struct, frozen=True, tag="text"):
    """What is sealed of a turn."""

    question: str
    answer: str
    notes: tuple[Note, ...] = ()


class Passed(Struct, frozen=True, gc=False, tag="bytes"):
    """What is sealed of a turn until it is loaded: the bytes that passed, of which nothing is read yet."""

    asked: bytes
    """The request's body."""
    body: bytes
    """The answer's, if it came whole."""
    events: bytes
    """The answer's events, if it was a stream."""


class Line(Struct, frozen=True, gc=False):
    """A turn in a segment: the columns of its row; ``sealed`` is a Passed or a Text."""

    id: str
    conversation: str
    person: str
    at: int
    model: str
    engine: str
    outcome: str
    consent: str
    parent: str
    sealed: bytes


class Turn(Struct, frozen=True, kw_only=True):
    """One question and its answer, as the server saw them."""

    id: str
    conversation: str
    person: str
    at: int
    """When it was asked, Unix time in microseconds."""
    model: str
    engine: str
    outcome: str
    """ok, cancelled, failed or timeout, as in the ledger: all but ok may be cut short."""
    consent: str
    """Purposes that the person had agreed to then; empty: none."""
    parent: str
    question: str = ""
    answer: str = ""
    notes: tuple[Note, ...] = ()
    lost: bool = False
    """The text cannot be read: its key is lost."""


class Conversation(Struct, frozen=True, kw_only=True):
    """A conversation; ``turns`` are those that are shown, in order (none in a list)."""

    id: str
    title: str
    created_at: int
    updated_at: int
    lost: bool = False
    """The title cannot be read: its key is lost."""
    turns: tuple[Turn, ...] = ()


def turn_purpose(turn: str) -> str:
    """What a turn's text is sealed for: it cannot be passed off as another's."""
    return f"turn {turn}"


def title_purpose(conversation: str) -> str:
    """What a conversation's title is sealed for."""
    return f"title {conversation}"


def title_of(question: str) -> str:
    """A title from the start of a question, which a person could have given too."""
    line = visible_line(question[: 4 * MOST_TITLE])
    return line if len(line) <= MOST_TITLE else line[: MOST_TITLE - 1].rstrip() + "…"
