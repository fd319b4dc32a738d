"""The bars of the service: one module for each kind, one function for each bar.

Words: a *row* is a bar with its figures and whether it holds; a *bench* is where and how to measure.
Rule: a function returns its row, or raises where it cannot measure; then the bar does not hold and
the reason is shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from msgspec import Struct

from benchmarks.harness import process

T = TypeVar("T")
Figure = float | int | None


class NoDataError(FileNotFoundError):
    """What a bar measures with is not on this machine; the text says what. Then it is not run, which is no
    breakage.
    """


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
        self.stack = contextlib.ExitStack()
        """What bars share, ended with the run."""
        self._shared: dict[object, Any] = {}

    def place(self, name: str) -> Path:
        """A new folder for one bar."""
        place = self.folder / name
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place

    def shared(self, make: Callable[[Bench], AbstractContextManager[T]]) -> T:
        """What ``make`` gives: made for the first bar that asks, kept for the others."""
        if make not in self._shared:
            self._shared[make] = self.stack.enter_context(make(self))
        made: T = self._shared[make]
        return made


def median(values: Sequence[float]) -> float:
    """The middle value; the mean of the two in the middle for an even number."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
