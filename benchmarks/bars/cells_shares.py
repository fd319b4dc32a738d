"""gap and skew: that one pool behind several gateways is shared as behind one.

*gap*: people of equal weight, a quarter of whom ask for long answers, ask at all gateways without a pause.
What each was served is summed as answers end; the gap is the largest difference of two people at any time,
divided by what the whole pool serves in a second. *skew*: two classes of weight 4 and 1; all of the second,
who are more and ask for more, at one gateway of four.
"""

from __future__ import annotations

import asyncio

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.cells_world import World, known, make_people, world

POLICY = """
name = "two classes"
default = "many"
[class.few]
title = { en = "Few" }
weight = 4
[class.many]
title = { en = "Many" }
weight = 1
"""
WARM_S = 2.0


def gap(bench: Bench) -> Measured:
    """Largest gap with four gateways and with sixteen, in seconds of the pool."""
    seconds = 4.0 if bench.quick else 40.0
    found, notes = [], []
    for gateways in (2,) if bench.quick else (4, 16):
        with world(bench, f"gap-{gateways}", gateways=gateways) as each:
            value, note = asyncio.run(_gap(each, seconds))
        found.append(value)
        notes.append(f"{gateways} gateways: {note}")
    holds = found[0] <= 1.0 and found[-1] <= 1.5
    return Measured(Row("gap", [round(each, 2) for each in found], "<= 1; <= 1.5", holds), notes)


async def _gap(each: World, seconds: float) -> tuple[float, str]:
    urls = [gateway.url for gateway in each.cell.gateways]
    tokens = [200 if number % 4 == 0 else 20 for number in range(16)]
    each.people = await make_people(each.cell.home.folder, urls, tokens)
    await known(each.people)
    await _asked(each, seconds)
    work = {id_: (units, end) for id_, outcome, units, end in each.rows() if outcome == "ok"}
    events = sorted((work[id_][1], at, work[id_][0]) for at, p in enumerate(each.people) for _, id_ in p.done)
    begin = events[0][0] + WARM_S * 1e6
    inside = [event for event in events if begin <= event[0] <= begin + seconds * 1e6]
    rate = sum(units for *_, units in inside) / seconds
    served, worst = [0] * len(each.people), 0
    for _, who, units in inside:
        served[who] += units
        worst = max(worst, max(served) - min(served))
    broken = sum(len(person.broken) for person in each.people)
    return worst / rate, f"{len(inside)} answers, {rate:,.0f} units of work a second, {broken} broken"


def skew(bench: Bench) -> Measured:
    """The part of the first class, for one of the second."""
    seconds = 4.0 if bench.quick else 60.0
    with world(bench, "skew", gateways=2 if bench.quick else 4, policy=POLICY) as each:
        ratio, note = asyncio.run(_skew(each, seconds))
    return Measured(Row("skew", round(ratio, 3), "4 ± 3%", 3.88 <= ratio <= 4.12), [note])


async def _skew(each: World, seconds: float) -> tuple[float, str]:
    home, urls = each.cell.home.folder, [gateway.url for gateway in each.cell.gateways]
    few = await make_people(home, urls[1:], [40] * 12, "few")
    many = await make_people(home, urls[:1], [100] * 12, "many")
    each.people = [*few, *many]
    await known(each.people)
    await _asked(each, seconds)
    work = {id_: units for id_, outcome, units, _ in each.rows() if outcome == "ok"}
    begin = min(at for person in each.people for at, _ in person.done) + WARM_S
    parts = [
        sum(work[id_] for person in group for at, id_ in person.done if begin <= at <= begin + seconds)
        for group in (few, many)
    ]
    return parts[0] / parts[1], f"{parts[0]:,} to {parts[1]:,} units of work"


async def _asked(each: World, seconds: float) -> None:
    asking = each.ask()
    await asyncio.sleep(WARM_S + seconds)
    await each.end(asking)
    if not await each.settled():
        raise TimeoutError("rows are missing in the ledger")
