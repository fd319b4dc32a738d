"""Fit the step time to measured points, and say how far it is off where it was not fitted.

The time per output token of a point is a sum of ``steptime.PARTS`` times a factor each, times a factor for
its engine. The logarithms of all factors are fitted: errors count as ratios, factors stay positive. Points
far off count by their distance and not by its square (pseudo-Huber), and every factor is drawn a little to
what it is by experience (``PRIOR``), engines strongly to 1: what the points do not tell stays there.

How far it is off is measured on points that the fit did not see, pooled over all folds: each half of every
group of model, system and engine from the other half; a system from the others; a model from the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from math import log
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.planner import engine
from moduai.planner.devices import devices
from moduai.planner.engine import Ints
from moduai.planner.fluid import Progress
from moduai.planner.kept import Kept
from moduai.planner.measured import Point
from moduai.planner.steptime import CHUNK, PARTS, SLOTS, Coefficients, StepTime, parts, room

Floats = NDArray[np.float64]

PRIOR = {
    "weights": 1.15,
    "experts": 1.5,
    "context": 1.2,
    "compute": 1.2,
    "eight": 0.6,
    "talk": 2.0,
    "talk_us": 10.0,
    "layer_us": 30.0,
    "router_us": 30.0,
    "sequence_us": 20.0,
    "step_us": 300.0,
}
"""Memory is read at 80 to 90 % of its speed, matrices are multiplied at two to three quarters of theirs."""
DRAWN = 3.0
"""A factor off its prior weighs as much as so many points that are off as far (near ones)."""
ENGINE_DRAWN = 100.0
FAR = 0.15
"""Errors (of the logarithm) beyond which a point counts by its distance."""
MOST_ROUNDS = 100
TENTHS = 10
LEAN = 0.2
"""Factors that differ cost so much of an error each e-fold (squared): a batch that is always as large cannot
tell what is a step's and what is a sequence's."""
FINE = 0.005
"""Of the logarithm of a factor: no finer steps are tried."""


class Fitted(Struct, frozen=True, eq=False):
    """Factors by part and by engine."""

    factors: dict[str, float]
    engines: dict[str, float]

    def predict(self, points: Sequence[Point]) -> Floats:
        """Seconds for each output token."""
        factors = np.array([self.factors[name] for name in PARTS])
        engines = np.array([self.engines.get(point.engine, 1.0) for point in points])
        predicted: Floats = design(points) @ factors * engines
        return predicted


class Split(Struct, frozen=True):
    """How far a fit is off on points that it did not see."""

    name: str
    """What was held out: ``half``, ``system`` or ``model``."""
    mixture: bool
    """Of mixture-of-experts models; else of dense ones."""
    points: int
    median: float
    """Of the relative error."""
    p90: float
    worst: str
    """The fold with the largest median, and below that median."""
    worst_median: float


def design(points: Sequence[Point]) -> Floats:
    """Seconds of each part for each point, by the data sheet."""
    return np.array([_loaded(point) for point in points])


def _loaded(point: Point) -> tuple[float, ...]:
    """The parts of a step under the point's load; the KV room bounds how many sequences there are."""
    device = devices()[point.device]
    held = point.tokens_in + point.tokens_out / 2
    most = max(1.0, room(point.model, device, point.tp * point.dp) / held)
    sequences = min(float(point.batch), most)
    computed = sequences * point.tokens_in / point.tokens_out if point.mixed else 0.0
    return parts(
        point.model,
        device,
        point.tp,
        dp=point.dp,
        sequences=sequences,
        context=sequences * held,
        computed=computed,
        met=point.model.touched(sequences + computed),
    )


