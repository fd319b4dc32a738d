"""Sums of hours against the rows themselves, and what stands when the rows are gone."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from pathlib import Path

import asyncpg
import msgspec
import pytest
from sqlalchemy import func, select, text

import moduai.accounts.tables
import moduai.engines.tables
import moduai.gateway.tables
import moduai.history.tables
import moduai.knowledge.tables
import moduai.proposals.tables
import moduai.store.tables  # noqa: F401  (each import adds its tables to the metadata)
from moduai.metering import days, report
from moduai.metering import hours as hours_module
from moduai.metering.days import DAY, make_ahead, parts
from moduai.metering.hours import HOUR, SETTLED_US, source, sum_up
from moduai.metering.keeping import KEPT, Keeper
from moduai.metering.loader import Loader, put_usage
from moduai.metering.report import By
from moduai.metering.retention import STEP, close_days, drop_hours, drop_rows
from moduai.metering.row import UsageRow
from moduai.metering.tables import hours, kept_from, open_hours, usage
from moduai.settings import Ledger, Settings
from moduai.store import database, migrate
from moduai.store.database import Database, metadata
from tests.databases import Postgres

START = 1_790_000_000_000_000 // DAY * DAY
LATER = (START + 3 * DAY) / 1e6
"""When all rows of these tests are of hours that are over, in seconds."""


def made(chance: random.Random, number: int) -> UsageRow:
    return UsageRow(
        id=f"r{number}", at=START + chance.randrange(30 * HOUR), subject=f"s{chance.randrange(5)}",
        queue_us=chance.randrange(99), organisation=f"o{chance.randrange(2)}",
        model=chance.choice("ab"), region=chance.choice(["", "KR-11"]),
        tokens_in=chance.randrange(10**12), tokens_out=chance.randrange(1000), tokens_cached=3,
        tokens_source=chance.choice(["engine", "counted"]),
        first_token_us=chance.choice([0, 7, 1001]), duration_us=chance.randrange(10**9), accelerator_us=11,
        energy_mj=chance.randrange(10**9), outcome=chance.choice(["ok", "failed"]),
    )  # fmt: skip


def name_of(row: UsageRow, by: By, offset_s: int) -> str:
    if by in {"day", "hour", "minute"}:
        length = {"day": DAY, "hour": HOUR, "minute": HOUR // 60}[by]
        return str(row.at - (row.at + offset_s * 1_000_000) % length)
    return str(getattr(row, "tokens_source" if by == "source" else by))


def expected(rows: Iterable[UsageRow], by: By, offset_s: int) -> dict[str, report.Usage]:
    """The report, in plain Python."""
    groups: dict[str, list[UsageRow]] = {}
    for row in rows:
        groups.setdefault(name_of(row, by, offset_s), []).append(row)

    def total(them: list[UsageRow], field: str) -> int:
        return sum(getattr(one, field) for one in them)

    summed = ("tokens_in", "tokens_cached", "tokens_out", "accelerator_us", "energy_mj")
    return {
        name: report.Usage(
            group=name,
            people=len({one.subject for one in them}),
            requests=len(them),
            failed=sum(one.outcome != "ok" for one in them),
            uncounted=sum(one.tokens_source != "engine" for one in them),
            queue_us=total(them, "queue_us") // len(them),
            duration_us=total(them, "duration_us") // len(them),
            first_token_us=total(them, "first_token_us")
            // max(1, sum(one.first_token_us > 0 for one in them)),
            **{field: total(them, field) for field in summed},
        )
        for name, them in groups.items()
    }


async def put(db: Database, rows: Iterable[UsageRow]) -> int:
    """How many were refused."""
    async with db.begin() as connection:
        return len(await put_usage(connection, [msgspec.structs.asdict(row) for row in rows]))


async def told(db: Database, since: int, until: int, by: By, offset_s: int = 0) -> dict[str, report.Usage]:
    async with db.connect() as connection:
        found = await report.usage(connection, since, until, by, offset_s=offset_s)
    return {one.group: one for one in found}


async def drop(db: Database, keep_days: int, now: float) -> None:
    """Close days and delete their rows, as an hour of the keeper does."""
    await close_days(db, keep_days, now)
    while await drop_rows(db):
        pass


async def sum_all(db: Database, now: float = LATER) -> int:
    count = 0
    while await sum_up(db, now):
        count += 1
    return count


async def count(db: Database, table: object) -> int:
    async with db.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
async def test_sums_are_the_rows_to_the_last_token(db: Database, seed: int) -> None:
    """However rows come (late, twice), whatever is summed up by then, whatever time is asked for."""
    chance = random.Random(seed)
    known: dict[str, UsageRow] = {}
    for step in range(5):
        new = [made(chance, step * 40 + number) for number in range(40)]
        again = chance.sample(sorted(known.values(), key=lambda row: row.id), min(len(known), 10))
        assert await put(db, new + again) == 0
        known |= {row.id: row for row in new}
        for _ in range(chance.randrange(30)):
            await sum_up(db, LATER)
        for by in ("model", "day", "hour", "minute", "source", "outcome"):
            edges = (0, HOUR, chance.randrange(30 * HOUR), chance.randrange(DAY), 3 * DAY)
            since, until = sorted(START + one for one in chance.sample(edges, 2))
            offset = chance.choice([0, 9 * 3600, 5 * 3600 + 1800, -3600])
            rows = [row for row in known.values() if since <= row.at < until]
            assert await told(db, since, until, by, offset) == expected(rows, by, offset), (by, since, until)
    await sum_all(db)
    assert await count(db, open_hours) == 0
    assert await told(db, START, START + 2 * DAY, "model") == expected(known.values(), "model", 0)


async def test_an_hour_is_summed_up_when_it_is_over(db: Database) -> None:
    await put(
        db, [UsageRow(id="1", at=START + 5, subject="s"), UsageRow(id="2", at=START + HOUR, subject="s")]
    )
    over = (START + HOUR + SETTLED_US) / 1e6
    assert not await sum_up(db, over - 1)
    assert await sum_all(db, over) == 1
    assert (await count(db, hours), await count(db, open_hours)) == (1, 1)


async def test_rows_that_come_while_it_is_summed_up_are_not_missed(db: Database) -> None:
    """Two loaders and two that sum up, at once and again and again on the same hour."""
    done = asyncio.Event()

    async def load(name: str) -> None:
        for number in range(40):
            await put(db, [UsageRow(id=f"{name}{number}", at=START + number, subject=name, tokens_out=1)])

    async def sum_up_again() -> None:
        while not done.is_set():
            await sum_up(db, LATER)
            await asyncio.sleep(0)

    summing = [asyncio.create_task(sum_up_again()) for _ in range(2)]
    await asyncio.gather(load("a"), load("b"))
    done.set()
    await asyncio.gather(*summing)
    await sum_all(db)
    found = await told(db, START, START + HOUR, "hour")
    assert [one.tokens_out for one in found.values()] == [80]
    assert await count(db, hours) == 2


async def test_a_report_of_a_month_reads_no_row_it_does_not_need(sqlite: Database) -> None:
    async with sqlite.connect() as connection:
        rows = source(START, START + 30 * DAY + 5, sums=True)
        query = select(rows).compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
        plan = [str(one) for one in await connection.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    assert not [line for line in plan if "SCAN usage" in line], plan
    assert [line for line in plan if "SEARCH usage USING INDEX ix_usage_at" in line], plan


async def test_reports_stand_when_the_rows_are_gone(db: Database, tmp_path: Path) -> None:
    chance = random.Random(7)
    rows = [made(chance, number) for number in range(200)]
    await put(db, [*rows, UsageRow(id="new", at=START + 11 * DAY, subject="s")])
    await sum_up(db, LATER)
    now = (START + 12 * DAY) / 1e6
    await drop(db, 2, now)
    assert await count(db, usage) == 201, "hours that are not summed up keep their days"
    await sum_all(db)
    await drop(db, 2, now)
    assert await count(db, usage) == 1
    assert await told(db, START, START + 2 * DAY, "model") == expected(rows, "model", 0)
    assert await told(db, START, START + 2 * DAY, "hour", 9 * 3600) == expected(rows, "hour", 9 * 3600)

    late = [
        rows[0],
        UsageRow(id="late", at=START + 9, subject="s"),
        UsageRow(id="newer", at=START + 11 * DAY, subject="s"),
    ]
    folder = tmp_path / "usage"
    folder.mkdir()
    (folder / "w.jsonl").write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in late))
    loader = Loader(db, folder)
    await loader.load_once()
    assert loader.rejected == 2, "it cannot be known whether they were counted"
    assert len((folder / "w.jsonl.rejected").read_bytes().splitlines()) == 2
    await sum_all(db, now)
    assert (await told(db, START, START + 2 * DAY, "model"), await count(db, usage)) == (
        expected(rows, "model", 0),
        2,
    )


async def test_no_clock_is_believed_alone(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader's clock or a gateway's is years off: nothing is deleted too early, and nothing refused."""
    now, years = (START + 12 * DAY) / 1e6, 3650 * 86_400
    day_by_day = [UsageRow(id=f"d{day}", at=START + day * DAY, subject="s") for day in range(13)]
    await put(db, day_by_day)
    await sum_all(db, now + years)
    for ahead in (years, -years):  # the loader's
        await drop(db, 20, now + ahead)
        await drop_hours(db, 20, now + ahead)
        assert (await count(db, usage), await count(db, hours)) == (13, 13)
    assert await put(db, [UsageRow(id="ahead", at=START + 10**6 * years, subject="s")]) == 0  # a gateway's
    await drop(db, 20, now)
    assert await count(db, usage) == 14
    await sum_all(db, now + 2 * years)
    await drop(db, 20, now + years)  # both: one call costs a few days, not all of them
    assert await count(db, usage) == 14 - STEP // DAY
    before = await told(db, START, START + 13 * DAY, "model")
    monkeypatch.setattr(time, "time", lambda: now - years)
    late = [UsageRow(id="late", at=START, subject="s"), UsageRow(id="l", at=START + 12 * DAY, subject="s")]
    assert await put(db, late) == 1, "what is closed is closed, also for who lives in another time"
    assert (await told(db, START, START + DAY, "model"))[""].requests == 1
    async with db.begin() as connection:  # as if it had been opened in spite of all
        await connection.execute(open_hours.insert().values(hour=START, loader="x"))
    await sum_all(db, now)
    after = await told(db, START, START + 13 * DAY, "model")
    assert after[""].requests == before[""].requests + 1, "the sums of what is deleted stand"


