"""Accelerator time of a request: an equal share of its engine's busy time.

While ``k`` requests run on an engine, each is charged ``1/k`` of the time that passes. The sum over
requests is the time during which the engine was busy, so the ledger balances whatever the overlap.
This is the virtual time of generalised processor sharing (Parekh and Gallager 1993, section II);
one counter for each engine makes start and stop cost O(1).
"""

from __future__ import annotations

SCALE = 1 << 20
"""Fixed-point factor of the virtual time: a share is exact to a millionth of a nanosecond."""


class BusyClock:
    """Virtual time of one engine: it advances by ``dt / running`` while anything runs."""

    __slots__ = ("_last", "_virtual", "running")

    def __init__(self) -> None:
        self.running = 0
        self._last = 0
        self._virtual = 0

    def start(self, now: int) -> int:
        """Begin a request at ``now`` (ns); returns the mark that ``stop`` needs."""
        if now > self._last:
            if self.running:
                self._virtual += (now - self._last) * SCALE // self.running
            self._last = now
        self.running += 1
        return self._virtual

    def stop(self, mark: int, now: int) -> int:
        """End a request; returns its share of the engine's busy time in ns."""
        if now > self._last:
            self._virtual += (now - self._last) * SCALE // self.running
            self._last = now
        self.running -= 1
        return (self._virtual - mark) // SCALE
