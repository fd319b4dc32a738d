"""Accelerator time of a request: an equal share of its engine's busy time.

While ``k`` requests run on an engine, each is charged ``1/k`` of the time that passes. The sum over
requests is the time during which the engine was busy, so the ledger balances whatever the overlap.
This is the virtual time of generalised processor sharing (Parekh and Gallager 1993, section II);
one counter for each engine makes start and stop cost O(1). Where several gateways share an engine each has a
clock for its own requests, and is told now and then how many others run: then the sum is right but for what
changed since.
"""

from __future__ import annotations

SCALE = 1 << 20
"""Fixed-point factor of the virtual time: a share is exact to a millionth of a nanosecond."""


class BusyClock:
    """Virtual time of one engine: it advances by ``dt / running`` while anything runs."""

    __slots__ = ("_last", "_others", "_virtual", "running")

    def __init__(self) -> None:
        self.running = 0
        self._others = 0
        self._last = 0
        self._virtual = 0

    def start(self, now: int) -> int:
        """Begin a request at ``now`` (ns); returns the mark that ``stop`` needs."""
        self._advance(now)
        self.running += 1
        return self._virtual

    def stop(self, mark: int, now: int) -> int:
        """End a request; returns its share of the engine's busy time in ns."""
        self._advance(now)
        self.running -= 1
        return (self._virtual - mark) // SCALE

    def beside(self, others: int, now: int) -> None:
        """So many requests of other gateways run on the engine from now on."""
        self._advance(now)
        self._others = others

    def _advance(self, now: int) -> None:
        if now > self._last:
            if self.running:
                self._virtual += (now - self._last) * SCALE // (self.running + self._others)
            self._last = now
