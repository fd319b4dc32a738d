"""What the queue is told and what it answers. Plain data: time in integer nanoseconds, cost in
integer micro-accelerator-seconds (µas), tokens whole, so that decisions are the same on every machine.
"""

from __future__ import annotations

from msgspec import Struct

from moduai.scheduling.ticket import Grant

WHOLE = 1000
"""Guarantees and caps are per mille of a capacity: this is all of it."""


class Queued(Struct, frozen=True):
    """The ticket waits. Times are in ns, -1 where nothing is known to judge by."""

    position: int
    """From 1 under the fair order; 0 where it was not asked for."""
    wait: int
    """Expected time until it runs."""
    low: int = -1
    """It will wait longer than this in nine of ten cases."""
    high: int = -1
    """It will wait less than this in nine of ten cases."""
    step: str = "queue"
    """What is done about the pressure now: queue, shorten, lighter or refuse."""
    lighter: str = ""
    """A lighter model that the operator's rule offers instead."""


class Refused(Struct, frozen=True):
    """The ticket was not taken. ``retry_after`` (ns) is when it is worth asking again."""

    reason: str
    """no_replica, line_full, organisation_line_full, person_line_full or overloaded."""
    retry_after: int


class Used(Struct, frozen=True):
    """What an engine says that a request took."""

    tokens_in: int
    tokens_cached: int
    tokens_out: int


class ReplicaSpec(Struct, frozen=True):
    """What a replica can do."""

    pools: frozenset[str]
    """The models it serves."""
    capacity: int
    """Most requests at once: its slots."""
    accelerators: int = 1
    kind: str = ""
    """Of its accelerators."""
    room: int = 0
    """Tokens that its KV cache holds; 0: not known."""
    prefill_budget: int = 8192
    """Most prompt tokens that may wait in the engine: what is more waits here, where it is fair."""


class Telemetry(Struct, frozen=True):
    """What an engine says about itself; -1: not told."""

    running: int = -1
    waiting: int = -1
    kv_used: int = -1
    """Per mille of its KV cache's room."""


class Figure(Struct, frozen=True):
    """How good the predictions of one kind are, all per mille."""

    kind: str
    """light or heavy."""
    error: int
    """Median of the difference as a part of the wait that came."""
    covered: int
    """How many waits fell into their interval."""
    seen: int
    """How many waits this rests on."""


class Share(Struct, frozen=True):
    """One node of the tree for the console: what it is due and what it has."""

    pool: str
    path: tuple[str, ...]
    """(class,) or (class, organisation)."""
    weight: int
    guarantee: int
    cap: int
    waiting: int
    running: int
    served: int
    """Cost settled since the start."""
    lag: int
    """Its virtual time above its parent's: what it was served ahead of others."""
    over: bool
    """It is at its cap."""
    here: int = 0
    """The weight that it shares by in this cell: less than its own where other cells serve it too."""


Decision = Grant | Queued | Refused
ASKED = Queued(-1, -1)
"""It is not known yet: another process decides, and the answer comes later."""
