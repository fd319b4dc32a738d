"""Two cells that tell each other what they serve: what moves, what grows old, and who has gone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from moduai.cells.exchange import MOST_NODES, STALE, Exchange, stale
from moduai.cells.lease import FORGOTTEN, FileLease

from ..scheduling.world import SECOND, World, policy, rule

_encode = msgspec.msgpack.encode
RULES = policy(rule("one"), rule("both", weight=2000))
AGED = int(STALE * 0.5 * SECOND) + 1


class Cell:
    """A line that always has work, its lease and its part in the exchange."""

    def __init__(self, home: Path, name: str, people: list[str]) -> None:
        self.world = World(RULES, slots=2)
        self.lease = FileLease(home, name)
        self.exchange = Exchange(self.world.queue, self.lease, name, 0.5, lambda: self.world.now)
        for who in people * 8:
            self.world.ask(who)

    def serve(self, ends: int) -> list[str]:
        """Who ran next while so many ended, ten a second; each asks again."""
        went = []
        for _ in range(ends):
            self.world.now += SECOND // 10
            went += self.world.end()
            self.world.ask(went[-1])
        return went

    @property
    def here(self) -> dict[tuple[str, ...], int]:
        """Weights that are not its own."""
        shares = self.world.queue.shares()
        return {share.path: share.here for share in shares if share.here != share.weight}


@pytest.fixture
async def cells(tmp_path: Path) -> AsyncIterator[tuple[Cell, Cell]]:
    east = Cell(tmp_path, "east", ["one/o/p", "both/o/p"])
    west = Cell(tmp_path, "west", ["both/o/p"])
    for each in (east, west):
        await each.lease.take("", 0)
    yield east, west
    for each in (east, west):
        await each.lease.close()


async def rounds(*cells: Cell, count: int = 8) -> None:
    for _ in range(count):
        for cell in cells:
            cell.serve(10)
            await cell.exchange.step()


async def test_they_share_as_one(cells: tuple[Cell, Cell]) -> None:
    east, west = cells
    await rounds(east, west)
    assert east.here[("both",)] == pytest.approx(500, rel=0.1)
    assert west.here == {}
    went = east.serve(90)
    assert went.count("one/o/p") == pytest.approx(60, abs=4), "both/o/p has 90 in the other cell"


async def test_what_is_old_counts_for_nothing(cells: tuple[Cell, Cell], tmp_path: Path) -> None:
    """The other cell says nothing any more: own weights again, and it is known since when. It comes back."""
    east, west = cells
    await rounds(east, west)
    file = tmp_path / "run" / "cell-west.totals"
    said = time.time_ns() - AGED
    os.utime(file, ns=(said, said))
    await east.exchange.step()
    assert east.here == {}
    assert stale(east.exchange.ages["west"], 0.5)
    file.write_bytes(b"\xff")
    await east.exchange.step()
    assert stale(east.exchange.ages["west"], 0.5), "what cannot be read is not new"
    await west.exchange.step()
    await east.exchange.step()
    assert not stale(east.exchange.ages["west"], 0.5)
    assert east.here


async def test_one_that_leaves_in_order_is_a_cell_no_more(cells: tuple[Cell, Cell]) -> None:
    east, west = cells
    await rounds(east, west)
    await west.lease.give_up()
    await east.exchange.step()
    assert (east.here, east.exchange.ages) == ({}, {})


async def test_a_cell_that_never_said_anything_that_can_be_read(
    cells: tuple[Cell, Cell], tmp_path: Path
) -> None:
    east, _ = cells
    for said in (b"\xff", *(_encode([{"m": [had]}]) for had in ([[], True, 5, 5], [["one"], True, -5, 5]))):
        (tmp_path / "run" / "cell-odd.totals").write_bytes(said)
        await east.exchange.step()
        assert east.exchange.ages["odd"] >= FORGOTTEN


async def test_while_the_store_is_away_what_was_heard_grows_old(
    cells: tuple[Cell, Cell], tmp_path: Path
) -> None:
    east, west = cells
    await rounds(east, west)
    moved = east.here
    run = tmp_path / "run"
    (run / "cell-east.totals").unlink()
    (run / "cell-east.totals").mkdir()
    await east.exchange.step()
    assert east.here == moved
    east.world.now += AGED
    await east.exchange.step()
    assert east.here == {}
    assert stale(east.exchange.ages["west"], 0.5)
    (run / "cell-east.totals").rmdir()
    await rounds(west, east, count=2)
    assert not stale(east.exchange.ages["west"], 0.5)
    assert east.here


async def test_whoever_is_no_dispatcher_any_more_has_its_own_weights(cells: tuple[Cell, Cell]) -> None:
    east, west = cells
    await rounds(east, west)
    assert east.here
    await east.lease.give_up()
    await east.exchange.step()
    assert (east.here, east.exchange.ages) == ({}, {})


async def test_its_part_ends_with_it(cells: tuple[Cell, Cell]) -> None:
    east, west = cells
    await rounds(east, west)
    task = asyncio.create_task(east.exchange.run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert east.here == {}


async def test_of_many_organisations_those_are_told_that_wait_or_were_served_most(tmp_path: Path) -> None:
    cell = Cell(tmp_path, "east", [f"one/o{number}/p" for number in range(MOST_NODES + 50)])
    await cell.lease.take("", 0)
    await cell.exchange.step()
    told = (tmp_path / "run" / "cell-east.totals").read_bytes()
    assert len(msgspec.msgpack.decode(told)[0]["m"]) == MOST_NODES + 1
    await cell.lease.close()
