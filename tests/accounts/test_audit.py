from __future__ import annotations

import asyncio
import hashlib
import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from moduai.accounts import audit, audit_roots
from moduai.accounts.audit import AuditError, Entry, list_entries, record
from moduai.accounts.audit_roots import (
    Published,
    SealError,
    Sealing,
    published,
    roots,
    seal_day,
    seal_past,
)
from moduai.accounts.audit_verify import Verdict, verify
from moduai.store.database import Database
from moduai.store.signing import SigningKeys

TODAY = datetime.now(UTC).date()
YESTERDAY = (TODAY - timedelta(days=1)).isoformat()
NOW = time.time()
LATER = max(NOW, datetime.combine(TODAY, datetime.min.time(), UTC).timestamp() + 2 * audit_roots.MARGIN_S)


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run just after midnight see yesterday as over."""
    monkeypatch.setattr(audit_roots, "MARGIN_S", 0)


@pytest.fixture
def signing(tmp_path: Path) -> SigningKeys:
    return SigningKeys.open(tmp_path)


async def write(db: Database, count: int, *, writer: str = "", days_ago: float = 0) -> None:
    """Entries as they would have been written some days ago."""
    async with db.begin() as connection:
        for _ in range(count):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(time, "time_ns", lambda: int((NOW - days_ago * 86_400) * 1e9))
                await record(
                    connection,
                    actor="sub_1",
                    action="key.revoke",
                    target="key_1",
                    detail={"n": 1},
                    writer=writer,
                )


async def check(db: Database, signing: SigningKeys | None, copy: Published | None = None) -> Verdict:
    async with db.connect() as connection:
        return await verify(connection, signing, copy)


async def seal(db: Database, signing: SigningKeys) -> int:
    return await seal_past(db, signing, LATER)


async def tamper(db: Database, statement: str, **values: Any) -> None:
    async with db.begin() as connection:
        changed = await connection.execute(text(statement), values)
        assert changed.rowcount


async def entries(db: Database) -> list[Entry]:
    async with db.connect() as connection:
        return [entry async for entry in audit.every_entry(connection)]


async def test_what_was_done_is_listed_newest_first(db: Database) -> None:
    async with db.begin() as connection:
        await record(
            connection, actor="cli", action="key.create", target="key_1", detail={"b": 1, "a": ["x"]}
        )
        await record(connection, actor="sub_1", action="key.revoke", target="key_1")
        await record(connection, actor="system", action="keys.load")
        found = await list_entries(connection)
        assert [entry.action for entry in found] == ["keys.load", "key.revoke", "key.create"]
        assert [entry.writer for entry in found] == ["system", "people", "cli"]
        assert found[2].detail == '{"a":["x"],"b":1}'
        assert await list_entries(connection, action="key") == found[1:]
        assert await list_entries(connection, action="key.revoke", actor="sub_1", target="key_1") == [
            found[1]
        ]
        assert await list_entries(connection, actor="cli", target="key_2") == []
        assert await list_entries(connection, since=found[0].at + 1) == []
        page = await list_entries(connection, limit=2)
        assert await list_entries(connection, before=page[-1].place) == found[2:]


async def test_a_chain_is_as_the_documents_say(db: Database) -> None:
    """Recomputed with Python's own JSON and SHA-256."""
    await write(db, 2)
    previous = "00" * 32
    for entry in await entries(db):
        fields = [entry.writer, entry.number, entry.at, entry.actor, entry.action, entry.target, entry.detail]
        said = json.dumps(["modu audit 1", *fields, previous], ensure_ascii=False, separators=(",", ":"))
        assert entry.hash.hex() == hashlib.sha256(said.encode()).hexdigest()
        previous = entry.hash.hex()


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.text(max_size=20).filter(str.isprintable), min_size=4, max_size=4),
    number=st.integers(1, 2**53),
    detail=st.text(max_size=40),
)
def test_two_encoders_agree_on_the_canonical_bytes(words: list[str], number: int, detail: str) -> None:
    writer, actor, action, target = words
    detail = json.dumps({"x": detail})
    mine = audit.digest(
        writer=writer, number=number, at=number, actor=actor, action=action, target=target, detail=detail,
        previous=bytes(32),
    )  # fmt: skip
    fields = ["modu audit 1", writer, number, number, actor, action, target, detail, "00" * 32]
    said = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    assert mine == hashlib.sha256(said.encode()).digest()


