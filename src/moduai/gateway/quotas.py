"""Limits for a day or a month on the lane: what this gateway knows of each, and how it tells the database.

Rule: the lane asks memory only; what was used is told to the database beside it, many owners in one
transaction (the rules are those of ``scheduling.quota``). A request counts for whoever has a limit of its
key, its person and its organisation, for each as a whole, in the day or month in which it came in, with the
tokens that its row in the ledger has. Where the database is away, people are let in for what the gateway
holds and a tenth of their limit beside it, then refused: fails open, then closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import bindparam, select, tuple_, update

from moduai.accounts.principal import Principal
from moduai.accounts.quotas import Limit
from moduai.accounts.tables import quota_books as books
from moduai.gateway.errors import ApiError
from moduai.metering.row import UsageRow
from moduai.scheduling.policy import Policy
from moduai.scheduling.quota import AGAIN, Book, Heard, Period, Purse, Told, period
from moduai.store.database import Connection, Database, brief, put_new

TICK_S, ROUND_S = 1.0, 0.05
"""Longest time between two looks at what has to be told, and shortest between two transactions."""
MOST_AT_ONCE = 500
"""Owners in one transaction."""
AWAY_S = 5
"""When to ask again while the database does not answer."""
GIVE_BACK_S = 2.0
"""Longest time that the end of a process waits for it."""

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Period and owner: of a book, and of what is told it."""


class Hold(NamedTuple):
    """What was taken out for one request."""

    purses: list[Purse]
    tokens: int
    low: Callable[[Purse], object]
    """Said of a purse that is low after it."""

    def settle(self, row: UsageRow) -> None:
        """The request is over. Of an answer that was not streamed and that its client left nobody knows what
        ran: the estimate stands.
        """
        used = row.tokens_in + row.tokens_out if row.engine else 0
        if row.engine and row.outcome == "cancelled" and not row.stream:
            used = max(used, self.tokens)
        for purse in self.purses:
            purse.settle(self.tokens, used, row.tokens_out)
            if purse.low:
                self.low(purse)


class Shown(Struct, frozen=True):
    """A limit of theirs, for people."""

    of: str
    """key, person or organisation."""
    tokens: int
    each: str
    left: int | None
    """Null: not known here yet."""
    renews_at: int
    """Unix time in seconds."""


