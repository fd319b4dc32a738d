from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moduai.accounts import reports
from moduai.accounts.audit import list_entries
from moduai.accounts.reports import (
    CUT,
    MOST_TEXT,
    ReportError,
    ReportText,
    count_reports,
    file_report,
    handle_report,
    list_reports,
    read_report,
)
from moduai.store.database import Database
from moduai.store.keyring import SIZE, Keyring
from moduai.store.subjects import SubjectKeys

TEXT = ReportText(question="주소가 뭐야?", answer="서울시 …", remark="틀렸어요")


@pytest.fixture
def subjects(tmp_path: Path) -> Iterator[SubjectKeys]:
    opened = SubjectKeys.open(tmp_path, Keyring(bytes(SIZE)))
    yield opened
    opened.close()


async def send(db: Database, subjects: SubjectKeys, **fields: Any) -> str:
    given = {"person": "sub_1", "turn": "boot-1", "model": "m", "reason": "wrong", "text": TEXT, **fields}
    async with db.begin() as connection:
        return await file_report(connection, subjects, **given)


async def read(db: Database, subjects: SubjectKeys, report: str) -> reports.Report:
    async with db.begin() as connection:
        return await read_report(connection, subjects, report, "sub_staff")


@pytest.mark.parametrize("person", ["sub_1", ""])
async def test_staff_read_what_was_reported_and_that_is_recorded(
    db: Database, subjects: SubjectKeys, person: str
) -> None:
    made = await send(db, subjects, person=person)
    found = await read(db, subjects, made)
    assert found.text == TEXT
    assert (found.info.person, found.info.reason, found.info.state) == (person, "wrong", "open")
    async with db.connect() as connection:
        (entry,) = await list_entries(connection)
    assert (entry.actor, entry.action, entry.target) == ("sub_staff", "report.read", made)
    assert "틀렸" not in entry.detail


async def test_its_text_is_nowhere_in_clear(sqlite: Database, subjects: SubjectKeys) -> None:
    await send(sqlite, subjects)
    await sqlite.dispose()
    assert sqlite.file is not None
    for file in sqlite.file.parent.rglob("*"):
        assert not file.is_file() or "틀렸어요".encode() not in file.read_bytes()


async def test_reports_are_listed_newest_first(
    db: Database, subjects: SubjectKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for number in range(4):
        monkeypatch.setattr("time.time", lambda number=number: 1_800_000_000.0 + number // 2)
        made.append(await send(db, subjects, person="" if number == 3 else "sub_1"))
    async with db.begin() as connection:
        await handle_report(connection, made[0], "sub_staff", "dismissed")
    async with db.connect() as connection:
        everything = await list_reports(connection)
        assert {info.id for info in everything[:2]} == set(made[2:])
        assert {info.id for info in await list_reports(connection, "open")} == set(made[1:])
        assert [info.id for info in await list_reports(connection, "dismissed")] == made[:1]
        assert {info.id for info in await list_reports(connection, person="sub_1")} == set(made[:3])
        first = await list_reports(connection, limit=3)
        assert first + await list_reports(connection, before=first[-1].place) == everything
        assert await count_reports(connection) == 3


async def test_a_report_is_closed_and_opened_again(db: Database, subjects: SubjectKeys) -> None:
    made = await send(db, subjects)
    async with db.begin() as connection:
        done = await handle_report(connection, made, "sub_staff", "handled", "model replaced")
        assert [done] == await list_reports(connection)
        assert (done.state, done.handled_by, done.note) == ("handled", "sub_staff", "model replaced")
        again = await handle_report(connection, made, "sub_staff", "open")
        assert (again.state, again.handled_by, again.handled_at) == ("open", "", 0)
        found = await list_entries(connection, action="report.handle", target=made)
        assert [entry.detail for entry in found] == [
            '{"from":"handled","to":"open"}',
            '{"from":"open","to":"handled"}',
        ]


async def test_a_destroyed_key_leaves_the_report_without_its_text(
    db: Database, subjects: SubjectKeys
) -> None:
    made = await send(db, subjects)
    subjects.destroy("sub_1", 1)
    found = await read(db, subjects, made)
    assert found.text is None
    assert "was destroyed" in found.unreadable
    assert found.info.model == "m"


async def test_a_lost_keyring_is_told(sqlite: Database, subjects: SubjectKeys, tmp_path: Path) -> None:
    made = await send(sqlite, subjects)
    other = SubjectKeys.open(tmp_path, Keyring(b"\x01" * SIZE))
    found = await read(sqlite, other, made)
    other.close()
    assert found.text is None
    assert "its key is lost" in found.unreadable


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"reason": "rude"}, "wrong, harmful"),
        ({"turn": ""}, "by their ids"),
        ({"turn": "x" * 65}, "by their ids"),
        ({"model": "a\nb"}, "by their ids"),
        ({"text": ReportText(remark="x" * 2001)}, "2,000"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    sqlite: Database, subjects: SubjectKeys, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ReportError, match=words):
        await send(sqlite, subjects, **fields)


async def test_mistakes_of_staff_are_told(sqlite: Database, subjects: SubjectKeys) -> None:
    made = await send(sqlite, subjects)
    async with sqlite.begin() as connection:
        for report, state, note, words in (
            ("rep_none", "handled", "", "modu report list"),
            (made, "gone", "", "open, handled"),
            (made, "handled", "x" * 501, "500"),
            (made, "handled", "\x1b[2J", "printable"),
        ):
            with pytest.raises(ReportError, match=words):
                await handle_report(connection, report, "sub_staff", state, note)
        with pytest.raises(ReportError, match="no report"):
            await read_report(connection, subjects, "rep_none", "sub_staff")


async def test_long_and_strange_text_is_kept_as_far_as_it_can_be(
    sqlite: Database, subjects: SubjectKeys
) -> None:
    strange = ReportText(question="가" * 1_000_000, answer="\ud800\x00<script>\u202e", remark="")
    found = await read(sqlite, subjects, await send(sqlite, subjects, text=strange))
    assert found.text is not None
    assert found.text.question == "가" * MOST_TEXT + CUT
    assert found.text.answer == "?\x00<script>\u202e"


@pytest.mark.parametrize(("person", "limit"), [("sub_1", "HOURLY_PERSON"), ("", "HOURLY_GUESTS")])
async def test_a_flood_is_refused(
    sqlite: Database, subjects: SubjectKeys, monkeypatch: pytest.MonkeyPatch, person: str, limit: str
) -> None:
    monkeypatch.setattr(reports, limit, 2)
    for _ in range(2):
        await send(sqlite, subjects, person=person)
    with pytest.raises(ReportError, match="in an hour"):
        await send(sqlite, subjects, person=person)
    await send(sqlite, subjects, person="" if person else "sub_2")