@pytest.mark.parametrize(
    "fields",
    [
        {"actor": ""},
        {"action": ""},
        {"target": "x" * 201},
        {"target": "a\nb"},
        {"detail": {"text": "x" * 201}},
        {"detail": {"text": "\ud800"}},
        {"detail": {"deep": {}}},
        {"detail": {"share": 0.5}},
        {"detail": {str(n): "x" * 200 for n in range(30)}},
    ],
)
async def test_what_could_be_text_of_a_person_is_refused(sqlite: Database, fields: dict[str, Any]) -> None:
    async with sqlite.begin() as connection:
        with pytest.raises(AuditError):
            await record(connection, **{"actor": "cli", "action": "test", **fields})
    assert await entries(sqlite) == []


async def test_an_entry_is_there_only_with_what_it_tells_of(db: Database) -> None:
    async with db.begin() as connection:
        await record(connection, actor="cli", action="test")
        await connection.rollback()
    assert await entries(db) == []


async def test_writers_at_once_do_not_fork_a_chain(db: Database, signing: SigningKeys) -> None:
    async def one(number: int) -> None:
        async with db.begin() as connection:
            await connection.execute(text("SELECT 1"))
            await record(connection, actor="cli", action=f"test.{number}", writer=f"w{number % 2}")
            await asyncio.sleep(0)

    await asyncio.gather(*(one(number) for number in range(24)))
    found = await check(db, signing)
    assert found.problems == []
    assert found.chains == {"w0": 12, "w1": 12}


TAMPERED = {
    "UPDATE audit SET actor = 'sub_2' WHERE {people} = 3": "entry 3 of chain people was changed",
    "UPDATE audit SET detail = '{{}}' WHERE {people} = 5": "entry 5 of chain people was changed",
    "UPDATE audit SET at = at + 1 WHERE {other} = 1": "entry 1 of chain other was changed",
    "DELETE FROM audit WHERE {people} = 2": "chain people: entry 2 was removed",
    "DELETE FROM audit WHERE {people} IN (1, 2)": "chain people: entries 1 to 2 were removed",
    "DELETE FROM audit WHERE {people} >= 4": "ends at entry 3, but had 5",
    "DELETE FROM audit WHERE {other} > 0": "chain other ends at entry 0, but had 2",
    "UPDATE audit SET number = 15 WHERE {people} = 5": "entries 5 to 14 were removed",
    "UPDATE audit SET writer = 'third' WHERE {other} > 0": "chain third was changed",
    "UPDATE audit_roots SET root = signature": "was changed",
    "UPDATE audit_roots SET signature = root": "signature of the root of",
    "UPDATE audit_roots SET key = 'sig_0000000000000000'": "not in keyring/signing.json",
    "UPDATE audit_roots SET heads = '{{}}'": "was changed",
    "UPDATE audit_roots SET day = '2999-01-01'": "to come: the clock was wrong",
    "DELETE FROM audit_roots": "no root, though some were signed",
}
"""What somebody does to the database, and what is told of it."""


async def test_what_was_done_to_the_log_is_told(db: Database, signing: SigningKeys) -> None:
    await write(db, 5, days_ago=1)
    await write(db, 2, writer="other", days_ago=1)
    await seal(db, signing)
    chains = {name: f"writer = '{name}' AND number" for name in ("people", "other")}
    for statement, words in TAMPERED.items():
        async with db.begin() as connection:
            assert (await verify(connection, signing)).problems == []
            changed = await connection.execute(text(statement.format(**chains)))
            assert changed.rowcount
            problems = (await verify(connection, signing)).problems
            assert any(words in problem for problem in problems), (statement, problems)
            await connection.rollback()


