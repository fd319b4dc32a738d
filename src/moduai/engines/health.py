"""Watches the engines: is each one alive, and has it still the models that its record names?

Active checks and what the lane sees feed the same breaker. While a breaker is open, the check is its
trial: people's requests are never used to find out whether an engine is back. A check that cannot be
made counts as a failure (fails closed). An engine that is well is also asked for its load.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial

from moduai.engines.discovery import DiscoveryError, discover, refreshed
from moduai.engines.fleet import Fleet, Replica
from moduai.engines.http import FetchError, fetch
from moduai.engines.record import Engine
from moduai.engines.telemetry import Load, ask
from moduai.settings import Upstream

OnChange = Callable[[Engine], Awaitable[None]]
OnLoad = Callable[[str, Load], None]

TICK_S = 1.0
CHECK_S = 5.0
"""Longest wait for the answer of a check."""
CLOUD_S = 60.0
"""Time between two checks of a server that we know nothing of: it may be someone else's."""
ANSWER_LIMIT = 1_048_576

log = logging.getLogger(__name__)


class HealthWatch:
    """Checks every engine of a fleet in turn; ``found`` is told of records that changed, ``loaded`` of an
    engine's id and what it says of its load.
    """

    def __init__(
        self,
        fleet: Fleet,
        settings: Upstream,
        found: OnChange,
        loaded: OnLoad = lambda _id, _load: None,
    ) -> None:
        self._fleet, self._settings, self._found, self._loaded = fleet, settings, found, loaded
        self._check_at: dict[str, float] = {}
        self._discover_at: dict[str, float] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._well: set[str] = set()
        self._silent: set[str] = set()
        """Engines that do not tell their load; asked again when their models are."""

    async def run(self) -> None:
        """Watch until cancelled. One slow engine keeps no other one waiting."""
        try:
            while True:
                self.tick(time.monotonic())
                await asyncio.sleep(min(TICK_S, self._settings.health_s))
        finally:
            running = list(self._running.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def tick(self, now: float) -> None:
        """Begin the checks that are due at ``now``, in seconds."""
        replicas = self._fleet.replicas
        for schedule in (self._check_at, self._discover_at):
            for gone in schedule.keys() - replicas.keys():
                del schedule[gone]
        self._well &= replicas.keys()
        self._silent &= replicas.keys()
        for engine_id, replica in replicas.items():
            self._discover_at.setdefault(engine_id, now + self._settings.discover_s)
            due = now >= self._check_at.get(engine_id, 0.0) or replica.breaker.state != "closed"
            if due and engine_id not in self._running and replica.breaker.allow(time.monotonic_ns()):
                self._check_at[engine_id] = now + self._pause(replica.engine)
                task = asyncio.get_running_loop().create_task(self._look(replica, now))
                self._running[engine_id] = task
                task.add_done_callback(partial(self._done, engine_id))

    def _pause(self, engine: Engine) -> float:
        return max(self._settings.health_s, CLOUD_S) if engine.kind == "openai" else self._settings.health_s

    def _done(self, engine_id: str, task: asyncio.Task[None]) -> None:
        del self._running[engine_id]
        if not task.cancelled() and (error := task.exception()):
            log.error("engine's record not updated", extra={"engine": engine_id, "why": str(error)[:200]})

    async def _look(self, replica: Replica, now: float) -> None:
        engine, was = replica.engine, replica.breaker.state
        reason = await unwell(replica, min(CHECK_S, self._settings.first_byte_s))
        self._fleet.report(engine.id, ok=not reason, now=time.monotonic_ns())
        state = replica.breaker.state
        if reason:
            self._check_at[engine.id] = 0.0  # look again at the next tick: three in a row open it
            if state == "open" and was == "closed":
                self._tell_away(engine, reason)
            return
        if was != "closed":
            event = "engine is back" if engine.id in self._well else "engine is ready"
            log.info(event, extra={"engine": engine.name})
        self._well.add(engine.id)
        due = was != "closed" or now >= self._discover_at.get(engine.id, now)
        if due:
            self._silent.discard(engine.id)
        if engine.kind != "openai" and engine.id not in self._silent:
            await self._ask_load(replica)
        if engine.kind != "embedded" and due and engine.id in self._fleet.replicas:
            self._discover_at[engine.id] = now + self._settings.discover_s
            await self._rediscover(engine)

    async def _ask_load(self, replica: Replica) -> None:
        load = await ask(replica, min(CHECK_S, self._settings.first_byte_s))
        if load is None:
            self._silent.add(replica.engine.id)
        elif replica.engine.id in self._fleet.replicas:
            self._loaded(replica.engine.id, load)

    def _tell_away(self, engine: Engine, reason: str) -> None:
        """The embedded engine begins with us and first loads its weights: that is nobody's trouble."""
        if engine.id in self._well:
            log.warning("engine is away", extra={"engine": engine.name, "why": reason})
        else:
            level = logging.INFO if engine.kind == "embedded" else logging.WARNING
            log.log(level, "engine is not ready yet", extra={"engine": engine.name, "why": reason})

    async def _rediscover(self, engine: Engine) -> None:
        try:
            there = await discover(engine.url, engine.key, timeout_s=CHECK_S)
        except DiscoveryError as error:
            log.warning("engine cannot be asked for its models", extra={"why": str(error)})
            return
        if not engine.follows:
            _tell_missing(engine, there)
        found = refreshed(engine, there)
        if found != engine:
            log.info("engine has other models", extra={"engine": engine.name, "models": len(found.models)})
            await self._found(found)


def _tell_missing(engine: Engine, there: Engine) -> None:
    """Models that the operator named stay offered, so that they must be looked for where they are missing."""
    missing = {model.upstream_name for model in engine.models} - {
        model.upstream_name for model in there.models
    }
    if missing:
        log.warning(
            "engine lacks models it was added for", extra={"engine": engine.name, "models": sorted(missing)}
        )


async def unwell(replica: Replica, timeout_s: float) -> str:
    """Why an engine is not well, or "" if it is: asks ``/health``, or ``/v1/models`` of unknown kinds."""
    path = "/v1/models" if replica.engine.kind == "openai" else "/health"
    try:
        reply = await fetch(
            replica.address,
            "GET",
            path,
            key=replica.engine.key,
            timeout_s=timeout_s,
            limit=ANSWER_LIMIT,
        )
    except FetchError as error:
        return str(error)
    return "" if reply.status == 200 else f"GET {path}: {reply.status}"
