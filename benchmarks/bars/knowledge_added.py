"""added: what looking into public documents adds before the engine is called, on all statutes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.bars import Bench, Measured, Row, median
from benchmarks.bars.knowledge_statutes import questions, warm
from benchmarks.harness.searching import Home
from moduai.accounts.principal import Principal
from moduai.desk import Desk, Known
from moduai.desk.shelf import StoredShelf
from moduai.gateway.local import Done
from moduai.knowledge.client import Search

MUST_MS, WANT_MS = 60.0, 20.0
WARM_UP = 50
MODEL = "stub"
WHO = Principal(subject="bench", history=False)


class Engine:
    """Writes nothing, and remembers when it was called."""

    def __init__(self) -> None:
        self.called = 0.0

    async def __call__(
        self, body: dict[str, Any], principal: Principal, *, conversation: str = "", parent: str = ""
    ) -> AsyncIterator[Any]:
        """As ``gateway.local.LocalAsk``."""
        self.called = time.perf_counter()
        yield Done("stop", MODEL, 0, 0, "")


def added(bench: Bench) -> Measured:
    """The median of the milliseconds from the question to the engine's call, through the desk and the search
    process; for what is not found, until that is said.
    """
    made = bench.shared(warm)
    asked = questions(made.built.laws, quick=bench.quick)
    called, other = asyncio.run(measure(made.built.home, asked))
    value = round(median(called), 2) if called else None
    row = Row("added", value, f"<= {MUST_MS} ms (want {WANT_MS})", value is not None and value <= MUST_MS)
    return Measured(row, [f"reached the engine: {_told(called)}; did not: {_told(other)}"], broken=not called)


async def measure(home: Home, asked: list[str]) -> tuple[list[float], list[float]]:
    """Milliseconds of the questions that reached the engine, and of those that did not."""
    engine, called, other = Engine(), list[float](), list[float]()
    async with home.database() as db:
        known = {MODEL: Known(32_768, in_the_box=False)}.get
        desk = Desk(engine, Search(home.loaded), StoredShelf(db), known)
        for text in asked[:WARM_UP]:
            await _ask(desk, text)
        for text in asked:
            began, engine.called = time.perf_counter(), 0.0
            await _ask(desk, text)
            ended = engine.called or time.perf_counter()
            (called if engine.called else other).append((ended - began) * 1e3)
    return called, other


async def _ask(desk: Desk, text: str) -> None:
    async for _ in desk({"model": f"{MODEL}+public", "messages": [{"role": "user", "content": text}]}, WHO):
        pass


def _told(times: list[float]) -> str:
    if not times:
        return "none"
    p90 = sorted(times)[int(0.9 * len(times))]
    return f"{len(times):,}, p50 {median(times):.1f} ms, p90 {p90:.1f} ms, least {min(times):.1f} ms"