ODD = (
    "UPDATE audit SET hash = 'not bytes' WHERE number = 2",
    "UPDATE audit SET hash = 99999999999 WHERE number = 2",
    "UPDATE audit SET previous = '' WHERE number = 2",
    "UPDATE audit SET number = 'two' WHERE number = 2",
    "UPDATE audit SET number = 'five' WHERE number = 5",
    "UPDATE audit SET at = 'noon' WHERE number = 5",
    "UPDATE audit SET actor = x'ff' WHERE number = 2",
    "UPDATE audit SET target = x'' WHERE number = 5",
    "UPDATE audit SET writer = x'00' WHERE number = 2",
    "UPDATE audit_roots SET root = 'x'",
    "UPDATE audit_roots SET signature = 17",
    "UPDATE audit_roots SET key = x'ff'",
    "UPDATE audit_roots SET day = x'ff'",
)
"""Values of another kind, which SQLite keeps as they are."""


@pytest.mark.parametrize("statement", ODD)
async def test_values_of_another_kind_are_told_too(
    sqlite: Database, signing: SigningKeys, statement: str
) -> None:
    await write(sqlite, 4, days_ago=1)
    await seal(sqlite, signing)
    await write(sqlite, 1)
    assert (await check(sqlite, signing)).problems == []
    await tamper(sqlite, statement)
    assert (await check(sqlite, signing)).problems != []
    async with sqlite.connect() as connection:
        assert len(await list_entries(connection)) == 5


async def test_entries_that_changed_places_are_told(db: Database, signing: SigningKeys) -> None:
    await write(db, 3)
    for change in ("99 WHERE number = 1", "1 WHERE number = 2", "2 WHERE number = 99"):
        await tamper(db, f"UPDATE audit SET number = {change}")
    problems = (await check(db, signing)).problems
    assert any("entry 1 of chain people was changed" in problem for problem in problems)
    assert any("entry 2 of chain people was changed" in problem for problem in problems)


async def test_a_chain_that_was_written_anew_is_told_by_the_root(db: Database, signing: SigningKeys) -> None:
    """Whoever can write to the database can make a chain whose hashes fit, but not the signature."""
    await write(db, 3, days_ago=1)
    await seal(db, signing)
    await tamper(db, "DELETE FROM audit")
    await write(db, 3, days_ago=1.001)
    (problem,) = (await check(db, signing)).problems
    assert f"entry 3 of chain people is not the one under the root of {YESTERDAY}" in problem


async def test_roots_that_were_removed_are_told_by_what_was_published(
    db: Database, signing: SigningKeys, tmp_path: Path
) -> None:
    await write(db, 3, days_ago=3)
    assert await seal(db, signing) == 3
    async with db.connect() as connection:
        copy = await published(connection, tmp_path)
    assert (await check(db, signing, copy)).problems == []
    await tamper(db, "DELETE FROM audit_roots WHERE day = :day", day=YESTERDAY)
    assert (await check(db, signing)).problems == []  # nothing here says that there was another
    assert any("was published and is not here" in p for p in (await check(db, signing, copy)).problems)
    await tamper(db, "DELETE FROM audit_roots WHERE day = (SELECT min(day) FROM audit_roots)")
    assert any("one was removed or changed" in p for p in (await check(db, signing)).problems)
    await tamper(db, "DELETE FROM audit_roots")
    await tamper(db, "DELETE FROM audit WHERE number = 3")
    assert any("its end was cut off" in p for p in (await check(db, None, copy)).problems)


