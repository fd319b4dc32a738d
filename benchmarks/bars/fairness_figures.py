"""Figures of ``docs/fairness.md``, as SVG: the time to the first token by class under flood.

Three runs of the same flood, one beside the other: first come, first served; ten requests a minute for
everyone; Modu. A mark is the median, a bar goes from the 10th to the 99th percentile, time is on a
logarithmic scale. What was refused is told in words, for it has no time.
"""

from __future__ import annotations

import tempfile
from math import log10
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.bars import Bench
from benchmarks.bars.fairness_world import firsts, flood_runs, of, rate
from moduai.planner import Twin
from moduai.planner.measure import quantile

WIDTH, LEFT, RIGHT, TOP, ROW = 720, 210, 150, 58, 30
DECADES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
COLOURS = {"light": "#1b6ac9", "heavy": "#b4570a"}
NAMES = {"light": "400 light users", "heavy": "8 heavy users"}


def draw(folder: Path) -> int:
    """Run the flood and write ``flood.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), quick=False)
        with bench.stack:
            runs = bench.shared(flood_runs).runs
    (folder / "flood.svg").write_text(flood_svg(runs), encoding="utf-8")
    print(folder / "flood.svg")
    return 0


def flood_svg(runs: dict[str, Twin]) -> str:
    """The figure: a group for each dispatcher, in it a line for each class."""
    parts = [
        _text(16, 22, "Time to the first token when the pool is asked for 3.5 times what it can do", "title")
    ]
    parts.append(
        _text(16, 40, "from the 10th to the 99th percentile, the mark is the median; s, logarithmic")
    )
    height = TOP + len(runs) * (2 * ROW + 22) + 44
    for second in DECADES:
        x = _x(second)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - 38}" class="grid"/>')
        parts.append(_text(x, height - 16, f"{second:g}", "tick"))
    y = TOP + 8
    for name, twin in runs.items():
        parts.append(_text(16, y + 22, f"{name}: {round(rate(twin), -2):,.0f} tokens/s done", "name"))
        for group in NAMES:
            y += ROW
            parts += _line(twin, group, y)
        y += 22
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1e2124}.title,.name{font-weight:600}"
        ".tick{text-anchor:middle}.grid{stroke:#cdd1d5}@media(prefers-color-scheme:dark){text{fill:#e6e8ea}.grid{stroke:#464c53}}"
    )
    told = "; ".join(_told(name, twin) for name, twin in runs.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-labelledby="t d"><title id="t">Time to the first token under flood</title>'
        f'<desc id="d">{escape(told)}</desc>'
        f"<style>{style}</style>{''.join(parts)}</svg>\n"
    )


def _line(twin: Twin, group: str, y: float) -> list[str]:
    records = of(twin, group)
    times = firsts(twin, records)
    refused = sum(bool(record.refused) for record in records) / len(records)
    low, middle, high = (_x(quantile(times, part)) for part in (0.1, 0.5, 0.99))
    said = f"{quantile(times, 0.5):.2g} s, {quantile(times, 0.99):.3g} s"
    if refused:
        said += f"; {refused:.0%} refused"
    colour = COLOURS[group]
    return [
        _text(LEFT - 8, y + 14, NAMES[group], "tick", "end"),
        _box(low, y + 3, max(2, high - low), 14, colour, 0.45),
        _box(middle - 2, y, 4, 20, colour, 1),
        _text(min(high, WIDTH - RIGHT) + 6, y + 14, said),
    ]


def _told(name: str, twin: Twin) -> str:
    said = []
    for group, words in NAMES.items():
        times = firsts(twin, of(twin, group))
        said.append(
            f"{words} median {quantile(times, 0.5):.2f} s, 99th percentile {quantile(times, 0.99):.2f} s"
        )
    return f"{name}: {', '.join(said)}"


def _x(seconds: float) -> float:
    low, high = log10(DECADES[0]), log10(DECADES[-1])
    part = (log10(max(seconds, DECADES[0])) - low) / (high - low)
    return LEFT + min(part, 1.0) * (WIDTH - LEFT - RIGHT)


def _box(x: float, y: float, width: float, height: float, colour: str, shown: float) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}"'
    return f'<rect {where} fill="{colour}" fill-opacity="{shown}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    extra = f' style="text-anchor:{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}"{extra}>{escape(text)}</text>'
