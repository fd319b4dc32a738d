"""What cells tell each other: what their classes and organisations are served, so that they share as one.

Rules: only the dispatcher tells, under its lease's token; everyone hears all. What is older than `STALE`
rounds counts for nothing: its cell has gone, or the store has. Then this cell shares by its own weights again
(fails open: people are served, a class with work in two cells gets its share in each), and readiness names
``cells`` until the cell tells again, has left in order, or is forgotten. A cell that cannot be understood is
like one that has gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from moduai.cells.lease import FORGOTTEN, AwayError, Lease, Told
from moduai.scheduling import FairQueue, Share
from moduai.scheduling.apportion import Had, Path, Window, ahead, weights
from moduai.scheduling.policy import Policy
from moduai.scheduling.queue import Moved
from moduai.scheduling.tree import VT_ONE

STALE = 6
PAUSE = 10
"""Computing weights takes at most one part in so many of the time; they follow less often then."""
MOST_NODES = 128
"""Organisations of a class that are told, of those that wait or were served: those that were served most."""
MOST_TOLD = 65_536
"""Nodes that another cell is believed to have, of one model."""

Pools = dict[str, Annotated[list[Had], Meta(max_length=MOST_TOLD)]]

log = logging.getLogger(__name__)


class Totals(Struct, frozen=True, array_like=True):
    """What one cell tells. What it has more in another version is left out."""

    pools: Pools


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Totals).decode


def stale(age: int, every_s: float) -> bool:
    """Whether totals of an age in ns count for nothing."""
    return age > STALE * every_s * 1e9


class Exchange:
    """One cell's part in it; ``clock`` is monotonic, in ns."""

    def __init__(
        self,
        line: FairQueue,
        lease: Lease,
        name: str,
        every_s: float,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._line, self._lease, self._name, self._every_s, self._clock = line, lease, name, every_s, clock
        self._window = Window()
        self._others: dict[str, tuple[int, Pools]] = {}
        """What other cells told, and when."""
        self._moved: Moved = []
        """The weights that are not our own."""
        self._again = 0
        """When weights are computed next."""

    @property
    def ages(self) -> dict[str, int]:
        """How old the totals of other cells are, in ns."""
        now = self._clock()
        return {name: now - at for name, (at, _) in self._others.items()}

    async def run(self) -> None:
        """Tell and hear until cancelled; then share by our own weights."""
        try:
            while True:
                await self.step()
                await asyncio.sleep(self._every_s)
        finally:
            self._move({}, {})

    async def step(self) -> None:
        """One round."""
        now = self._clock()
        shares = self._line.shares()
        self._window.add({(share.pool, share.path): share.served for share in shares}, now)
        own = _told(shares, self._window)
        try:
            told = await self._lease.exchange(_encode(Totals(own)))
        except AwayError:  # it is said already; what was heard grows old
            told = dict.fromkeys(self._others, (b"", -1))
        self._hear(told or {}, self._clock())
        fresh = {name: pools for name, (at, pools) in self._others.items() if not self._stale(at)}
        if now < self._again:
            return
        # in a thread: with many organisations it takes longer than somebody who asks should wait
        began, line, busy = self._clock(), self._line, _busy(self._line, shares)
        self._move(*await asyncio.to_thread(_apportion, line.policy, self._name, own, fresh, busy))
        self._again = now + PAUSE * (self._clock() - began)

    def _stale(self, at: int) -> bool:
        return stale(self._clock() - at, self._every_s)

    def _hear(self, told: Told, now: int) -> None:
        """What the others have told; those that are not named have left in order, or are forgotten."""
        before, self._others = self._others, {}
        for name, (data, age) in told.items():
            if name == self._name:
                continue
            try:
                if age >= 0:
                    self._others[name] = now - age, _decode(data).pools
                    continue
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                log.warning("what a cell tells cannot be read", extra={"cell": name, "why": str(error)})
            self._others[name] = before.get(name, (now - FORGOTTEN, {}))

    def _move(self, moved: Numbers, far: Numbers) -> None:
        here, back = _flat(moved), _flat(far)
        if back or here != self._moved:
            self._moved = here
            self._line.move(here, back, self._clock())


Numbers = dict[str, dict[Path, int]]
"""Of classes and organisations, by pool."""


def _told(shares: list[Share], window: Window) -> Pools:
    """What there is to tell, by pool."""
    found: dict[str, dict[str, list[Had]]] = {}
    for share in shares:
        rate = window.rate((share.pool, share.path))
        cost = max(0, share.lag) * share.here // VT_ONE
        if share.waiting or rate or cost:
            had = Had(share.path, share.waiting > 0, rate, cost)
            above = share.path[0] if len(share.path) > 1 else ""
            found.setdefault(share.pool, {}).setdefault(above, []).append(had)
    return {
        pool: [had for each in nodes.values() for had in sorted(each, key=_most_served)[:MOST_NODES]]
        for pool, nodes in found.items()
    }


def _most_served(had: Had) -> tuple[bool, int, Path]:
    return not had.waits, -had.rate, had.path


def _apportion(
    policy: Policy, name: str, own: Pools, others: dict[str, Pools], busy: dict[str, set[Path]]
) -> tuple[Numbers, Numbers]:
    """Our weights that are not those of the policy, and how far ahead those are elsewhere that idle here."""
    moved, far = {}, {}
    for pool, paths in busy.items():
        theirs = {each: pools[pool] for each, pools in others.items() if pool in pools}
        if theirs:
            moved[pool] = weights(policy, name, {name: own.get(pool, []), **theirs})
            far[pool] = ahead(theirs.values(), paths)
    return moved, far


def _busy(line: FairQueue, shares: list[Share]) -> dict[str, set[Path]]:
    """Of whom something waits or runs, by pool."""
    found: dict[str, set[Path]] = {pool: set() for pool in line.waiting()}
    for share in shares:
        if share.waiting or share.running:
            found[share.pool].add(share.path)
    return found


def _flat(numbers: Numbers) -> Moved:
    return [(pool, path, number) for pool, found in numbers.items() for path, number in found.items()]
