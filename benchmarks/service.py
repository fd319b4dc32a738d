"""``python -m benchmarks service``: measure the bars, print a table, then one JSON line for each bar."""

from __future__ import annotations

import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import SubprocessError
from types import FrameType

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.cpu import chunk_cpu, json_cpu, peers
from benchmarks.bars.crash import crash
from benchmarks.bars.memory import memory
from benchmarks.bars.page import page
from benchmarks.bars.start import start
from benchmarks.harness.process import StartError

BARS: dict[str, Callable[[Bench], Measured]] = {
    "json-cpu": json_cpu,
    "chunk-cpu": chunk_cpu,
    "peers": peers,
    "memory": memory,
    "start": start,
    "page": page,
    "crash": crash,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """Measure; 0 if every bar holds (``quick``: if everything works), 1 if not, 2 for an unknown bar."""
    if unknown := set(only) - BARS.keys():
        print(f"no such bar: {', '.join(sorted(unknown))}; there are {', '.join(BARS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(stderr=True)
    rows: list[tuple[Measured, float]] = []
    with tempfile.TemporaryDirectory(prefix="modu-bench-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), quick=quick)
        for name in only or BARS:
            console.print(f"measuring {name} …")
            began = time.monotonic()
            rows.append((_measure(name, bench), time.monotonic() - began))
    Console(width=max(120, Console().width)).print(_table(rows))
    for measured, _ in rows:
        print(msgspec.json.encode(measured.row).decode())
    return 1 if any(m.broken if quick else not m.row.holds for m, _ in rows) else 0


def _measure(name: str, bench: Bench) -> Measured:
    try:
        return BARS[name](bench)
    except (StartError, OSError, TimeoutError, SubprocessError, sqlite3.Error) as error:
        return Measured(Row(name, None, "measured", holds=False), [f"not measured: {error}"], broken=True)


def _table(rows: list[tuple[Measured, float]]) -> Table:
    table = Table(title="Bars of the service", show_lines=True)
    for heading in ("bar", "value", "must", "holds", "how it was", "s"):
        table.add_column(heading, overflow="fold")
    for measured, seconds in rows:
        row = measured.row
        value = msgspec.json.encode(row.value).decode()
        notes = "\n".join(measured.notes)
        table.add_row(row.bar, value, row.must, "yes" if row.holds else "NO", notes, f"{seconds:.0f}")
    return table


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends us as Ctrl-C does, so that every process we started is stopped."""
    raise KeyboardInterrupt
