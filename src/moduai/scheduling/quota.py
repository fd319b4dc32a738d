"""How many tokens somebody may use in a day or a month, though many gateways let them in.

Words: an *owner* is a person, an organisation or a key with a limit; its *book* of one day or month stands in
the database: what was used, and the *leases*, tokens that one gateway holds until a time; a *purse* is what
one gateway knows of one owner. Rules, in words:

* A request is let in while anything is left in the purse. Its estimate is taken out at once, and what it was
  short of, or too much, at the end.
* A gateway *tells* the book what was used, and is leased what runs and a block: an eighth of what nobody
  holds, a hundredth of the limit at least. It tells when half a block is gone, else every `TELL` seconds.
* What a gateway did not use between two tellings goes back, but for a hundredth of the limit. That, or one
  request, is also what it lets in before it was told anything: no answer waits for the database.
* Where a telling ends without an answer nobody knows whether it was heard: the next one says when that was,
  and the lease in the book tells. So leases stay there for `REMEMBERED` seconds after their end.
* A lease ends in the gateway `LEASE - HOLD` seconds before it ends in the book, so clocks may differ by that.
  What a gateway held that died comes back then; what it had used and not told is forgotten.
* While the database is away a gateway lets in a tenth of the limit beside what it holds, once, then nothing.

So all gateways together let in at most the limit, and each of them a hundredth of it and one request more; an
estimate that was short adds what it was short of. Tokens are whole; times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

SHARE = 8
"""A block is one part in so many of what nobody holds."""
ADVANCE = 100
"""One part in so many of the limit is let in before anything is known."""
OVERDRAFT = 10
"""The same while the database is away."""
LEASE, HOLD = 30.0, 20.0
"""How long a lease counts in the book, and in the gateway."""
REMEMBERED = 300.0
"""For so long after its end a lease still tells that its gateway was heard."""
UNSURE = 8
"""Tellings without an answer that a gateway remembers."""
TELL, AGAIN = 5.0, 1.0
"""Time between two tellings, and between two of who got nothing."""
OUT = 256
"""Tokens that a first answer is expected to have."""
SMOOTHING = 8
"""Weight of the past in the moving mean of answers' lengths."""


class Period(NamedTuple):
    """A day or a month."""

    since: str
    """Its name: 2026-11-22 or 2026-11."""
    begins: float
    ends: float
    """When the next one begins."""


class Told(NamedTuple):
    """What a gateway tells a book: the limit, tokens used since, expected of what runs, and left over."""

    limit: int
    used: int
    held: int
    left: int
    more: bool
    """Another block is wanted."""
    unsure: Mapping[float, int] = {}
    """Of tellings without an answer: when a lease of them ends, and what was used by then."""


class Heard(NamedTuple):
    """What it hears: tokens that it holds from now on, and the limit less all that was used."""

    tokens: int
    left: int


def period(each: str, now: float, zone: tzinfo) -> Period:
    """The day, or for ``each`` "month" the month, of a time."""
    day = datetime.fromtimestamp(now, zone).replace(hour=0, minute=0, second=0, microsecond=0)
    if each == "month":
        first = day.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
        return Period(f"{day:%Y-%m}", first.timestamp(), after.timestamp())
    return Period(f"{day:%Y-%m-%d}", day.timestamp(), (day + timedelta(days=1)).timestamp())


def advance(limit: int) -> int:
    """What is let in before anything is known; at least 1, so one request always."""
    return limit // ADVANCE or 1


