"""Requests under way: they have a row whatever becomes of their gateway, and one only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import select

from moduai.metering.loader import Loader
from moduai.metering.row import UsageRow
from moduai.metering.segment import SegmentWriter
from moduai.metering.tables import usage
from moduai.metering.taken import BEGUN, SLOT, SLOTS, Fields, Taken, recover
from moduai.settings import Ledger
from moduai.store.database import Database


def fields(number: int, model: str = "m") -> Fields:
    return (f"r{number}", number, "sub_1", "org_1", "key_1", "resident", "서울", "", "", "chat", model)


def row(number: int, **changes: object) -> UsageRow:
    return UsageRow(*fields(number), tokens_out=7, accelerator_us=9, **changes)  # type: ignore[arg-type]


async def rows(db: Database) -> list[UsageRow]:
    async with db.connect() as connection:
        found = await connection.execute(select(usage).order_by(usage.c.id))
        return [UsageRow(**each) for each in found.mappings()]


def killed(taken: Taken) -> None:
    """Its process has gone without a word."""
    taken._map.close()
    os.close(taken._handle)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "usage"


def left(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def test_the_fields_that_are_known_at_first_are_the_first() -> None:
    assert UsageRow.__struct_fields__[BEGUN - 1] == "model"
    assert len(fields(1)) == BEGUN


async def test_what_had_begun_says_that_its_gateway_died(db: Database, folder: Path) -> None:
    taken = Taken(folder, "w")
    taken.begin(fields(1))
    assert await recover(db, folder) == 0, "its gateway lives"
    killed(taken)
    assert await recover(db, folder) == 1
    (found,) = await rows(db)
    assert (found.id, found.region, found.model) == ("r1", "서울", "m")
    assert (found.outcome, found.error, found.status) == ("failed", "gateway_died", 502)
    assert left(folder) == []


async def test_what_had_ended_has_its_row_though_it_was_never_written(db: Database, folder: Path) -> None:
    taken = Taken(folder, "w")
    taken.end(taken.begin(fields(1)), row(1))
    killed(taken)
    await recover(db, folder)
    assert await rows(db) == [row(1)]


async def test_what_is_on_disk_counts_once_and_first(db: Database, folder: Path) -> None:
    taken, writer = Taken(folder, "w"), SegmentWriter(folder, Ledger(), "w")
    slot = taken.begin(fields(1))
    writer.add(row(1, step="queued"))
    writer.flush()
    taken.end(slot, row(1))
    killed(taken)
    assert await recover(db, folder) == 1
    writer.close()
    await Loader(db, folder).load_once()
    assert len(await rows(db)) == 1


async def test_a_dead_writers_rows_are_loaded_before(db: Database, folder: Path) -> None:
    taken, writer = Taken(folder, "w"), SegmentWriter(folder, Ledger(), "w")
    taken.begin(fields(1))
    writer.add(row(1))
    writer.close()
    killed(taken)
    assert await recover(db, folder) == 0
    await Loader(db, folder).load_once()
    await recover(db, folder)
    assert await rows(db) == [row(1)]


async def test_what_is_written_is_free_again(db: Database, folder: Path) -> None:
    taken = Taken(folder, "w")
    for number in range(3 * SLOTS):
        slot = taken.begin(fields(number))
        assert slot >= 0
        taken.end(slot, row(number))
        taken.written(taken.ended)
    taken.close()
    assert left(folder) == []
    assert await recover(db, folder) == 0


def test_more_than_there_are_slots_and_what_is_too_long(folder: Path) -> None:
    taken = Taken(folder, "w")
    assert taken.begin(fields(0, "m" * SLOT)) == -1
    assert [taken.begin(fields(number)) for number in range(SLOTS)] == list(range(SLOTS))
    assert taken.begin(fields(SLOTS)) == -1
    taken.end(-1, row(1))
    taken.close()
    assert left(folder), "they have no row yet"


async def test_half_a_slot_is_nothing(db: Database, folder: Path) -> None:
    taken = Taken(folder, "w")
    taken.begin(fields(1))
    taken._map[10:14] = b"\xff\xff\xff\xff"
    taken._map[SLOT : SLOT + 2] = (SLOT).to_bytes(2, "big")
    killed(taken)
    assert await recover(db, folder) == 0
