"""lane-cpu: CPU of a JSON request by a session whose history is on, as a multiple of one by a key."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.bars.cpu import ENGINE, Turns, interleave
from benchmarks.harness import modu, process, resident
from benchmarks.harness.load import Load, request
from benchmarks.harness.nginx import Target

MUST = 1.25
KEY = "modu-key"
LOADED_S = 60.0


def lane_cpu(bench: Bench) -> Measured:
    """The same question to the same worker, by key and by session, in turn."""
    with _targets(bench) as (by_key, by_session, database):
        turns = interleave(bench, [by_key, by_session], "json", rounds=1 if bench.quick else 9)
        asked = sum(result.answers for result in turns["session"])
        kept = _kept(database, asked)
    value = round(_times(turns, 1), 3)
    broken = kept < asked or any(result.errors for results in turns.values() for result in results)
    notes = [
        *(_line(name, turns) for name in turns),
        f"with the metering process beside it: {_times(turns, None):.2f} × key",
        f"turns in the database: {kept:,}; answers in the windows: {asked:,}",
    ]
    return Measured(Row("lane-cpu", value, f"<= {MUST}", value <= MUST and not broken), notes, broken)


def _times(turns: Turns, first: int | None) -> float:
    """Median of the ratios of neighbouring turns, of the worker alone or with the metering process."""
    both = zip(turns.each_us("session", "json", first), turns.each_us("key", "json", first), strict=True)
    return median([session / key for session, key in both])


def _line(name: str, turns: Turns) -> str:
    each = turns.each_us(name, "json", 1)
    rate = median([result.answers / result.seconds for result in turns[name]])
    errors = sum(result.errors for result in turns[name])
    said = f"by {name}: {median(each):.1f} µs ({min(each):.1f} to {max(each):.1f}), {rate:,.0f}/s"
    first = next((result.first_error for result in turns[name] if result.first_error), "")
    return f"{said}, {errors} errors: {first}" if errors else said


@contextlib.contextmanager
def _targets(bench: Bench) -> Iterator[tuple[Target, Target, Path]]:
    """One service, asked by key and by session; and its database."""
    place = bench.place("lane-cpu")
    with contextlib.ExitStack() as stack:
        engine = stack.enter_context(process.engine_process(place / "engine.log", *ENGINE, on=bench.beside))
        home = modu.prepare(place / "home", [engine])
        running = modu.running_modu(home, place / "modu.log", on=bench.target, beside=bench.beside)
        target = stack.enter_context(running)
        person = resident.sign_in(home)
        by_key = request(Load(url=target.url, key=KEY), target.url.removeprefix("http://"))
        cookie = f"origin: {target.url}\r\nsec-fetch-site: same-origin\r\ncookie: {person.cookie}\r\n"
        asks = by_key.replace(f"authorization: Bearer {KEY}\r\n".encode(), cookie.encode())
        yield (
            target._replace(name="key"),
            target._replace(name="session", asks=asks),
            home.folder / "modu.db",
        )


def _kept(database: Path, asked: int) -> int:
    """Turns in the database, once all that were asked are there or ``LOADED_S`` have passed."""
    deadline = time.monotonic() + LOADED_S
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        while True:
            kept: int = connection.execute("SELECT count(*) FROM turns").fetchone()[0]
            if kept >= asked or time.monotonic() >= deadline:
                return kept
            time.sleep(0.1)
