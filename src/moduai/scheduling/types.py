"""What the line is told and what it answers. Plain data: time in integer nanoseconds, cost in
integer micro-accelerator-seconds, so that decisions are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Ticket:
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


@dataclass(slots=True, eq=False)
class Grant:
    """The ticket may run now, on this replica."""

    ticket: Ticket
    replica: str


@dataclass(slots=True, eq=False)
class Queued:
    """The ticket waits. ``position`` counts from 1; ``wait`` is the expected time until it runs,
    or -1 where nothing has been served yet to judge by.
    """

    position: int
    wait: int


@dataclass(slots=True, eq=False)
class Refused:
    """The ticket was not taken. ``retry_after`` is when it is worth asking again."""

    reason: str
    """line_full or no_replica."""
    retry_after: int


Decision = Grant | Queued | Refused
