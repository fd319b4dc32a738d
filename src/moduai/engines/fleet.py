"""The engines as one gateway sees them now: records from the feed, connections, and what fails.

Words: a *replica* is one engine with its pool of connections and its breaker. The fleet tells one
listener whenever a replica begins or ceases to take requests; it decides nothing about who runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from moduai.engines.address import Address, parse_url
from moduai.engines.breaker import Breaker
from moduai.engines.http import Pool, request_head
from moduai.engines.record import Capability, Engine, Model
from moduai.settings import Upstream


class _Heads(dict[str, bytes]):
    """The constant part of a POST, by its path."""

    def __init__(self, address: Address, key: str) -> None:
        self._address, self._key = address, key

    def __missing__(self, path: str) -> bytes:
        head = request_head(self._address, "POST", path, self._key)
        head = self[path] = head + b"Content-Type: application/json\r\nContent-Length: "
        return head


class Replica:
    """One engine at work."""

    __slots__ = ("address", "away", "breaker", "engine", "heads", "models", "pool")

    def __init__(self, engine: Engine, upstream: Upstream) -> None:
        self.engine = engine
        self.address: Address = parse_url(engine.url)
        self.pool = Pool(self.address, upstream.connect_s, upstream.keep_s)
        self.breaker = Breaker()
        self.away: bool | None = None
        """What the cell's dispatcher says of it; None: we judge by what we see."""
        self.models: dict[str, Model] = {model.name: model for model in engine.models}
        self.heads = _Heads(self.address, engine.key)

    @property
    def is_open(self) -> bool:
        """True if it may be sent requests."""
        away = self.breaker.state != "closed" if self.away is None else self.away
        return self.engine.state == "active" and not away


class Route(NamedTuple):
    """Where requests for one model and endpoint may go."""

    context: int
    """The largest context among those who have the endpoint; 0: not known."""
    able: bool
    lacking: tuple[str, ...]
    """Engines that serve the model without this endpoint."""


class Fleet:
    """All replicas, by engine id."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.replicas: dict[str, Replica] = {}
        self._routes: dict[tuple[str, str], Route] = {}
        self.listener: Callable[[str, Replica | None], None] = lambda _id, _replica: None
        """Told of every change: the engine's id, and its replica or None when it has gone."""
        self.seen: Callable[[str, bool], None] = lambda _id, _ok: None
        """Told of what requests saw of an engine."""

    def apply(self, engines: Iterable[Engine]) -> None:
        """Take the records as they now stand: adds, changes and removes replicas."""
        self._routes.clear()
        wanted = {engine.id: engine for engine in engines if engine.state != "removed"}
        for gone in self.replicas.keys() - wanted.keys():
            self.replicas.pop(gone).pool.retire()
            self.listener(gone, None)
        for engine in wanted.values():
            known = self.replicas.get(engine.id)
            if known is not None and known.engine == engine:
                continue
            self.replicas[engine.id] = replica = self._renew(known, engine)
            self.listener(engine.id, replica)

    def _renew(self, known: Replica | None, engine: Engine) -> Replica:
        replica = Replica(engine, self._upstream)
        if known is not None and (known.engine.url, known.engine.key) == (engine.url, engine.key):
            replica.pool, replica.breaker, replica.away = known.pool, known.breaker, known.away
        elif known is not None:
            known.pool.retire()
        return replica

    def report(self, engine_id: str, *, ok: bool, now: int) -> None:
        """A request or a health check went well or failed, at ``now`` in ns."""
        replica = self.replicas.get(engine_id)
        if replica is None:
            return
        self.seen(engine_id, ok)
        was = replica.is_open
        (replica.breaker.success if ok else replica.breaker.failure)(now)
        if replica.is_open != was:
            self.listener(engine_id, replica)

    def led(self, away: Collection[str]) -> None:
        """The cell's dispatcher says which engines take no requests; its word counts."""
        for engine_id, replica in self.replicas.items():
            replica.away = engine_id in away

    def route(self, model: str, endpoint: str) -> Route | None:
        """Where a request may go; None if nobody serves the model."""
        try:
            return self._routes[model, endpoint]
        except KeyError:
            serving = self.serving(model)
            able = [r for r in serving if getattr(r.models[model].capability, endpoint)]
            lacking = tuple(r.engine.id for r in serving if r not in able)
            context = max((r.models[model].capability.context for r in able), default=0)
            if not serving:  # a name that nobody serves is a client's text: it is not kept
                return None
            route = self._routes[model, endpoint] = Route(context, bool(able), lacking)
            return route

    def serving(self, model: str) -> list[Replica]:
        """Replicas that have the model, whether open or not."""
        return [replica for replica in self.replicas.values() if model in replica.models]

    def models(self) -> dict[str, Capability]:
        """Every model by name, with what at least one replica can do; context is the largest."""
        merged: dict[str, Capability] = {}
        for replica in self.replicas.values():
            for name, model in replica.models.items():
                known = merged.get(name)
                merged[name] = model.capability if known is None else _either(known, model.capability)
        return merged


def _either(one: Capability, other: Capability) -> Capability:
    flags = ("chat", "completions", "embeddings", "responses", "tools", "json_schema", "vision")
    return Capability(
        context=max(one.context, other.context),
        origin=one.origin or other.origin,
        licence=one.licence or other.licence,
        description=one.description or other.description,
        **{flag: getattr(one, flag) or getattr(other, flag) for flag in flags},
    )
