"""What the page draws, as inline SVG: attributes and classes only. A list or table beside says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, hypot, pi, sin

from markupsafe import Markup

from moduai.packs.schema import Pillar

WIDTH, HEIGHT = 360, 330
DOT = 12
"""Radius of the dot of an item, in units of the drawing."""
CORNERS: Mapping[Pillar, tuple[float, float]] = {
    "talent": (180, 78),
    "compute": (78, 238),
    "data": (282, 238),
}
RING, FIELD = 34, 56
"""Items stand on a ring within the field of their corner."""


def triangle(
    label: str,
    names: Mapping[Pillar, str],
    items: Sequence[tuple[str, Pillar]],
    edges: Sequence[tuple[str, str]],
) -> Markup:
    """Three fields with numbered dots, and an arrow from each item to what it waits for. The numbers are
    those of the list beside the drawing.
    """
    places = _places(items)
    parts = [
        Markup(
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto-start-reverse"><path class="tip" d="M0 0 8 4 0 8z"/></marker>'
        )
    ]
    for pillar, (x, y) in CORNERS.items():
        parts.append(Markup('<circle class="field-{}" cx="{}" cy="{}" r="{}"/>').format(pillar, x, y, FIELD))
        below = y + FIELD + 20 if y > HEIGHT / 2 else y - FIELD - 8
        parts.append(
            Markup('<text class="corner" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x, below, names[pillar]
            )
        )
    parts += [_arrow(places[one], places[other]) for one, other in edges]
    for number, (item, pillar) in enumerate(items, 1):
        x, y = places[item]
        parts.append(
            Markup(
                '<circle class="dot dot-{}" cx="{}" cy="{}" r="{}"/><text class="dot-number" x="{}" y="{}" '
                'text-anchor="middle">{}</text>'
            ).format(pillar, _number(x), _number(y), DOT, _number(x), _number(y + 4.5), number)
        )
    return (
        Markup('<svg class="triangle" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, label
        )
        + Markup("").join(parts)
        + Markup("</svg>")
    )


def bar(part: float) -> Markup:
    """One bar in a row of a table; it only repeats the number beside it."""
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="8"/><rect class="part" width="{}" height="8"/></svg>'
    ).format(_number(100 * min(1.0, max(0.0, part))))


def _places(items: Sequence[tuple[str, Pillar]]) -> dict[str, tuple[float, float]]:
    found = {}
    for pillar, (x, y) in CORNERS.items():
        mine = [item for item, its in items if its == pillar]
        ring = RING if len(mine) > 1 else 0
        for place, item in enumerate(mine):
            angle = 2 * pi * place / len(mine) - pi / 2
            found[item] = (x + ring * cos(angle), y + ring * sin(angle))
    return found


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> Markup:
    """A curve bent to one side, so that two ways between the same dots do not lie on each other."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = hypot(across, down) or 1
    middle = ((start[0] + end[0]) / 2 - down * 0.12, (start[1] + end[1]) / 2 + across * 0.12)
    away = ((end[0] - middle[0]), (end[1] - middle[1]))
    far = hypot(*away) or 1
    tip = (end[0] - away[0] / far * (DOT + 2), end[1] - away[1] / far * (DOT + 2))
    tail = (start[0] + across / length * DOT, start[1] + down / length * DOT)
    return Markup('<path class="way" d="M{} {}Q{} {} {} {}" marker-end="url(#tip)"/>').format(
        *map(_number, (*tail, *middle, *tip))
    )


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