async def test_a_copy_is_believed_only_if_it_is_signed(
    db: Database, signing: SigningKeys, tmp_path: Path
) -> None:
    await write(db, 3, days_ago=1)
    await seal(db, signing)
    async with db.connect() as connection:
        copy = await published(connection, tmp_path)
    for forged in (
        msgspec.structs.replace(copy.roots[0], signature="00" * 64),
        msgspec.structs.replace(copy.roots[0], signature="no hex"),
        msgspec.structs.replace(copy.roots[0], key="sig_other"),
        msgspec.structs.replace(copy.roots[0], heads={}),
    ):
        found = await check(db, signing, Published(keys=copy.keys, roots=[forged]))
        assert any("the copy is no good" in problem for problem in found.problems)


async def test_a_lost_keyring_is_told_and_hashes_are_checked_all_the_same(
    db: Database, signing: SigningKeys
) -> None:
    await write(db, 3, days_ago=1)
    assert (await check(db, None)).problems == []  # nothing was signed yet
    await seal(db, signing)
    (problem,) = (await check(db, None)).problems
    assert "put back keyring/signing.json" in problem
    await tamper(db, "UPDATE audit SET actor = 'x' WHERE number = 2")
    assert len((await check(db, None)).problems) == 2


async def test_another_keyring_is_told(db: Database, signing: SigningKeys, tmp_path: Path) -> None:
    await write(db, 1, days_ago=1)
    await seal(db, signing)
    other = SigningKeys.open(tmp_path / "other")
    (problem,) = (await check(db, other)).problems
    assert "not in keyring/signing.json" in problem


async def test_each_past_day_is_sealed_once_whoever_seals(
    db: Database, signing: SigningKeys, tmp_path: Path
) -> None:
    await write(db, 2, days_ago=3)
    await write(db, 1, days_ago=1)
    await write(db, 1)
    others = [SigningKeys.open(tmp_path) for _ in range(3)]
    sealed = await asyncio.gather(*(seal(db, each) for each in (signing, *others)))
    assert sum(sealed) == 3
    async with db.connect() as connection:
        found = await roots(connection)
    days = [(TODAY - timedelta(days=n)).isoformat() for n in (3, 2, 1)]
    assert [root.day for root in found] == days
    assert [root.heads["people"].number for root in found] == [2, 2, 3]  # not today's
    assert await seal(db, signing) == 0
    verdict = await check(db, signing)
    assert (verdict.ok, verdict.entries, verdict.roots, verdict.sealed_until) == (True, 4, 3, YESTERDAY)


async def test_a_root_waits_for_entries_that_are_being_written(db: Database, signing: SigningKeys) -> None:
    await write(db, 1, days_ago=1)
    async with db.begin() as connection:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: int((NOW - 86_400) * 1e9))
            await record(connection, actor="sub_1", action="late")
        sealing = asyncio.create_task(seal(db, signing))
        done, _ = await asyncio.wait({sealing}, timeout=0.2)
        assert not done
    assert await sealing == 1
    async with db.connect() as connection:
        (root,) = await roots(connection)
    assert root.heads["people"].number == 2


async def test_a_day_that_is_not_over_is_not_sealed(sqlite: Database, signing: SigningKeys) -> None:
    await write(sqlite, 1, days_ago=1)
    async with sqlite.begin() as connection:
        for day in (TODAY.isoformat(), (TODAY + timedelta(days=1)).isoformat()):
            with pytest.raises(SealError, match="not over"):
                await seal_day(connection, signing, day)
        assert await seal_day(connection, signing, YESTERDAY)
        assert await seal_day(connection, signing, YESTERDAY) is None
        with pytest.raises(SealError, match="cannot be any more"):
            await seal_day(connection, signing, (TODAY - timedelta(days=2)).isoformat())


async def test_a_long_rest_is_not_sealed_day_by_day(
    sqlite: Database, signing: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_roots, "MOST_DAYS", 5)
    await write(sqlite, 1, days_ago=3000)
    assert await seal(sqlite, signing) == 5
    assert (await check(sqlite, signing)).problems == []