async def test_who_is_paused_holds_up_nobody_for_long(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process is stopped in the midst of its work: PostgreSQL ends its transaction."""
    url = await postgres.make()
    await migrate.upgrade(url)
    db = Database(url)
    await put(db, [UsageRow(id="1", at=START, subject="s")])
    monkeypatch.setattr(database, "PAUSED_S", 0.5)
    paused = Database(url)

    async def stopped() -> None:
        async with paused.begin() as connection:
            assert await hours_module._alone(connection)
            await connection.execute(select(kept_from).with_for_update())
            assert not await sum_up(db, LATER), "another one does it: nobody waits"
            assert await put(db, [UsageRow(id="2", at=START, subject="s")]) == 0
            await connection.execute(select(usage.c.id))

    with pytest.raises(paused.errors):
        await stopped()
    assert await sum_all(db) == 1
    assert (await told(db, START, START + DAY, "model"))[""].requests == 2
    await paused.dispose()
    await db.dispose()


async def test_older_loaders_beside_newer_ones_open_hours(postgres: Postgres) -> None:
    """On PostgreSQL, where a machine may be upgraded before another: its rows are in every report."""
    url = await postgres.make()
    await migrate.upgrade(url)
    db = Database(url)
    await put(
        db, [UsageRow(id="1", at=START, subject="s"), UsageRow(id="n", at=START + 9 * DAY, subject="s")]
    )
    await sum_all(db, LATER)
    row = msgspec.structs.asdict(UsageRow(id="2", at=START + 5, subject="s", model="m"))
    names, values = ", ".join(f'"{name}"' for name in row), ", ".join(f"${n + 1}" for n in range(len(row)))
    older = await asyncpg.connect(url.replace("+asyncpg", ""))
    load = f"INSERT INTO usage ({names}) VALUES ({values}) ON CONFLICT DO NOTHING"
    await older.executemany(load, [list(row.values())] * 2)
    assert (await told(db, START, START + DAY, "day"))[str(START)].requests == 2
    await sum_all(db, LATER)
    assert (await told(db, START, START + DAY, "day"))[str(START)].requests == 2
    await close_days(db, 1, (START + 9 * DAY) / 1e6)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):  # which it keeps aside, as ours do
        await older.execute(load, *(row | {"id": "late"}).values())
    await older.close()
    await db.dispose()


async def test_sums_go_after_their_rows(db: Database) -> None:
    days_of = {"1": 0, "2": 1, "3": 9}
    await put(db, [UsageRow(id=one, at=START + day * DAY, subject="s") for one, day in days_of.items()])
    now = (START + 10 * DAY) / 1e6
    await sum_all(db, now)
    await drop_hours(db, 3, now)
    assert await count(db, hours) == 3, "their rows are there"
    await drop(db, 8, now)
    for _ in range(2):
        await drop_hours(db, 3, now)
    assert await count(db, hours) == 2


async def test_days_are_made_ahead_and_dropped_whole(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if db.file:
        await make_ahead(db, LATER)
        return
    now = time.time() + 10 * 86_400
    today = int(now * 1e6) // DAY * DAY
    await make_ahead(db, now)
    await make_ahead(db, now)
    made_now = {name: end for name, end in (await parts(db)).items() if "_to_" not in name}
    assert sorted(made_now.values()) == [today + DAY, today + 2 * DAY, today + 3 * DAY]
    await put(db, [UsageRow(id=f"d{day}", at=today + day * DAY, subject="s") for day in range(6)])
    async with db.connect() as connection:
        where = await connection.execute(text("SELECT tableoid::regclass::text, id FROM usage ORDER BY id"))
        found = [row[0] for row in where]
    assert found == [*sorted(made_now), *["usage_default"] * 3]
    monkeypatch.setattr(days, "LOCK_MS", 50)
    await sum_all(db, now + 10 * 86_400)
    async with db.connect() as reader:
        await reader.execute(text("SELECT count(*) FROM usage"))
        await drop(db, 1, now + 4 * 86_400)  # somebody reads: the parts stay
        assert made_now.keys() <= (await parts(db)).keys()
    await drop(db, 1, now + 4 * 86_400)
    assert not made_now.keys() & (await parts(db)).keys()
    assert await count(db, usage) == 3


def test_every_table_has_a_rule_and_is_told() -> None:
    assert KEPT.keys() == metadata.tables.keys()
    page = (Path(__file__).parents[2] / "docs/operate/retention.md").read_text()
    for name, rule in KEPT.items():
        assert f"| `{name}` | {rule} |" in page


async def test_the_keeper_does_it_all(db: Database) -> None:
    now = int(time.time() * 1e6)
    old = now - 9 * DAY
    times = {"1": old, "2": old + HOUR, "3": now}
    await put(db, [UsageRow(id=one, at=at, subject="s") for one, at in times.items()])
    keeper = Keeper(db, Settings(ledger=Ledger(keep_days=3)))
    for _ in range(3):
        await keeper.step()
    assert (await count(db, open_hours), await count(db, hours)) == (1, 2)
    keeper = Keeper(db, Settings(ledger=Ledger(keep_days=3)))
    await keeper.step()
    assert await count(db, usage) == 1
