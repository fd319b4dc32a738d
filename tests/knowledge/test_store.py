"""Documents in the database: versions that stay, changes that nobody misses, removal that removes."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import select

from moduai.knowledge import store
from moduai.knowledge.store import Collection, KnowledgeError, Refused
from moduai.knowledge.tables import documents, versions
from moduai.store.database import Database

from .plain import parsed

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
ONE = parsed("제1조 목적\n제2조 정의", licence="KOGL-1", in_force_from=date(2026, 1, 1))
TWO = parsed("제1조 목적\n제2조 뜻", in_force_from=date(2027, 1, 1))


async def made(db: Database, name: str = "법", address: str = "/law") -> Collection:
    async with db.begin() as c:
        return await store.create(c, Collection(id="", name=name, kind="folder", address=address))


async def test_a_document_comes_back_as_it_was_read(db: Database) -> None:
    law = await made(db)
    async with db.begin() as c:
        kept = await store.put(c, law.id, "민법.md", ONE, "d1", NOW)
    async with db.connect() as c:
        found = await store.text(c, kept.id, 1)
        assert await store.document(c, kept.id) == kept
    assert found == (kept, ONE.text, ONE.passages)
    assert kept.facts.in_force_from == date(2026, 1, 1)
    assert kept.retrieved_at == NOW


async def test_another_reading_is_another_version_and_the_first_stays(db: Database) -> None:
    law = await made(db)
    async with db.begin() as c:
        first = await store.put(c, law.id, "민법.md", ONE, "d1", NOW)
        second = await store.put(c, law.id, "민법.md", TWO, "d2", NOW)
    assert (first.id, second.version) == (second.id, 2)
    async with db.connect() as c:
        assert await store.text(c, first.id, 1) == (first, ONE.text, ONE.passages)
        assert await store.document(c, first.id) == second
        assert [one.version for one in await store.history(c, first.id)] == [2, 1]


async def test_what_reads_the_same_is_no_new_version_and_no_change(db: Database) -> None:
    law = await made(db)
    async with db.begin() as c:
        first = await store.put(c, law.id, "민법.md", ONE, "d1", NOW)
        before = await store.changed(c, 0, 10)
        again = await store.put(c, law.id, "민법.md", ONE, "d2", NOW)
        assert again == first
        assert await store.changed(c, 0, 10) == before
        assert (await store.known(c, law.id))["민법.md"].digest == "d2"


async def test_changes_are_told_in_order_and_a_removed_document_has_no_text(db: Database) -> None:
    law = await made(db)
    async with db.begin() as c:
        a, b = [await store.put(c, law.id, key, ONE, "d", NOW) for key in "ab"]
        assert [(one.document, one.version) for one in await store.changed(c, 0, 10)] == [
            (a.id, 1),
            (b.id, 1),
        ]
        last = (await store.changed(c, 0, 10))[-1].number
        assert await store.remove(c, [a.id, "doc_unknown"]) == 1
        assert [(one.document, one.version) for one in await store.changed(c, last, 10)] == [(a.id, 0)]
        assert [one.document for one in await store.changed(c, 0, 1)] == [b.id]
        assert await store.document(c, a.id) is None
        assert await store.text(c, a.id, 1) is None
        assert (await c.execute(select(versions).where(versions.c.document == a.id))).all() == []
        assert await store.remove(c, [a.id]) == 0
        assert [await store.newest(c, each) for each in (a.id, b.id, "doc_unknown")] == [0, 1, None]


async def test_the_numbers_of_versions_are_not_used_again_after_a_removal(db: Database) -> None:
    law = await made(db)
    async with db.begin() as c:
        first = await store.put(c, law.id, "a", ONE, "d", NOW)
        await store.remove(c, [first.id])
        again = await store.put(c, law.id, "a", TWO, "d", NOW)
    assert (again.id, again.version) == (first.id, 2)


async def test_numbers_become_visible_in_their_order(db: Database) -> None:
    """Who follows while others write, and keeps only the last number it saw, hears of every document."""
    law = await made(db)
    seen: set[str] = set()
    written: set[str] = set()
    ended = asyncio.Event()

    async def write(key: str) -> None:
        async with db.begin() as c:
            written.add((await store.put(c, law.id, key, ONE, "d", NOW)).id)
            await asyncio.sleep(0.01)  # others begin meanwhile
            written.add((await store.put(c, law.id, f"{key}2", ONE, "d", NOW)).id)

    async def follow() -> None:
        last = 0
        while True:
            over = ended.is_set()
            async with db.connect() as c:
                found = await store.changed(c, last, 3)
            seen.update(one.document for one in found)
            last = found[-1].number if found else last
            if over and not found:
                return
            await asyncio.sleep(0)

    follower = asyncio.create_task(follow())
    await asyncio.gather(*(write(f"k{number}") for number in range(8)))
    ended.set()
    await follower
    assert seen == written
    async with db.connect() as c:
        numbers = (await c.execute(select(documents.c.changed))).scalars().all()
    assert len(set(numbers)) == 16


async def test_a_collection_is_counted_found_and_dropped(db: Database) -> None:
    law, other = await made(db), await made(db, "다른", "/other")
    async with db.begin() as c:
        kept = await store.put(c, law.id, "a", ONE, "d", NOW)
        await store.put(c, other.id, "a", ONE, "d", NOW)
        await store.set_state(c, law.id, "ready", done=1, total=1, refused=[Refused("b", "x", "why")] * 200)
    async with db.connect() as c:
        found = await store.collection(c, "법")
        assert (found.id, found.documents, found.passages, found.state) == (law.id, 1, 2, "ready")
        assert len(found.refused) == store.MOST_REFUSED
        assert found.updated_at > 0
        assert await store.collection(c, "/law") == found
        assert [one.name for one in await store.collections(c)] == ["다른", "법"]
        assert [one.key for one in await store.listed(c, law.id)] == ["a"]
        assert await store.listed(c, law.id, kept.id) == []
    async with db.begin() as c:
        assert await store.drop(c, law.id) == 1
    async with db.begin() as c:
        assert await store.document(c, kept.id) is None
        assert [one.name for one in await store.collections(c)] == ["다른"]
        assert not await store.set_state(c, law.id, "ready")
        with pytest.raises(KnowledgeError, match="there is no collection '법'"):
            await store.collection(c, "법")


@pytest.mark.parametrize(("name", "address"), [("법", "/other"), ("다른", "/law")])
async def test_a_name_and_an_address_are_there_once(db: Database, name: str, address: str) -> None:
    await made(db)
    with pytest.raises(KnowledgeError, match="'법' is there already"):
        await made(db, name, address)