async def test_roots_outlive_the_rotation_of_their_key(sqlite: Database, signing: SigningKeys) -> None:
    await write(sqlite, 1, days_ago=2)
    async with sqlite.begin() as connection:
        await seal_day(connection, signing, (TODAY - timedelta(days=2)).isoformat())
    signing.rotate("audit")
    assert await seal(sqlite, signing) == 1
    assert (await check(sqlite, signing)).problems == []


async def test_an_empty_log_is_whole_and_has_no_roots(db: Database, signing: SigningKeys) -> None:
    assert await seal(db, signing) == 0
    verdict = await check(db, signing)
    assert verdict.ok
    assert (verdict.entries, verdict.notes) == (0, [])


async def test_what_is_long_unsealed_is_noted(db: Database, signing: SigningKeys) -> None:
    await write(db, 1, days_ago=4)
    verdict = await check(db, signing)
    assert verdict.ok
    assert "under no root yet" in verdict.notes[0]


async def test_the_service_seals_again_when_the_keyring_is_back(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_roots, "EVERY_S", 0.01)
    await write(sqlite, 1, days_ago=1)
    SigningKeys.open(tmp_path)
    file = tmp_path / "keyring" / "signing.json"
    file.chmod(0o644)
    sealing = Sealing(sqlite, tmp_path)
    task = asyncio.create_task(sealing.run())
    try:
        async with asyncio.timeout(60):
            while not sealing.failing:  # noqa: ASYNC110  (no event tells it)
                await asyncio.sleep(0.01)
        assert not task.done()
        file.chmod(0o600)
        async with asyncio.timeout(60):
            while True:
                async with sqlite.connect() as connection:
                    if await roots(connection):
                        break
                await asyncio.sleep(0.01)
            while sealing.failing:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


CHANGES = ("actor", "action", "target", "detail", "at")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each example begins with an empty log
@given(data=st.data())
async def test_any_change_below_a_root_is_found(
    sqlite: Database, signing: SigningKeys, data: st.DataObject
) -> None:
    """Property: one entry removed, changed, moved or put in, or the end cut off, is always a problem."""
    async with sqlite.begin() as connection:
        await connection.execute(text("DELETE FROM audit"))
        await connection.execute(text("DELETE FROM audit_roots"))
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    for number, size in enumerate(sizes):
        await write(sqlite, size, writer=f"w{number}", days_ago=1)
    await seal(sqlite, signing)
    writer = data.draw(st.integers(0, len(sizes) - 1))
    number = data.draw(st.integers(1, sizes[writer]))
    one = f"writer = 'w{writer}' AND number = {number}"
    change = data.draw(
        st.one_of(
            st.just(f"DELETE FROM audit WHERE {one}"),
            st.just(f"DELETE FROM audit WHERE writer = 'w{writer}' AND number >= {number}"),
            st.just(f"UPDATE audit SET number = number + 100 WHERE {one}"),
            st.sampled_from(CHANGES).map(lambda field: f"UPDATE audit SET {field} = '1' WHERE {one}"),
            st.just(f"UPDATE audit SET hash = zeroblob(32) WHERE {one}"),
            st.just(f"UPDATE audit SET previous = randomblob(32) WHERE {one}"),
            st.just(
                "INSERT INTO audit SELECT writer, number + 1000, at, actor, action, target, detail, "
                f"hash, hash FROM audit WHERE {one}"
            ),
        )
    )
    assert (await check(sqlite, signing)).problems == []
    await tamper(sqlite, change)
    assert (await check(sqlite, signing)).problems != []


def test_days_are_utc() -> None:
    assert audit_roots._end("2026-11-21") == datetime(2026, 11, 22, tzinfo=UTC).timestamp()
    assert audit_roots._day(datetime(2026, 11, 22, tzinfo=UTC).timestamp() - 1) == date(2026, 11, 21)
