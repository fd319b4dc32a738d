"""Numbers as a language groups them, from the pack's names of large numbers. Pure.

Where names stand four digits apart (만, 억, 조) two of them are said, "1조 4,600억"; elsewhere one with at
most three digits after the point, "1.46 trillion". The exact number always stands beside it (``exact``).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from moduai.packs.price import rounded

LEAST_NAMED = 1_000_000
"""Smaller ones are read most quickly in digits."""
MYRIAD = 10_000
_PREFIXES = ("", "k", "M", "G", "T", "P")


def grouped(value: float, names: Mapping[str, float]) -> str:
    """A number for people."""
    steps = sorted(((size, name) for name, size in names.items() if 1 < size <= value), reverse=True)
    if value < LEAST_NAMED or not steps:
        return exact(value)
    size, name = steps[0]
    if not _is_myriad(names):
        return f"{round(value / size, 3):,.15g} {name}"
    less, word = next(((less, word) for less, word in steps[1:] if size / less == MYRIAD), (size, ""))
    whole, rest = divmod(round(value / less), round(size / less))
    return f"{whole:,}{name}" + (f" {rest:,}{word}" if rest else "")


def exact(value: float) -> str:
    """Every digit that is meant, with commas."""
    return f"{value:,.15g}"


def measured(value: float, unit: str) -> str:
    """W, kWh and such with the prefix that makes them short: 96.8 MW."""
    value = rounded(value)
    prefix = 1 if unit.startswith("k") else 0
    base = unit.removeprefix("k")
    while value >= 1_000 and prefix < len(_PREFIXES) - 1:
        value, prefix = value / 1_000, prefix + 1
    return f"{value:.4g} {_PREFIXES[prefix]}{base}"


def percent(part: float) -> str:
    """A part of one in percent, to three digits."""
    return f"{rounded(part * 100):,.15g}%"


def _is_myriad(names: Mapping[str, float]) -> bool:
    sizes = sorted(names.values())
    return any(more / less == MYRIAD for less, more in pairwise(sizes))
