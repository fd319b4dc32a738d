"""What is measured in a run: quantiles, shares, and the gap between siblings."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from moduai.planner.run import Record, Twin
from moduai.planner.traffic import Request, Sizes
from moduai.scheduling.types import ONE

Path = tuple[str, ...]
Person = tuple[str, str, str]


def quantile(values: Sequence[float], part: float) -> float:
    """The value that this part of all is at most; NaN where there is none."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


class Backlog:
    """People who always have some requests waiting: when one is granted, they ask again."""

    def __init__(self, twin: Twin, sizes: Sizes, *, depth: int = 2, seed: int = 1) -> None:
        self._twin = twin
        self._sizes = sizes
        self._depth = depth
        self._random = Random(seed)
        twin.on_grant = self._again

    def join(self, path: Person) -> None:
        """Let a person begin to ask."""
        for _ in range(self._depth):
            self._twin.clock.at(self._twin.clock.now, self._ask, path)

    def _again(self, record: Record) -> None:
        # At once, but after the dispatcher has said all that it grants now.
        self._twin.clock.at(self._twin.clock.now, self._ask, record.request.path)

    def _ask(self, path: Person) -> None:
        read, wrote = self._sizes.draw(self._random)
        self._twin.ask(Request(self._twin.clock.now, path, read, wrote))


class Shares:
    """Work that every node of the tree has had, in tokens, and the largest gap between siblings.

    The gap is that of work divided by weight, among siblings that have wanted more without a pause since
    the start; it is looked at ``a_second`` times a second.
    """

    def __init__(self, twin: Twin, weights: dict[Path, int], a_second: int = 10) -> None:
        """``weights``: of the nodes that are compared, in thousandths, by path from the class on."""
        self.gaps = [0.0, 0.0, 0.0]
        """Largest gap between classes, organisations of a class, people of an organisation."""
        self.costliest = 0
        """Work of the costliest request that was granted."""
        self._twin = twin
        self._weights = weights
        self._every = 1_000_000_000 // a_second
        self._ended: dict[Path, int] = {}
        self._seen = 0
        self._open: list[Record] = []
        twin.clock.at(self._every, self._look)

    def work(self) -> dict[Path, int]:
        """Work of each node so far."""
        records = self._twin.records
        self._open += records[self._seen :]
        self._seen = len(records)
        still = []
        for record in self._open:
            if record.ended < 0 and record.left < 0:
                still.append(record)
            elif record.grant is not None:
                self._add(self._ended, record)
        self._open = still
        total = dict(self._ended)
        for record in still:
            if record.grant is not None:
                self._add(total, record)
        return total

    def _add(self, total: dict[Path, int], record: Record) -> None:
        work = self._twin.work(record)
        for depth in (1, 2, 3):
            node = record.request.path[:depth]
            total[node] = total.get(node, 0) + work

    def _look(self) -> None:
        total = self.work()
        self.costliest = max([self.costliest, *(r.request.work for r in self._open if r.grant is not None)])
        families: dict[Path, list[float]] = {}
        for node, weight in self._weights.items():
            families.setdefault(node[:-1], []).append(total.get(node, 0) * ONE / weight)
        for parent, values in families.items():
            gap = max(values) - min(values)
            self.gaps[len(parent)] = max(self.gaps[len(parent)], gap)
        self._twin.clock.at(self._twin.clock.now + self._every, self._look)
