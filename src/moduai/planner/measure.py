"""What is measured in a run: quantiles, shares, and the gap between siblings.

*Work* is what engines have done for a request: tokens of its prompt that were read, and twice the tokens
written. A node is *backlogged* while something of it waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random

from moduai.planner.clock import SECOND
from moduai.planner.run import Record, Twin
from moduai.planner.steptime import BLOCK
from moduai.planner.traffic import Request, Sizes
from moduai.scheduling.ticket import ONE

Node = tuple[str, ...]
Person = tuple[str, str, str]


def quantile(values: Sequence[float], part: float) -> float:
    """The value that this part of all is at most; NaN where there is none."""
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all are equal, 1/n where one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def work(twin: Twin) -> dict[Node, int]:
    """Work of each node so far."""
    total: dict[Node, int] = {}
    for record in twin.records:
        mine = twin.work(record)
        for depth in (1, 2, 3):
            node = record.request.path[:depth]
            total[node] = total.get(node, 0) + mine
    return total


def costliest(twin: Twin) -> int:
    """Work of the costliest request that ran."""
    return max(twin.work(record) for record in twin.records)


def gaps(twin: Twin, weight: Callable[[Node], int], a_second: int = 4) -> list[float]:
    """Largest gap between classes, between organisations of a class, between people of an organisation.

    The gap of two siblings is the difference of the work they were given, divided by their weights
    (``weight``, in thousandths), in any span in which both were backlogged without a pause. Spans begin
    and end on a grid of ``a_second`` points; between its points a request's work is even in time.
    """
    every = SECOND // a_second
    count = twin.clock.now // every + 1
    largest = [0.0, 0.0, 0.0]
    for depth in (1, 2, 3):
        curves: dict[Node, list[float]] = {}
        waits: dict[Node, list[tuple[int, int]]] = {}
        for record in twin.records:
            node = record.request.path[:depth]
            _add(curves.setdefault(node, [0.0] * count), _points(twin, record), every)
            waits.setdefault(node, []).append(_waited(twin, record))
        families: dict[Node, list[Node]] = {}
        for node in curves:
            families.setdefault(node[:-1], []).append(node)
        for nodes in families.values():
            spans = [
                ([value * ONE / weight(node) for value in curves[node][first : last + 1]], first)
                for node in nodes
                for first, last in _spans(waits[node], every)
            ]
            largest[depth - 1] = max(largest[depth - 1], _gap(spans))
    return largest


def _points(twin: Twin, record: Record) -> list[tuple[int, float]]:
    """When its work began, when its prompt was read, and now or its end; with the work until then."""
    if record.grant is None:
        return []
    whole = twin.work(record)
    end = next(time for time in (record.ended, record.left, twin.clock.now) if time >= 0)
    points = [(record.granted, 0.0), (end, float(whole))]
    if record.job.first and record.job.first < end:
        points.insert(1, (record.job.first, float(record.job.read)))
    return points


def _add(curve: list[float], points: list[tuple[int, float]], every: int) -> None:
    """Add to the points of a curve how much was gained since the last one."""
    for (begin, low), (end, high) in pairwise(points):
        slope = (high - low) / max(1, end - begin)
        for number in range(begin // every, end // every + 1):
            spent = min(end, (number + 1) * every) - max(begin, number * every)
            if number + 1 < len(curve):
                curve[number + 1] += spent * slope if end > begin else high - low


def _waited(twin: Twin, record: Record) -> tuple[int, int]:
    until = next(time for time in (record.granted, record.left, twin.clock.now) if time >= 0)
    return record.ticket.arrived, until


def _spans(waits: list[tuple[int, int]], every: int) -> Iterator[tuple[int, int]]:
    """First and last grid point of each span in which one of them waited at any time; two at least."""
    begin, end = -1, -1
    for since, until in [*sorted(waits), (1 << 62, 1 << 62)]:
        if since > end:
            if end >= 0 and end // every > -(-begin // every):
                yield -(-begin // every), end // every
            begin = since
        end = max(end, until)


def _gap(spans: list[tuple[list[float], int]]) -> float:
    """Largest difference between what two of the curves gain from one point to another."""
    most: dict[tuple[int, int], float] = {}
    least: dict[tuple[int, int], float] = {}
    for gains, offset in spans:
        for first in range(len(gains) - 1):
            total = 0.0
            for last in range(first + 1, len(gains)):
                total += gains[last]
                here = first + offset, last + offset
                if total > most.get(here, -1.0):
                    most[here] = total
                if total < least.get(here, 1e300):
                    least[here] = total
    return max((most[here] - least[here] for here in most), default=0.0)


class Backlog:
    """People who always have some requests waiting: when one is granted, they ask again."""

    def __init__(
        self,
        twin: Twin,
        people: dict[Person, int],
        sizes: Sizes,
        *,
        depth: int = 40,
        documents: int = 0,
        seed: int = 1,
    ) -> None:
        """``people``: their weights in thousandths. ``depth``: requests that each has waiting.
        ``documents``: prompts begin with one of so many texts of eight blocks.
        """
        self._twin = twin
        self._people = people
        self._sizes = sizes
        self._documents = documents
        self._random = Random(seed)
        twin.on_grant = self._again
        for _ in range(depth):
            for path in people:
                twin.clock.at(0, self._ask, path)

    def _again(self, record: Record) -> None:
        # At once, but after the dispatcher has said all that it grants now.
        self._twin.clock.at(self._twin.clock.now, self._ask, record.request.path)

    def _ask(self, path: Person) -> None:
        read, wrote = self._sizes.draw(self._random)
        blocks: tuple[int, ...] = ()
        if self._documents:
            number = self._random.randrange(self._documents)
            read += 8 * BLOCK
            own = [self._random.getrandbits(60) for _ in range(read // BLOCK - 8)]
            blocks = (*range(8 * number, 8 * number + 8), *own)
        weight = self._people[path]
        self._twin.ask(Request(self._twin.clock.now, path, read, wrote, blocks=blocks, weight=weight))
