"""totals: that two cells share as one.

All of the first class has its work in one cell; the second, which weighs twice as much, has work in both. By
themselves the cells would serve the second five times as much as the first; together they serve it twice as
much, for what it is served in the one counts in the other.
"""

from __future__ import annotations

import asyncio

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.cells_world import World, known, make_people, worlds

POLICY = """
name = "two classes"
default = "both"
[class.one]
title = { en = "In one cell" }
weight = 1
[class.both]
title = { en = "In both" }
weight = 2
"""
WARM_S = 12.0
"""Until what they are served is known, and what they began with is paid."""
DUE = 1 / 3


def totals(bench: Bench) -> Measured:
    """Part of the first class in all that both were served, of what it is due."""
    with worlds(bench, "totals", gateways=1 if bench.quick else 2, policy=POLICY) as cells:
        value, note = asyncio.run(_totals(*cells, seconds=6.0 if bench.quick else 60.0))
    return Measured(Row("totals", round(value, 3), "1 ± 3%", 0.97 <= value <= 1.03), [note])


async def _totals(here: World, there: World, seconds: float) -> tuple[float, str]:
    home = here.cell.home.folder
    urls, far = ([gateway.url for gateway in each.cell.gateways] for each in (here, there))
    one = await make_people(home, urls, [40] * 12, "one")
    both = await make_people(home, urls, [100] * 12, "both")
    here.people, there.people = [*one, *both], await make_people(home, far, [100] * 12, "both")
    for each in (here, there):
        await known(each.people)
    asking = [(each, each.ask()) for each in (here, there)]
    await asyncio.sleep(WARM_S + seconds)
    await asyncio.gather(*(each.end(tasks) for each, tasks in asking))
    if not (await here.settled() and await there.settled()):
        raise TimeoutError("rows are missing in the ledger")
    work = {id_: units for each in (here, there) for id_, outcome, units, _ in each.rows() if outcome == "ok"}
    begin = min(at for person in one for at, _ in person.done) + WARM_S
    parts = [
        sum(work[id_] for person in group for at, id_ in person.done if begin <= at <= begin + seconds)
        for group in (one, both, there.people)
    ]
    note = f"{parts[0]:,} units of work of the one; {parts[1]:,} and {parts[2]:,} of the other in its cells"
    return parts[0] / sum(parts) / DUE, note
