"""A request that asks for a place, and the permission to run. Time in integer nanoseconds, cost in integer
micro-accelerator-seconds (µas), tokens whole.
"""

from __future__ import annotations

from typing import Any

from mypy_extensions import mypyc_attr

ONE = 1000
"""Weights are in thousandths: this is a weight of 1."""


@mypyc_attr(acyclic=True)
class Ticket:
    """One request that asks for a place: who, for which pool, how much work it seems to be. Without the
    garbage collector's care, as `tree.Node`.
    """

    __slots__ = (
        "app", "arrived", "avoid", "blocks", "charged", "held", "home", "id", "max_out", "next", "node",
        "out", "path", "pool", "state", "tokens_in", "uncached", "weight",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913, PLR0917  (plain data)
        self,
        id: int,  # noqa: A002
        pool: str,
        path: tuple[str, str, str],
        app: str,
        tokens_in: int,
        max_out: int,
        arrived: int,
        blocks: tuple[int, ...] = (),
        avoid: tuple[str, ...] = (),
        weight: int = ONE,
    ) -> None:
        self.id = id
        self.pool = pool
        """Name of the model: the pool of replicas it may run on."""
        self.path = path
        """Its place in the fair tree: class, organisation (zone, network prefix), person (key, guest)."""
        self.app = app
        """What sends requests like this one: the length of its answers is learned for each."""
        self.tokens_in = tokens_in
        """Estimate of the prompt's tokens."""
        self.max_out = max_out
        """The client's bound on output tokens, times its choices; 0: none."""
        self.arrived = arrived
        self.blocks = blocks
        """Chained hashes of the prompt's blocks: each stands for the whole prefix up to its end."""
        self.avoid = avoid
        """Replicas that may not run it: they failed it, or cannot do what it asks."""
        self.weight = weight
        """The person's, in thousandths."""
        # The queue's own:
        self.node: Any = None
        """Its person in the tree, while it waits or runs."""
        self.next: Ticket | None = None
        """Who stands behind it in its person's line."""
        self.out = 0
        """Estimate of its output tokens."""
        self.uncached = 0
        """Prompt tokens that its replica is expected to compute."""
        self.charged = 0
        """Cost charged so far."""
        self.home = ""
        """While it waits: the replica that holds most of its prompt."""
        self.held = 0
        """Blocks that its home holds."""
        self.state = 0
        """0 not known to the queue, 1 waits, 2 runs, 3 its first token has come."""


@mypyc_attr(acyclic=True)
class Grant:
    """The ticket may run now, on this replica."""

    __slots__ = ("max_out", "replica", "ticket")

    def __init__(self, ticket: Ticket, replica: str, max_out: int = 0) -> None:
        self.ticket = ticket
        self.replica = replica
        self.max_out = max_out
        """Above 0: shorten the answer to this many tokens, for many wait."""


NO_TICKET = Ticket(0, "", ("", "", ""), "", 0, 0, 0)
"""Of a grant to one that slipped in."""
