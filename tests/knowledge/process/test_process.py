"""The search process as it runs: it answers, it follows, it stops, and it comes back from what breaks it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat

import pytest

from moduai import service
from moduai.child import socket_path
from moduai.cli import doctor
from moduai.knowledge import watch
from moduai.knowledge.client import Search
from moduai.knowledge.types import Query, SearchAwayError
from tests.knowledge.process.conftest import put, put_many, remove, until

MANY = 1600
"""Documents: four batches."""


async def test_what_is_in_the_database_is_found_and_what_is_removed_is_not(start, db):
    apple, _ = await put(db, "an apple", "a pear")
    here = start()
    await here.ready()
    (found,) = await here.search.search(Query("apple"))
    assert (found.document, found.version, found.text) == (apple.id, 1, "an apple")
    await put(db, "a plum")
    await here.search.changed()
    assert await here.finds("plum") == ["a plum"]
    await remove(db, apple.id)
    status = await here.search.changed()
    assert await here.finds("apple") == []
    assert (status.documents, status.behind, status.error) == (2, 0, "")


async def test_a_change_is_heard_of_without_being_told(start, db):
    here = start()
    await here.ready()
    await put(db, "a plum")
    await until(lambda: here.finds("plum"))


async def test_only_what_the_asker_may_see_is_found(start, db):
    await put(db, "an apple", collection="col_a")
    await put(db, "another apple", collection="col_b")
    here = start()
    await here.ready()
    found = await here.search.search(Query("apple"), frozenset({"col_b"}))
    assert [one.text for one in found] == ["another apple"]
    assert await here.search.search(Query("apple"), frozenset()) == []


async def test_it_stops_when_told_and_takes_its_socket_away(start, db, loaded):
    here = start()
    await here.ready()
    socket = socket_path(loaded.home, "search")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert here.stop() == 0
    assert not socket.exists()
    assert "stopped" in here.told()
    with pytest.raises(SearchAwayError, match="search is away"):
        await here.finds("apple")


async def test_killed_it_goes_on_where_it_was(start, db):
    await put(db, "an apple")
    here = start()
    await here.ready()
    here.stop(signal.SIGKILL)
    await put(db, "a plum")
    again = start()
    await again.ready()
    assert await again.finds("a") == ["an apple", "a plum"]
    assert "built anew" not in again.told()


async def test_killed_in_mid_build_it_builds_the_rest(start, db):
    await put_many(db, MANY)
    here = start()
    await until(lambda: _holds_some(here))
    here.stop(signal.SIGKILL)
    again = start()
    await again.ready()
    status = await again.search.status()
    assert (status.documents, status.behind) == (MANY, 0)
    assert "built anew" not in again.told()


async def test_stopped_in_mid_build_it_stops_after_what_is_under_way(start, db):
    await put_many(db, MANY)
    here = start()
    await until(lambda: _holds_some(here))
    assert here.stop() == 0
    again = start()
    await again.ready()
    assert (await again.search.status()).documents == MANY
    assert "built anew" not in again.told()


async def _holds_some(here):
    status = await here.search.status()
    assert status.documents < MANY, "it was faster than the test"
    assert status.state == "building"
    return status.documents and status.behind == MANY - status.documents


@pytest.mark.parametrize("damage", ["cut off", "gone", "no source", "another source"])
async def test_an_index_that_cannot_be_used_is_built_anew(start, db, loaded, damage):
    await put(db, "an apple", "a plum")
    here = start()
    await here.ready()
    here.stop()
    source, shelf = loaded.index_folder / "source", loaded.index_folder / "index" / "shelf"
    match damage:
        case "cut off":
            shelf.write_bytes(shelf.read_bytes()[:10])
        case "gone":
            shelf.unlink()
            shelf.parent.rmdir()
        case "no source":
            source.unlink()
        case _:
            source.write_text("another")
    again = start()
    if damage == "cut off":  # the first one cannot open it and ends; the supervisor starts another
        assert await asyncio.to_thread(again.running.wait, 15) == 1
        again = start()
    await again.ready()
    assert await again.finds("a") == ["an apple", "a plum"]


async def test_a_database_from_a_backup_has_its_own_index(start, db, loaded):
    first = await put(db, "an apple")
    with sqlite3.connect(db.file) as old:
        copy = old.serialize()
    old.close()
    await put(db, "a plum")
    here = start()
    await here.ready()
    here.stop()
    await db.dispose()
    for end in ("-wal", "-shm"):
        db.file.with_name(f"{db.file.name}{end}").unlink(missing_ok=True)
    db.file.write_bytes(copy)
    again = start()
    assert await asyncio.to_thread(again.running.wait, 15) == 1
    assert "an older one" in again.told()
    again = start()
    await again.ready()
    assert await again.finds("a") == ["an apple"]
    assert first


async def test_while_the_database_is_away_what_is_known_is_found(start, db, loaded):
    await put(db, "an apple")
    here = start()
    await here.ready()
    await db.dispose()
    files = list(loaded.home.glob("modu.db*"))
    for file in files:
        file.rename(file.with_name(f"away-{file.name}"))
    assert await here.finds("apple") == ["an apple"]
    with pytest.raises(SearchAwayError, match="unable to open database"):
        await here.search.changed()
    assert "unable to open" in (await here.search.status()).error
    for file in files:
        file.with_name(f"away-{file.name}").rename(file)
    await put(db, "a plum")
    await until(lambda: here.finds("plum"))
    assert (await here.search.changed()).error == ""


async def test_two_on_one_folder_do_not_meet(start, db, loaded):
    await put(db, "an apple")
    here = start()
    await here.ready()
    second = start()
    assert await asyncio.to_thread(second.running.wait, 15) == 1
    assert "another process serves" in second.told()
    assert await here.finds("apple") == ["an apple"]


async def test_without_a_process_the_client_says_so(loaded):
    with pytest.raises(SearchAwayError, match="search is away"):
        await Search(loaded).search(Query("apple"))


async def test_a_worker_sees_it_come_pause_and_go(start, db, loaded, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(watch, "EVERY_S", 0.05)
    eye = watch.Watch(Search(loaded))
    task = asyncio.create_task(eye.run())
    assert not eye.ready
    await put(db, "an apple")
    here = start()
    await until(lambda: _is(eye.ready))
    assert eye.status.documents == 1
    here.running.send_signal(signal.SIGSTOP)  # paused, it counts as away: nobody waits for it for long
    await until(lambda: _is(not eye.ready))
    here.running.send_signal(signal.SIGCONT)
    await until(lambda: _is(eye.ready))
    here.stop(signal.SIGKILL)
    await until(lambda: _is(not eye.ready))
    assert eye.status is None
    task.cancel()
    assert [record.message for record in caplog.records if "search" in record.message] == [
        "search is there",
        "search is away",
        "search is there",
        "search is away",
    ]


async def _is(told):
    return told


async def test_the_doctor_says_whether_it_is_there(start, db, loaded):
    (finding,) = await doctor.search(loaded)
    assert (finding.state, finding.told) == ("ok", "starts with the service")
    lock = service.hold(loaded.home)
    (finding,) = await doctor.search(loaded)
    assert (finding.state, "away" in finding.told) == ("problem", True)
    await put(db, "an apple")
    here = start()
    await here.ready()
    (finding,) = await doctor.search(loaded)
    assert (finding.state, finding.told) == ("ok", "1 document, 1 passage")
    os.close(lock)
