"""Figures, drawn on the server as inline SVG. They hold no text: beside each stands a table that says all."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

HEIGHT = 120
WIDTH = 10
"""Size of one column's place, in units of the drawing; the page stretches it to the room there is."""
FEWEST = 12
"""Room is left for so many columns, so that two are not as wide as the page."""


Values = Sequence[tuple[float | None, float]]
"""The whole of each column and the part of it that failed; None where it is kept back."""


def columns(label: str, values: Values) -> Markup:
    """Columns side by side, as high as the axis for its end."""
    most = axis(values)
    drawn = []
    for place, (whole, failed) in enumerate(values):
        x = place * WIDTH
        if whole is None:
            drawn.append(_rect(x, 0, WIDTH - 2, HEIGHT, "kept-back"))
            continue
        height = HEIGHT * whole / most
        drawn.append(_rect(x, HEIGHT - height, WIDTH - 2, height, "column"))
        if failed:
            part = HEIGHT * failed / most
            drawn.append(_rect(x, HEIGHT - part, WIDTH - 2, part, "failed"))
    return _svg("columns", label, max(FEWEST, len(values)) * WIDTH, HEIGHT, drawn)


def bar(part: float) -> Markup:
    """One bar in a row of a table; it only repeats the number beside it."""
    width = 100 * min(1.0, max(0.0, part))
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="8"/><rect class="column" width="{}" height="8"/></svg>'
    ).format(_number(width))


def axis(values: Values) -> int:
    """The round number at which the axis ends: 1, 2 or 5 times a power of ten, at least 1."""
    most, unit = max((whole for whole, _ in values if whole is not None), default=0), 1
    while True:
        for step in (1, 2, 5):
            if most <= step * unit:
                return step * unit
        unit *= 10


def _svg(kind: str, label: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    opened = Markup(
        '<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
    ).format(kind, _number(width), _number(height), label)
    return opened + Markup("").join(parts) + Markup("</svg>")


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, _number(x), _number(y), _number(width), _number(height)
    )


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
