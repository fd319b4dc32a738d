"""One operation as a typed record, and what its handler gets."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import select

from moduai.accounts import audit
from moduai.accounts.roles import may
from moduai.accounts.tables import audit as entries
from moduai.gateway.errors import ApiError
from moduai.store.database import Connection

if TYPE_CHECKING:
    from moduai.web.services import Services

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
_LINE = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=_LINE)]
"""A name for people."""
Word = Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]
"""A name or id."""
Text = Annotated[str, Meta(max_length=200, pattern=_LINE)]
"""A name, id or part of one; may be empty."""
Words = Annotated[str, Meta(max_length=500, pattern=_LINE)]
"""A line for people."""
Code = Annotated[str, Meta(max_length=32, pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]*)?$")]
"""A coarse code, such as a region; may be empty."""
Time = Annotated[int, Meta(ge=0, le=1 << 40)]
"""Unix time in seconds; 0: never."""
REPEATED_S = 86_400
"""How long a key of a repeated request is remembered, in seconds."""


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operation is given: fields of the path, and of the query (GET, DELETE) or of the body."""


class Nothing(Request, frozen=True):
    """No parameters."""


class Page(Request, frozen=True):
    """A part of a list."""

    limit: Annotated[int, Meta(ge=1, le=200, description="Most items to answer with.")] = 50
    after: Annotated[
        str,
        Meta(
            max_length=400,
            pattern=_LINE,
            description="`next` of the answer before; empty: from the start.",
        ),
    ] = ""


class Caller(Struct, frozen=True, kw_only=True):
    """Who calls. ``key`` is the id of the API key, empty for a session."""

    person: str
    role: str
    key: str = ""


@dataclass(frozen=True)
class Operation:
    """One operation. ``path`` names fields of the request in braces."""

    name: str
    """Its id, and the action of its entries in the audit log unless they say more."""
    method: Method
    path: str
    permission: str
    summary: str
    request: type[Request]
    answer: Any
    """The type of what it answers."""
    handler: Callable[[Call, Any], Awaitable[Any]]
    command: str
    """The command that does the same on the machine."""
    status: int = 200

    @property
    def writes(self) -> bool:
        """Whether it changes something or leaves a trace; a cookie alone is then not enough."""
        return self.method != "GET"

    @property
    def once(self) -> bool:
        """Whether it makes something, so that a repeated request must not make another."""
        return self.status == 201


@dataclass
class Call:
    """One use of an operation."""

    services: Services
    operation: Operation
    caller: Caller
    once: str = ""
    """The caller's Idempotency-Key."""
    now: float = field(default_factory=time.time)

    def read(self) -> AbstractAsyncContextManager[Connection]:
        """A connection to read with."""
        return self.services.database.connect()

    def write(self) -> AbstractAsyncContextManager[Connection]:
        """A write transaction."""
        return self.services.database.begin()

    async def record(self, connection: Connection, target: str = "", **detail: audit.Value) -> None:
        """Add the audit entry of this call; the last step of its transaction."""
        if self.once:
            detail["once"] = _digest(self.once)
        if self.caller.key:
            detail["key"] = self.caller.key
        await audit.record(
            connection, actor=self.caller.person, action=self.operation.name, target=target, detail=detail
        )

    async def only_once(self, connection: Connection) -> None:
        """Refuse what was done before under the same Idempotency-Key, within a day. Raises ApiError.

        Without a key it fails open: a repeated request is then another one.
        """
        if not self.once:
            return
        await audit.hold(connection)  # of two at the same moment the second must see the first
        query = select(entries.c.target, entries.c.detail).where(
            entries.c.at >= int((self.now - REPEATED_S) * 1e6),
            entries.c.actor == self.caller.person,
            entries.c.action == self.operation.name,
        )
        for row in await connection.execute(query):
            if msgspec.json.decode(row.detail).get("once") == _digest(self.once):
                raise ApiError("already_done", f"This was done before; it made {row.target}.")


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:32]


async def perform(
    operation: Operation,
    services: Services,
    caller: Caller,
    given: Mapping[str, Any],
    *,
    strict: bool = True,
    once: str = "",
) -> Any:
    """Check the caller and the request, and do it. Raises ApiError; a role without the permission is refused
    before anything is read. Fails closed.
    """
    if not may(caller.role, operation.permission):
        raise ApiError("permission_missing", f"Your role may not do this: it needs {operation.permission!r}.")
    try:
        request = msgspec.convert(given, operation.request, strict=strict)
    except msgspec.ValidationError as error:
        raise ApiError("invalid_parameter", str(error)) from None
    call = Call(services, operation, caller, once)
    with refused("value_not_allowed", audit.AuditError):  # an id that the log does not take is nobody's
        return await operation.handler(call, request)


@contextmanager
def refused(code: str, *errors: type[Exception]) -> Iterator[None]:
    """Tell the caller of these errors with a code: their text is for people."""
    try:
        yield
    except errors as error:
        raise ApiError(code, _sentence(str(error))) from None


def _sentence(text: str) -> str:
    """The text of a command as a sentence: without its hint at another command."""
    text = text.partition(": see modu ")[0]
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}"
