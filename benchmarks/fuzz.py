"""fuzz: many broken inputs for the gateway and the readers of documents, and what must hold for each.

Four kinds: ``clients`` (connections of clients), ``engines`` (answers of engines), ``bodies``, and
``documents`` of public knowledge. An input follows from the seed, its kind and its number; a finding is
printed with these three.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import uvloop

from benchmarks.fuzzing import bodies, clients, documents, engines, requests
from benchmarks.fuzzing.world import World, rss

SHARE = {"clients": 0.55, "engines": 0.2, "bodies": 0.15, "documents": 0.1}
"""Parts of all inputs."""
GROWTH_BYTES = 4 << 20
"""Most that memory may grow in the second half of a run: more is a leak."""
STRIDE = 1 << 40


@dataclass
class Report:
    """What a run of one kind found."""

    kind: str
    inputs: int = 0
    seconds: float = 0.0
    grown: int = 0
    """Bytes between the middle and the end of the run."""
    findings: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    """Number of the first input of each finding."""

    @property
    def holds(self) -> bool:
        return not self.findings and self.grown < GROWTH_BYTES

    def note(self, problem: str, number: int) -> None:
        self.findings[problem] += 1
        self.first.setdefault(problem, number)


Check = Callable[[random.Random], Awaitable[str | None]]


async def fuzz(kind: str, *, seed: int, inputs: int, seconds: float = 0.0, first: int = 0) -> Report:
    """Run inputs ``first`` … of one kind; ends early after ``seconds``, if they are more than 0."""
    report, rng = Report(kind), random.Random()
    world = World(engines=2 if kind == "engines" else 1)
    check = _check(kind, world)
    began, middle = time.perf_counter(), 0
    for number in range(first, first + inputs):
        rng.seed(seed * STRIDE + number)
        problem = await check(rng)
        report.inputs += 1
        if problem is not None:
            report.note(problem, number)
        if not number % 256:
            await asyncio.sleep(0)
            spent = time.perf_counter() - began
            half = report.inputs >= inputs // 2 or (seconds and spent > seconds / 2)
            if half and not middle:
                gc.collect()
                middle = rss()
            if seconds and spent > seconds:
                break
    report.seconds = time.perf_counter() - began
    gc.collect()
    report.grown = rss() - middle if middle else 0
    await world.close()
    return report


def _check(kind: str, world: World) -> Check:
    async def client(rng: random.Random) -> str | None:
        return await clients.check(world, requests.generate(rng), rng)

    async def engine(rng: random.Random) -> str | None:
        return await engines.check(world, rng)

    async def body(rng: random.Random) -> str | None:
        try:
            return bodies.check(bodies.generate(rng))
        except (Exception, RecursionError) as error:  # noqa: BLE001  (whatever escapes is a finding)
            return f"{type(error).__name__} escapes: {str(error)[:80]}"

    async def document(rng: random.Random) -> str | None:
        return documents.check(*documents.generate(rng), documents.either(rng))

    return {"clients": client, "engines": engine, "bodies": body, "documents": document}[kind]


def run(*, inputs: int, seconds: float, seed: int, only: str = "") -> int:
    """The command: all kinds, one after another; 1 if there is a finding."""
    failed = False
    logging.disable(logging.CRITICAL)  # each failing engine would be a line
    for kind, share in SHARE.items():
        if only and kind != only:
            continue
        report = uvloop.run(fuzz(kind, seed=seed, inputs=int(inputs * share), seconds=seconds * share))
        failed |= not report.holds
        _print(report, seed)
    return int(failed)


def _print(report: Report, seed: int) -> None:
    pace = report.inputs / report.seconds if report.seconds else 0
    print(
        f"{report.kind:9} {report.inputs:>9,} inputs in {report.seconds:,.0f} s ({pace:,.0f}/s), "
        f"{sum(report.findings.values())} findings, memory {report.grown / 2**20:+.1f} MB in the second half"
    )
    for problem, count in report.findings.most_common():
        print(f"  {count:>7} × {problem} (seed {seed}, input {report.first[problem]})")
    sys.stdout.flush()
