"""A simulated clock: what is to happen, in order of time; what is due at once keeps its order."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

SECOND = 1_000_000_000


class Clock:
    """Time in ns. It jumps from one event to the next."""

    __slots__ = ("_count", "_events", "now")

    def __init__(self) -> None:
        self.now = 0
        self._count = 0
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, time: int, act: Callable[..., None], *what: Any) -> None:
        """Call ``act(*what)`` at this time, or now if it has passed."""
        self._count += 1
        heapq.heappush(self._events, (max(time, self.now), self._count, act, what))

    def run(self, until: int) -> None:
        """Let everything happen that is due before ``until``."""
        events = self._events
        while events and events[0][0] < until:
            self.now, _, act, what = heapq.heappop(events)
            act(*what)
        self.now = max(self.now, until)
