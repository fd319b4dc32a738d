"""The lease, on a file and on a real server: one holder, greater epochs, what the next one goes on from."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis.asyncio
from benchmarks.harness.cell import redis_process

from moduai.cells.lease import AwayError, FileLease, Lease, RedisLease

TERM_S = 0.3
Make = Callable[[], Lease]


@pytest.fixture(params=["file", "redis"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Leases of one cell, as processes have them."""
    made: list[Lease] = []
    cell = secrets.token_hex(4)
    url = request.getfixturevalue("redis") if request.param == "redis" else ""

    def new() -> Lease:
        made.append(RedisLease(url, cell, TERM_S) if url else FileLease(tmp_path, cell))
        return made[-1]

    yield new
    for lease in made:
        await lease.close()


async def test_one_holds_it_and_the_next_has_a_greater_epoch(make: Make) -> None:
    one, two = make(), make()
    assert await one.owner() is None
    assert await one.take("here", 0) == 1
    assert await two.take("there", 0) is None
    assert await one.keep()
    owner = await two.owner()
    assert owner is not None
    assert (owner.epoch, owner.address) == (1, "here")
    await one.give_up()
    assert await two.take("there", 0) == 2
    assert await two.keep()


async def test_an_epoch_is_above_all_that_were_seen(make: Make) -> None:
    assert await make().take("here", 41) == 42


async def test_who_gives_up_for_a_newer_one_leaves_an_epoch_above_it(make: Make) -> None:
    """As a store does not know that has forgotten who came."""
    one, two = make(), make()
    assert await one.take("here", 0) == 1
    await two.give_up(99)  # it is not its own to give up
    await one.give_up(41)
    assert await two.take("there", 0) == 42


async def test_the_next_one_goes_on_from_what_was_saved(make: Make) -> None:
    one, two = make(), make()
    assert await two.saved() is None
    await one.take("here", 0)
    await one.save(b"state")
    found = await two.saved()
    assert found is not None
    assert found[0] == b"state"
    assert 0 <= found[1] < 60_000_000_000


async def test_the_totals_of_each_cell_are_heard_by_all_until_it_leaves(
    request: pytest.FixtureRequest, make: Make, tmp_path: Path
) -> None:
    one, standby = make(), make()
    cell = one._cell if isinstance(one, RedisLease) else one._lock.stem.removeprefix("cell-")
    url = request.getfixturevalue("redis") if isinstance(one, RedisLease) else ""
    other = RedisLease(url, f"{cell}-b", 30) if url else FileLease(tmp_path, f"{cell}-b")
    assert await one.exchange(b"early") is None, "only the dispatcher tells"
    await one.take("here", 0)
    await other.take("there", 0)
    told = await one.exchange(b"1 \0\xff")
    assert told is not None
    assert told[cell][0] == b"1 \0\xff"
    await asyncio.sleep(0.01)
    told = await other.exchange(b"2")
    assert told is not None
    assert {name: data for name, (data, _) in told.items() if cell in name} == {
        cell: b"1 \0\xff", f"{cell}-b": b"2",
    }  # fmt: skip
    assert 1_000_000 < told[cell][1] < 60_000_000_000
    assert await standby.exchange(b"false") is None
    await one.give_up()
    assert cell not in (await other.exchange(b"3") or {})
    await other.close()


async def test_a_cell_that_is_silent_for_long_is_forgotten(redis: str, tmp_path: Path) -> None:
    one, two = RedisLease(redis, secrets.token_hex(4), 30), FileLease(tmp_path, "c")
    client = redis_client(redis)
    await client.hset("modu:totals", "long-ago", b"5 old")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cell-long-ago.totals").touch()
    os.utime(tmp_path / "run" / "cell-long-ago.totals", (5, 5))
    for lease in (one, two):
        await lease.take("here", 0)
        told = await lease.exchange(b"now")
        assert told
        assert "long-ago" not in told
        await lease.close()
    assert not await client.hexists("modu:totals", "long-ago")
    await client.aclose()


