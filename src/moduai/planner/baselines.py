"""Rivals that the fair queue is measured against, behind the same methods.

* ``FirstCome``: what a plain load balancer does. Everything is sent on at once, to the replica with the
  fewest requests; the line is inside the engines, first come first served.
* ``RateLimited``: the same, but each person may ask so often a minute; what is more is refused.
* ``LateFirstCome``: one line in front, first come first served; a replica gets what it can run now.
* ``LocalityOnly``: the replica that was sent most of the prompt before, whatever its load; the one with the
  fewest requests where that is no more than what all prompts share.
"""

from __future__ import annotations

from collections import deque

from moduai.planner.clock import SECOND
from moduai.planner.steptime import BLOCK
from moduai.scheduling import Grant, Queued, Refused, ReplicaSpec, Telemetry, Ticket, Used

MINUTE = 60 * SECOND


class FirstCome:
    """Everything at once to the replica with the fewest requests."""

    def __init__(self) -> None:
        self.load: dict[str, int] = {}
        """Requests that each replica has."""
        self.specs: dict[str, ReplicaSpec] = {}

    def set_replica(self, name: str, spec: ReplicaSpec, *, is_open: bool, now: int) -> list[Grant]:
        """Add a replica; these rivals know of no closed ones."""
        self.load[name] = 0
        self.specs[name] = spec
        return []

    def submit(self, ticket: Ticket, now: int, *, again: bool = False) -> Grant | Queued | Refused:
        """Send it on."""
        return self.send(ticket, min(self.load, key=self.load.__getitem__))

    def send(self, ticket: Ticket, replica: str) -> Grant:
        """Send it to this replica."""
        self.load[replica] += 1
        return Grant(ticket, replica)

    def finish(self, grant: Grant, used: Used | None, first: int, ran: int, now: int) -> list[Grant]:
        """One request less."""
        self.load[grant.replica] -= 1
        return []

    def place(self, ticket: Ticket, now: int) -> Queued | None:
        """It tells nothing."""
        return None

    def progress(self, grant: Grant, tokens_out: int, now: int) -> list[Grant]:
        """It charges nothing."""
        return []

    def cancel(self, ticket: Ticket, now: int) -> bool:
        """Nothing waits here."""
        return False

    def observe(self, replica: str, telemetry: Telemetry, now: int) -> None:
        """It does not look."""

    def tick(self, now: int) -> list[Grant]:
        """Nothing to do."""
        return []


class RateLimited(FirstCome):
    """So many requests a minute for each person, counted over the last sixty seconds."""

    def __init__(self, a_minute: int = 10) -> None:
        super().__init__()
        self.a_minute = a_minute
        self._asked: dict[str, deque[int]] = {}

    def submit(self, ticket: Ticket, now: int, *, again: bool = False) -> Grant | Queued | Refused:
        """Refuse what is more."""
        asked = self._asked.setdefault(ticket.path[-1], deque())
        while asked and asked[0] <= now - MINUTE:
            asked.popleft()
        if len(asked) >= self.a_minute:
            return Refused("rate_limit", asked[0] + MINUTE - now)
        asked.append(now)
        return super().submit(ticket, now)


class LateFirstCome(FirstCome):
    """One line in front of all replicas; one takes the next when it has a free slot."""

    def __init__(self) -> None:
        super().__init__()
        self.line: deque[Ticket] = deque()

    def submit(self, ticket: Ticket, now: int, *, again: bool = False) -> Grant | Queued | Refused:
        """Run now, or stand at the end."""
        free = min(self.load, key=self.load.__getitem__)
        if self.load[free] < self.specs[free].capacity:
            return super().submit(ticket, now)
        self.line.append(ticket)
        return Queued(len(self.line), -1)

    def finish(self, grant: Grant, used: Used | None, first: int, ran: int, now: int) -> list[Grant]:
        """The next in line."""
        super().finish(grant, used, first, ran, now)
        return [self.send(self.line.popleft(), grant.replica)] if self.line else []

    def cancel(self, ticket: Ticket, now: int) -> bool:
        """Leave the line."""
        if ticket not in self.line:
            return False
        self.line.remove(ticket)
        return True


class LocalityOnly(FirstCome):
    """The replica that was sent most of the prompt before."""

    def __init__(self, common: int = 2) -> None:
        """``common``: blocks that all prompts share."""
        super().__init__()
        self.common = common
        self._sent: dict[str, dict[int, None]] = {}

    def submit(self, ticket: Ticket, now: int, *, again: bool = False) -> Grant | Queued | Refused:
        """Follow the prefix."""
        held = {name: self._held(name, ticket.blocks) for name in self.load}
        best = max(held, key=held.__getitem__)
        if held[best] <= self.common:
            best = min(self.load, key=self.load.__getitem__)
        sent = self._sent.setdefault(best, {})
        for block in reversed(ticket.blocks):
            sent.pop(block, None)
            sent[block] = None
        while len(sent) * BLOCK > self.specs[best].room:
            del sent[next(iter(sent))]
        return self.send(ticket, best)

    def _held(self, name: str, blocks: tuple[int, ...]) -> int:
        sent = self._sent.get(name, {})
        for number, block in enumerate(blocks):
            if block not in sent:
                return number
        return len(blocks)
