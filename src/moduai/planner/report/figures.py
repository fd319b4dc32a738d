"""Small figures as inline SVG: lines by hour, bars with bands. Colours are variables of the page, lines
differ by their dashes too, and every figure has a title and a description for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Final, NamedTuple

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 116, 14, 30
DASHES: Final = ("", "7 4", "2 3", "10 3 2 3", "1 5", "14 4")
ROW = 26
LABELS = 190
"""Width of the labels of bars."""
LETTERS = 18
"""Of a label before it is cut."""
NEAR = 14
"""Least height between two labels."""
LEAST = 0.01
"""Where an axis of powers of ten begins."""


class Said(NamedTuple):
    """What a figure is called, in the page and by those who read it."""

    name: str
    """Unique in the page."""
    title: str
    about: str


class Line(NamedTuple):
    """One line; values by place, the band around it where there is one."""

    name: str
    values: Sequence[float]


class Bar(NamedTuple):
    """One bar with what it may be at least and at most, and a mark to compare it with."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    mark: float | None = None


class Axis(NamedTuple):
    """From nothing to a round number, or in powers of ten (waits go from hundredths of a second to hours)."""

    most: float
    is_log: bool

    @classmethod
    def of(cls, values: Iterable[float], *, is_log: bool) -> Axis:
        """One that holds these."""
        most = max(values, default=0.0)
        return cls(10.0 ** ceil(log10(max(most, 10 * LEAST)) - 1e-9) if is_log else ceiling(most), is_log)

    def part(self, value: float) -> float:
        """Where a value stands, 0 to 1."""
        if not self.is_log:
            return value / self.most
        return max(0.0, log10(max(value, LEAST) / LEAST) / log10(self.most / LEAST))

    def ticks(self) -> list[float]:
        """What stands beside the axis."""
        if not self.is_log:
            return [0.0, self.most / 2, self.most]
        return [LEAST * 10.0**power for power in range(round(log10(self.most / LEAST)) + 1)]


def lines(said: Said, marks: Sequence[str], some: Sequence[Line], *, is_log: bool = False) -> str:
    """Lines over places with these marks below them."""
    axis = Axis.of((value for line in some for value in line.values), is_log=is_log)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    places = max(2, max((len(line.values) for line in some), default=2))

    def x(place: float) -> float:
        return LEFT + wide * place / (places - 1)

    def y(value: float) -> float:
        return TOP + high * (1 - axis.part(value))

    parts = [_grid(axis, y)]
    step = max(1, len(marks) // 8)
    for place in range(0, len(marks), step):
        at = x(place * (places - 1) / max(1, len(marks) - 1))
        parts.append(_text("mark", at, HEIGHT - 8, marks[place], "middle"))
    ends = _apart([y(line.values[-1]) if line.values else 0.0 for line in some])
    for number, line in enumerate(some):
        path = "L".join(f"{x(place):.1f} {y(value):.1f}" for place, value in enumerate(line.values))
        dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"' if number else ""
        parts.append(f'<path class="line c{number % 6}" d="M{path}"{dash}/>')
        parts.append(_text(f"end t{number % 6}", WIDTH - RIGHT + 6, ends[number] + 4, _cut(line.name)))
    return _svg(said, WIDTH, HEIGHT, parts)


def bars(
    said: Said, some: Sequence[Bar], *, is_log: bool = False, told: Callable[[float], str] | None = None
) -> str:
    """Bars below one another, each with its number as it is ``told``."""
    told = told or short
    known = [value for bar in some for value in (bar.value, bar.high, bar.mark) if value is not None]
    axis = Axis.of(known, is_log=is_log)
    wide = WIDTH - LABELS - 70
    parts = []
    for number, bar in enumerate(some):
        top = 4 + number * ROW
        length = wide * axis.part(bar.value)
        parts.append(_text("mark", LABELS - 8, top + 15, _cut(bar.name, 26), "end"))
        shape = f'x="{LABELS}" y="{top + 3}" width="{max(length, 0.5):.1f}" height="{ROW - 10}"'
        parts.append(f'<rect class="bar" {shape}/>')
        if bar.low is not None and bar.high is not None and bar.high > bar.low:
            low, high, middle = (
                *(LABELS + wide * axis.part(one) for one in (bar.low, bar.high)),
                top + ROW / 2 - 2,
            )
            ends = f"M{low:.1f} {middle - 5}v10M{high:.1f} {middle - 5}v10"
            parts.append(f'<path class="band" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>')
            length = max(length, wide * axis.part(bar.high))
        if bar.mark is not None:
            at = LABELS + wide * axis.part(bar.mark)
            parts.append(f'<path class="limit" d="M{at:.1f} {top}v{ROW - 4}"/>')
            length = max(length, wide * axis.part(bar.mark)) if axis.part(bar.mark) < 0.9 else length
        parts.append(_text("mark", LABELS + length + 6, top + 15, told(bar.value)))
    return _svg(said, WIDTH, 8 + ROW * max(1, len(some)), parts)


def ceiling(most: float) -> float:
    """The round number at which an axis ends: 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(most))
    return next(step * unit for step in (1, 2, 5, 10) if most <= step * unit * (1 + 1e-9))


def short(value: float) -> str:
    """To three digits that count."""
    if value == 0 or not abs(value) < 1e300:
        return "0" if value == 0 else "∞"
    if abs(value) < 1e-3:
        return f"{value:.2g}"
    text = f"{value:,.{max(0, 2 - floor(log10(abs(value))))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _grid(axis: Axis, y: Callable[[float], float]) -> str:
    made = []
    for value in axis.ticks():
        height = y(value)
        made.append(f'<path class="grid" d="M{LEFT} {height:.1f}H{WIDTH - RIGHT}"/>')
        made.append(_text("mark", LEFT - 6, height + 4, short(value), "end"))
    return "".join(made)


def _apart(places: list[float]) -> list[float]:
    """Heights of labels, moved so that none lies on another."""
    order = sorted(range(len(places)), key=places.__getitem__)
    made, last = [0.0] * len(places), -NEAR * 1.0
    for number in order:
        last = made[number] = max(places[number], last + NEAR)
    over = max(0.0, last - (HEIGHT - BOTTOM))
    return [place - over for place in made]


def _text(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{kind}" {at}>{escape(text)}</text>'


def _cut(text: str, most: int = LETTERS) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _svg(said: Said, width: float, height: float, parts: Sequence[str]) -> str:
    name, title, about = said
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(about)}</desc>'
        f"{''.join(parts)}</svg>"
    )
