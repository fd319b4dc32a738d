"""What the bars of fairness share: the pool, the policy, the traces' folder, and the flood that is run
under each dispatcher once.

The pool is one H100 with an 8-billion-parameter model in 16 bits. The flood is 400 light users, who each
ask every forty seconds, and 8 heavy ones, who send so much that all want 3.5 times what the pool can do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.bars import Bench
from moduai.planner import Dispatcher, Engine, Record, Request, Twin, traffic
from moduai.planner.baselines import FirstCome, RateLimited
from moduai.planner.clock import SECOND
from moduai.planner.replica import LLAMA_8B_H100
from moduai.planner.traffic import POOL
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import ClassRule, Limits, Policy

STEP = LLAMA_8B_H100
CLASS = "resident"
WIDE = Limits(1_000_000, 1_000_000, 10_000_000)
"""Nobody is refused: what is measured is the order."""
OVERLOAD = 3.5
PRICE = 34_000
"""Nano-accelerator-seconds a token on this pool: it does 29,000 a second."""
SETTLE_S = 5.0
"""What is asked in the last seconds of a run is not judged: it could not be served any more."""
DATA = "MODU_DATA"
"""Environment variable with the folder that holds ``traces``."""


def policy(**changes: object) -> Policy:
    """Everyone in one class, alike, with changes."""
    plain = Policy("bench", {CLASS: ClassRule(CLASS, limits=WIDE)}, CLASS, limits=WIDE, prices={POOL: PRICE})
    return msgspec.structs.replace(plain, **changes)


def pool() -> dict[str, Engine]:
    """The engine, with nothing in it."""
    return {"h100": Engine(STEP)}


def fair(**changes: object) -> FairQueue:
    """The queue itself, with every part of it on that a policy turns on."""
    return FairQueue(policy(**changes))


def play(
    dispatcher: Dispatcher, requests: list[Request], seconds: float, engines: dict[str, Engine] | None = None
) -> Twin:
    """Run a load for so long, on the pool if nothing else is said."""
    twin = Twin(dispatcher, engines or pool())
    twin.play(requests)
    twin.run(seconds)
    return twin


def rate(twin: Twin) -> float:
    """Work a second, in tokens: those of prompts that were read, and twice those of answers."""
    return sum(twin.work(record) for record in twin.records) / (twin.clock.now / SECOND)


def hits(twin: Twin) -> float:
    """Part of all prompts' tokens that were in a cache."""
    ran = [record for record in twin.records if record.grant is not None]
    return sum(record.job.cached for record in ran) / sum(record.job.tokens_in for record in ran)


def of(twin: Twin, name: str) -> list[Record]:
    """Records of people whose name begins so."""
    return [record for record in twin.records if record.request.path[2].startswith(name)]


def firsts(twin: Twin, records: list[Record]) -> list[float]:
    """Times to first token in s of what was taken, the last seconds' requests apart; of what has had none
    yet, its time until now.
    """
    now = twin.clock.now
    taken = [r for r in records if r.ticket.arrived < now - SETTLE_S * SECOND and not r.refused]
    return [(r.first if r.first >= 0 else now - r.ticket.arrived) / SECOND for r in taken]


def traces() -> Path | None:
    """The traces' folder, if it is there: by ``MODU_DATA``, else ``../shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get(DATA, beside)) / "traces"
    return folder if folder.is_dir() else None


@contextmanager
def capacity(bench: Bench) -> Iterator[float]:
    """What the pool can do: work a second under a load of programs that never lets it rest."""
    del bench
    yield rate(play(FirstCome(), traffic.heavy(9, 40, 200.0), 40))


def flooded(bench: Bench, light: list[Request], seconds: float) -> list[Request]:
    """The light load, and as much from 8 heavy users as makes 3.5 times the capacity."""
    wanted = OVERLOAD * bench.shared(capacity) - sum(request.work for request in light) / seconds
    sample = traffic.heavy(9, 100, 100.0)
    mean = sum(request.work for request in sample) / len(sample)
    return traffic.merged(light, traffic.heavy(2, seconds, wanted / mean))


RIVALS: dict[str, Callable[[], Dispatcher]] = {
    "first come, first served": FirstCome,
    "10 requests a minute": RateLimited,
    "Modu": fair,
}


class Flood:
    """The synthetic flood: light users alone, then all under each dispatcher."""

    def __init__(self, bench: Bench) -> None:
        self.seconds = 40.0 if bench.quick else 240.0
        self.light = traffic.light(1, self.seconds)
        self.load = flooded(bench, self.light, self.seconds)
        self.runs = {name: play(make(), self.load, self.seconds) for name, make in RIVALS.items()}


@contextmanager
def flood_runs(bench: Bench) -> Iterator[Flood]:
    """The flood's runs, made once."""
    yield Flood(bench)
