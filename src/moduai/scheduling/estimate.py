"""How long an answer will be: a running quantile for each application and pool, never above the client's
own bound.

Rules, in words:

* A new application begins from what the pool's applications turned out to be when they were new; where
  nothing is known of the pool, from `ASSUMED` tokens.
* A bound that the client states (``max_out``) can only lower the estimate: the engine holds the client to
  it, so a low one is true, and a high one is not believed.
* Old evidence halves with every `HALF_LIFE`, so an application that comes back is learned anew quickly.
* At most `MOST_APPS` are remembered: the table has a young and an old half, and when the young half is
  full, the old one is dropped with all that was not seen since.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from moduai.scheduling.quantile import MOST_SEEN, UNIT, Quantile

ASSUMED = 256
"""Tokens of an answer where nothing is known."""
HALF_LIFE = 6 * 3_600_000_000_000
LEARN_GAP = 10_000_000
"""Once an application is well known, one of its answers in so many ns is learned from."""
MOST_APPS = 65_536

Dumped = tuple[list[tuple[str, int, int]], list[tuple[str, str, int, int, int]]]
"""Plain data: pools (name, value, seen) and applications (application, pool, value, seen, time)."""


@mypyc_attr(acyclic=True)
class _Known(Quantile):
    __slots__ = ("at",)

    def __init__(self, value: int, seen: int, at: int) -> None:
        super().__init__(value, seen)
        self.at = at
        """Time of the last sample."""


class Estimates:
    """Expected tokens of answers."""

    __slots__ = ("_half", "_old", "_pools", "_young", "part")

    def __init__(self, part: int = 500, most: int = MOST_APPS) -> None:
        self.part = part
        """The quantile that is estimated, in thousandths."""
        self._half = most // 2
        self._young: dict[tuple[str, str], _Known] = {}
        self._old: dict[tuple[str, str], _Known] = {}
        self._pools: dict[str, Quantile] = {}

    def estimate(self, app: str, pool: str, max_out: int) -> int:
        """Expected tokens of an answer; ``max_out`` 0: the client states no bound."""
        key = app, pool
        known = self._young.get(key) or self._old.get(key) or self._pools.get(pool)
        tokens = ASSUMED if known is None else known.value // UNIT
        return tokens if not max_out or tokens < max_out else max_out

    def learn(self, app: str, pool: str, out: int, now: int) -> None:
        """An answer of ``out`` tokens ended well at ``now`` (ns)."""
        key = app, pool
        known = self._young.get(key) or self._take(key, now)
        since = now - known.at
        if since < LEARN_GAP and known.seen >= MOST_SEEN:
            return
        if since > HALF_LIFE:
            known.seen >>= since // HALF_LIFE
        known.at = now
        if known.seen < MOST_SEEN:
            self._pools[pool].learn(out, self.part)
        known.learn(out, self.part)

    def _take(self, key: tuple[str, str], now: int) -> _Known:
        """The entry of an application that is not in the young half; a new one begins from its pool's."""
        whole = self._pools.setdefault(key[1], Quantile(ASSUMED * UNIT))
        known = self._old.get(key) or _Known(whole.value, 0, now)
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = known
        return known

    def dump(self) -> Dumped:
        """All that is known, oldest first."""
        pools = [(pool, one.value, one.seen) for pool, one in self._pools.items()]
        apps = {**self._old, **self._young}
        return pools, [(*key, one.value, one.seen, one.at) for key, one in apps.items()]

    def restore(self, dumped: Dumped) -> None:
        """Take back what `dump` gave."""
        pools, apps = dumped
        self._pools = {pool: Quantile(value, seen) for pool, value, seen in pools}
        for app, pool, value, seen, at in apps:
            known = self._take((app, pool), at)
            known.value, known.seen, known.at = value, seen, at
