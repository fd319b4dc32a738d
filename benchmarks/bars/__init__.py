"""The bars of the service: one module for each kind, one function for each bar.

Words: a *row* is a bar with its figures and whether it holds; a *bench* is where and how to measure.
Rule: a function returns its row, or raises where it cannot measure; then the bar does not hold and
the reason is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from benchmarks.harness import process

Figure = float | int | None


class Row(Struct, frozen=True):
    """One bar, in the shape that is printed as JSON."""

    bar: str
    value: Figure | list[Figure]
    must: str
    holds: bool


class Measured(NamedTuple):
    """A row, and lines for people."""

    row: Row
    notes: list[str]
    broken: bool = False
    """Something does not work, whatever the figures are: what --quick looks for."""


class Bench:
    """Where and how to measure."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.target, self.beside = process.cpus()
        """CPUs of the target and of everything else."""

    def place(self, name: str) -> Path:
        """A new folder for one bar."""
        place = self.folder / name
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place


def median(values: Sequence[float]) -> float:
    """The middle value; the mean of the two in the middle for an even number."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
