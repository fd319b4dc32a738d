"""A person whose turns are recorded, on either database."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from moduai.accounts.people import create_person
from moduai.gateway.tee import Tee
from moduai.history.loader import turns_kind
from moduai.history.record import NEW, TurnPlace
from moduai.history.recorder import Recorder
from moduai.metering.loader import Loader
from moduai.metering.row import UsageRow
from moduai.settings import Ledger
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from tests.databases import db, postgres, sqlite, url

__all__ = ["db", "postgres", "sqlite", "url"]

SECOND = 1_000_000


class Silent:
    """A client of which nothing is asked."""

    framed = True

    def head(self, status: int, content_type: bytes, request_id: str) -> None: ...

    def write(self, data: bytes) -> None: ...

    def end(self, *, close: bool = False) -> None: ...

    def whole(self, status: int, kind: bytes, headers: bytes, body: bytes, request_id: str) -> None: ...

    def abort(self) -> None: ...


def asked(question: Any = "한국의 수도는?", **fields: Any) -> bytes:
    messages = [{"role": "user", "content": question}]
    return json.dumps({"model": "m", "messages": messages, **fields}, ensure_ascii=False).encode()


def answered(text: str | None = "서울입니다.", **fields: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **fields}}
    return json.dumps({"choices": [choice]}, ensure_ascii=False).encode()


@dataclass
class World:
    """Everything between the lane and the database."""

    home: Path
    db: Database
    subjects: SubjectKeys
    recorder: Recorder
    loader: Loader
    person: str = ""
    number: int = 0

    def hear(
        self,
        question: str = "한국의 수도는?",
        answer: str = "서울입니다.",
        place: TurnPlace = NEW,
        *,
        person: str = "",
        at: int = 0,
        outcome: Any = "ok",
    ) -> str:
        """A turn as the lane hears it; its id."""
        self.number += 1
        turn = f"t-{self.number:04x}"
        row = UsageRow(
            turn, (at or self.number) * SECOND, person or self.person, model="m", engine="e", outcome=outcome
        )
        tee = Tee(Silent(), asked(question), place, self.recorder)
        if outcome == "cancelled":
            tee.head(200, b"", turn)
            tee.write(b"data: " + answered(answer) + b"\n\n")
        tee.over(row)
        if outcome != "cancelled":
            tee.whole(200, b"", b"", answered(answer), turn)
        return turn

    async def keep(self, *turns: Any, **turn: Any) -> str:
        """The same, until it is in the database."""
        made = self.hear(*turns, **turn)
        await self.load()
        return made

    async def load(self) -> None:
        await self.recorder.flush()
        await self.loader.load_once()

    def bytes_at_rest(self) -> bytes:
        """Every byte below the home folder."""
        return b"".join(file.read_bytes() for file in self.home.rglob("*") if file.is_file())


async def new_person(db: Database, subjects: SubjectKeys, name: str = "김하나") -> str:
    async with db.begin() as connection:
        return (await create_person(connection, subjects, name=name)).id


@pytest.fixture
def subjects(tmp_path: Path) -> Iterator[SubjectKeys]:
    opened = SubjectKeys.open(tmp_path / "home", Keyring.open(tmp_path / "home"))
    yield opened
    opened.close()


@pytest.fixture
async def world(db: Database, subjects: SubjectKeys, tmp_path: Path) -> AsyncIterator[World]:
    home = tmp_path / "home"
    recorder = Recorder(home / "turns", subjects, Ledger(), "m1-worker")
    loader = Loader(db, home / "turns", "m1", turns_kind(subjects))
    made = World(home, db, subjects, recorder, loader)
    made.person = await new_person(db, subjects)
    yield made
    recorder.close()