async def test_what_no_cell_has_told_is_taken_out(redis: str) -> None:
    lease, client = RedisLease(redis, secrets.token_hex(4), 30), redis_client(redis)
    await client.hset("modu:totals", mapping={"odd": b"nonsense", b"\xff": b"never said"})
    await lease.take("here", 0)
    told = await lease.exchange(b"now")
    assert told is not None
    assert "odd" not in told
    assert not await client.hexists("modu:totals", "odd")
    await lease.close()
    await client.aclose()


async def test_what_was_told_before_the_stores_clock_was_set_back_grows_old(redis: str) -> None:
    lease, client = RedisLease(redis, secrets.token_hex(4), 30), redis_client(redis)
    await client.hset("modu:totals", "gone", b"9000000000000000 totals")
    await lease.take("here", 0)
    told = await lease.exchange(b"now")
    assert told is not None
    assert told["gone"] == (b"totals", 0)
    async with asyncio.timeout(60):
        while not (await lease.exchange(b"now") or {})["gone"][1]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await client.hdel("modu:totals", "gone")
    await lease.close()
    await client.aclose()


async def test_a_holder_that_says_nothing_loses_it(redis: str) -> None:
    cell = secrets.token_hex(4)
    one, two = RedisLease(redis, cell, TERM_S), RedisLease(redis, cell, TERM_S)
    assert await one.take("here", 0) == 1
    async with asyncio.timeout(60):
        while await two.take("there", 0) is None:  # noqa: ASYNC110  (time passes in the server)
            await asyncio.sleep(0.02)
    assert not await one.keep()
    await one.give_up()  # it is not its own to give up
    assert await two.keep()
    owner = await one.owner()
    assert owner is not None
    assert owner.address == "there"
    for lease in (one, two):
        await lease.close()


async def test_late_but_nobody_came(redis: str) -> None:
    lease = RedisLease(redis, secrets.token_hex(4), 0.05)
    await lease.take("here", 0)
    async with asyncio.timeout(60):
        while await lease.owner():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await lease.keep()
    assert await lease.owner()
    await lease.close()


async def test_a_store_that_was_emptied(redis: str) -> None:
    cell = secrets.token_hex(4)
    one, two = RedisLease(redis, cell, 30), RedisLease(redis, cell, 30)
    assert await one.take("here", 6) == 7
    client = redis_client(redis)
    await client.delete(*(f"modu:cell:{cell}:{name}" for name in ("owner", "epoch", "state")))
    assert await one.keep(), "its holder puts it back"
    assert await two.take("there", 0) is None
    await client.delete(*(f"modu:cell:{cell}:{name}" for name in ("owner", "epoch")))
    assert await two.take("there", 7) == 8, "or another one comes, above the epoch that it saw"
    assert not await one.keep()
    for each in (one, two):
        await each.close()
    await client.aclose()


async def test_a_store_that_is_away(tmp_path: Path) -> None:
    with redis_process(tmp_path) as (url, server):
        lease = RedisLease(url, "c", 1.0)
        await lease.take("here", 0)
        server.kill()
        for ask in (lease.keep, lease.owner, lease.saved, lease.give_up):
            with pytest.raises(AwayError):
                await ask()
        for tell in (lease.save, lease.exchange):
            with pytest.raises(AwayError):
                await tell(b"")
        await lease.close()


async def test_a_folder_that_refuses(tmp_path: Path) -> None:
    lease = FileLease(tmp_path, "c")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cell-c.json").mkdir()
    with pytest.raises((AwayError, IsADirectoryError)):
        await lease.take("here", 0)
    other = FileLease(tmp_path, "d")
    await other.take("here", 0)
    (tmp_path / "run" / "cell-d.totals").mkdir()
    with pytest.raises(AwayError):
        await other.exchange(b"")
    await other.close()
    (tmp_path / "run" / "cell-c.state").mkdir()
    with pytest.raises(AwayError):
        await lease.save(b"")
    with pytest.raises(AwayError):
        await lease.saved()
    await lease.close()


def redis_client(url: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(url)
