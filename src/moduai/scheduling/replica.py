"""What a replica runs, and whether a ticket fits there now.

Rules, in words (late binding: an engine is sent only what it can run now):

* It has a free slot.
* Its KV cache has room for the prompt and the expected answer, where the room is known. The tokens in use
  are what was sent there, or what the engine tells, whichever is more; what it told is dropped when it is
  empty or has told nothing for `BELIEVED`. An empty replica takes anything.
* The prompts that it was sent and has not computed yet have at most ``prefill_budget`` tokens together; one
  prompt it takes always. One is computed when its first token has come, and all are when nothing was sent for
  ``LAPSE`` times as long as that should take.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from operator import attrgetter

from moduai.scheduling.speed import Speed
from moduai.scheduling.ticket import NO_TICKET, Grant, Ticket
from moduai.scheduling.types import WHOLE, ReplicaSpec, Telemetry

LAPSE = 2
STEPS = 1000
"""Steps of a batch that are foretold at once: more exact than one."""
EVIDENCE = 64
LEARN_GAP = 10_000_000
"""Its speed is learned from so many answers, then from one in so many ns: a hundred a second are enough."""
BELIEVED = 15_000_000_000
"""For so long, three rounds of health checks, is believed what an engine told of its room."""
NEAR = 8
TRIED = 4
"""Tickets whose prefix a replica holds: so many are looked at for each grant, and of these tried."""


class Replica:
    """The state of one replica. Times are in ns."""

    __slots__ = (
        "accelerators",
        "active",
        "budget",
        "capacity",
        "learn_at",
        "learned",
        "more",
        "name",
        "near",
        "only",
        "open",
        "pending",
        "pools",
        "room",
        "running",
        "sent",
        "slip",
        "speeds",
        "tokens",
        "told",
        "turn",
        "turns",
    )  # fmt: skip

    def __init__(self, name: str, spec: ReplicaSpec) -> None:
        self.name = name
        self.become(spec)
        self.slip = Grant(NO_TICKET, name)
        """The grant of all that slip in."""
        self.open = False
        self.running = 0
        self.tokens = 0
        """Of its KV cache, that what runs takes at the end."""
        self.more = 0
        """So many more were in use when the engine told so last, at ``told``."""
        self.told = 0
        self.pending = 0
        """Prompt tokens that it was sent, without those of requests whose first token has come."""
        self.sent = 0
        """When it was sent something last."""
        self.active: dict[Ticket, int] = {}
        """What runs, and when it began; only where the room is known."""
        self.learned = self.learn_at = 0
        """Answers learned from, and when the next one is."""
        self.near: deque[Ticket] = deque()
        """Waiting tickets whose prefix it held when they came."""
        self.speeds: dict[str, Speed] = {}
        self.turn = 0
        self.turns: dict[str, int] = {}
        """Virtual time of each class here, where it serves several pools."""

    def become(self, spec: ReplicaSpec) -> None:
        """It can do this from now on."""
        self.pools, self.capacity, self.accelerators = spec.pools, spec.capacity, spec.accelerators
        self.room, self.budget = spec.room, spec.prefill_budget
        self.only = next(iter(spec.pools)) if len(spec.pools) == 1 else ""
        """The one pool that it serves."""

    def speed(self, pool: str) -> Speed:
        """What is known of its speed with a pool."""
        speed = self.speeds.get(pool)
        if speed is None:
            speed = self.speeds[pool] = Speed()
        return speed

    def ready(self, ticket: Ticket) -> bool:
        """It takes requests, has a free slot and may run this one."""
        return self.open and self.running < self.capacity and self.name not in ticket.avoid

    def has_room(self, tokens: int) -> bool:
        """Its KV cache has room for so many more tokens."""
        room = self.room
        return not room or not self.running or self.tokens + self.more + tokens <= room

    def has_time(self, pool: str, uncached: int, now: int) -> bool:
        """So many more prompt tokens do not exceed its prefill budget."""
        pending = self.pending
        if not pending or pending + uncached <= self.budget:
            return True
        return now - self.sent > LAPSE * self.speed(pool).prefill(pending)

    def fits(self, ticket: Ticket, uncached: int, now: int) -> bool:
        """It can run the ticket now, a free slot apart."""
        return (not self.room or self.has_room(ticket.tokens_in + ticket.out)) and (
            not self.pending or self.has_time(ticket.pool, uncached, now)
        )

    def finish_time(self, ticket: Ticket, uncached: int, now: int) -> int:
        """When it would have answered the ticket, if it were sent there now."""
        speed = self.speed(ticket.pool)
        return now + speed.prefill(self.pending + uncached) + speed.decode(ticket.out, self.running + 1)

    def start(self, ticket: Ticket, now: int) -> None:
        """A ticket runs here from now on."""
        self.running += 1
        self.pending += ticket.uncached
        self.sent = now
        if self.room:
            self.active[ticket] = now
            self.tokens += ticket.tokens_in + ticket.out

    def end(self, ticket: Ticket) -> None:
        """A ticket has ended; its estimates are as they were at the start."""
        self.running -= 1
        if not self.running:
            self.more = 0
        if ticket.state == 2:
            self.pending -= ticket.uncached
        if self.active and self.active.pop(ticket, None) is not None:
            self.tokens -= ticket.tokens_in + ticket.out

    def observe(self, telemetry: Telemetry, now: int) -> None:
        """What the engine tells of itself."""
        if telemetry.kv_used >= 0:
            used = min(telemetry.kv_used, WHOLE) * self.room // WHOLE
            self.more, self.told = max(0, used - self.tokens), now

    def doubt(self, now: int) -> None:
        """What an engine told of its room is not believed for long: it may tell no more. Fails open."""
        if self.more and now - self.told > BELIEVED:
            self.more = 0

    def reservation(self, ticket: Ticket) -> tuple[int, int]:
        """When there will be room for a ticket, if all goes as expected, and the tokens that are free beside
        it then.
        """
        free = self.room - self.tokens - self.more - ticket.tokens_in - ticket.out
        start = 0
        steps: dict[str, int] = {}
        ends: list[tuple[int, int, Ticket]] = []
        for other, began in self.active.items():
            speed = self.speed(other.pool)
            if other.pool not in steps:
                steps[other.pool] = speed.decode(STEPS, self.running)
            ran = speed.prefill(other.uncached) + other.out * steps[other.pool] // STEPS
            ends.append((began + ran, other.id, other))
        for end, _, other in sorted(ends):
            if free >= 0:
                break
            free += other.tokens_in + other.out
            start = end
        return start, max(free, 0)

    def learn(self, pool: str, uncached: int, out: int, first: int, ran: int, now: int) -> None:
        """Learn from an answer; it no longer counts as running. Asked only from `learn_at` on."""
        self.speed(pool).learn(uncached, out, first, ran, self.running + 1)
        self.learned += 1
        if self.learned > EVIDENCE:
            self.learn_at = now + LEARN_GAP

    def come_near(self, ticket: Ticket, waiting: int) -> None:
        """It is the home of a ticket. Those that left are forgotten before they outnumber who waits."""
        self.near.append(ticket)
        if len(self.near) > 2 * waiting + NEAR:
            self.near = deque(dict.fromkeys(t for t in self.near if t.state == 1 and t.home == self.name))

    def look_near(self, least: int) -> list[Ticket]:
        """Some of the tickets whose home it is, or was, that have more than ``least`` blocks held, most held
        first; others next time.
        """
        near = self.near
        for _ in range(NEAR):
            if not near or (near[0].state == 1 and near[0].home == self.name):
                break
            near.popleft()
        found = [ticket for ticket in islice(near, NEAR) if ticket.state == 1 and ticket.held > least]
        near.rotate(-NEAR)
        if len(found) > 1:
            found.sort(key=attrgetter("held"), reverse=True)
        return found[:TRIED]

    def take_turn(self, name: str, cost: int) -> None:
        """Among the pools of one replica classes take turns, by what each was served here."""
        self.turn = max(self.turn, self.turns.get(name, 0))
        self.turns[name] = self.turn + cost

    def due(self, name: str) -> int:
        """Virtual time of a class here."""
        return max(self.turn, self.turns.get(name, 0))
