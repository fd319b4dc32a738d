"""What is said of a value that does not fit: where a unit was mixed up, what it is in the one meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from moduai.packs import typed

FACTORS: Final[tuple[Mapping[str, float], ...]] = (
    {"w": 1e-6, "kw": 1e-3, "mw": 1.0, "gw": 1e3},
    {"mb": 1e-3, "gb": 1.0, "gib": 1.073741824, "tb": 1e3},
    {"gb_s": 1e-3, "tb_s": 1.0},
    {"mbit_s": 1e-3, "gbit_s": 1.0, "tbit_s": 1e3},
    {"tflops": 1.0, "pflops": 1e3},
    {"us": 1e-3, "ms": 1.0},
    {"ms": 1e-3, "s": 1.0, "minutes": 60.0, "hours": 3600.0, "days": 86_400.0},
    {"s": 1 / 60, "minutes": 1.0, "hours": 60.0},
    {"minutes": 1 / 60, "hours": 1.0, "days": 24.0, "weeks": 168.0},
    {"a_day": 1.0, "a_week": 1 / 7, "a_month": 1 / 30, "a_year": 1 / 365, "an_hour": 24.0},
    {"million": 1e-3, "billion": 1.0, "trillion": 1e3},
    {"percent": 0.01, "": 1.0},
)
"""Ends of names to how many of the unit that is 1 they are, unit by unit."""


def explained(kind: type[Struct], name: str, value: object, text: str) -> str:
    """The text, with what would be right where that can be known."""
    known = typed.hints(kind)
    if name and name not in known:
        return _other_unit(name, value, list(known)) or text
    if isinstance(value, str) and value[:1].isdigit():
        return f"{text}; write the number alone: its unit is in the name of the key"
    numbers = [one for one in _inner(value) if isinstance(one, int | float) and not isinstance(one, bool)]
    if any(one < 0 for one in numbers):
        return f"{text}; it cannot be below nothing"
    most = max(numbers, default=0)
    if 1 < most <= 100 and "<= 1.0" in text:
        return f"{text}; it is a part of one: {most:g} % is {most / 100:g}"
    return text


def _inner(value: object) -> list[object]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
        case _:
            return [value]


def _other_unit(name: str, value: object, known: list[str]) -> str:
    for factors in FACTORS:
        for unit, factor in factors.items():
            stem = name.removesuffix(f"_{unit}") if unit else name
            if unit and stem == name:
                continue
            for other, its in factors.items():
                meant = f"{stem}_{other}" if other else stem
                if meant in known and other != unit:
                    return _converted(name, value, meant, factor / its)
    return ""


def _converted(name: str, value: object, meant: str, factor: float) -> str:
    text = f"nothing here is called {name[:64]!r}; the key is {meant!r}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{text}: write {meant} = {value * factor:.6g}"
    return text
