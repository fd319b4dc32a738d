"""What the line is told and what it answers. Plain data: time in integer nanoseconds, cost in
integer micro-accelerator-seconds, so that decisions are the same on every machine.
"""

from __future__ import annotations

from msgspec import Struct


class Ticket(Struct, eq=False):
    """One request that asks for a place: who, for which pool, at what estimated cost."""

    id: int
    pool: str
    """Name of the model: the pool of replicas it may run on."""
    path: tuple[str, ...]
    """Its place in the fair tree: class of service, organisation, person."""
    cost: int
    """Estimated cost."""
    arrived: int
    avoid: tuple[str, ...] = ()
    """Replicas that already failed it."""


class Grant(Struct, frozen=True):
    """The ticket may run now, on this replica."""

    ticket: Ticket
    replica: str


class Queued(Struct, frozen=True):
    """The ticket waits. ``position`` counts from 1; ``wait`` is the expected time until it runs,
    or -1 where nothing has been served yet to judge by.
    """

    position: int
    wait: int


class Refused(Struct, frozen=True):
    """The ticket was not taken. ``retry_after`` is when it is worth asking again."""

    reason: str
    """line_full or no_replica."""
    retry_after: int


Decision = Grant | Queued | Refused
