"""How the service is right now: load, line, waits, engines, errors."""

from __future__ import annotations

import asyncio
import time
from weakref import WeakKeyDictionary

from msgspec import Struct

from moduai.accounts.reports import count_reports
from moduai.engines.fleet import Replica
from moduai.gateway.errors import ApiError
from moduai.gateway.lane import Lane
from moduai.gateway.metrics import (
    ERRORS,
    FAILURES,
    FIRST_TOKEN,
    LEDGER,
    QUEUE,
    Figures,
    Times,
    joined,
    joined_times,
)
from moduai.gateway.stats import BOUNDS_S
from moduai.metering import report
from moduai.store.database import Connection, Database
from moduai.web.api.operation import Call, Nothing, Operation

MINUTES = 60
"""How far back the counts of all workers go, in minutes."""
FRESH_S = 1.5
"""How long a look at the ledger is good, in seconds: less than a page waits between two of its own."""
REST = 20
"""Looking takes at most one part in so many of the time: a large ledger is looked at less often."""


class Quantiles(Struct, frozen=True, kw_only=True):
    """Times of requests that ran since the workers began, in seconds; a quantile is the upper end of the
    histogram's bucket that it falls into, null before the first request.
    """

    count: int
    mean_s: float | None
    median_s: float | None
    p95_s: float | None


class EngineNow(Struct, frozen=True, kw_only=True):
    """One engine as the worker that answers sees it."""

    id: str
    name: str
    kind: str
    state: str
    """active or draining."""
    health: str
    """well; shaky: it failed just now; away: nothing is sent to it until a check succeeds."""
    running: int
    concurrency: int
    failures: int
    """Requests that it failed since the workers began."""
    models: list[str]


class ModelNow(Struct, frozen=True, kw_only=True):
    """One model as the worker that answers sees it."""

    name: str
    waiting: int
    engines: int
    """Engines that take requests for it."""
    stopped: bool


class ErrorNow(Struct, frozen=True, kw_only=True):
    """Errors told to clients since the workers began."""

    code: str
    count: int


class Minute(Struct, frozen=True, kw_only=True):
    """One minute, over all workers: requests that arrived in it and have ended."""

    at: int
    """Its start, Unix time in seconds."""
    requests: int
    failed: int


class Recent(Struct, frozen=True, kw_only=True):
    """The last hour of all workers, from the ledger."""

    requests: int
    failed: int
    tokens_out: int
    wait_ms: float
    first_token_ms: float
    minutes: list[Minute]
    """Sixty minutes, the newest last."""


class WorkerNow(Struct, frozen=True, kw_only=True):
    """One worker of this machine."""

    name: str
    boot: str
    """Names its process; empty while it does not answer."""
    started_at: int


class Now(Struct, frozen=True, kw_only=True):
    """The state of this machine's workers together, and the last hour of all gateways."""

    at: int
    """Unix time in seconds."""
    workers: list[WorkerNow]
    draining: bool
    degraded: list[str]
    """What does not work now in one of them, by name."""
    running: int
    capacity: int
    """Requests that engines which take some can run at once."""
    waiting: int
    unwritten: int
    """Usage rows that are not yet on disk."""
    wait: Quantiles
    first_token: Quantiles
    engines: list[EngineNow]
    models: list[ModelNow]
    errors: list[ErrorNow]
    recent: Recent | None
    """Null while the database does not answer."""
    open_reports: int | None


async def now(call: Call, _: Nothing) -> Now:
    """Figures come from the memory of this machine's workers, each since it began; the last hour comes from
    the ledger and is of all machines. While the database is away the rest is shown all the same.
    """
    services, lane, at = call.services, lane_of(call), int(call.now)
    each = await services.workers.told() if services.workers else {}
    told = [one for one in each.values() if one is not None]
    failures = joined(told, FAILURES)
    past = await _HOURS.setdefault(services.database, Past()).look(services.database, at)
    engines = [
        _engine(lane, replica, int(failures.get((replica.engine.id,), 0)))
        for replica in lane.fleet.replicas.values()
    ]
    waiting = lane.line.waiting()
    return Now(
        at=at,
        workers=[_worker(name, one) for name, one in each.items()],
        draining=lane.draining,
        degraded=list(dict.fromkeys([*services.degraded(), *(bad for one in told for bad in one.degraded)])),
        running=sum(lane.line.running().values()),
        capacity=sum(r.engine.concurrency for r in lane.fleet.replicas.values() if r.is_open),
        waiting=sum(waiting.values()),
        unwritten=int(joined(told, LEDGER).get((), 0)),
        wait=_quantiles(joined_times(told, QUEUE)),
        first_token=_quantiles(joined_times(told, FIRST_TOKEN)),
        engines=sorted(engines, key=lambda one: one.name),
        models=[_model(lane, name, waiting.get(name, 0)) for name in sorted(lane.fleet.models())],
        errors=_errors(joined(told, ERRORS)),
        recent=past[0],
        open_reports=past[1],
    )


