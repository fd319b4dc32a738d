"""What a class and an organisation is due in each of several cells, so that all cells together share as one.

Words: a *cell* has a line of its own and shares by weights of its own; the *level* of a cell is the service a
second, for a weight of one thousandth, up to which it fills those who wait there, all that they are served
elsewhere counted. Rules, in words:

* **Service is summed, and max-min**: what a node is served in all cells, divided by its weight, is as even as
  can be: nobody could get more without another one getting less who has no more.
* **Every cell gives all that it has** to those who want it there: nobody more than it wants or than its cap,
  which as its guarantee is a part of each cell.
* Found **in turns**: each cell fills up those who have least, given what the others give, until nothing
  changes. Each turn lessens one convex function, the sum of the squares of what each is served divided by its
  weight, and of all that can be given the max-min has least of it (Megiddo 1974; Fujishige 1980).
* **A node's weight in a cell** is its own less what it is served elsewhere, divided by the level. So who has
  work in one cell only keeps its own weight; so does everybody where nobody waits, and where there is one
  cell. It is never below one `LEAST`-th of its own, for its people there stand in no other line.
* What is served where nobody waits for the model is held against nobody, as within one cell.
* First classes, then the organisations of each class, which share in a cell what is due to the class there.
* **Virtual time is merged by max**: who is idle in a cell comes back no sooner than the farthest ahead that
  it is in any other, so nobody gains by moving. In cost, for weights differ.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from math import inf
from typing import Annotated, NamedTuple

from msgspec import Meta, Struct

from moduai.scheduling.policy import ClassRule, NodeRule, Policy
from moduai.scheduling.types import WHOLE

LEAST = 20
ROUNDS = 64
EXACT = 1e-6
"""Turns end where none changes more than this part of what a cell gives."""
SPAN = 8_000_000_000
"""Service a second is measured over so many ns: answers are charged as they end, one by one."""

Path = tuple[str, ...]
"""(class,) or (class, organisation)."""


class Had(Struct, frozen=True, array_like=True, gc=False):
    """One class or organisation in one cell, for one model."""

    path: Annotated[Path, Meta(min_length=1, max_length=2)]
    waits: bool
    """Something of it waits: it wants whatever it can get."""
    rate: Annotated[int, Meta(ge=0)]
    """What it was served of late, in µas a second."""
    ahead: Annotated[int, Meta(ge=0)]
    """Cost that it was charged before whoever is due there."""


class Ask(NamedTuple):
    """What one node may get of a cell, in service a second."""

    weight: int
    has: float
    """What it gets elsewhere."""
    least: float
    most: float


class Cut(NamedTuple):
    """How a cell is shared."""

    level: float
    """inf: everybody has what it wants."""
    given: dict[str, float]


class Cell(NamedTuple):
    """What there is to share, and who wants how much of it, in service a second."""

    capacity: float
    whole: float
    """What guarantees and caps are parts of."""
    wanted: Mapping[str, float]


def fill(capacity: float, asks: Mapping[str, Ask]) -> Cut:
    """Share a capacity: everybody's total over weight is raised to one level, within what it may get."""
    turns = [((ask.has + ask.least) / ask.weight, ask.weight) for ask in asks.values()]
    turns += [((ask.has + ask.most) / ask.weight, -ask.weight) for ask in asks.values()]
    floor = total = sum(ask.least for ask in asks.values())
    level = slope = 0.0
    for at, change in sorted(turns):
        rise = slope * (at - level)
        if total + rise > capacity:
            level += (capacity - total) / slope if slope else 0.0
            break
        total, level, slope = total + rise, at, slope + change
    else:
        level = inf
    part = min(1.0, capacity / floor) if floor else 1.0  # rounding may promise a little more than there is
    given = {
        name: min(max(ask.weight * level - ask.has, ask.least), ask.most) * part for name, ask in asks.items()
    }
    return Cut(level, given)


