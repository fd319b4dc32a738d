"""Counters of one worker: plain integers on the lane, turned into metrics when they are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from moduai.metering.row import UsageRow

BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Upper bounds of the time histograms, in seconds."""


class Histogram:
    """Counts of durations by bucket, and their sum."""

    __slots__ = ("counts", "sum_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_us = 0

    def add(self, microseconds: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS_S, microseconds / 1e6)] += 1
        self.sum_us += microseconds


class Stats:
    """What ``/metrics`` shows of the lane."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        """By endpoint, model and outcome."""
        self.errors: Counter[str] = Counter()
        """By error code, requests that never became an exchange too."""
        self.tokens: Counter[tuple[str, str]] = Counter()
        """By model and kind: in, cached, out."""
        self.accelerator_us: Counter[str] = Counter()
        self.energy_mj: Counter[str] = Counter()
        self.engine_failures: Counter[str] = Counter()
        self.retries = 0
        self.queue = Histogram()
        self.first_token = Histogram()
        self.duration = Histogram()

    def count(self, row: UsageRow) -> None:
        """Count one ended request. A model that no engine ran is not a label: clients choose it."""
        model = row.model if row.engine else ""
        self.requests[row.endpoint, model, row.outcome] += 1
        if row.error:
            self.errors[row.error] += 1
        if not row.engine:
            return
        self.tokens[model, "in"] += row.tokens_in
        self.tokens[model, "cached"] += row.tokens_cached
        self.tokens[model, "out"] += row.tokens_out
        self.accelerator_us[row.engine] += row.accelerator_us
        self.energy_mj[row.engine] += row.energy_mj
        self.queue.add(row.queue_us)
        self.duration.add(row.duration_us)
        if row.first_token_us:
            self.first_token.add(row.first_token_us)
