"""What staff may see of a person's conversations: with leave, recorded, and known to the person.

Console and command line read through these functions alone; both fail closed (see ``accounts.looks``).
"""

from __future__ import annotations

from moduai.accounts import looks
from moduai.accounts.looks import LookError
from moduai.history.conversations import list_conversations, read_conversation
from moduai.history.record import Conversation
from moduai.store.database import Database
from moduai.store.subjects import SubjectKeys


async def list_of(
    db: Database, subjects: SubjectKeys, staff: str, person: str, limit: int = 50
) -> list[Conversation]:
    """Titles of a person's conversations, the latest first. Titles are text too: without leave it fails
    closed. Raises LookError.
    """
    return await looks.read(
        db,
        staff=staff,
        person=person,
        what="",
        reader=lambda connection: list_conversations(connection, subjects, person, limit=limit),
    )


async def read_of(
    db: Database, subjects: SubjectKeys, staff: str, person: str, conversation: str
) -> Conversation:
    """One conversation with its turns. Without leave it fails closed. Raises LookError."""
    found = await looks.read(
        db,
        staff=staff,
        person=person,
        what=conversation,
        reader=lambda connection: read_conversation(connection, subjects, person, conversation),
    )
    if found is None:
        raise LookError(f"this person has no conversation {conversation[:80]!r}")
    return found