def apportion(rules: Mapping[str, NodeRule | ClassRule], cells: Mapping[str, Cell]) -> dict[str, Cut]:
    """How each cell is shared, that all together are max-min. ``rules`` has everybody who wants anything."""
    cuts = {name: Cut(inf, {}) for name in cells}
    sums = dict.fromkeys(rules, 0.0)
    exact = EXACT * max((cell.capacity for cell in cells.values()), default=0.0)
    for _ in range(ROUNDS):
        moved = 0.0
        for name, cell in cells.items():
            before = cuts[name].given
            cut = cuts[name] = fill(cell.capacity, _asks(rules, cell, sums, before))
            for who, given in cut.given.items():
                change = given - before.get(who, 0.0)
                sums[who] += change
                moved = max(moved, abs(change))
        if moved <= exact:
            break
    return cuts


def _asks(
    rules: Mapping[str, NodeRule | ClassRule],
    cell: Cell,
    sums: Mapping[str, float],
    before: Mapping[str, float],
) -> dict[str, Ask]:
    asks = {}
    for who, wanted in cell.wanted.items():
        rule = rules[who]
        least, most = rule.guarantee * cell.whole / WHOLE, rule.cap * cell.whole / WHOLE
        elsewhere = max(0.0, sums[who] - before.get(who, 0.0))
        asks[who] = Ask(rule.weight, elsewhere, min(wanted, least), min(wanted, most))
    return asks


def weights(policy: Policy, here: str, cells: Mapping[str, Iterable[Had]]) -> dict[Path, int]:
    """The weights that the cell ``here`` shares one model by, of those that are not their own."""
    had = {name: {each.path: each for each in cells[name]} for name in sorted(cells)}
    capacity = {
        name: sum(each.rate for path, each in nodes.items() if len(path) == 1) for name, nodes in had.items()
    }
    names = {path[0] for nodes in had.values() for path in nodes}
    rules = {name: policy.classes.get(name) or ClassRule(name) for name in names}
    found: dict[Path, int] = {}

    def share(above: Path, rules: Mapping[str, NodeRule | ClassRule], given: Mapping[str, float]) -> _Cuts:
        cuts = apportion(
            rules, {name: Cell(given[name], capacity[name], _wanted(above, had[name])) for name in given}
        )
        if here in cuts:
            for who, weight in _moved(rules, here, cuts).items():
                found[*above, who] = weight
        return cuts

    shares = share((), rules, capacity)
    for name, rule in rules.items():
        given = {cell: cut.given[name] for cell, cut in shares.items() if name in cut.given}
        below = {path[1] for nodes in had.values() for path in nodes if len(path) == 2 and path[0] == name}
        share((name,), {who: rule.rule(who) for who in below}, given)
    return found


_Cuts = Mapping[str, Cut]


def _wanted(above: Path, nodes: Mapping[Path, Had]) -> dict[str, float]:
    return {
        path[-1]: inf if each.waits else float(each.rate)
        for path, each in nodes.items()
        if path[:-1] == above
    }


def _moved(rules: Mapping[str, NodeRule | ClassRule], here: str, cuts: _Cuts) -> dict[str, int]:
    """The weights of one cell's nodes that are not their own."""
    level = cuts[here].level
    found = {}
    for who in cuts[here].given:
        own = rules[who].weight
        elsewhere = sum(cut.given.get(who, 0.0) for name, cut in cuts.items() if name != here)
        weight = max(own // LEAST, 1, own - round(elsewhere / level)) if level else own
        if weight != own:
            found[who] = weight
    return found


def ahead(cells: Iterable[Iterable[Had]], busy: Collection[Path]) -> dict[Path, int]:
    """How far ahead, at most, those are in other cells that are not ``busy`` here, in cost."""
    found: dict[Path, int] = {}
    for nodes in cells:
        for each in nodes:
            if each.ahead > 0 and each.path not in busy:
                found[each.path] = max(found.get(each.path, 0), each.ahead)
    return found


class Window:
    """Service a second from counters that only rise, over the last `SPAN`. Time is in ns."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, Mapping[tuple[str, Path], int]]] = deque()

    def add(self, served: Mapping[tuple[str, Path], int], now: int) -> None:
        """What each node of a model has been served up to now."""
        while len(self._seen) > 1 and now - self._seen[1][0] >= SPAN:
            self._seen.popleft()
        self._seen.append((now, served))

    def rate(self, key: tuple[str, Path]) -> int:
        """Service a second; 0 before it was seen twice. Who was forgotten meanwhile counts from 0 again."""
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        had = last.get(key, 0) - first.get(key, 0)
        return max(0, had) * 1_000_000_000 // max(1, ended - began)
