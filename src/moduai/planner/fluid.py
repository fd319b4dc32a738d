"""The nation mode: questions as a fluid, in ticks: classes, organisations, regions and models at once.

Words: a *leaf* is a demand in a region; a *column* is one run of the scenario (the middle of all figures, or
figures drawn from their ranges, or a size that is tried), and all columns run side by side. Rules, in words:

* All accelerators that run a model are one supply, whatever their kind: each demand is spread over them in
  proportion to what they can do of it. So all of them are equally busy, and ``h`` seconds of the whole supply
  are what one question costs: ``h = 1 / Σ replicas × questions a second of one``.
* In each tick a supply is shared as the live policy shares places: classes, below them organisations, below
  them those who ask. A node has at least its guarantee, at most its cap or what it wants, else shares stand
  as the weights do: weighted max-min, which is where the queue's least virtual time leads in the long run.
* What is not served waits, first come first served in its leaf. Who waits longer than the patience leaves.
  What comes is turned away where a line is full (its organisation's, its class's or all: the policy's limits
  count for each gateway, and there is one for each ``scenario.cell`` accelerators), and beyond the wait where
  the policy refuses, if its asker waits for something already. Batch work comes again. Nothing is lost: what
  was asked is served, turned away, has left or waits (``Flow.missing`` is nothing).
* A wait is the time between a curve of what came and the curve of what went, at the same count; to it comes
  what chance adds: with ``c`` slots, a question finds all of them busy with probability ``ρ^(√(2(c+1)) - 1)``
  (Sakasegawa 1977) and then waits an exponential time of mean ``h × v / (1 - ρ')``: ``ρ'`` is the load of
  those who do not queue, ``v = (1 + cs²) / 2`` for lengths that vary.

Not in this mode: answers cut short under pressure, the lighter model, prefill and decoding as separate steps,
room kept for answers that turn out shorter. Cells have them, but for the lighter model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.planner import load
from moduai.planner.load import DAY, Floats
from moduai.planner.plant import Plant, Spell
from moduai.planner.scenario.world import Demand, World
from moduai.scheduling.policy import NodeRule, Policy
from moduai.scheduling.types import WHOLE

Progress = Callable[[int, int], None]
"""Ticks done, of all."""
BYTES_IN: Final = 4.0
BYTES_OUT: Final = 200.0
"""Of one token on the way: text in, and one event of a stream out."""
NEARLY: Final = 1e-9
LEAST_FREE: Final = 1e-3
"""A load never counts as more than all but this part, so that a wait has an end."""


class Columns(Struct, frozen=True):
    """What differs between runs that go side by side; the first is the middle of everything."""

    demand: Floats
    """Columns × demands: multiples of the questions in the middle."""
    speed: Floats
    """Columns × pools: multiples of the fitted speed."""
    fleet: Floats
    """Columns: multiples of all fleets."""

    @property
    def count(self) -> int:
        """How many."""
        return len(self.fleet)


def middle(world: World, fleet: Floats | None = None) -> Columns:
    """The middle of all figures, at these multiples of the fleets."""
    scale = np.ones(1) if fleet is None else fleet
    return Columns(np.ones((len(scale), len(world.demands))), np.ones((len(scale), len(world.pools))), scale)


def drawn(world: World, plant: Plant) -> Columns:
    """The middle and, beside it, as many runs as the scenario wants with figures drawn from their ranges: a
    demand's own figures, and one speed for each kind of accelerator. The same seed draws the same, and one
    figure more changes no other.
    """
    count = world.head.draws + 1
    demand, speed = np.ones((count, len(world.demands))), np.ones((count, len(world.pools)))
    for place, one in enumerate(world.demands):
        for name, band in (("most", one.most), ("questions", one.questions)):
            if band.middle:
                part = _uniform(world, f"{one.id} {name}")
                demand[1:, place] *= np.interp(part, (0, 0.5, 1), band) / band.middle
    for place, pool in enumerate(world.pools):
        normal = _normal(world, pool.accelerator)
        speed[1:, place] = np.exp(normal * np.log1p(plant.error[place]) / 1.645)
    return Columns(demand, speed, np.ones(count))


def _random(world: World, name: str) -> np.random.Generator:
    return np.random.default_rng([world.head.seed, *name.encode()])


def _uniform(world: World, name: str) -> Floats:
    return _random(world, name).random(world.head.draws)


def _normal(world: World, name: str) -> Floats:
    return _random(world, name).standard_normal(world.head.draws)


# sharing


def share(total: Floats, want: Floats, weight: Floats, floor: Floats, cap: Floats) -> Floats:
    """Weighted max-min of ``total`` [...] among the last axis of the others [..., n]: each child gets
    ``min(u, max(l, λ × weight))`` with ``u`` the lesser of want and cap and ``l`` that of ``u`` and its
    floor, and λ such that all is given, or everyone has ``u``. Weights are above 0.
    """
    weight = np.broadcast_to(weight, want.shape)
    upper = np.minimum(want, cap)
    lower = np.minimum(upper, floor)
    least = lower.sum(-1)
    over = least > total
    if over.any():  # more is promised than there is
        lower = lower * np.where(over, total / np.maximum(least, NEARLY), 1.0)[..., None]
        least = lower.sum(-1)
    levels = np.concatenate([lower / weight, upper / weight], -1)
    turns = np.concatenate([weight, -weight], -1)
    order = np.argsort(levels, -1, kind="stable")
    levels = np.take_along_axis(levels, order, -1)
    slopes = np.cumsum(np.take_along_axis(turns, order, -1), -1)
    grown = np.cumsum(slopes[..., :-1] * np.diff(levels, axis=-1), -1)
    given = np.concatenate([least[..., None], least[..., None] + grown], -1)
    last = np.maximum((given <= total[..., None]).sum(-1) - 1, 0)[..., None]
    slope = np.maximum(np.take_along_axis(slopes, last, -1), NEARLY)
    left = total[..., None] - np.take_along_axis(given, last, -1)
    level = np.take_along_axis(levels, last, -1) + np.maximum(left, 0) / slope
    return np.asarray(np.minimum(upper, np.maximum(lower, level * weight)))


class Tree(Struct, frozen=True):
    """A policy over the demands: which class and organisation each stands below, for each model."""

    group: NDArray[np.int64]
    """Of each demand: model, class and organisation."""
    classes: NDArray[np.int64]
    """Models × classes → groups' parents; padded with the number of them."""
    groups: NDArray[np.int64]
    """Parents × organisations → groups; padded."""
    leaves: NDArray[np.int64]
    """Groups × demands; padded."""
    class_rules: Floats
    """Weight, guarantee and cap: 3 × models × classes."""
    group_rules: Floats
    """3 × parents × organisations."""
    weight: Floats
    """Of an asker of each demand."""
    person: Floats
    """Cap of an asker of each demand."""
    refuse: float
    """Seconds of waiting beyond which what is new is refused; 0: never."""
    lines: tuple[Line, ...]
    """Of organisations, of classes, and all of a model."""


