"""revoke: a key is revoked in the database; when does the last of four gateways refuse it?"""

from __future__ import annotations

import asyncio
import time

import httpx

from benchmarks.bars import Bench, Measured, Row
from benchmarks.bars.cells_world import World, known, large, make_people
from moduai.accounts.keys import list_keys, revoke_key
from moduai.settings import load
from moduai.store.database import Database


def revoke(bench: Bench) -> Measured:
    """Seconds until the last gateway refuses, the slowest of the rounds."""
    rounds = 2 if bench.quick else 20
    times = asyncio.run(_rounds(bench.shared(large), rounds))
    value = round(max(times), 3)
    note = f"{rounds} keys at all gateways, SQLite: median {sorted(times)[rounds // 2]:.3f} s"
    return Measured(Row("revoke", value, "<= 1 s", value <= 1.0), [note])


async def _rounds(each: World, rounds: int) -> list[float]:
    home, urls = each.cell.home.folder, [gateway.url for gateway in each.cell.gateways]
    db = Database(load(home, {}).database_url)
    times = []
    try:
        for _ in range(rounds):
            (person,) = await make_people(home, urls[:1], [1])
            everywhere = [type(person)(person.key, person.subject, url, 1) for url in urls]
            await known(everywhere)
            async with db.begin() as connection:
                (info,) = await list_keys(connection, subject=person.subject)
                await revoke_key(connection, info.id)
            began = time.monotonic()
            times.append(max(await asyncio.gather(*(_refused(url, person.key) for url in urls))) - began)
    finally:
        await db.dispose()
    return times


async def _refused(url: str, key: str) -> float:
    """When this gateway refused the key first and for good."""
    async with httpx.AsyncClient(
        base_url=url, headers={"authorization": f"Bearer {key}"}, verify=False
    ) as client:
        async with asyncio.timeout(30):
            while (await client.get("/v1/models")).status_code != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return time.monotonic()
