"""Counters of one worker: plain integers on the lane, turned into metrics when they are asked for."""

from __future__ import annotations

from collections import Counter

from moduai.metering.row import UsageRow

SHORTEST_BIT, LONGEST_BIT = 13, 29
"""Buckets of the time histograms end at powers of two of a microsecond: 8 ms, 16 ms … 537 s."""
BOUNDS_S = tuple((1 << bit) / 1e6 for bit in range(SHORTEST_BIT, LONGEST_BIT + 1))


class Histogram:
    """Durations by the number of bits of their microseconds: a bucket is found without a search."""

    __slots__ = ("by_bits", "sum_us")

    def __init__(self) -> None:
        self.by_bits = [0] * 65
        self.sum_us = 0

    def counts(self) -> list[int]:
        """Durations in each bucket of BOUNDS_S, and above the last."""
        low, bits = SHORTEST_BIT, self.by_bits
        middle = bits[low + 1 : LONGEST_BIT + 1]
        return [sum(bits[: low + 1]), *middle, sum(bits[LONGEST_BIT + 1 :])]


class Group:
    """Sums over the requests of one endpoint, model, engine and outcome."""

    __slots__ = ("accelerator_us", "energy_mj", "requests", "tokens_cached", "tokens_in", "tokens_out")

    def __init__(self) -> None:
        self.requests = self.tokens_in = self.tokens_cached = self.tokens_out = 0
        self.accelerator_us = self.energy_mj = 0


class Stats:
    """What ``/metrics`` shows of the lane."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, str, str, str], Group] = {}
        """By endpoint, model, engine and outcome."""
        self.errors: Counter[str] = Counter()
        """By error code, requests that never became an exchange too."""
        self.engine_failures: Counter[str] = Counter()
        self.retries = 0
        self.steps: Counter[str] = Counter()
        """Ended requests by how far the pressure went with them; those that ran at once are not here."""
        self.queue = Histogram()
        self.first_token = Histogram()
        self.duration = Histogram()

    def count(self, row: UsageRow) -> None:
        """Count one ended request. A model that no engine ran is not a label: clients choose it."""
        name = (row.endpoint, row.model if row.engine else "", row.engine, row.outcome)
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group()
        group.requests += 1
        if row.error:
            self.errors[row.error] += 1
        if row.step:
            self.steps[row.step] += 1
        if not row.engine:
            return
        group.tokens_in += row.tokens_in
        group.tokens_cached += row.tokens_cached
        group.tokens_out += row.tokens_out
        group.accelerator_us += row.accelerator_us
        group.energy_mj += row.energy_mj
        queue, first_token, duration = self.queue, self.first_token, self.duration
        queue.by_bits[row.queue_us.bit_length()] += 1
        queue.sum_us += row.queue_us
        first_token.by_bits[row.first_token_us.bit_length()] += 1
        first_token.sum_us += row.first_token_us
        duration.by_bits[row.duration_us.bit_length()] += 1
        duration.sum_us += row.duration_us

    def forget(self, engine: str) -> None:
        """An engine has gone. Its requests stay in the sums over all: a counter may not go back."""
        self.engine_failures.pop(engine, None)
        for name in [name for name in self.groups if name[2] == engine]:
            gone = self.groups.pop(name)
            rest = self.groups.setdefault((name[0], name[1], "", name[3]), Group())
            rest.requests += gone.requests
            rest.tokens_in += gone.tokens_in
            rest.tokens_cached += gone.tokens_cached
            rest.tokens_out += gone.tokens_out

    def total(self, field: str, *labels: int) -> Counter[tuple[str, ...]]:
        """Sums of one field of the groups over some of their labels (by place in their name)."""
        sums: Counter[tuple[str, ...]] = Counter()
        for name, group in self.groups.items():
            sums[tuple(name[label] for label in labels)] += getattr(group, field)
        return sums