class Line(Struct, frozen=True):
    """Lines that have a bound, of one level."""

    of: Floats
    """Lines × demands: 1 where a demand stands in it."""
    most: Floats
    """Questions in each line of one gateway."""

    def full(self, waiting: Floats, new: Floats, gateways: Floats) -> Floats:
        """Columns × demands: the part of what is new that finds its line full; all but the last are columns ×
        demands.
        """
        over = waiting @ self.of.T - self.most * (gateways @ self.of.T / self.of.sum(1))
        return np.asarray(np.clip(over / np.maximum(new @ self.of.T, NEARLY), 0, 1) @ self.of)


def tree(policy: Policy, demands: tuple[Demand, ...], models: list[str]) -> Tree:
    """Where each demand stands under a policy."""
    placed = [policy.place(one.service_class, one.organisation, one.policy_group) for one in demands]
    keys = [
        (models.index(one.model), at.class_name, at.organisation)
        for one, at in zip(demands, placed, strict=True)
    ]
    groups = list(dict.fromkeys(keys))
    parents = list(dict.fromkeys(key[:2] for key in groups))
    classes = _padded([[i for i, one in enumerate(parents) if one[0] == m] for m in range(len(models))])
    below = _padded([[i for i, one in enumerate(groups) if one[:2] == parent] for parent in parents])
    leaves = _padded([[i for i, one in enumerate(keys) if one == group] for group in groups])
    rules = [policy.classes[name] for _, name in parents]
    class_rules = [NodeRule(one.weight, one.guarantee, one.cap) for one in rules]
    group_rules = [policy.classes[name].rule(organisation) for _, name, organisation in groups]
    return Tree(
        group=np.array([groups.index(key) for key in keys]),
        classes=classes,
        groups=below,
        leaves=leaves,
        class_rules=_rules(class_rules)[:, classes],
        group_rules=_rules(group_rules)[:, below],
        weight=np.array([at.weight for at in placed], dtype=float),
        person=np.array([policy.classes[at.class_name].person_cap / WHOLE for at in placed]),
        refuse=float(policy.pressure.refuse_after_s),
        lines=(
            _line(keys, [policy.classes[name].limits.organisation for _, name, _ in keys]),
            _line([key[:2] for key in keys], [policy.classes[name].limits.total for _, name, _ in keys]),
            _line([key[:1] for key in keys], [policy.limits.total] * len(keys)),
        ),
    )


