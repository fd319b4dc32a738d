"""failover, books, soak, upgrade: parts that die, or are replaced, while people ask."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.cells_world import World, known, large, make_people
from benchmarks.harness import process
from benchmarks.harness.cell import Part

PEOPLE = [20] * 8 + [100] * 4
SOAK_S = float(os.environ.get("MODU_BENCH_SOAK_S", "7200"))


def failover(bench: Bench) -> Measured:
    """The dispatcher is killed under load: longest pause of answers; requests lost; charged twice."""
    pauses, lost, twice, note = asyncio.run(_failover(bench.shared(large), 1 if bench.quick else 10))
    holds = max(pauses) <= 3 and not lost and not twice
    value = [round(max(pauses), 2), lost, twice]
    return Measured(Row("failover", list(value), "<= 3 s; 0; 0", holds), [note], broken=bool(lost or twice))


async def _failover(each: World, kills: int) -> tuple[list[float], int, int, str]:
    await _people(each)
    asking = each.ask()
    pauses = []
    for _ in range(kills):
        await asyncio.sleep(3)
        leader = each.cell.leader()
        leader.kill()
        at = time.monotonic()
        await asyncio.sleep(4)
        times = sorted(t for person in each.people for t, _ in person.done if t > at)
        pauses.append(max(later - sooner for sooner, later in pairwise([at, *times, time.monotonic()])))
        leader.start()
    await each.end(asking)
    await each.settled()
    broken = [why for person in each.people for why in person.broken]
    twice = _twice(each)
    answers = sum(len(person.done) for person in each.people)
    middle = sorted(pauses)[kills // 2]
    note = f"{kills} kills, {answers} answers, median pause {middle:.2f} s; {broken[:1] or ''}"
    return pauses, len(broken), twice, note


def books(bench: Bench) -> Measured:
    """Parts are killed at random: whole answers without a row, rows twice, rows beyond what was sent."""
    kills = 4 if bench.quick else 50
    found = asyncio.run(_books(bench.shared(large), kills, bench.quick))
    holds = not (found.missing or found.twice or found.beyond)
    value = [found.sent, found.rows, found.missing, found.twice]
    note = (
        f"{kills} kills: {found.killed}; {found.answered} whole answers, {found.broken} broken off, of which "
        f"{found.died} have the row of a gateway that died, {found.unread} no row: nobody had read them"
    )
    must = "sent = rows + unread; 0 whole answers without a row; 0 twice"
    return Measured(Row("books", list(value), must, holds), [note], broken=not holds)


class _Books(NamedTuple):
    sent: int
    answered: int
    broken: int
    rows: int
    died: int
    unread: int
    missing: int
    twice: int
    beyond: int
    killed: str


async def _books(each: World, kills: int, quick: bool) -> _Books:
    chance = random.Random(7)
    await _people(each)
    asking = each.ask()
    killed: Counter[str] = Counter()
    parts: list[Part] = [*each.cell.gateways, *each.cell.dispatchers, each.cell.metering]
    if each.store is not None:
        parts.append(each.store)
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0.3, 1.0 if quick else 3.0))
        part = chance.choice(parts)
        part.kill()
        killed[part.name.split()[0]] += 1
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        part.start()
    await asyncio.sleep(2)
    await each.end(asking)
    await each.settled()
    await _recovered(each)
    rows = each.rows()
    answered = {id_ for person in each.people for _, id_ in person.done}
    broken = sum(len(person.broken) for person in each.people)
    ids = {row[0] for row in rows}
    sent = len(answered) + broken
    return _Books(
        sent,
        len(answered),
        broken,
        len(rows),
        sum(outcome == "failed" for _, outcome, *_ in rows),
        sent - len(rows),
        len(answered - ids),
        _twice(each),
        max(0, len(rows) - sent),
        ", ".join(f"{count} × {name}" for name, count in sorted(killed.items())),
    )


async def _recovered(each: World) -> None:
    """Until only gateways that live have something under way."""
    usage = each.cell.home.folder / "usage"
    async with asyncio.timeout(60):
        while len(_names(usage, "*.taken")) > len(each.cell.gateways):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def _names(folder: Path, pattern: str) -> list[str]:
    return [file.name for file in folder.glob(pattern)]


def soak(bench: Bench) -> Measured:
    """Half load with a kill every minute: growth of memory and open files of each process, and lag."""
    seconds = 8.0 if bench.quick else SOAK_S
    grown, files, lag, note = asyncio.run(_soak(bench.shared(large), seconds))
    holds = grown <= 5.0 and files <= 5 and lag <= 5.0
    must = "flat: memory <= 5 MB an hour more, open files <= 5 more; lag <= 5 s"
    return Measured(Row("soak", [grown, files, lag], must, holds or bench.quick), [note])


async def _soak(each: World, seconds: float) -> tuple[float, int, float, str]:
    await _people(each)
    each.people = each.people[:4]
    for person in each.people:
        person.at_once = 1  # four at once on eight places
    asking, chance = each.ask(), random.Random(3)
    begin, lag, killed = time.monotonic(), 0.0, 0
    kept = [each.cell.gateways[0], each.cell.metering]
    parts = [part for part in each.cell.parts if part not in kept]
    every = min(60.0, seconds / 4)
    await asyncio.sleep(min(60.0, seconds / 4))
    first = {part: (process.pss(part.pid), _files(part.pid)) for part in kept}
    warm = time.monotonic()
    while time.monotonic() - begin < seconds:
        part = chance.choice(parts)
        part.kill()
        part.start()
        killed += 1
        await asyncio.sleep(every)
        lag = max(lag, await _lag(each))
    hours = (time.monotonic() - warm) / 3600
    now = {part: (process.pss(part.pid), _files(part.pid)) for part in kept}
    await each.end(asking)
    grown = max((now[part][0] - first[part][0]) / 1e6 / max(hours, 1e-9) for part in kept)
    files = max(now[part][1] - first[part][1] for part in kept)
    answers = sum(len(person.done) for person in each.people)
    broken = sum(len(person.broken) for person in each.people)
    sizes = ", ".join(
        f"{part.name} {first[part][0] / 1e6:.1f} to {now[part][0] / 1e6:.1f} MB" for part in kept
    )
    note = f"{seconds:.0f} s, {killed} kills, {answers} answers, {broken} broken off; {sizes}"
    return round(grown, 2), files, round(lag, 2), note


async def _lag(each: World) -> float:
    """How long the last whole answer takes to the ledger."""
    person = max(each.people, key=lambda one: one.done[-1][0] if one.done else 0.0)
    if not person.done:
        return 0.0
    at, id_ = person.done[-1]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not each.has_row(id_):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return time.monotonic() - at


def _files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def upgrade(bench: Bench) -> Measured:
    """Every part is replaced in turn under load, gateways by draining: failed requests."""
    failed, note = asyncio.run(_upgrade(bench.shared(large), 1 if bench.quick else 5))
    return Measured(Row("upgrade", failed, "0", failed == 0), [note], broken=failed > 0)


async def _upgrade(each: World, rounds: int) -> tuple[int, str]:
    await _people(each)
    asking = each.ask()
    for _ in range(rounds):
        for part in each.cell.parts:
            await asyncio.sleep(0.5)
            await asyncio.to_thread(_replace, part)
    await asyncio.sleep(1)
    await each.end(asking)
    await each.settled()
    broken = [why for person in each.people for why in person.broken]
    answers = sum(len(person.done) for person in each.people)
    return len(
        broken
    ), f"{rounds} rounds over {len(each.cell.parts)} parts, {answers} answers; {broken[:1] or ''}"


def _replace(part: Part) -> None:
    part.replace()


async def _people(each: World) -> None:
    urls = [gateway.url for gateway in each.cell.gateways]
    each.people = await make_people(each.cell.home.folder, urls, PEOPLE)
    for person in each.people:
        person.at_once = 2
    await known(each.people)


def _twice(each: World) -> int:
    counts = Counter(row[0] for row in each.rows())
    return sum(count - 1 for count in counts.values())
