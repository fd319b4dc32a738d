"""The search process with our own index: the box is put in, and the first question is answered."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
import sys
from pathlib import Path

import pytest

from moduai.knowledge.store import collections
from moduai.knowledge.types import Query, SearchAwayError
from tests.knowledge.process.conftest import Process, put, put_many, remove, until

pytest.importorskip("tantivy")

PUT_IN = "a collection was put in"


@pytest.fixture
def begin(start):
    """Starts the search process as the supervisor does, without Kiwi."""

    def real(**environ: str) -> Process:
        return start("moduai.knowledge", **environ)

    return real


@pytest.mark.parametrize(
    ("question", "title", "language"),
    [
        ("내 대화가 학습에 쓰이나요?", "내 대화가 AI 학습에 쓰입니까", "ko"),
        ("Is my conversation used to train the model?", "", "en"),
    ],
)
async def test_the_first_question_on_a_new_machine_is_answered(begin, db, question, title, language):
    here = begin(MODU_KNOWLEDGE__BOX="true")
    await here.ready()
    found = await here.search.search(Query(question, language=language))
    assert found
    assert title in found[0].facts.title
    assert found[0].facts.language == language
    assert "Traceback" not in here.told()


async def test_the_box_is_put_in_once(begin, db):
    here = begin(MODU_KNOWLEDGE__BOX="true")
    await here.ready()
    documents = (await here.search.status()).documents
    assert PUT_IN in here.told()
    assert here.stop() == 0
    again = begin(MODU_KNOWLEDGE__BOX="true")
    await again.ready()
    assert (await again.search.status()).documents == documents > 0
    assert again.told().count(PUT_IN) == 1


async def test_the_documents_of_another_pack_take_the_place_of_the_first_ones(begin, db, loaded, tmp_path):
    """Korea's, then an invented country's, its next version, and one without documents."""
    pack = shutil.copytree(Path(__file__).parents[2] / "packs" / "xa", tmp_path / "xa")

    async def told(use: str) -> tuple[list[tuple[str, str]], list[str]]:
        here = begin(MODU_KNOWLEDGE__PACK="true", MODU_PACK__USE=use)
        await here.ready()
        found = await here.search.search(Query("how many devices does Zanbar buy", language="en"))
        assert here.stop() == 0
        assert "Traceback" not in here.told()
        async with db.connect() as c:
            there = [(one.name, one.address) for one in await collections(c)]
        return there, [one.text.split("\n")[-1] for one in found if "Zanbar" in one.text]

    assert await told("kr") == ([("pack-kr", "kr")], [])
    ours = [("pack-xa", str(pack))]
    assert await told(str(pack)) == (ours, ["Zanbar buys at least a thousand devices until the end of 2027."])
    page = pack / "documents" / "en" / "plan.md"
    page.write_text(page.read_text("utf-8").replace("a thousand", "two thousand"), "utf-8")
    assert await told(str(pack)) == (
        ours,
        ["Zanbar buys at least two thousand devices until the end of 2027."],
    )
    page.write_text("<script>", "utf-8")
    there, found = await told(str(pack))
    assert (there, len(found)) == (ours, 1), "a pack with a fault changes nothing"
    shutil.rmtree(pack / "documents")
    assert await told(str(pack)) == ([], [])


async def test_killed_while_it_builds_and_again_it_holds_all(begin, db):
    await put_many(db, 1600)
    for _ in range(3):
        here = begin()
        await until(lambda here=here: _there(here))
        here.stop(signal.SIGKILL)
    again = begin()
    await again.ready()
    status = await again.search.status()
    assert (status.documents, status.passages, status.behind) == (1600, 1600, 0)
    assert [one.document for one in await again.search.search(Query("1234"))] == ["doc_1234"]


async def _there(here):
    return await here.search.status()


@pytest.mark.parametrize("damage", [b"", b"\x00" * 4096, b"{"])
async def test_damaged_files_are_made_anew(begin, db, loaded, damage):
    await put(db, "an apple", "a plum")
    here = begin()
    await here.ready()
    here.stop()
    for file in (loaded.index_folder / "index").iterdir():
        if file.is_file():
            file.write_bytes(damage)
    for _ in range(3):  # as the supervisor starts it again
        again = begin()
        if await _lives(again):
            break
    assert [one.text for one in await again.search.search(Query("apple"))] == ["an apple"]


async def _lives(here):
    while here.running.poll() is None:
        try:
            if (await here.search.status()).state == "ready":
                return True
        except SearchAwayError:
            await asyncio.sleep(0.02)
    return False


@pytest.mark.parametrize("kind", ["store", "idx", "term"])
async def test_damage_while_it_runs_is_seen_and_nothing_is_searched_until_it_is_built_anew(
    begin, db, loaded, kind
):
    await put_many(db, 300)
    here = begin()
    await here.ready()
    for file in (loaded.index_folder / "index").glob(f"*.{kind}"):
        with file.open("r+b") as out:  # in place, under the process that has it open
            out.write(b"\xff" * (file.stat().st_size - 120))
    await _away(here)
    assert await asyncio.to_thread(here.running.wait, 15) != 0
    again = begin()
    while (status := await _status(again)).state != "ready":
        assert "damaged" in status.anew
        try:
            assert await again.finds("234"), "it was ready by then"
        except SearchAwayError as error:
            assert "being built" in error.why  # noqa: PT017  (either is right)
    assert "damaged" in again.told()
    assert (status.documents, status.anew) == (300, "")
    assert [one.document for one in await again.search.search(Query("234"))] == ["doc_234"]


async def test_damage_that_a_change_meets_is_mended_too(begin, db, loaded):
    (apple,) = await put(db, "an apple")
    here = begin()
    await here.ready()
    for file in (loaded.index_folder / "index").glob("*.term"):
        with file.open("r+b") as out:
            out.write(b"\xff" * (file.stat().st_size - 120))
    await remove(db, apple.id)
    await put(db, "a plum")
    assert await asyncio.to_thread(here.running.wait, 30) != 0
    again = begin()
    await again.ready()
    assert "damaged" in again.told()
    assert await again.finds("plum") == ["a plum"]
    assert await again.finds("apple") == []


async def _away(here) -> None:
    """Ask until the damage is met: some words may lie in what is still whole, or in memory."""
    number = 0
    while here.running.poll() is None:
        number += 1
        try:
            await here.finds(f"text {number}")
        except SearchAwayError:
            await asyncio.sleep(0.02)


async def _status(here):
    return await until(here.search.status)


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
async def test_a_full_disk_stops_the_writing_and_not_the_search(begin, db):
    await put(db, "an apple")
    here = begin()
    await here.ready()
    limits = resource.prlimit(here.running.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(here.running.pid, resource.RLIMIT_FSIZE, (16, limits[1]))
    await put(db, "a plum")
    await here.search.changed()
    assert await here.finds("plum") == ["a plum"], "it stands in memory"
    await until(lambda: _error(here))
    assert await here.finds("apple") == ["an apple"]
    assert await here.finds("plum") == ["a plum"]
    resource.prlimit(here.running.pid, resource.RLIMIT_FSIZE, limits)
    await until(lambda: _written(here))
    status = await here.search.changed()
    assert (status.documents, status.error) == (2, "")
    assert here.running.poll() is None


async def _error(here):
    return (await here.search.status()).error


async def _written(here):
    return not await _error(here)
