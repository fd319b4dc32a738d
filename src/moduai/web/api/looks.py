"""Leave to look at one person's text: taken with a reason, used, ended. The person sees each of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from moduai.accounts import looks as repository
from moduai.accounts.looks import LEAST_REASON, MOST_HOURS, MOST_REASON, Leave, Looked, LookError
from moduai.history.record import Conversation
from moduai.history.staff import list_of, read_of
from moduai.web.api.operation import Call, Operation, Request, Word, refused

MOST_LISTED = 200
"""Most conversations that are listed."""


class PersonNamed(Request, frozen=True):
    """One person, by id."""

    person: Word


class LeaveTaken(PersonNamed, frozen=True):
    """Why, and for how long."""

    reason: Annotated[
        str,
        Meta(min_length=LEAST_REASON, max_length=MOST_REASON, description="The person will read it."),
    ]
    hours: Annotated[float, Meta(gt=0, le=MOST_HOURS)] = 1.0


class LooksAt(Struct, frozen=True, kw_only=True):
    """Leave that was taken for one person's text."""

    mine: Leave | None
    """The caller's, while it lasts."""
    items: list[Looked]
    """Everybody's, newest first, as the person sees it."""


class ConversationNamed(PersonNamed, frozen=True):
    """One conversation of a person, by id."""

    conversation: Word


class Conversations(Struct, frozen=True):
    """A person's conversations without their turns, the latest first."""

    items: list[Conversation]


class Ended(Struct, frozen=True):
    """How much leave was ended."""

    ended: int


async def show(call: Call, wanted: PersonNamed) -> LooksAt:
    """Who took leave to read this person's text, why, and whether it was used."""
    async with call.read() as connection:
        mine = await repository.current_leave(connection, call.caller.person, wanted.person, call.now)
        return LooksAt(mine=mine, items=await repository.looks_at(connection, wanted.person))


async def take(call: Call, wanted: LeaveTaken) -> Leave:
    """You may then read this person's text until the leave ends; each reading stands in the audit log, and
    the person is shown the reason, your role and your organisation.
    """
    async with call.write() as connection:
        with refused("value_not_allowed", LookError):
            return await repository.take_leave(
                connection, call.caller.person, wanted.person, wanted.reason, wanted.hours
            )


async def end(call: Call, wanted: PersonNamed) -> Ended:
    """Yours, before its time."""
    async with call.write() as connection:
        return Ended(await repository.end_leave(connection, call.caller.person, wanted.person))


async def conversations(call: Call, wanted: PersonNamed) -> Conversations:
    """Their titles are text too: without current leave it is refused, and each reading is recorded."""
    services = call.services
    with refused("leave_missing", LookError):
        found = await list_of(
            services.database, services.subjects, call.caller.person, wanted.person, limit=MOST_LISTED
        )
    return Conversations(found)


async def read(call: Call, wanted: ConversationNamed) -> Conversation:
    """One conversation with its turns. Without current leave it is refused; each reading is recorded."""
    services, staff = call.services, call.caller.person
    async with call.read() as connection:
        leave = await repository.current_leave(connection, staff, wanted.person, call.now)
    with refused("leave_missing" if leave is None else "not_found", LookError):
        return await read_of(services.database, services.subjects, staff, wanted.person, wanted.conversation)


OPERATIONS = (
    Operation(
        "look.show", "GET", "/api/people/{person}/looks", "look", "Show leave taken for a person.",
        PersonNamed, LooksAt, show, "look show",
    ),
    Operation(
        "look.take", "POST", "/api/people/{person}/leave", "look", "Take leave to look.",
        LeaveTaken, Leave, take, "look take",
    ),
    Operation(
        "look.end", "DELETE", "/api/people/{person}/leave", "look", "End leave to look.",
        PersonNamed, Ended, end, "look end",
    ),
    Operation(
        "look.conversations", "POST", "/api/people/{person}/conversations", "look",
        "Read the list of conversations.", PersonNamed, Conversations, conversations, "look read",
    ),
    Operation(
        "look.read", "POST", "/api/people/{person}/conversations/{conversation}", "look",
        "Read a conversation.", ConversationNamed, Conversation, read, "look read",
    ),
)  # fmt: skip