def fit(points: Sequence[Point], prior: dict[str, float] | None = None, drawn: float | None = None) -> Fitted:
    """The factors that fit best. ``prior``: where they begin, and are drawn to, ``drawn`` strongly.

    Raises ValueError: no points.
    """
    if not points:
        raise ValueError("there are no points to fit to")
    engines = sorted({point.engine for point in points})
    each = design(points)
    which = np.array([[float(point.engine == name) for name in engines] for point in points])
    measured = np.log([point.tpot_s for point in points])
    begin = np.log([*((prior or PRIOR)[name] for name in PARTS), *(1.0 for _ in engines)])
    weight = np.array([DRAWN if drawn is None else drawn] * len(PARTS) + [ENGINE_DRAWN] * len(engines))
    found = np.exp(_solve(each, which, measured, begin, weight))
    names = [*PARTS, *engines]
    both = {name: float(value) for name, value in zip(names, found, strict=True)}
    return Fitted({name: both[name] for name in PARTS}, {name: both[name] for name in engines})


def _solve(each: Floats, which: Floats, measured: Floats, begin: Floats, weight: Floats) -> Floats:
    """Levenberg and Marquardt's way: least squares of the logarithms' errors, far points counting less."""
    count = each.shape[1]

    def errors(at: Floats) -> Floats:
        off: Floats = np.log(each @ np.exp(at[:count])) + which @ at[count:] - measured
        return off

    def cost(at: Floats) -> float:
        off = errors(at)
        far = 2 * FAR**2 * (np.sqrt(1 + (off / FAR) ** 2) - 1)
        return float(far.sum() + (weight * (at - begin) ** 2).sum())

    at, damping = begin.copy(), 1e-2
    now = cost(at)
    for _ in range(MOST_ROUNDS):
        shares = each * np.exp(at[:count])
        slope = np.hstack([shares / shares.sum(axis=1, keepdims=True), which])
        off = errors(at)
        counts = 1 / np.sqrt(1 + (off / FAR) ** 2)
        square = slope.T @ (slope * counts[:, None]) + np.diag(weight)
        steep = slope.T @ (counts * off) + weight * (at - begin)
        better = False
        while not better and damping < 1e8:
            step = np.linalg.solve(square + damping * np.diag(np.diag(square)), -steep)
            next_at = at + np.clip(step, -1, 1)
            then = cost(next_at)
            better = then < now
            damping *= 1 / 3 if better else 4
        if not better or now - then < 1e-9 * now:
            return at
        at, now = next_at, then
    return at


def splits(
    points: Sequence[Point], seed: int = 1, progress: Progress | None = None, done: Kept | None = None
) -> list[Split]:
    """The error of each way to hold points out, of dense models and of mixtures. ``done`` keeps the folds."""
    halves = _halves(points, seed)
    ways: list[tuple[str, Callable[[int], Any]]] = [
        ("half", lambda number: halves[number]),
        ("system", lambda number: points[number].device),
        ("model", lambda number: points[number].name),
    ]
    folds = [
        (name, fold, held)
        for name, fold in ways
        for held in sorted({fold(number) for number in range(len(points))})
    ]
    done, off = done or Kept(), {}
    for number, (name, fold, held) in enumerate(folds, 1):
        off[name, held] = done.piece(
            f"fold {name} {held}", dict[int, float], partial(_fold, points, fold, held)
        )
        if progress:
            progress(number, len(folds))
    return [split for name, fold in ways for split in _held_out(points, name, fold, off)]


def _halves(points: Sequence[Point], seed: int) -> list[str]:
    """Deal the points of each group to two halves."""
    order = list(range(len(points)))
    random.Random(seed).shuffle(order)
    dealt: dict[tuple[str, str, str], int] = {}
    found = [""] * len(points)
    for number in order:
        count = dealt[points[number].group] = dealt.get(points[number].group, 0) + 1
        found[number] = "the one half" if count % 2 else "the other half"
    return found


