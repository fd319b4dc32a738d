"""A clock that is set a day ahead, and an hour back: of a whole cell, while people ask."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

import httpx
from benchmarks.harness.cell import Cell, Part, running_cell

from moduai.accounts.people import create_person
from moduai.accounts.sessions import start_session
from moduai.metering.days import DAY
from moduai.metering.loader import put_usage
from moduai.metering.pulse import read
from moduai.metering.row import UsageRow
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from tests.faults.conftest import Faults, FaultyHome, until

AHEAD_S, BACK_S = 86_400, -3600
BODY = {"model": "fake-model", "messages": [{"role": "user", "content": "?"}]}


async def sessions(home: Path) -> dict[str, str]:
    """Tokens: of a resident, of staff (a day at most), and of a session that ended an hour ago."""
    db = Database(f"sqlite+aiosqlite:///{home / 'modu.db'}")
    subjects = SubjectKeys.open(home, Keyring.open(home), create=True)
    now, tokens = time.time(), {}
    try:
        for name, role, began, days in (
            ("resident", "resident", now, 30),
            ("staff", "operator", now - 43_200, 30),
            ("over", "resident", now - 90_000, 1),
        ):
            async with db.begin() as connection:
                person = await create_person(connection, subjects, name=name, role=role)
                tokens[name], _ = await start_session(connection, person, "", began, days=days)
        old = UsageRow(id="old", at=int(now * 1e6) // DAY * DAY - DAY + 1, subject="s")
        async with db.begin() as connection:
            await put_usage(connection, [{name: getattr(old, name) for name in old.__struct_fields__}])
    finally:
        subjects.close()
        await db.dispose()
    return tokens


class Asking:
    """Whoever asks the cell's gateway."""

    def __init__(self, cell: Cell, tokens: dict[str, str]) -> None:
        self.cell, self.tokens = cell, tokens
        self.client = httpx.Client(base_url=cell.gateways[0].url, timeout=60)
        self.ids: list[str] = []

    def serves(self, count: int = 3) -> None:
        """By key, and with the session that lasts."""
        for _ in range(count):
            headers = {"authorization": f"Bearer {self.cell.home.key}"}
            answer = self.client.post("/v1/chat/completions", json=BODY, headers=headers)
            assert answer.status_code == 200, answer.text
            self.ids.append(answer.headers["x-request-id"])
        assert self.signed_in("resident")

    def signed_in(self, name: str) -> bool:
        headers = {"cookie": f"modu_session={self.tokens[name]}", "sec-fetch-site": "same-origin"}
        return self.client.get("/v1/queue", headers=headers).status_code == 200

    def degraded(self) -> set[str]:
        return set(self.client.get("/health/ready").json()["degraded"])

    def rows(self, table: str, column: str) -> list[str]:
        file = self.cell.home.folder / "modu.db"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            return [row[0] for row in db.execute(f"SELECT {column} FROM {table}")]

    def follow(self, killed: Part) -> None:
        """Another dispatcher takes over; the one that was killed stands by."""
        killed.kill()
        until(lambda: self.cell.leader() is not killed)
        killed.start()


def test_a_clock_that_jumps_ahead_and_back(faulty: FaultyHome, faults: Faults, tmp_path: Path) -> None:
    tokens = asyncio.run(sessions(faulty.folder))
    settings = {"ledger__keep_days": "1"}
    with running_cell(faulty, tmp_path / "parts", gateways=1, dispatchers=2, settings=settings) as cell:
        here = Asking(cell, tokens)
        here.serves()
        until(lambda: len(here.rows("sessions", "id")) == 2)
        until(lambda: here.degraded() == set())
        assert here.signed_in("staff")

        faults.set(ahead_s=AHEAD_S)
        until(lambda: here.degraded() == {"clock"})
        here.serves()
        assert not here.signed_in("staff"), "by this clock the day is over"
        here.follow(cell.leader())  # with an epoch of tomorrow
        cell.metering.replace()  # what is old it deletes at its start
        beat = read(faulty.folder)
        assert beat
        until(lambda: (read(faulty.folder) or beat).at > beat.at + 2)
        here.serves()

        faults.set(ahead_s=BACK_S)
        until(lambda: here.signed_in("staff"))
        assert "old" in here.rows("usage", "id"), "its day is kept until it is over"
        here.follow(cell.leader())  # the epoch goes on
        here.serves()

        faults.set()
        until(lambda: here.degraded() == set())
        here.serves()
        until(lambda: set(here.ids) <= set(here.rows("usage", "id")))
        rows = here.rows("usage", "id")
        assert len(rows) == len(set(rows))
        here.client.close()
        log = cell.logs()
    assert "Traceback" not in log, log[-6000:]
