from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from moduai.accounts.keys import create_key
from moduai.cli.usage import app
from moduai.metering.loader import put_usage
from moduai.metering.report import BY, By, total, usage
from moduai.metering.row import UsageRow
from moduai.metering.rows import rows, sums
from moduai.planner.ledger import ran
from moduai.store import migrate
from moduai.store.database import Database

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_790_000_000_000_000 // DAY * DAY
ROWS = (
    UsageRow(id="1", at=START, subject="a", model="m1", organisation="o1", tokens_in=10, tokens_cached=4,
             tokens_out=5, queue_us=100, first_token_us=300, duration_us=900, accelerator_us=7, energy_mj=3),
    UsageRow(id="2", at=START + HOUR, subject="a", model="m1", organisation="o2", tokens_in=20, tokens_out=7,
             tokens_source="estimated", duration_us=100, outcome="cancelled", status=499),
    UsageRow(id="3", at=START + 20 * HOUR, subject="b", model="m2", organisation="o1", tokens_in=1000,
             tokens_out=1, first_token_us=500, tokens_source="counted", duration_us=200),
    UsageRow(id="4", at=START + DAY, subject="b", model="", outcome="refused", status=429),
)  # fmt: skip


@pytest.fixture
async def filled(db: Database) -> Database:
    async with db.begin() as connection:
        await put_usage(connection, [msgspec.structs.asdict(row) for row in ROWS])
    return db


async def by(db: Database, name: By, **more: object) -> dict[str, int]:
    async with db.connect() as connection:
        found = await usage(connection, START, START + 2 * DAY, name, **more)  # type: ignore[arg-type]
        return {line.group: line.requests for line in found}


async def test_sums_and_means_of_a_model(filled: Database) -> None:
    async with filled.connect() as connection:
        found = await usage(connection, START, START + 2 * DAY, "model")
    assert [line.group for line in found] == ["m2", "m1", ""]  # the most tokens first
    line = found[1]
    assert (line.requests, line.failed, line.uncounted) == (2, 1, 1)
    assert (line.tokens_in, line.tokens_cached, line.tokens_out) == (30, 4, 12)
    assert (line.queue_us, line.first_token_us, line.duration_us) == (50, 300, 500)
    assert (line.accelerator_us, line.energy_mj) == (7, 3)
    assert all(type(value) is int for value in msgspec.structs.astuple(line)[1:])


async def test_single_rows_are_read_in_order_and_the_newest_are_left_out(filled: Database) -> None:
    async with filled.connect() as connection:
        found = await rows(connection, START, START + DAY)
        few = await rows(connection, START, START + 2 * DAY, most=2)
        last = await rows(connection, START, START + 2 * DAY, most=2, newest=True)
    assert (found.rows, found.left_out) == (list(ROWS[:3]), 0)
    assert (few.rows, few.left_out) == (list(ROWS[:2]), 2)
    assert (last.rows, last.left_out) == (list(ROWS[2:]), 2)


async def test_what_was_asked_is_summed_as_the_planner_counts_it(filled: Database) -> None:
    answer = UsageRow(
        id="5", at=START, subject="a", engine="e", endpoint="chat", service_class="resident", tokens_in=9,
        tokens_cached=2, tokens_out=5, queue_us=100, duration_us=900, accelerator_us=7,
    )  # fmt: skip
    other = {"endpoint": "embeddings"}, {"tokens_out": 0}, {"queue_us": 900}, {"engine": ""}, {"zone": "z"}
    more = [answer, *(replace(answer, id=str(6 + n), **one) for n, one in enumerate(other))]
    async with filled.begin() as connection:
        await put_usage(connection, [msgspec.structs.asdict(row) for row in more])
        asked, took = await sums(connection, START, START + 2 * DAY)
    every = [*ROWS, *more]
    done = [row for row in every if ran(row)]
    assert len(done) == 2
    assert sum(one.asked for one in asked) == len(every)
    assert {one.zone for one in asked if one.answered} == {"", "z"}
    assert sum(one.answered for one in asked) == len(done)
    for name, values in (
        ("queue_us", [row.queue_us for row in done]),
        ("uncached", [row.tokens_in - row.tokens_cached for row in done]),
        ("tokens_out", [row.tokens_out for row in done]),
    ):
        assert sum(getattr(one, name) for one in asked) == sum(values), name
    assert sum(one.accelerator_us for one in took) == sum(row.accelerator_us for row in every if row.engine)
    assert all(type(value) is int for one in asked for value in msgspec.structs.astuple(one)[4:])