def _fold(points: Sequence[Point], fold: Callable[[int], Any], held: Any) -> dict[int, float]:
    """The error of each point of a fold, by its number, from a fit to the others; none if it has all."""
    some = [number for number in range(len(points)) if fold(number) == held]
    rest = [point for number, point in enumerate(points) if fold(number) != held]
    if not rest:
        return {}
    predicted = fit(rest).predict([points[number] for number in some])
    return {
        number: abs(float(seconds) / points[number].tpot_s - 1)
        for number, seconds in zip(some, predicted, strict=True)
    }


def _held_out(
    points: Sequence[Point], name: str, fold: Callable[[int], Any], folds: dict[Any, dict[int, float]]
) -> list[Split]:
    off = {number: one for (way, _), some in folds.items() if way == name for number, one in some.items()}
    found = []
    for mixture in (False, True):
        mine = [number for number in off if bool(points[number].model.experts) is mixture]
        if mine:
            found.append(_split(name, mixture, {number: off[number] for number in mine}, fold))
    return found


def _split(name: str, mixture: bool, off: dict[int, float], fold: Callable[[int], Any]) -> Split:
    folds: dict[str, list[float]] = {}
    for number, error in off.items():
        folds.setdefault(str(fold(number)), []).append(error)
    medians = {held: float(np.median(errors)) for held, errors in folds.items()}
    worst = max(medians, key=medians.__getitem__)
    errors = list(off.values())
    return Split(
        name,
        mixture,
        len(errors),
        float(np.median(errors)),
        float(np.quantile(errors, 0.9)),
        worst,
        medians[worst],
    )


def coefficients(points: Sequence[Point], found: Sequence[Split], source: str) -> Coefficients:
    """A fit to all points, with the errors of those that hold some out. Raises ValueError: no points."""
    fitted = fit(points)
    errors = {
        split.name + ("-mixture" if split.mixture else ""): (split.median, split.p90) for split in found
    }
    return Coefficients(
        factors=fitted.factors,
        engines=fitted.engines,
        errors=errors,
        devices=tuple(sorted({point.device for point in points})),
        points=len(points),
        source=source,
    )


