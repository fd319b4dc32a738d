"""Measure the bars of one area, print a table, then one JSON line for each bar."""

from __future__ import annotations

import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import SubprocessError
from types import FrameType

import msgspec
from playwright.sync_api import Error as BrowserError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.bars import Bench, Measured, NoDataError, Row
from benchmarks.harness.process import StartError

Bars = Mapping[str, Callable[[Bench], Measured]]


def run(title: str, bars: Bars, *, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """Measure; 0 if every bar holds (``quick``: if everything works), 1 if not, 2 for an unknown bar."""
    if unknown := set(only) - bars.keys():
        print(f"no such bar: {', '.join(sorted(unknown))}; there are {', '.join(bars)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(stderr=True)
    rows: list[tuple[Measured, float]] = []
    with tempfile.TemporaryDirectory(prefix="modu-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), quick=quick)
        with bench.stack:
            for name in only or bars:
                console.print(f"measuring {name} …")
                began = time.monotonic()
                rows.append((_measure(name, bars[name], bench), time.monotonic() - began))
    Console(width=max(120, Console().width)).print(_table(title, rows))
    for measured, _ in rows:
        print(msgspec.json.encode(measured.row).decode())
    return 1 if any(m.broken if quick else not m.row.holds for m, _ in rows) else 0


def _measure(name: str, bar: Callable[[Bench], Measured], bench: Bench) -> Measured:
    try:
        return bar(bench)
    except NoDataError as error:
        return Measured(Row(name, None, "measured", holds=False), [f"not run: {error}"])
    except (StartError, OSError, TimeoutError, SubprocessError, sqlite3.Error, BrowserError) as error:
        return Measured(Row(name, None, "measured", holds=False), [f"not measured: {error}"], broken=True)


def _table(title: str, rows: list[tuple[Measured, float]]) -> Table:
    table = Table(title=title, show_lines=True)
    for heading in ("bar", "value", "must", "holds", "how it was", "s"):
        table.add_column(heading, overflow="fold")
    for measured, seconds in rows:
        row = measured.row
        value = escape(msgspec.json.encode(row.value).decode())
        notes = escape("\n".join(measured.notes))
        table.add_row(row.bar, value, row.must, "yes" if row.holds else "NO", notes, f"{seconds:.0f}")
    return table


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends us as Ctrl-C does, so that every process we started is stopped."""
    raise KeyboardInterrupt
