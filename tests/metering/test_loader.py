from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import func, select

from moduai.metering.loader import Loader
from moduai.metering.machine import machine_id
from moduai.metering.row import UsageRow
from moduai.metering.segment import SegmentWriter
from moduai.metering.tables import segments, usage
from moduai.settings import Ledger
from moduai.store.database import Database


def row(number: int, **fields: object) -> UsageRow:
    return UsageRow(**{"id": f"r{number:06}", "at": number, "subject": "sub_1", **fields})  # type: ignore[arg-type]


async def ids(db: Database) -> list[str]:
    async with db.connect() as connection:
        return list(await connection.scalars(select(usage.c.id).order_by(usage.c.id)))


async def offsets(db: Database) -> dict[str, int]:
    async with db.connect() as connection:
        return {found.name: found.offset for found in await connection.execute(select(segments))}


async def until(met: Callable[[], Awaitable[object]], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not await met():  # noqa: ASYNC110  (what is watched has no event)
            await asyncio.sleep(0.05)


def fill(folder: Path, numbers: range, **settings: int) -> SegmentWriter:
    writer = SegmentWriter(folder, Ledger(**settings), "w0")  # type: ignore[arg-type]
    for number in numbers:
        writer.add(row(number))
        if number % 50 == 49:
            writer.flush()
    writer.flush()
    return writer


async def test_every_field_arrives(db: Database, tmp_path: Path) -> None:
    given = row(
        1, organisation="org_1", key="key_1", service_class="guest", region="서울", zone="z", group="g",
        endpoint="chat", model="m", engine="e", stream=True, tokens_in=2**40, tokens_cached=3, tokens_out=4,
        tokens_source="counted", queue_us=5, first_token_us=6, duration_us=7, accelerator_us=8, energy_mj=9,
        status=499, outcome="cancelled", error="x",
    )  # fmt: skip
    writer = SegmentWriter(tmp_path / "usage", Ledger(), "w0")
    writer.add(given)
    writer.close()
    assert await Loader(db, tmp_path / "usage").load_once() == 1
    async with db.connect() as connection:
        found = (await connection.execute(select(usage))).mappings().one()
    assert UsageRow(**found) == given


async def test_a_live_segment_is_loaded_as_it_grows_and_deleted_when_done(
    db: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "usage"
    loader = Loader(db, folder)
    assert await loader.load_once() == 0
    writer = fill(folder, range(100))
    assert await loader.load_once() == 100
    assert await loader.load_once() == 0
    assert len(await offsets(db)) == 1
    writer.add(row(100))
    writer.close()
    assert await loader.load_once() == 1
    await loader.load_once()
    assert list(folder.iterdir()) == []
    assert await offsets(db) == {}
    assert len(await ids(db)) == 101


async def test_a_row_that_comes_twice_counts_once(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    for _ in range(2):
        fill(folder, range(10)).close()
    await Loader(db, folder).load_once()
    assert len(await ids(db)) == 10


async def test_a_torn_line_waits_for_its_writer_and_is_dropped_without_it(
    db: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "usage"
    writer = fill(folder, range(3))
    (file,) = folder.iterdir()
    with file.open("ab") as other:
        other.write(b'{"id":"torn","at":1,"sub')
    loader = Loader(db, folder)
    assert await loader.load_once() == 3
    assert (loader.torn, file.exists()) == (0, True)
    writer.close()
    assert await loader.load_once() == 0
    assert (loader.torn, file.exists()) == (1, False)


@pytest.mark.parametrize(
    "bad",
    [b"garbage", b"", b"{}", b'{"id":"x","at":"late","subject":"s"}', b"\xff\xfe", b"[" * 2000],
)
async def test_lines_that_are_no_rows_are_kept_aside(sqlite: Database, tmp_path: Path, bad: bytes) -> None:
    folder = tmp_path / "usage"
    folder.mkdir()
    good = [msgspec.json.encode(row(number)) for number in range(2)]
    (folder / "w.jsonl").write_bytes(b"\n".join([good[0], bad, good[1], b""]))
    loader = Loader(sqlite, folder)
    await loader.load_once()
    assert await ids(sqlite) == ["r000000", "r000001"]
    assert loader.rejected == 1
    assert (folder / "w.jsonl.rejected").read_bytes() == bad + b"\n"
    assert (folder / "w.jsonl.rejected").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bad", [{"tokens_in": 2**70}, {"model": "nul\0"}])
async def test_a_value_that_the_database_cannot_hold_costs_no_other_row(
    db: Database, tmp_path: Path, bad: dict[str, object]
) -> None:
    folder = tmp_path / "usage"
    folder.mkdir()
    lines = [msgspec.json.encode(row(number, **(bad if number == 37 else {}))) for number in range(100)]
    (folder / "w.jsonl").write_bytes(b"\n".join([*lines, b""]))
    await Loader(db, folder).load_once()
    kept = (folder / "w.jsonl.rejected").exists()
    assert len(await ids(db)) == 100 - kept
    assert kept or db.file  # SQLite can hold a NUL


async def test_a_long_line_and_many_batches(sqlite: Database, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    folder.mkdir()
    lines = [
        msgspec.json.encode(row(number, group="g" * (3_000_000 if number == 5 else 500)))
        for number in range(3000)
    ]
    (folder / "w.jsonl").write_bytes(b"\n".join([*lines, b""]))
    assert await Loader(sqlite, folder).load_once() == 3000
    assert len(await ids(sqlite)) == 3000


async def test_two_loaders_at_once_load_each_row_once(db: Database, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    writers = [fill(folder, range(start, start + 2000), segment_bytes=100_000) for start in (0, 2000)]
    other = Database(db.url.render_as_string(hide_password=False))
    loaders = [Loader(db, folder), Loader(other, folder)]
    for writer in writers:
        writer.close()

    async def work(loader: Loader) -> None:
        while any(folder.glob("*.jsonl")):
            await loader.load_once()

    await asyncio.gather(*map(work, loaders))
    await other.dispose()
    assert len(await ids(db)) == 4000
    assert sum(loader.torn + loader.rejected for loader in loaders) == 0


async def test_a_database_that_is_away_loses_nothing(sqlite: Database, tmp_path: Path) -> None:
    folder = tmp_path / "usage"
    fill(folder, range(10)).close()
    (tmp_path / "modu.db").rename(tmp_path / "aside.db")
    loader = Loader(sqlite, folder)
    with pytest.raises(sqlite.errors):
        await loader.load_once()
    (tmp_path / "aside.db").rename(tmp_path / "modu.db")
    assert await loader.load_once() == 10


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_writer_killed_twenty_times_under_load(db: Database, tmp_path: Path) -> None:
    """SIGKILL at odd moments: what was flushed is in the ledger, each row once."""
    folder = tmp_path / "usage"
    loader = Loader(db, folder)
    flushed: dict[str, int] = {}
    for kill in range(20):
        name = f"w{kill:02}"
        command = [sys.executable, str(Path(__file__).with_name("writer.py")), str(folder), name, "20"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(10 + kill):
            flushed[name] = int(await process.stdout.readline())
        await loader.load_once()
        process.kill()
        for line in (await process.stdout.read()).splitlines(keepends=True):
            if line.endswith(b"\n"):
                flushed[name] = int(line)
        await process.wait()
    await loader.load_once()
    found = await ids(db)
    assert len(found) == len(set(found))
    by_writer: dict[str, set[int]] = {}
    for name, number in (one.split("-") for one in found):
        by_writer.setdefault(name, set()).add(int(number))
    for name, count in flushed.items():
        assert set(range(count)) <= by_writer[name], f"{name} lost rows"
        assert len(by_writer[name]) <= count + 20  # at most the flush that was under way
    assert not list(folder.glob("*.jsonl"))


class Process:
    """The metering process, with what it says in a file."""

    def __init__(self, home: Path, **more: str) -> None:
        self.log = home / "metering.log"
        environ = {**os.environ, "MODU_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **more}
        with self.log.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moduai.metering"], env=environ, stderr=said
            )

    async def has_said(self, words: str, times: int) -> bool:
        return self.log.read_text().count(words) >= times

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=60)
        return status, self.log.read_text()


async def test_the_process_loads_and_drains(sqlite: Database, tmp_path: Path) -> None:
    process = Process(tmp_path)
    writer = fill(tmp_path / "usage", range(100))

    async def loaded() -> bool:
        return len(await ids(sqlite)) == 100

    await until(loaded)
    for number in range(100, 200):
        writer.add(row(number))
    writer.close()
    assert await asyncio.to_thread(process.stop) == (0, "")
    assert len(await ids(sqlite)) == 200
    assert os.listdir(tmp_path / "usage") == []  # noqa: PTH208


async def test_the_process_waits_for_a_locked_database_and_for_a_missing_one(
    sqlite: Database, tmp_path: Path
) -> None:
    locker = sqlite3.connect(tmp_path / "modu.db", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    process = Process(tmp_path)
    fill(tmp_path / "usage", range(10)).close()
    await until(lambda: process.has_said("usage cannot be loaded", 1))
    assert await ids(sqlite) == []
    locker.execute("COMMIT")
    locker.close()

    async def loaded() -> bool:
        return len(await ids(sqlite)) == 10

    await until(loaded)
    await until(lambda: process.has_said("usage is loaded again", 1))  # the round may fail after the rows
    (tmp_path / "modu.db").rename(tmp_path / "aside.db")
    fill(tmp_path / "usage", range(10, 20)).close()
    await until(lambda: process.has_said("usage cannot be loaded", 2))
    assert any((tmp_path / "usage").iterdir())
    (tmp_path / "aside.db").rename(tmp_path / "modu.db")

    async def loaded_all() -> bool:
        return len(await ids(sqlite)) == 20

    await until(loaded_all)
    status, said = await asyncio.to_thread(process.stop)
    assert status == 0
    assert said.count("usage is loaded again") == 2


async def test_machines_on_one_database_leave_each_others_offsets(db: Database, tmp_path: Path) -> None:
    homes = [tmp_path / "a", tmp_path / "b"]
    machines = [machine_id(home) for home in homes]
    assert machines == [machine_id(home) for home in homes]
    assert len(set(machines)) == 2
    writers = [
        SegmentWriter(home / "usage", Ledger(), f"{machine}-w")
        for home, machine in zip(homes, machines, strict=True)
    ]
    loaders = [Loader(db, home / "usage", machine) for home, machine in zip(homes, machines, strict=True)]
    for number, (writer, loader) in enumerate(zip(writers, loaders, strict=True)):
        writer.add(row(number))
        writer.flush()
        await loader.load_once()
    for loader in loaders:
        await loader.load_once()
    assert len(await offsets(db)) == 2, "the other machine's segment is still written"
    writers[0].close()
    for _ in range(2):
        await loaders[0].load_once()
    assert [name.split("-")[0] for name in await offsets(db)] == [machines[1]]


def test_a_machine_id_that_is_damaged_is_made_anew(tmp_path: Path) -> None:
    first = machine_id(tmp_path)
    file = tmp_path / "run" / "machine-id"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("")
    assert machine_id(tmp_path) not in {"", first}
    assert list(file.parent.iterdir()) == [file]


async def test_the_count_is_right_after_all(sqlite: Database, tmp_path: Path) -> None:
    fill(tmp_path / "usage", range(500), segment_bytes=5000).close()
    await Loader(sqlite, tmp_path / "usage").load_once()
    async with sqlite.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(usage)) == 500
