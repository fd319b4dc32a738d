"""The lease, on a file and on a real server: one holder, greater epochs, what the next one goes on from."""

from __future__ import annotations

import asyncio
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


async def test_the_next_one_goes_on_from_what_was_saved(make: Make) -> None:
    one, two = make(), make()
    assert await two.saved() is None
    await one.take("here", 0)
    await one.save(b"state")
    found = await two.saved()
    assert found is not None
    assert found[0] == b"state"
    assert 0 <= found[1] < 60_000_000_000


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
        with pytest.raises(AwayError):
            await lease.save(b"")
        await lease.close()


async def test_a_folder_that_refuses(tmp_path: Path) -> None:
    lease = FileLease(tmp_path, "c")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "cell-c.json").mkdir()
    with pytest.raises((AwayError, IsADirectoryError)):
        await lease.take("here", 0)
    (tmp_path / "run" / "cell-c.state").mkdir()
    with pytest.raises(AwayError):
        await lease.save(b"")
    with pytest.raises(AwayError):
        await lease.saved()
    await lease.close()


def redis_client(url: str) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(url)
