"""What the queue is told and what it answers. Plain data: time in integer nanoseconds, cost in
integer micro-accelerator-seconds (µas), tokens whole, so that decisions are the same on every machine.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

ONE = 1000
"""Weights are in thousandths: this is a weight of 1."""
WHOLE = 1000
"""Guarantees and caps are per mille of a capacity: this is all of it."""


class Ticket(Struct, eq=False, gc=False):
    """One request that asks for a place: who, for which pool, how much work it seems to be."""

    id: int
    pool: str
    """Name of the model: the pool of replicas it may run on."""
    path: tuple[str, str, str]
    """Its place in the fair tree: class, organisation (zone, network prefix), person (key, guest token)."""
    app: str
    """What sends requests like this one: the length of its answers is learned for each."""
    tokens_in: int
    """Estimate of the prompt's tokens."""
    max_out: int
    """The client's bound on output tokens, times its choices; 0: none."""
    arrived: int
    blocks: tuple[int, ...] = ()
    """Chained hashes of the prompt's blocks: each stands for the whole prefix up to its end."""
    avoid: tuple[str, ...] = ()
    """Replicas that may not run it: they failed it, or cannot do what it asks."""
    weight: int = ONE
    """The person's, in thousandths."""

    # The queue's own:
    node: Any = None
    """Its person in the tree, while it waits or runs."""
    next: Ticket | None = None
    """Who stands behind it in its person's line."""
    out: int = 0
    """Estimate of its output tokens."""
    uncached: int = 0
    """Prompt tokens that its replica is expected to compute."""
    charged: int = 0
    """Cost charged so far."""
    home: str = ""
    """While it waits: the replica that holds most of its prompt."""
    held: int = 0
    """Blocks that its home holds."""
    state: int = 0
    """0 not known to the queue, 1 waits, 2 runs, 3 its first token has come."""


class Grant(Struct, frozen=True, gc=False):
    """The ticket may run now, on this replica."""

    ticket: Ticket
    replica: str
    max_out: int = 0
    """Above 0: shorten the answer to this many tokens, for many wait."""


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


NO_TICKET = Ticket(0, "", ("", "", ""), "", 0, 0, 0)
"""Of a grant to one that slipped in."""
Decision = Grant | Queued | Refused
