"""Two cells with real processes and a real store of their leases, one class with work in both of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from benchmarks.bars import Bench
from benchmarks.bars.cells_totals import POLICY
from benchmarks.bars.cells_world import World, known, make_people, worlds


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[World, World]]:
    with worlds(Bench(tmp_path, quick=True), "two", gateways=1, policy=POLICY) as found:
        yield found
        log = found[0].cell.logs() + found[1].cell.logs()
        assert "Traceback" not in log, log[-6000:]


async def test_weights_move_between_cells_and_move_back_when_one_dies(two: tuple[World, World]) -> None:
    here, there = two
    home, (url,) = here.cell.home.folder, [gateway.url for gateway in here.cell.gateways]
    far = there.cell.gateways[0].url
    here.people = [
        *await make_people(home, [url], [100] * 3, "one"),
        *await make_people(home, [url], [100] * 3, "both"),
    ]
    there.people = await make_people(home, [far], [100] * 3, "both")
    await known([*here.people, *there.people])
    asking = here.ask(), there.ask()
    await until(url, lambda weight, ages, degraded: weight < 1.5 and ages and "cells" not in degraded)
    there.cell.dispatchers[0].kill()
    await until(url, lambda weight, _, degraded: weight == 2 and "cells" in degraded)
    await here.end(asking[0])
    for task in asking[1]:  # there is nobody to answer them
        task.cancel()
    await asyncio.gather(*asking[1], return_exceptions=True)
    assert [person.broken for person in here.people if person.broken] == []


async def until(url: str, met: Callable[[float, list[str], list[str]], object]) -> None:
    """Until what a gateway tells is so: the weight of the class in both, of which cells it knows, and what is
    degraded.
    """
    found: tuple[float, list[str], list[str]] = (0.0, [], [])
    async with asyncio.timeout(60), httpx.AsyncClient(base_url=url, timeout=60) as client:
        while not met(*found) or not found[0]:
            lines = (await client.get("/metrics")).text.splitlines()
            weights = [line for line in lines if line.startswith("modu_share_weight{") and '"both"' in line]
            ages = [line for line in lines if line.startswith("modu_cells_age_seconds{")]
            degraded = (await client.get("/health/ready")).json()["degraded"]
            found = float(weights[0].split()[-1]) if weights else 0.0, ages, degraded
            await asyncio.sleep(0.1)
