"""A small pool for tests of the queue: prices of 1 µas a token, so that costs can be read."""

from __future__ import annotations

from typing import Any

from moduai.scheduling import FairQueue, Grant, Queued, ReplicaSpec, Ticket, Used
from moduai.scheduling.policy import ClassRule, Limits, NodeRule, Policy
from moduai.scheduling.types import Decision

SECOND = 1_000_000_000
WIDE = Limits(100_000, 100_000, 100_000)
M = frozenset({"m"})
NOTHING: Any = None


def policy(*classes: ClassRule, **changes: Any) -> Policy:
    made = {rule.name: rule for rule in classes or (ClassRule("c", limits=WIDE), ClassRule("d", limits=WIDE))}
    values: dict[str, Any] = {"limits": WIDE, "prices": {"m": 1000, "n": 1000}, **changes}
    return Policy("test", made, next(iter(made)), **values)


def rule(name: str, **changes: Any) -> ClassRule:
    return ClassRule(name, **{"limits": WIDE, **changes})


class World:
    """A queue, its calls in short, and what runs."""

    def __init__(self, rules: Policy | None = None, slots: int = 1, **spec: Any) -> None:
        self.queue = FairQueue(rules or policy())
        self.now = 0
        self.number = 0
        self.running: list[Grant] = []
        self.spec = {"prefill_budget": 1 << 30, **spec}
        self.add("r", slots)

    def add(
        self, name: str, slots: int = 1, pools: frozenset[str] = M, *, is_open: bool = True, **spec: Any
    ) -> None:
        made = ReplicaSpec(pools, slots, **{**self.spec, **spec})
        self.running += self.queue.set_replica(name, made, is_open=is_open, now=self.now)

    def ticket(self, who: str = "c/o/p", **fields: Any) -> Ticket:
        """One of 100 prompt tokens and one output token: its cost is 102."""
        self.number += 1
        a, b, c = who.split("/")
        values = {"pool": "m", "app": "a", "tokens_in": 100, "max_out": 1, "arrived": self.now, **fields}
        return Ticket(id=self.number, path=(a, b, c), **values)

    def ask(self, who: str = "c/o/p", **fields: Any) -> Ticket:
        ticket = self.ticket(who, **fields)
        self.send(ticket)
        return ticket

    def send(self, ticket: Ticket, *, again: bool = False) -> Decision:
        decision = self.queue.submit(ticket, self.now, again=again)
        if isinstance(decision, Grant):
            self.running.append(decision)
        return decision

    def end(self, grant: Grant | None = None, used: Used | None = NOTHING, ran: int = SECOND) -> list[str]:
        """The oldest (or this) ends as it was estimated; who runs next."""
        grant = grant or self.running[0]
        self.running = [each for each in self.running if each is not grant]
        ticket = grant.ticket
        used = used or Used(ticket.tokens_in, ticket.tokens_in - ticket.uncached, ticket.out)
        new = self.queue.finish(grant, used, 0, ran, self.now)
        self.running += new
        return [names(each) for each in new]

    def serve(self, count: int) -> list[str]:
        """So many end, one after the other; who ran next."""
        return [name for _ in range(count) for name in self.end()]

    @property
    def who(self) -> list[str]:
        return [names(grant) for grant in self.running]


def names(grant: Grant) -> str:
    return "/".join(grant.ticket.path)


def queued(decision: Decision) -> bool:
    return isinstance(decision, Queued)


__all__ = ["SECOND", "WIDE", "M", "NodeRule", "World", "names", "policy", "queued", "rule"]
