"""Where a number comes from, carried along with it.

Rule: a number that goes into a result is measured here, fitted to measured points, published by somebody, or
assumed; what is computed from several is no better than the weakest of them. Its error is a part of it: nine
of ten true values lie within it on either side.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Basis(StrEnum):
    """How a number is known, from the best to the weakest."""

    MEASURED = "measured"
    FITTED = "fitted"
    PUBLISHED = "published"
    ASSUMED = "assumed"


ORDER = tuple(Basis)


class Figure(Struct, frozen=True):
    """A number, how it is known, and from where."""

    value: float
    basis: Basis
    source: str
    error: float = 0.0
    """Part of the value: 0.15 for ± 15 %."""


class Spread(Struct, frozen=True):
    """A result with its bounds; where none are known all three are the same."""

    low: float
    middle: float
    high: float


def weakest(first: Basis, *others: Basis) -> Basis:
    """The basis of what is computed from all of these."""
    return max(first, *others, key=ORDER.index) if others else first
