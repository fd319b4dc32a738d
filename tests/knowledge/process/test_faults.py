"""What the search process is sent and what runs short: it refuses with a reason, and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from moduai.child import socket_path
from moduai.knowledge.client import Search
from moduai.knowledge.tables import versions
from moduai.knowledge.types import Query, SearchAwayError
from tests.knowledge.process.conftest import put, until
from tests.knowledge.process.shelf import PANIC, REFUSED, SLOW

QUERY = json.dumps({"query": {"text": "apple"}}).encode()


async def raw(loaded, sent: bytes, *, end: bool = False) -> bytes:
    """What is answered to these bytes."""
    reader, writer = await asyncio.open_unix_connection(socket_path(loaded.home, "search"))
    try:
        writer.write(sent)
        if end:
            writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


def request(body: bytes, head: bytes = b"POST /search HTTP/1.1\r\n") -> bytes:
    return head + b"Host: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture
async def here(start, db):
    await put(db, "an apple")
    process = start()
    await process.ready()
    return process


@pytest.mark.parametrize(
    ("sent", "status", "why"),
    [
        (b"\x00\x01\x02\xff" * 100 + b"\r\n\r\n", 400, "not a request"),
        (b"a" * 100_000, 400, "too long"),
        (b"DELETE /search HTTP/1.1\r\n\r\n", 400, "not a request"),
        (b"GET /search HTTP/1.1\r\n\r\n", 404, "nothing at this address"),
        (b"POST /nowhere HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 404, "nothing at this address"),
        (request(b""), 400, "Input data was truncated"),
        (request(b"\xff\xfe"), 400, ""),
        (request(b"[" * 50_000), 400, ""),
        (request(b'{"query": {"text": 5}}'), 400, "Expected `str`"),
        (request(b'{"query": {"text": "a", "limit": 0}}'), 400, "limit has to be"),
        (request(b'{"query": {"text": "a", "limit": 1000000}}'), 400, "limit has to be"),
        (request(b'{"query": {"text": "a"}, "index": "/etc"}'), 400, "unknown field"),
        (request(json.dumps({"query": {"text": "a" * 5000}}).encode()), 400, "4,000 characters"),
        (b"POST /search HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", 400, "at most"),
    ],
)
async def test_nonsense_is_refused_with_a_reason(here, loaded, sent, status, why):
    head, _, body = (await raw(loaded, sent)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert why in json.loads(body)["error"]
    assert await here.finds("apple") == ["an apple"]


async def test_who_stops_in_mid_sentence_or_reads_nothing_harms_nobody(here, loaded):
    assert await raw(loaded, request(QUERY)[:-5], end=True) == b""
    assert await raw(loaded, b"POST /sea", end=True) == b""
    for _ in range(50):
        _, writer = await asyncio.open_unix_connection(socket_path(loaded.home, "search"))
        writer.write(request(QUERY))
        writer.transport.abort()
    held = [await asyncio.open_unix_connection(socket_path(loaded.home, "search")) for _ in range(100)]
    assert await until(lambda: here.finds("apple")), "once it has seen that the others left"
    for _, writer in held:
        writer.close()
    assert "Traceback" not in here.told()


async def test_a_crowd_is_refused_rather_than_kept_waiting(here):
    tasks = [asyncio.create_task(here.search.search(Query(SLOW))) for _ in range(80)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    told = {str(one) for one in outcomes if isinstance(one, SearchAwayError)}
    assert "search is away: too many search at once" in told
    assert any(one == [] for one in outcomes), "those that came first are answered"
    await until(lambda: here.finds("apple"))


async def test_a_late_answer_is_none(here, loaded):
    hurried = replace(loaded.settings, knowledge=replace(loaded.settings.knowledge, search_s=0.1))
    late = Search(loaded._replace(settings=hurried))
    with pytest.raises(SearchAwayError, match=r"no answer within 0\.1 s"):
        await late.search(Query(SLOW))


async def test_a_question_that_breaks_a_search_breaks_only_that_one(here):
    with pytest.raises(SearchAwayError, match="the search failed"):
        await here.search.search(Query(PANIC))
    assert await here.finds("apple") == ["an apple"]
    assert PANIC not in here.told(), "no question is written to the log"
    assert "PanicError" in here.told()


async def test_an_index_that_turns_out_to_be_damaged_is_built_anew(here, start, loaded):
    (loaded.index_folder / "index" / "broken").touch()
    with pytest.raises(SearchAwayError):
        await here.finds("apple")
    assert await asyncio.to_thread(here.running.wait, 15) == 1
    assert "its file shelf is damaged" in here.told()
    again = start()
    await again.ready()
    assert await again.finds("apple") == ["an apple"]


async def test_a_document_that_cannot_be_indexed_is_set_aside_and_those_behind_it_go_on(here, db, start):
    (bad,) = await put(db, f"a plum and {REFUSED}", key="plum")
    await put(db, "a pear", "a fig")
    await until(lambda: here.finds("fig"))
    status = await here.search.changed()
    (aside,) = status.aside
    assert (aside.document, aside.version) == (bad.id, 1)
    assert aside.reason == "it cannot be indexed: PanicError"
    assert (status.documents, status.behind, status.error) == (3, 0, "")
    assert await here.finds("plum") == []
    here.stop()
    again = start()
    await again.ready()
    assert (await again.search.status()).aside == (aside,), "it is known after a restart"
    await put(db, "a plum", key="plum")
    status = await again.search.changed()
    assert (status.aside, status.documents) == ((), 4)
    assert await again.finds("plum") == ["a plum"]


async def test_a_document_that_is_damaged_in_the_database_is_set_aside(start, db):
    bad, _ = await put(db, "a plum", "a fig")
    async with db.begin() as c:
        await c.execute(versions.update().where(versions.c.document == bad.id).values(text=b"\x00\x01"))
    here = start()
    await here.ready()
    (aside,) = (await here.search.status()).aside
    assert aside.document == bad.id
    assert "cannot be read" in aside.reason
    assert await here.finds("a") == ["a fig"]


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
async def test_a_full_disk_stops_the_building_and_not_the_search(here, db):
    limits = resource.prlimit(here.running.pid, resource.RLIMIT_FSIZE)
    log_size = here.log.stat().st_size
    resource.prlimit(here.running.pid, resource.RLIMIT_FSIZE, (log_size + 4096, limits[1]))
    await put(db, f"a plum {'x' * 20_000}")
    await until(lambda: _failing(here))
    assert await here.finds("apple") == ["an apple"]
    assert await here.finds("plum") == []
    with pytest.raises(SearchAwayError, match="File too large"):
        await here.search.changed()
    resource.prlimit(here.running.pid, resource.RLIMIT_FSIZE, limits)
    await until(lambda: here.finds("plum"))
    status = await here.search.changed()
    assert (status.documents, status.error) == (2, "")


async def _failing(here):
    return (await here.search.status()).error


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
async def test_it_is_bounded_and_goes_first(start, db):
    here = start(MODU_KNOWLEDGE__MEMORY_MB="700")
    await here.ready()
    assert limit_of(here.running.pid) == 700 * 1_048_576
    assert set(nice_of(here.running.pid)) == {min(19, os.nice(0) + 5)}


def limit_of(pid: int) -> int:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Max data size")).split()[3])


def nice_of(pid: int) -> list[int]:
    """Of each thread."""
    found = [(one / "stat").read_text() for one in Path(f"/proc/{pid}").glob("task/*")]
    return [int(text.rsplit(")", 1)[1].split()[16]) for text in found]