def _line(keys: Sequence[Hashable], most: list[int]) -> Line:
    """``keys``: in which line each demand stands."""
    lines = list(dict.fromkeys(keys))
    of = np.array([[float(key == line) for key in keys] for line in lines])
    return Line(of, np.array([float(most[keys.index(line)]) for line in lines]))


def _padded(rows: list[list[int]]) -> NDArray[np.int64]:
    """Rows of one length; the place behind the last child stands for none."""
    none = sum(map(len, rows))
    most = max(1, max(map(len, rows), default=1))
    return np.array([row + [none] * (most - len(row)) for row in rows], dtype=np.int64)


def _rules(rules: list[NodeRule]) -> Floats:
    """Weight, guarantee and cap by node, and behind them those of none."""
    made = [[one.weight, one.guarantee / WHOLE, one.cap / WHOLE] for one in rules]
    return np.array([*made, [1.0, 0.0, 0.0]], dtype=float).T


# the run


@dataclass
class Flow:
    """What came and what became of it, by tick; questions, counted from the start."""

    tick: float
    done: int
    """Ticks that have run."""
    came: Floats
    """Ticks + 1 × columns × demands × regions: taken into the line, counted up."""
    went: Floats
    """As many: served or gone, counted up."""
    served: Floats
    """Ticks × columns × demands."""
    left: Floats
    refused: Floats
    used: Floats
    """Ticks × columns × models: part of the supply."""
    chance: Floats
    """As many: how likely it is to find all slots busy."""
    pause: Floats
    """As many: the mean wait of one who does, s."""
    gone: Floats
    """Columns × demands × regions: left, all ticks together."""
    turned: Floats
    """As many: refused."""

    @property
    def waiting(self) -> Floats:
        """Ticks × columns × demands × regions, at the end of each tick."""
        return self.came[1 : self.done + 1] - self.went[1 : self.done + 1]

    def missing(self, asked: Floats) -> float:
        """The largest part of what was asked (columns × demands) of which nobody knows what became."""
        at = slice(self.done)
        known = self.served[at].sum(0) + self.left[at].sum(0) + self.refused[at].sum(0)
        known = known + self.waiting[-1].sum(-1) if self.done else known
        return float(np.max(np.abs(known - asked) / np.maximum(asked, 1.0)))

    def packed(self) -> bytes:
        """All of it, to be kept."""
        out = BytesIO()
        np.savez_compressed(out, **vars(self))
        return out.getvalue()

    @classmethod
    def unpacked(cls, data: bytes) -> Flow:
        """What was packed. Raises OSError, ValueError and KeyError for anything else."""
        with np.load(BytesIO(data), allow_pickle=False) as found:
            made = {name: found[name] for name in cls.__dataclass_fields__}
        return cls(**{**made, "tick": float(made["tick"]), "done": int(made["done"])})


def empty(world: World, columns: int, regions: int, models: int) -> Flow:
    """A run that has not begun."""
    ticks, demands = len(load.ticks(world)), len(world.demands)
    leaf, each, supply = (columns, demands, regions), (ticks, columns, demands), (ticks, columns, models)
    return Flow(
        world.tick, 0, np.zeros((ticks + 1, *leaf)), np.zeros((ticks + 1, *leaf)), np.zeros(each),
        np.zeros(each), np.zeros(each), np.zeros(supply), np.zeros(supply), np.zeros(supply), np.zeros(leaf),
        np.zeros(leaf),
    )  # fmt: skip