def to_toml(fitted: Coefficients) -> str:
    """As a file that ``msgspec.toml`` and ``steptime.shipped`` read."""
    lines = [f"source = {_quoted(fitted.source)}", f"points = {fitted.points}"]
    lines.append(f"devices = [{', '.join(map(_quoted, fitted.devices))}]")
    for title, table in (("factors", fitted.factors), ("engines", fitted.engines)):
        lines += ["", f"[{title}]", *(f"{_quoted(key)} = {value:.4g}" for key, value in table.items())]
    lines += ["", "[errors]"]
    lines += [f"{_quoted(key)} = [{a:.3f}, {b:.3f}]" for key, (a, b) in fitted.errors.items()]
    for one in fitted.replicas:
        factors = ", ".join(f"{each:.4g}" for each in one.factors)
        lines += [
            "", "[[replicas]]", f"model = {_quoted(one.model)}", f"device = {_quoted(one.device)}",
            f"devices = {one.devices}", f"factors = [{factors}]", f"error = {one.error:.3f}",
            f"requests = {one.requests}", f"source = {_quoted(one.source)}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


WAYS = [np.array(way, np.float64) for way in product((-1, 0, 1), repeat=3) if any(way)]
"""In which three factors are moved together: they make up for each other, so one at a time ends too early."""


class Served(Struct, frozen=True):
    """One request that a replica served, as a ledger or a load generator wrote it down. Times in ns."""

    at: int
    """When the replica got it."""
    tokens_in: int
    """Without what was cached."""
    tokens_out: int
    first: int
    """When its first token came, and below its last."""
    ended: int


def from_usage(
    at: int,
    queue_us: int,
    first_token_us: int,
    duration_us: int,
    tokens_in: int,
    cached: int,
    tokens_out: int,
) -> Served:
    """A row of the ledger (``metering.row``, times in µs from when it arrived) as what its replica served."""
    return Served(
        at=(at + queue_us) * 1000,
        tokens_in=max(1, tokens_in - cached),
        tokens_out=max(1, tokens_out),
        first=(at + (first_token_us or duration_us)) * 1000,
        ended=(at + duration_us) * 1000,
    )


class Tuned(Struct, frozen=True):
    """A replica's step time after what it did."""

    time: StepTime
    factors: tuple[float, ...]
    """By what it is slower than before: each step, each token and sequence that is held, each token read."""
    error: float
    """How far it was off there: of first tokens and of further ones together, logarithms."""


def tune(
    before: StepTime,
    served: Sequence[Served],
    until: int,
    *,
    slots: int = SLOTS,
    chunk: int = CHUNK,
    told: Callable[[float], None] | None = None,
) -> Tuned:
    """Fit one replica's step time to what it did until then, given what it was asked until then.

    The engine is run with the same requests; three factors are moved until the times to the first token and
    for each further token that were seen by then come out best. ``told`` hears how much is done. Raises
    ValueError: nothing was seen.
    """
    known = sorted((one for one in served if one.at <= until), key=lambda one: one.at)
    seen = np.array([(one.first <= until, one.ended <= until) for one in known], np.bool_).reshape(-1, 2)
    if not seen.any():
        raise ValueError("no request was served in the time to learn from")
    truth = _spans(np.array([(one.at, one.first, one.ended, one.tokens_out) for one in known], np.int64))
    # A first token takes a step at least; one that came sooner tells no more.
    step = float(np.median(truth[seen[:, 1], 1])) if seen[:, 1].any() else 0.0
    truth[:, 0] = np.maximum(truth[:, 0], step)

    def error(factors: Floats) -> float:
        model = _spans(played(scaled(before, factors), known, slots, chunk))
        model[:, 0] = np.maximum(model[:, 0], step)
        off = sum(_off(model[some, kind], truth[some, kind]) for kind, some in enumerate(seen.T))
        return off + LEAN * float(((factors - factors.mean()) ** 2).sum())

    at, width = np.zeros(3), 0.5
    best = error(at)
    while width > FINE:
        if told:
            told(log(0.5 / width) / log(0.5 / FINE))
        tries = [at + width * way for way in WAYS]
        errors = [error(one) for one in tries]
        if min(errors) < best:
            best = min(errors)
            at = tries[errors.index(best)]
        else:
            width /= 2
    return Tuned(scaled(before, at), tuple(float(one) for one in np.exp(at)), best)


def _off(model: Floats, truth: Floats) -> float:
    """Mean of the errors (logarithms) of ten means in order of arrival: single requests differ by chance."""
    parts_of = zip(np.array_split(model, TENTHS), np.array_split(truth, TENTHS), strict=True)
    return sum(abs(float(np.log(one.mean() / other.mean()))) for one, other in parts_of if len(one)) / TENTHS


def scaled(time: StepTime, logs: Floats) -> StepTime:
    """A step time after factors (logarithms): each step, what is held, each token read."""
    return time.scaled(*(float(one) for one in np.exp(logs)))


def played(time: StepTime, served: Sequence[Served], slots: int, chunk: int) -> Ints:
    """Rows of arrival, first token, end and length as the engine would have served them."""
    jobs = engine.table([one.tokens_in for one in served], [one.tokens_out for one in served])
    arrivals = np.array([one.at for one in served], np.int64)
    replica = engine.core(time, jobs, slots=slots, chunk=chunk)
    engine.run(*replica, arrivals, np.zeros((0, 2), np.int64), engine.NEVER)
    return np.column_stack([arrivals, jobs[:, [engine.FIRST, engine.ENDED, engine.OUT]]])


def _spans(rows: Ints) -> Floats:
    """Seconds to the first token and for each further one; a millisecond at least."""
    first = (rows[:, 1] - rows[:, 0]) / 1e9
    each = (rows[:, 2] - rows[:, 1]) / 1e9 / np.maximum(1, rows[:, 3] - 1)
    spans: Floats = np.maximum(1e-3, np.column_stack([first, each]))
    return spans