async def test_groups(filled: Database) -> None:
    assert await by(filled, "organisation") == {"o1": 2, "o2": 1, "": 1}
    assert await by(filled, "outcome") == {"ok": 2, "cancelled": 1, "refused": 1}
    assert await by(filled, "source") == {"engine": 2, "estimated": 1, "counted": 1}
    assert await by(filled, "model", organisation="o1") == {"m2": 1, "m1": 1}


async def test_days_begin_where_people_live(filled: Database) -> None:
    assert await by(filled, "day") == {str(START): 3, str(START + DAY): 1}
    korea = START - 9 * HOUR
    assert await by(filled, "day", offset_s=9 * 3600) == {str(korea): 2, str(korea + DAY): 2}
    assert list(await by(filled, "hour"))[:2] == [str(START), str(START + HOUR)]


async def test_the_end_is_not_included(filled: Database) -> None:
    async with filled.connect() as connection:
        assert (await total(connection, START, START + DAY)).requests == 3
        assert (await total(connection, START + 5 * DAY, START + 6 * DAY)).requests == 0


@pytest.mark.parametrize("name", BY)
async def test_every_grouping_runs(filled: Database, name: By) -> None:
    assert sum((await by(filled, name)).values()) == 4


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    url = f"sqlite+aiosqlite:///{tmp_path / 'modu.db'}"
    await migrate.upgrade(url)
    db = Database(url)
    now = time.time_ns() // 1000
    async with db.begin() as connection:
        _, key = await create_key(connection, name="data team")
        rows = [msgspec.structs.replace(row, at=now - 10_000_000, key=key.id) for row in ROWS]
        rows.append(msgspec.structs.replace(ROWS[0], id="old", at=now - 3 * DAY))
        await put_usage(connection, [msgspec.structs.asdict(row) for row in rows])
    await db.dispose()
    return tmp_path


def test_the_command_shows_names_and_a_total(home: Path) -> None:
    result = CliRunner().invoke(app, ["--by", "key", "--since", "1d", "--home", str(home)])
    assert result.exit_code == 0, result.output
    assert "data team" in result.stdout
    result = CliRunner().invoke(app, ["--home", str(home)])
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "model",
        "m2",
        "m1",
        "(none)",
        "total",
    ]
    assert "1,030" in result.stdout


def test_the_command_answers_in_json(home: Path) -> None:
    result = CliRunner().invoke(app, ["--by", "source", "--since", "7d", "--json", "--home", str(home)])
    answer = msgspec.json.decode(result.stdout)
    assert {row["name"]: row["requests"] for row in answer["rows"]} == {
        "counted": 1,
        "estimated": 1,
        "engine": 3,
    }
    assert answer["total"]["tokens_in"] == 1040


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--by", "colour"], "choose one of model"),
        (["--since", "yesterday"], "is no time"),
        (["--since", "1d", "--until", "2d"], "not before"),
        (["--utc-offset", "9"], "write +09:00"),
    ],
)
def test_wrong_use_is_told(home: Path, arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, [*arguments, "--home", str(home)])
    assert result.exit_code == 2
    assert words in result.stderr


def test_an_unknown_organisation_is_told(home: Path) -> None:
    result = CliRunner().invoke(app, ["--org", "nobody", "--home", str(home)])
    assert (result.exit_code, "modu org list" in result.stderr) == (1, True)


def test_an_empty_home_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--home", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "run modu up" in result.stderr
