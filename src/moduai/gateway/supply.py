"""Tells a line what engines there are: what each can do, and whether it takes requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from moduai.engines.fleet import Fleet, Replica
from moduai.engines.telemetry import Load
from moduai.scheduling import FairQueue, Grant, ReplicaSpec, Telemetry


class Supply:
    """What a line is told of a fleet; ``start`` takes the grants that come of it."""

    def __init__(self, fleet: Fleet, line: FairQueue, start: Callable[[list[Grant]], None]) -> None:
        self._fleet, self._line, self._start = fleet, line, start
        self._rooms: dict[str, int] = {}
        """Tokens of the engines' KV caches, as far as they told."""

    def changed(self, engine: str, replica: Replica | None) -> None:
        """An engine is there, is another one, takes requests or none; None: it has gone."""
        if replica is None:
            self._rooms.pop(engine, None)
            self._line.remove_replica(engine)
            return
        hardware = replica.engine.hardware
        spec = ReplicaSpec(
            frozenset(replica.models),
            replica.engine.concurrency,
            hardware.count,
            hardware.kind,
            self._rooms.get(engine, 0),
        )
        now = time.monotonic_ns()
        self._start(self._line.set_replica(engine, spec, is_open=replica.is_open, now=now))

    def loaded(self, engine: str, load: Load) -> None:
        """An engine has told its load. A room that it no longer tells still counts."""
        replica = self._fleet.replicas.get(engine)
        if replica is None:
            return
        if load.room > 0 and load.room != self._rooms.get(engine):
            self._rooms[engine] = load.room
            self.changed(engine, replica)
        told = Telemetry(load.running, load.waiting, load.kv_used)
        self._line.observe(engine, told, time.monotonic_ns())