class Book:
    """What the database knows of an owner in a period."""

    __slots__ = ("leases", "used")

    def __init__(self, used: int = 0, leases: dict[str, tuple[int, float]] | None = None) -> None:
        self.used = used
        self.leases = leases or {}
        """Tokens by gateway, and until when."""

    def lease(self, gateway: str, told: Told, now: float) -> Heard:
        """Take down what a gateway tells, and lease it what runs there and a block."""
        _, heard_at = self.leases.get(gateway, (0, 0.0))
        self.used += told.used - told.unsure.get(heard_at, 0)
        others = {name: lease for name, lease in self.leases.items() if name != gateway}
        held = {name: lease for name, lease in others.items() if lease[1] > now - REMEMBERED}
        room = max(0, told.limit - self.used - sum(tokens for tokens, until in held.values() if until > now))
        block = max(told.left, advance(told.limit))
        if told.more:
            block = max(block, (room - told.held) // SHARE)
        tokens = min(room, told.held + block)
        self.leases = {**held, gateway: (tokens, now + LEASE)} if tokens else held
        return Heard(tokens, told.limit - self.used)


class Purse:
    """What one gateway knows of an owner in a period."""

    __slots__ = (
        "_active", "_block", "_good_until", "_held", "_left", "_lent", "_out", "_told_at", "_unsure", "_used",
        "limit", "owner", "period", "total",
    )  # fmt: skip

    def __init__(self, owner: str, limit: int, of: Period, now: float, *, away: bool = False) -> None:
        """``away``: the database is."""
        self.owner, self.limit, self.period = owner, limit, of
        self.total: int | None = None
        """The limit less all that was used, as it was told last; None: nothing was."""
        self._block = self._left = max(limit // OVERDRAFT, 1) if away else advance(limit)
        self._lent = away
        self._used = self._held = 0
        self._out = OUT
        self._active = False
        self._told_at, self._good_until = now, now + HOLD
        self._unsure: dict[float, int] = {}

    @property
    def spent(self) -> bool:
        """All of it was used: until the next period nothing changes that."""
        return self.total is not None and self.total <= 0

    @property
    def open(self) -> bool:
        """A request may come in."""
        return self._left > 0

    @property
    def low(self) -> bool:
        """Another block is wanted."""
        return self._left * 2 < self._block or self._left <= 0

    @property
    def idle(self) -> bool:
        """Nothing of it runs or has to be told."""
        return not (self._used or self._held)

    def left(self) -> int | None:
        """What its owner may still use, as far as is known here; None: not yet."""
        return None if self.total is None else max(0, self.total - self._used - self._held)

    def estimate(self, prompt: int, most: int) -> int:
        """Tokens that a request should take; ``most``: of its answer, 0: no bound."""
        return prompt + (min(most, self._out) if most else self._out)

    def touch(self) -> None:
        """Somebody asked; said also of those who are refused, for that is when more is needed."""
        self._active = True

    def take(self, tokens: int) -> None:
        """Let a request in."""
        self._left -= tokens
        self._held += tokens

    def settle(self, tokens: int, used: int, out: int) -> None:
        """A request for which ``tokens`` were taken out has used others, ``out`` of them for its answer."""
        self._held -= tokens
        self._left += tokens - used
        self._used += used
        if out:
            self._out += (out - self._out) // SMOOTHING

    def due(self, now: float) -> bool:
        """It is time to tell the book; also when the clock was set back, for who knows how far."""
        since = now - self._told_at
        if since < 0:
            return True
        if self.spent:
            return self._used > 0 and since >= TELL
        if self.low and (self._active or self._used):
            return self._block > 0 or since >= AGAIN
        return since >= TELL and (self._active or not self.idle or self._left > advance(self.limit))

    def over(self, now: float) -> bool:
        """It can be forgotten: what it held has ended, and all that it knew was told."""
        return self.idle and now >= (self.period.ends if self.spent else self._good_until)

    def tell(self) -> Told:
        """What to tell the book. Who was not asked for keeps no block."""
        if not self._active:
            self._left = min(self._left, advance(self.limit))
        more, self._active = self._active and self.low, False
        return Told(self.limit, self._used, self._held, self._left, more, dict(self._unsure))

    def wonder(self, told: Told, now: float) -> None:
        """What was told at ``now`` may have been heard, and may not."""
        self._unsure[now + LEASE] = told.used
        if len(self._unsure) > UNSURE:
            del self._unsure[next(iter(self._unsure))]

    def hear(self, told: Told, heard: Heard, now: float) -> None:
        """What the book said to what was told at ``now``; requests came and went since."""
        self._used -= told.used
        self._unsure.clear()
        if told.limit != self.limit:  # another one since: it is told again
            return
        self._left += heard.tokens - told.held - told.left
        self._block = max(0, heard.tokens - told.held)
        self.total, self._lent = heard.left, False
        self._told_at, self._good_until = now, now + HOLD

    def lend(self, now: float) -> None:
        """The book cannot be told anything: what is held ends when it has to, and a part is let in once.
        Fails open for that part, then closed.
        """
        if self._lent or self.spent:
            return
        if now >= self._good_until:
            self._left = min(self._left, 0)
        if self._left <= 0:
            self._left += max(self.limit // OVERDRAFT, 1)
            self._lent = True

    def change(self, limit: int) -> None:
        """Another limit from now on: nothing is known of it."""
        self.limit, self.total = limit, None
        self._block = self._left = advance(limit)
        self._active = True