def asked(world: World, columns: Columns, flow: Flow) -> Floats:
    """Questions of each demand in the ticks that have run: columns × demands."""
    return np.asarray(world.shape[: flow.done].sum(0) * world.tick * columns.demand)


def run(
    world: World,
    plant: Plant,
    columns: Columns,
    *,
    regions: bool = True,
    begun: Flow | None = None,
    progress: Progress | None = None,
) -> Flow:
    """The whole time of a scenario, or the rest of what has ``begun``. ``regions``: keep them apart. An
    interrupt ends it: what is done is in the flow.
    """
    spread = load.spread(world) if regions else np.ones((len(world.demands), 1))
    flow = begun or empty(world, columns.count, spread.shape[1], len(plant.models))
    step = _Step(world, plant, columns, spread)
    shape = world.shape
    try:
        for tick in range(flow.done, len(shape)):
            step.tick(flow, tick, shape[tick] * world.tick)
            flow.done = tick + 1
            if progress:
                progress(flow.done, len(shape))
    except KeyboardInterrupt:
        pass
    return flow


class _Step:
    """One tick after the other, with what does not change kept between them."""

    def __init__(self, world: World, plant: Plant, columns: Columns, spread: Floats) -> None:
        self.world, self.plant, self.columns, self.spread = world, plant, columns, spread
        self.model_of = np.array([plant.models.index(one.model) for one in world.demands])
        self.waits = np.array([one.kind == "batch" for one in world.demands])
        self.lag = np.array([one.patience / world.tick if one.patience else np.inf for one in world.demands])
        self.askers = np.array([max(1.0, one.askers * one.most.middle) for one in world.demands])
        self.vary = np.array([one.vary / 2 for one in world.demands])
        self.bytes = np.array(
            [BYTES_IN * one.tokens_read + BYTES_OUT * one.tokens_out for one in world.demands]
        )
        self.tree = cache(self._tree)
        self.most = plant.region_bytes(world, spread.shape[1]) * world.tick

    def _tree(self, event: str) -> Tree:
        policies: Mapping[str, Policy] = {"": self.world.policy, **self.world.policies}
        return tree(policies[event], self.world.demands, self.plant.models)

    def tick(self, flow: Flow, tick: int, asked: Floats) -> None:
        """Serve one tick. ``asked``: questions of each demand in it, in the middle."""
        now = self.plant.at(tick)
        cost = now.cost(self.columns)  # columns × demands: seconds of the whole supply, inf: nobody
        rules = self.tree(now.policy)
        new = (asked * self.columns.demand)[..., None] * self.spread
        waiting = flow.came[tick] - flow.went[tick] + new
        served = self._served(rules, waiting, cost, now.slots(self.columns))
        rest = np.maximum(waiting - served, 0.0)
        refused = np.zeros_like(rest)
        if rules.refuse:
            most = served * (rules.refuse / flow.tick)
            several = -np.expm1(-rest.sum(-1) / self.askers)[..., None]
            refused = np.where(self.waits[:, None], 0.0, np.clip(rest - most, 0.0, new * several))
        refused = np.maximum(refused, new * self._full(rules, rest, new, now)[..., None])
        rest -= refused
        flow.came[tick + 1] = flow.came[tick] + new - refused
        went = flow.went[tick] + served
        left = np.clip(self._too_late(flow, tick) - went, 0.0, rest)
        flow.went[tick + 1] = went + left
        flow.served[tick], flow.left[tick], flow.refused[tick] = served.sum(-1), left.sum(-1), refused.sum(-1)
        flow.gone += left
        flow.turned += refused
        self._busy(flow, tick, now.slots(self.columns), served, rest - left, cost)

    def _full(self, rules: Tree, rest: Floats, new: Floats, now: Spell) -> Floats:
        """Columns × demands: the part of what is new that finds a line full. Batch work stands outside."""
        gateways = now.gateways(self.columns)[:, self.model_of]
        waiting, came = rest.sum(-1), np.where(self.waits, 0.0, new.sum(-1))
        inside = np.minimum(waiting, rules.lines[1].most @ rules.lines[1].of * gateways)
        organisations, classes, all_ = rules.lines
        others = np.where(self.waits, 0.0, waiting)
        full = np.maximum(organisations.full(others, came, gateways), classes.full(others, came, gateways))
        full = np.maximum(full, all_.full(inside, came, gateways))
        return np.where(self.waits, 0.0, full)

    def _served(self, rules: Tree, waiting: Floats, cost: Floats, slots: Floats) -> Floats:
        """Questions of each leaf that are served in the tick."""
        columns, demands, regions = waiting.shape
        reachable = np.isfinite(cost)
        part = np.where(reachable, cost, 0.0)[..., None] / self.world.tick
        askers = np.minimum(waiting, self.askers[:, None] * self.spread)
        places = np.maximum(rules.person, 1 / slots[:, self.model_of])[..., None]
        want = np.minimum(waiting * part, np.where(places < 1, askers * places, np.inf))
        weight = askers * rules.weight[:, None]
        by_group = np.zeros((columns, len(rules.leaves)))
        for place, group in enumerate(rules.group):
            by_group[:, group] += want[:, place].sum(-1)
        groups = _gather(by_group, rules.groups)
        classes = _gather(groups.sum(-1), rules.classes)
        whole = np.ones((columns, len(rules.classes)))
        to_class = _scatter(share(whole, classes, *rules.class_rules), rules.classes, len(rules.groups))
        to_group = _scatter(share(to_class, groups, *rules.group_rules), rules.groups, len(rules.leaves))
        padded = (columns, len(rules.leaves), -1)
        wants = _gather(want, rules.leaves).reshape(padded)
        weights = np.maximum(_gather(weight, rules.leaves).reshape(padded), NEARLY)
        got = share(to_group, wants, weights, np.zeros_like(wants), wants)
        got = got.reshape(columns, len(rules.leaves), -1, regions)
        to_leaf = np.zeros((columns, demands + 1, regions))
        to_leaf[:, rules.leaves] = got
        served = np.minimum(waiting, to_leaf[:, :demands] / np.where(part > 0, part, np.inf))
        if np.isfinite(self.most).any():
            sent = (served * self.bytes[:, None]).sum(1)
            served = served * np.minimum(1.0, self.most / np.maximum(sent, NEARLY))[:, None]
        return np.asarray(served)

    def _too_late(self, flow: Flow, tick: int) -> Floats:
        """What came so long ago that it has been served or has left by the end of the tick."""
        at = tick + 1 - self.lag
        last = np.zeros_like(flow.came[0])
        for demand in np.flatnonzero(at > 0):
            low = int(at[demand])
            part = at[demand] - low
            early = flow.came[low, :, demand]
            last[:, demand] = early + part * (flow.came[min(low + 1, tick + 1), :, demand] - early)
        return np.asarray(last)

    def _busy(self, flow: Flow, tick: int, slots: Floats, served: Floats, rest: Floats, cost: Floats) -> None:
        """How busy each model's supply is, and what chance makes of it."""
        count = served.sum(-1)
        used = np.where(np.isfinite(cost), count * np.where(np.isfinite(cost), cost, 0), 0.0) / flow.tick
        calm = np.where(rest.sum(-1) > NEARLY * np.maximum(count, 1), 0.0, used)
        for model in range(len(self.plant.models)):
            mine = self.model_of == model
            load_ = np.minimum(used[:, mine].sum(-1), 1.0)
            questions = np.maximum(count[:, mine].sum(-1), NEARLY)
            each = load_ * flow.tick / questions
            vary = (count[:, mine] * self.vary[mine]).sum(-1) / questions
            flow.used[tick, :, model] = load_
            flow.chance[tick, :, model] = load_ ** (np.sqrt(2 * (slots[:, model] + 1)) - 1)
            free = np.maximum(1 - calm[:, mine].sum(-1), LEAST_FREE)
            flow.pause[tick, :, model] = each * vary / free


def _gather(values: Floats, index: NDArray[np.int64]) -> Floats:
    """Values [columns, n, ...] by a padded index; nothing stands in the padding."""
    none = np.zeros_like(values[:, :1])
    return np.asarray(np.concatenate([values, none], 1)[:, index])


def _scatter(values: Floats, index: NDArray[np.int64], count: int) -> Floats:
    """The reverse: [columns, parents, children] to [columns, count]."""
    made = np.zeros((len(values), count + 1))
    made[:, index] = values
    return made[:, :count]


def days(flow: Flow) -> float:
    """How many days have run."""
    return flow.done * flow.tick / DAY
