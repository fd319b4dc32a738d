"""The decision log: every call of a queue as a line, and a running hash of its answers.

Rules, in words: the queue decides by what it is told alone, so the same calls give the same answers, and
`replay` of a log ends in the hash that was recorded. A log begins with the policy; every `CHECKED` calls, and
at its end, a line says the hash so far, so a log that was cut is good up to there. Nothing slips in without a
ticket while it is kept, so each request has its line. In it are opaque ids and numbers, never a text.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from moduai.scheduling.policy import Policy
from moduai.scheduling.queue import FairQueue, Moved
from moduai.scheduling.ticket import NO_TICKET, Grant, Ticket
from moduai.scheduling.types import Decision, Queued, ReplicaSpec, Telemetry, Used

VERSION = 1
CHECKED = 256
"""Calls between two lines that say the hash."""
FIELDS = (
    "id", "pool", "path", "app", "tokens_in", "max_out", "arrived", "blocks", "avoid", "weight",
    "out", "uncached", "charged", "home", "held", "state",
)  # fmt: skip
"""What is logged of a ticket: all but its place in the tree, which it has only while it waits or runs."""
TOLD = FIELDS.index("weight") + 1
"""So many of them are told by who asks."""

Answer = TypeVar("Answer", bound=Grant | list[Grant] | Struct | bool | None)
_encode = msgspec.json.Encoder().encode


class LogError(ValueError):
    """It is no decision log, or one of another version."""


class Journal(FairQueue):
    """A queue that writes down what it is told."""

    __slots__ = ("_calls", "_hash", "_write")

    def __init__(self, policy: Policy, write: Callable[[bytes], object]) -> None:
        """``write`` takes each line; it may not raise."""
        super().__init__(policy)
        self._write = write
        self._hash = blake2b(digest_size=16)
        self._calls = 0
        self._line("begin", VERSION, FIELDS, policy)

    @property
    def calls(self) -> int:
        """How many decisions there were."""
        return self._calls

    @property
    def digest(self) -> str:
        """The hash of all answers so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Say the hash at the end of the log."""
        self._line("hash", self._calls, self.digest)

    def _line(self, *values: object) -> None:
        self._write(_encode(values) + b"\n")

    def _told(self, answer: Answer) -> Answer:
        self._hash.update(_encode(_plain(answer)))
        self._calls += 1
        if not self._calls % CHECKED:
            self.close()
        return answer

    def set_policy(self, policy: Policy, now: int) -> list[Grant]:  # noqa: D102  (as in the queue; so are all)
        self._line("policy", now, policy)
        return self._told(super().set_policy(policy, now))

    def set_replica(self, name: str, spec: ReplicaSpec, *, is_open: bool, now: int) -> list[Grant]:  # noqa: D102
        self._line("replica", now, name, spec, is_open)
        return self._told(super().set_replica(name, spec, is_open=is_open, now=now))

    def remove_replica(self, name: str) -> None:  # noqa: D102
        self._line("remove", 0, name)
        self._told(super().remove_replica(name))

    def submit(self, ticket: Ticket, now: int, *, again: bool = False, kept: bool = False) -> Decision:  # noqa: D102
        self._line("submit", now, [getattr(ticket, name) for name in FIELDS], again, kept)
        return self._told(super().submit(ticket, now, again=again, kept=kept))

    def slip(self, name: str, class_name: str, tokens: int) -> Grant | None:
        """Everybody asks with a ticket."""

    def finish(self, grant: Grant, used: Used | None, first: int, ran: int, now: int) -> list[Grant]:  # noqa: D102
        took = used and (used.tokens_in, used.tokens_cached, used.tokens_out)
        self._line("finish", now, grant.ticket.id, grant.replica, took, first, ran)
        return self._told(super().finish(grant, used, first, ran, now))

    def progress(self, grant: Grant, tokens_out: int, now: int) -> list[Grant]:  # noqa: D102
        self._line("progress", now, grant.ticket.id, grant.replica, tokens_out)
        return self._told(super().progress(grant, tokens_out, now))

    def adopt(self, ticket: Ticket, replica: str, now: int, *, paid: bool, came: int) -> Grant | None:  # noqa: D102
        self._line("adopt", now, [getattr(ticket, name) for name in FIELDS], replica, paid, came)
        return self._told(super().adopt(ticket, replica, now, paid=paid, came=came))

    def cancel(self, ticket: Ticket, now: int) -> bool:  # noqa: D102
        self._line("cancel", now, ticket.id)
        return self._told(super().cancel(ticket, now))

    def place(self, ticket: Ticket, now: int) -> Queued | None:  # noqa: D102
        self._line("place", now, ticket.id)
        return self._told(super().place(ticket, now))

    def observe(self, replica: str, telemetry: Telemetry, now: int) -> None:  # noqa: D102
        self._line("observe", now, replica, telemetry)
        self._told(super().observe(replica, telemetry, now))

    def tick(self, now: int) -> list[Grant]:  # noqa: D102
        self._line("tick", now)
        return self._told(super().tick(now))

    def move(self, moved: Moved, ahead: Moved, now: int) -> None:  # noqa: D102
        self._line("move", now, moved, ahead)
        self._told(super().move(moved, ahead, now))

    def restore(self, data: bytes, now: int, away: int = 0) -> bool:  # noqa: D102
        self._line("restore", now, data, away)
        return self._told(super().restore(data, now, away))


class Replayed(Struct, frozen=True):
    """What a replay came to."""

    calls: int
    """Decisions that were compared."""
    recorded: str
    """The last hash in the log."""
    replayed: str
    """What the replay had there."""
    differs: int = -1
    """Decisions before the first hash that differs; -1: none does."""

    @property
    def agrees(self) -> bool:
        """Every decision was the same. Fails closed: of a log without a hash nothing is known."""
        return bool(self.recorded) and self.differs < 0


def replay(lines: Iterable[bytes]) -> Replayed:
    """Tell a new queue what a log says; a last line that was cut is left out. Raises LogError."""
    player: _Player | None = None
    found = Replayed(0, "", "")
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        try:
            kind, *values = msgspec.json.decode(line)
            if player is None:
                player = _begin(kind, *values)
            elif kind == "hash":
                found = player.compare(found, *values)
            else:
                player.play(kind, *values)
        except (msgspec.MsgspecError, ValueError, TypeError, LookupError) as error:
            raise LogError(f"line {number} cannot be replayed: {error}") from error
    if player is None:
        raise LogError("it is empty")
    return found


def _begin(kind: str, version: int, fields: list[str], policy: object) -> _Player:
    if (kind, version, fields) != ("begin", VERSION, list(FIELDS)):
        raise LogError("it is no decision log of this version")
    return _Player(msgspec.convert(policy, Policy))


class _Player:
    """Tells a queue what a log says. Of what is not known to it, the queue knows nothing either."""

    def __init__(self, policy: Policy) -> None:
        self.queue = queue = Journal(policy, lambda _line: None)
        self._waiting: dict[int, Ticket] = {}
        self._running: dict[int, Grant] = {}
        self._calls: dict[str, Callable[..., object]] = {
            "policy": lambda now, policy: queue.set_policy(msgspec.convert(policy, Policy), now),
            "replica": self._replica,
            "remove": lambda _now, name: queue.remove_replica(name),
            "submit": self._submit,
            "adopt": self._adopt,
            "finish": self._finish,
            "progress": self._progress,
            "cancel": lambda now, ticket: queue.cancel(self._waiting.pop(ticket, NO_TICKET), now),
            "place": lambda now, ticket: queue.place(self._waiting.get(ticket, NO_TICKET), now),
            "observe": self._observe,
            "tick": queue.tick,
            "move": lambda now, moved, ahead: queue.move(_moved(moved), _moved(ahead), now),
            "restore": lambda now, data, away: queue.restore(b64decode(data), now, away),
        }

    def compare(self, before: Replayed, calls: int, recorded: str) -> Replayed:
        """The hash so far beside the one in the log."""
        replayed = self.queue.digest
        differs = before.differs
        if differs < 0 and recorded != replayed:
            differs = before.calls
        return Replayed(calls, recorded, replayed, differs)

    def play(self, kind: str, now: int, *values: object) -> None:
        """One call."""
        answer = self._calls[kind](now, *values)
        for grant in (answer,) if isinstance(answer, Grant) else answer if isinstance(answer, list) else ():
            self._waiting.pop(grant.ticket.id, None)
            self._running[grant.ticket.id] = grant

    def _replica(self, now: int, name: str, spec: object, is_open: bool) -> object:
        return self.queue.set_replica(name, msgspec.convert(spec, ReplicaSpec), is_open=is_open, now=now)

    def _submit(self, now: int, values: list[Any], again: bool, kept: bool = False) -> object:
        ticket = _ticket(values)
        self._waiting[ticket.id] = ticket
        return self.queue.submit(ticket, now, again=again, kept=kept)

    def _adopt(self, now: int, values: list[Any], replica: str, paid: bool, came: int) -> object:
        return self.queue.adopt(_ticket(values), replica, now, paid=paid, came=came)

    def _finish(
        self, now: int, ticket: int, replica: str, used: list[int] | None, first: int, ran: int
    ) -> object:
        grant = self._running.pop(ticket, None) or Grant(NO_TICKET, replica)
        return self.queue.finish(grant, Used(*used) if used else None, first, ran, now)

    def _progress(self, now: int, ticket: int, replica: str, tokens_out: int) -> object:
        grant = self._running.get(ticket) or Grant(NO_TICKET, replica)
        return self.queue.progress(grant, tokens_out, now)

    def _observe(self, now: int, replica: str, telemetry: object) -> None:
        self.queue.observe(replica, msgspec.convert(telemetry, Telemetry), now)


def _ticket(values: list[Any]) -> Ticket:
    """A ticket as it was logged."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in zip(FIELDS, values, strict=True)
    }
    ticket = Ticket(*(fields[name] for name in FIELDS[:TOLD]))
    for name in FIELDS[TOLD:]:
        setattr(ticket, name, fields[name])
    return ticket


def _moved(values: list[Any]) -> Moved:
    return [(pool, tuple(path), number) for pool, path, number in values]


def _plain(answer: object) -> object:
    """An answer without the ticket's own state."""
    if isinstance(answer, Grant):
        return answer.ticket.id, answer.replica, answer.max_out
    return [_plain(each) for each in answer] if isinstance(answer, list) else answer
