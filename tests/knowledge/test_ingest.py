"""Taking documents in: only what changed, going on where it was broken off, and refusing what does harm."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import wait
from pathlib import Path

import pytest

from moduai.knowledge import ingest, store
from moduai.knowledge.errors import SourceError
from moduai.knowledge.ingest import Report, update
from moduai.knowledge.parsing import Parsers
from moduai.knowledge.store import Collection, KnowledgeError
from moduai.knowledge.types import Stored
from moduai.store.database import Database

from . import plain


@pytest.fixture
def parsers() -> Iterator[Parsers]:
    with Parsers(plain.read, 2, cpu_s=2) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "문서"
    made.mkdir()
    for name, text in {"a.md": "가 나\n다 라", "b.md": "마 바", "c.txt": "사 아"}.items():
        (made / name).write_text(text, encoding="utf-8")
    return made


async def collection(db: Database, folder: Path) -> Collection:
    new = Collection(id="", name="문서", kind="folder", address=str(folder), licence="KOGL-1")
    async with db.begin() as c:
        return await store.create(c, new)


class Reads:
    """Reads a collection, and says what was read and how it went."""

    def __init__(self, db: Database, parsers: Parsers, home: Path) -> None:
        self.db = db
        self.parsers = parsers
        self.home = home
        self.progress: list[tuple[int, int, str]] = []

    async def __call__(self, what: Collection, *, again: bool = False) -> Report:
        self.progress.clear()
        return await update(
            self.db,
            what,
            self.parsers,
            home=self.home,
            progress=lambda *said: self.progress.append(said),
            again=again,
        )

    async def keys(self, what: Collection) -> dict[str, int]:
        """Key to version of what the collection has."""
        async with self.db.connect() as c:
            return {key: one.version for key, one in (await store.known(c, what.id)).items()}


@pytest.fixture
def reads(sqlite: Database, parsers: Parsers, tmp_path: Path) -> Reads:
    return Reads(sqlite, parsers, tmp_path / "home")


def empty(folder: Path, *, away: bool = False) -> None:
    """Delete all that is in a folder, or the folder too."""
    for path in folder.iterdir():
        path.unlink()
    if away:
        folder.rmdir()


def counts(report: Report) -> tuple[int, int, int, int, int]:
    return report.added, report.changed, report.same, report.removed, report.refused


async def test_only_what_changed_is_read_again(reads: Reads, folder: Path) -> None:
    what = await collection(reads.db, folder)
    assert counts(await reads(what)) == (3, 0, 0, 0, 0)
    assert reads.progress == [(1, 3, "a.md"), (2, 3, "b.md"), (3, 3, "c.txt")]
    assert counts(await reads(what)) == (0, 0, 3, 0, 0)
    (folder / "a.md").write_text("가 나 다", encoding="utf-8")
    (folder / "b.md").unlink()
    (folder / "d.md").write_text("새", encoding="utf-8")
    assert counts(await reads(what)) == (1, 1, 1, 1, 0)
    assert await reads.keys(what) == {"a.md": 2, "c.txt": 1, "d.md": 1}
    async with reads.db.connect() as c:
        found = await store.collection(c, what.id)
    assert (found.state, found.done, found.total, found.documents) == ("ready", 3, 3, 3)


async def test_documents_say_what_is_known_of_their_source(reads: Reads, folder: Path) -> None:
    what = await collection(reads.db, folder)
    await reads(what)
    async with reads.db.connect() as c:
        found = (await store.listed(c, what.id))[0]
    assert (found.facts.title, found.facts.licence, found.facts.address) == ("가 나", "KOGL-1", "")


async def test_a_document_that_does_harm_costs_itself_only(reads: Reads, folder: Path) -> None:
    what = await collection(reads.db, folder)
    await reads(what)
    for name, text in {
        "a.md": "END",
        "b.md": "SPIN",
        "d.md": "FAIL",
        "e.md": "REFUSE",
        "f.md": "FILL",
        "g.md": "PICTURE 그림",
        "h.md": "하 하",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    report = await reads(what)
    assert counts(report) == (2, 0, 1, 0, 5)
    assert report.partly == 1
    assert {one.key: one.code for one in report.problems} == {
        "a.md": "reader_ended",
        "b.md": "reader_ended",
        "d.md": "reader_failed",
        "e.md": "encrypted",
        "f.md": "too_large",
        "g.md": ingest.PARTLY,
    }
    assert await reads.keys(what) == {"a.md": 1, "b.md": 1, "c.txt": 1, "g.md": 1, "h.md": 1}
    async with reads.db.connect() as c:
        assert len((await store.collection(c, what.id)).refused) == 6


async def test_a_reading_that_was_broken_off_goes_on(
    reads: Reads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MOST_DOCUMENTS", 1)
    what = await collection(reads.db, folder)
    written: list[object] = []
    put = store.put

    async def stops(*given: object) -> Stored:
        if len(written) == 2:
            raise asyncio.CancelledError
        written.append(given[2])
        return await put(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "put", stops)
    with pytest.raises(asyncio.CancelledError):
        await reads(what)
    async with reads.db.connect() as c:
        found = await store.collection(c, what.id)
    assert (found.state, found.documents) == ("waiting", 2)
    monkeypatch.setattr(store, "put", put)
    assert counts(await reads(what)) == (1, 0, 2, 0, 0)


async def test_a_file_of_several_documents(
    reads: Reads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "p.jsonl").write_text("1 하나\n2 둘\n3 셋", encoding="utf-8")
    what = await collection(reads.db, folder)
    assert (await reads(what)).added == 6
    assert counts(await reads(what)) == (0, 0, 4, 0, 0)
    (folder / "p.jsonl").write_text("1 하나\n3 세 개\n4 넷", encoding="utf-8")
    assert counts(await reads(what)) == (1, 1, 4, 1, 0)
    assert {key for key in await reads.keys(what) if "#" in key} == {"p.jsonl#1", "p.jsonl#3", "p.jsonl#4"}
    # Where some of a new file's documents are missing, it is read again although its digest is known.
    async with reads.db.begin() as c:
        lost = (await store.known(c, what.id))["p.jsonl#4"]
        await store.remove(c, [lost.document])
        await store.set_state(c, what.id, "failed")
    assert counts(await reads(what)) == (1, 0, 5, 0, 0)


async def test_everything_is_read_again_where_that_is_wished(reads: Reads, folder: Path) -> None:
    what = await collection(reads.db, folder)
    await reads(what)
    async with reads.db.begin() as c:
        there = (await store.known(c, what.id))["a.md"]
        digest = there.digest
        other = plain.parsed("what another reader made of it")
        await store.put(c, what.id, "a.md", other, digest, store._time(0))
    assert counts(await reads(what)) == (0, 0, 3, 0, 0)
    assert counts(await reads(what, again=True)) == (0, 1, 2, 0, 0)
    assert (await reads.keys(what))["a.md"] == 3


async def test_a_source_that_is_empty_or_away_takes_nothing_with_it(reads: Reads, folder: Path) -> None:
    what = await collection(reads.db, folder)
    await reads(what)
    empty(folder)
    with pytest.raises(SourceError, match="the source is empty now"):
        await reads(what)
    empty(folder, away=True)
    with pytest.raises(SourceError, match="there is no folder"):
        await reads(what)
    assert len(await reads.keys(what)) == 3
    async with reads.db.connect() as c:
        found = await store.collection(c, what.id)
    assert (found.state, found.error[:18]) == ("failed", "there is no folder")


async def test_a_collection_that_is_removed_meanwhile_stays_removed(
    reads: Reads, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MOST_DOCUMENTS", 1)
    what = await collection(reads.db, folder)
    dropped: list[int] = []
    put = store.put

    async def then_dropped(*given: object) -> Stored:
        stored = await put(*given)  # type: ignore[arg-type]
        if not dropped:
            dropped.append(await store.drop(given[0], what.id))  # type: ignore[arg-type]
        return stored

    monkeypatch.setattr(store, "put", then_dropped)
    with pytest.raises(KnowledgeError, match="was removed meanwhile"):
        await reads(what)
    assert dropped == [1]
    assert await reads.keys(what) == {}


async def test_two_readings_at_once_make_nothing_twice(db: Database, parsers: Parsers, folder: Path) -> None:
    what = await collection(db, folder)
    first, second = [
        update(db, what, parsers, home=folder.parent / "home", progress=ingest.silent) for _ in range(2)
    ]
    reports = await asyncio.gather(first, second)
    async with db.connect() as c:
        assert {one.version for one in (await store.known(c, what.id)).values()} == {1}
    assert all(one.refused == 0 for one in reports)


async def test_no_process_that_read_is_left() -> None:
    with Parsers(plain.read, 1) as parsers:
        await parsers.parse("a.md", b"x")
        reader = parsers._free.get_nowait()
        parsers._free.put_nowait(reader)
        (process,) = reader._processes.values()
    # Its executor waits for it too, and only one of two that wait is told: the sentinel tells all.
    assert await asyncio.to_thread(wait, [process.sentinel], 60)


_READS_ON = """
import asyncio
from moduai.knowledge.parsing import Parsers
from tests.knowledge import plain

async def main():
    parsers = Parsers(plain.read, 1)
    await parsers.parse("a.md", b"x")
    print("read", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends them")
def test_no_process_that_read_outlives_one_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _READS_ON], stdout=subprocess.PIPE) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == b"read\n"
        asker.kill()
        asker.communicate(timeout=60)  # to the end of what its readers hold too
