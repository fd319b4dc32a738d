"""Intervals of what a stratified sample says, 95 % of which hold the truth.

Formulas, by W. G. Cochran, Sampling Techniques, third edition (1977), chapters 5 and 6. Stratum ``h`` stands
for ``M`` units, of which ``n`` were drawn with replacement:

* a total is ``Σ M ȳ``, its variance ``Σ M² s²/n`` (without the factor for small populations: the same cell
  at the same time would go otherwise another time);
* a ratio ``R = Y/X`` of totals has the variance of the total of ``(y - R x)/X`` (combined ratio estimate);
* where the total of x is known, ``R`` times it is a better estimate of that of y: its error is that of
  the total of ``y - R x``;
* Student's t, with the degrees of freedom of Satterthwaite: ``(Σ a)² / Σ a²/(n-1)``, ``a = M² s²/n``;
* a quantile's bounds are the quantiles at the bounds of the part below it (R. S. Woodruff, Confidence
  Intervals for Medians and Other Position Measures, JASA 47, 1952).

With few cells, or for what seldom happens, they are too narrow: nothing is known of what was not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import exp, lgamma, pi, sqrt
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from moduai.planner.basis import Spread

Floats = NDArray[np.float64]
SURE: Final = 0.95
LEAST_S: Final = 1e-3
MOST_S: Final = 1e5
STEPS: Final = 320
EDGES: Final = np.concatenate([[0.0], np.geomspace(LEAST_S, MOST_S, STEPS + 1)])
"""Of a histogram of waits, s: nothing, then 40 to a power of ten, so a quantile is 3 % off at most."""


class Drawn(Struct, frozen=True, eq=False):
    """What was found in the cells of one stratum: a row each."""

    size: float
    """Units that it stands for."""
    y: Floats
    x: Floats


@cache
def student(freedom: float, part: float = SURE) -> float:
    """Student's t that ``part`` of all lie within, on both sides."""
    points, weights = np.polynomial.legendre.leggauss(64)
    scale = exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(freedom * pi)

    def within(t: float) -> float:
        at = t * (points + 1) / 2
        return float(t * scale * (weights * (1 + at**2 / freedom) ** (-(freedom + 1) / 2)).sum())

    low, high = 0.0, 64.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < part else (low, middle)
    return high


def ratio(strata: Sequence[Drawn]) -> Spread:
    """Total of y by total of x. Where there is no x: nothing, exactly."""
    whole = sum(one.size * float(one.x.mean()) for one in strata)
    if whole <= 0:
        return Spread(0.0, 0.0, 0.0)
    value = sum(one.size * float(one.y.mean()) for one in strata) / whole
    return around(value, [(one.size, (one.y - value * one.x) / whole) for one in strata])


def around(value: float, strata: Sequence[tuple[float, Floats]]) -> Spread:
    """Bounds of a value whose error is the total of these, cell by cell."""
    parts = [size * size * _variance(off) for size, off in strata]
    variance = sum(parts)
    if variance <= 0:
        return Spread(value, value, value)
    spread = sum(a * a / (len(off) - 1) for a, (_, off) in zip(parts, strata, strict=True) if a)
    far = student(round(variance * variance / spread, 1)) * sqrt(variance)
    return Spread(value - far, value, value + far)


def _variance(values: Floats) -> float:
    """Of a mean of so many; nothing can be said of one."""
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def quantile(strata: Sequence[tuple[float, Floats]], part: float) -> Spread:
    """Of waits, s. ``strata``: units that each stands for, and histograms over ``EDGES``, a row a cell."""
    whole = sum(size * rows.mean(0) for size, rows in strata)
    count = float(np.sum(whole))
    if count <= 0:
        return Spread(0.0, 0.0, 0.0)
    below = np.cumsum(whole) / count
    at = int(np.searchsorted(below, part))
    found = ratio([Drawn(size, rows[:, : at + 1].sum(1), rows.sum(1)) for size, rows in strata])
    low, high = (part + (one - found.middle) for one in (found.low, found.high))
    return Spread(_inverse(below, low), _inverse(below, part), _inverse(below, high))


def _inverse(below: Floats, part: float) -> float:
    """Seconds below which a part waits: a straight line within a step."""
    at = min(int(np.searchsorted(below, min(max(part, 0.0), float(below[-1])))), len(below) - 1)
    before = float(below[at - 1]) if at else 0.0
    within = (min(part, float(below[-1])) - before) / max(float(below[at]) - before, 1e-300)
    low, high = (float(EDGES[at]), float(EDGES[at + 1])) if at else (0.0, 0.0)
    return low + (high - low) * min(max(within, 0.0), 1.0)


def histogram(seconds: Floats) -> list[int]:
    """How many of these waits are within each step; the first: no wait at all, below a millisecond."""
    counts = np.bincount(np.searchsorted(EDGES[1:], seconds, "right"), minlength=len(EDGES))
    counts[-2] += counts[-1]
    return [int(one) for one in counts[:-1]]
