"""What a worker knows of search, for its metrics: plain numbers, filled in by the one who wires the parts."""

from __future__ import annotations

from collections import Counter

from moduai.gateway.stats import Histogram


class Searches:
    """Searches that the worker's pages and API asked for, and how the index is."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds = Histogram()
        self.up = False
        self.documents = self.passages = self.behind = 0
        self.morphemes = 0.0

    def ended(self, outcome: str, seconds: float) -> None:
        """Count a search that ended."""
        self.outcomes[outcome] += 1
        microseconds = int(seconds * 1e6)
        self.seconds.by_bits[microseconds.bit_length()] += 1
        self.seconds.sum_us += microseconds