class Quotas:
    """All limits, and the purses of who asked here lately."""

    def __init__(
        self,
        database: Database,
        gateway: str,
        zone: Callable[[], tzinfo],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``gateway``: what the leases of this process are called; ``zone``: where days begin."""
        self._database, self._gateway, self._zone, self._clock = database, gateway, zone, clock
        self._at: tzinfo = UTC
        """Where days begin, as it was found last: never looked up on the lane."""
        self._limits: Mapping[str, Limit] = {}
        self._classes: Mapping[str, Limit] = {}
        self._periods: dict[str, Period] = {}
        self._purses: dict[str, Purse] = {}
        self._past: list[Purse] = []
        """Of days and months that are over, with something to tell."""
        self._urgent: set[Purse] = set()
        self._wake = asyncio.Event()
        self._telling = asyncio.Lock()
        self._look_at = 0.0
        self._away = False
        """The database does not take what is told."""

    def in_use(self) -> Quotas | None:
        """Itself, if anybody has a limit: else the lane has nothing to ask."""
        return self if self._limits or self._classes else None

    def set_limits(self, limits: Mapping[str, Limit]) -> None:
        """Those that staff set, from now on."""
        self._limits = limits
        self._look_where()

    def set_policy(self, policy: Policy) -> None:
        """Those of the policy's classes, for each of their people."""
        self._classes = {name: Limit(rule.quota) for name, rule in policy.classes.items() if rule.quota}
        self._look_where()

    def _look_where(self) -> None:
        if self.in_use():
            self._at = self._zone()

    # on the lane

    def admit(self, who: Principal, class_name: str, prompt: int, most: int) -> Hold | None:
        """Take a request's estimate out of all purses that it counts for; None: it counts for none. ``most``:
        of its answer, 0: no bound. Raises ApiError. What is not known yet fails open for a hundredth of the
        limit.
        """
        now = self._clock()
        purses, tokens = [], 0
        for owner, limit in self._of(who, class_name):
            purse = self._purse(owner, limit, now)
            purse.touch()
            if not purse.open or purse.spent:
                self._refuse(purse, who, now)
            purses.append(purse)
            tokens = max(tokens, purse.estimate(prompt, most))
        for purse in purses:
            purse.take(tokens)
            if purse.low:
                self._low(purse)
        return Hold(purses, tokens, self._low) if purses else None

    def shown(self, who: Principal, class_name: str) -> list[Shown]:
        """What is left to the author of a request, as far as is known here."""
        now, found = self._clock(), []
        for owner, limit in self._of(who, class_name):
            purse = self._purse(owner, limit, now)
            purse.touch()  # it is told soon, and then more is known
            ends = math.ceil(purse.period.ends)
            found.append(Shown(_kind(owner, who), limit.tokens, limit.each, purse.left(), ends))
        return found

    def _of(self, who: Principal, class_name: str) -> Iterator[tuple[str, Limit]]:
        """Whose limits a request counts for."""
        limits = self._limits
        for owner in (who.key, who.organisation):
            if owner in limits:
                yield owner, limits[owner]
        limit = limits.get(who.subject) or self._classes.get(class_name)
        if limit is not None:
            yield who.subject, limit

    def _purse(self, owner: str, limit: Limit, now: float) -> Purse:
        purse, present = self._purses.get(owner), self._period(limit, now)
        if purse is None or purse.period is not present:
            if purse is not None and not purse.idle:
                self._past.append(purse)
            purse = self._purses[owner] = Purse(owner, limit.tokens, present, now, away=self._away)
        elif purse.limit != limit.tokens:
            purse.change(limit.tokens)
        return purse

    def _period(self, limit: Limit, now: float) -> Period:
        found = self._periods.get(limit.each)
        if found is None or not found.begins <= now < found.ends:  # a clock may be set back, too
            found = self._periods[limit.each] = period(limit.each, now, self._at)
        return found

    def _refuse(self, purse: Purse, who: Principal, now: float) -> None:
        """Raises ApiError: all is used, until when; or more has to be leased first."""
        if not purse.spent:
            self._low(purse)
            raise ApiError("quota_unknown", retry_after_s=AWAY_S if self._away else math.ceil(AGAIN))
        anew = datetime.fromtimestamp(purse.period.ends, self._at).isoformat(" ", "minutes")
        name = _NAMES[_kind(purse.owner, who)]
        text = f"The {purse.limit:,} tokens of {name} are used up; they begin anew at {anew}."
        raise ApiError("quota_exceeded", text, retry_after_s=max(1, math.ceil(purse.period.ends - now)))

    def _low(self, purse: Purse) -> None:
        """The database should hear of a purse now."""
        if not purse.spent:
            self._urgent.add(purse)
            self._wake.set()

    # beside the lane

    async def run(self) -> None:
        """Tell the database what is due, until cancelled; what is being told then is told to its end."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            await asyncio.shield(self.round())
            await asyncio.sleep(AGAIN if self._away else ROUND_S)

    async def give_back(self) -> None:
        """Tell all, and hold nothing any more. What cannot be told within `GIVE_BACK_S` is forgotten: fails
        open.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_BACK_S):
                await self.round(gone=True)

    async def round(self, *, gone: bool = False) -> None:
        """Tell what is due; ``gone``: tell all, and give back what is held. Never raises for the database."""
        async with self._telling:
            now, urgent = self._clock(), self._urgent
            self._urgent = set()
            every = gone or not self._look_at - TICK_S <= now < self._look_at
            due = [each for each in (self._all() if every else urgent) if gone or each.due(now)]
            try:
                for start in range(0, len(due), MOST_AT_ONCE):
                    await self._tell(due[start : start + MOST_AT_ONCE], now, gone=gone)
            except self._database.errors as error:
                if not self._away:
                    log.warning("what was used of limits cannot be told", extra={"why": brief(error)})
                self._away = True
                for each in self._all():
                    each.lend(now)
                return
            self._away = False
            if every:
                self._look_at = now + TICK_S
                self._look_where()
                self._forget(now)

    def _forget(self, now: float) -> None:
        self._past = [each for each in self._past if not each.idle]
        for owner in [owner for owner, each in self._purses.items() if each.over(now)]:
            del self._purses[owner]

    async def _tell(self, purses: list[Purse], now: float, *, gone: bool) -> None:
        told: dict[Key, tuple[Purse, Told]] = {
            (each.period.since, each.owner): (each, each.tell()) for each in purses
        }
        heard: dict[Key, Heard] = {}
        try:
            async with self._database.begin() as connection:
                words = {key: one for key, (_, one) in told.items()}
                heard = await tell(connection, self._gateway, words, now, gone=gone)
        except self._database.errors:
            if heard:  # it was all said, and only the answer is missing
                for each, one in told.values():
                    each.wonder(one, now)
            raise
        for key, (each, one) in told.items():
            each.hear(one, heard[key], now)

    def _all(self) -> list[Purse]:
        return [*self._past, *self._purses.values()]


async def tell(
    connection: Connection, gateway: str, told: Mapping[Key, Told], now: float, *, gone: bool = False
) -> dict[Key, Heard]:
    """Tell books what a gateway used, and lease it more; ``gone``: it keeps nothing. Each book is held until
    the transaction ends, in the order of their keys, so that two gateways wait for each other and never both.
    """
    keys = sorted(told)
    await put_new(
        connection,
        books,
        [{"since": since, "owner": owner, "used": 0, "leases": "{}"} for since, owner in keys],
    )
    mine = tuple_(books.c.since, books.c.owner).in_(keys)
    found = await connection.execute(
        select(books).where(mine).order_by(books.c.since, books.c.owner).with_for_update()
    )
    heard, rows = {}, []
    for row in found:
        key = row.since, row.owner
        book = Book(row.used, row.leases)
        heard[key] = book.lease(gateway, told[key], now)
        if gone:
            book.leases.pop(gateway, None)
        rows.append({"s": row.since, "o": row.owner, "used": book.used, "leases": book.leases})
    here = (books.c.since == bindparam("s"), books.c.owner == bindparam("o"))
    await connection.execute(update(books).where(*here), rows)
    return heard


def _kind(owner: str, who: Principal) -> str:
    return "key" if owner == who.key else "person" if owner == who.subject else "organisation"


_NAMES = {"key": "this API key", "person": "you", "organisation": "your organisation"}