class Past:
    """The last hour as the ledger tells it, looked up for all who ask at once and not at every asking."""

    def __init__(self) -> None:
        self._known: tuple[Recent | None, int | None] = (None, None)
        self._next = 0.0
        self._lock = asyncio.Lock()

    async def look(self, database: Database, at: int) -> tuple[Recent | None, int | None]:
        """The last hour and the open reports, at most ``FRESH_S`` old, or as old as ``REST`` times the look
        took; None while the database is away.
        """
        async with self._lock:
            began = time.monotonic()
            if began < self._next:
                return self._known
            try:
                async with database.connect() as connection:
                    self._known = await _recent(connection, at), await count_reports(connection)
            except database.errors:
                self._known = (None, None)  # `degraded` names it
            took = time.monotonic() - began
            self._next = began + took + max(FRESH_S, REST * took)
        return self._known


_HOURS: WeakKeyDictionary[Database, Past] = WeakKeyDictionary()


def _worker(name: str, told: Figures | None) -> WorkerNow:
    if told is None:
        return WorkerNow(name=name, boot="", started_at=0)
    return WorkerNow(name=name, boot=told.boot, started_at=told.started)


def _errors(counts: dict[tuple[str, ...], float]) -> list[ErrorNow]:
    """The most frequent first."""
    often = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [ErrorNow(code=code, count=int(count)) for (code,), count in often]


def _engine(lane: Lane, replica: Replica, failures: int) -> EngineNow:
    engine, breaker = replica.engine, replica.breaker
    health = "away" if breaker.state != "closed" else "shaky" if breaker.troubled else "well"
    return EngineNow(
        id=engine.id,
        name=engine.name,
        kind=engine.kind,
        state=engine.state,
        health=health,
        running=lane.line.running().get(engine.id, 0),
        concurrency=engine.concurrency,
        failures=failures,
        models=sorted(replica.models),
    )


def lane_of(call: Call) -> Lane:
    """The worker's lane. Raises ApiError before there is one."""
    if call.services.lane is None:
        raise ApiError("not_ready")
    return call.services.lane


def _model(lane: Lane, name: str, waiting: int) -> ModelNow:
    return ModelNow(
        name=name,
        waiting=waiting,
        engines=sum(replica.is_open for replica in lane.fleet.serving(name)),
        stopped=lane.switches.stop_of(name) is not None,
    )


def _quantiles(times: Times) -> Quantiles:
    counts, count = times.counts, sum(times.counts)
    mean = round(times.sum_us / count / 1e6, 3) if count else None
    return Quantiles(count=count, mean_s=mean, median_s=quantile(counts, 0.5), p95_s=quantile(counts, 0.95))


def quantile(counts: list[int], part: float) -> float | None:
    """The upper end, in seconds, of the bucket that the quantile falls into; None where there is nothing."""
    wanted, seen = sum(counts) * part, 0
    for bound, count in zip((*BOUNDS_S, 2 * BOUNDS_S[-1]), counts, strict=True):
        seen += count
        if count and seen >= wanted:
            return round(bound, 3)
    return None


async def _recent(connection: Connection, at: int) -> Recent:
    first = at // 60 * 60 - (MINUTES - 1) * 60
    since, until = first * 1_000_000, (at + 1) * 1_000_000
    total = await report.total(connection, since, until)
    lines = {int(line.group): line for line in await report.usage(connection, since, until, "minute")}
    minutes = []
    for start in range(first, first + MINUTES * 60, 60):
        line = lines.get(start * 1_000_000)
        minutes.append(
            Minute(at=start, requests=line.requests if line else 0, failed=line.failed if line else 0)
        )
    return Recent(
        requests=total.requests,
        failed=total.failed,
        tokens_out=total.tokens_out,
        wait_ms=round(total.queue_us / 1000, 1),
        first_token_ms=round(total.first_token_us / 1000, 1),
        minutes=minutes,
    )


OPERATIONS = (
    Operation("now", "GET", "/api/now", "console", "How the service is right now.", Nothing, Now, now, "now"),
)
