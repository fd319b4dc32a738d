"""The small addresses that the gateway answers itself: models, the line, health, metrics, audit roots."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from moduai.accounts.principal import Principal
from moduai.engines.record import Capability
from moduai.gateway.errors import ApiError
from moduai.gateway.lane import Lane
from moduai.gateway.metrics import Figures, figures
from moduai.gateway.policy_file import InForce, from_modu
from moduai.gateway.public import PUBLIC
from moduai.gateway.searches import Searches
from moduai.gateway.shares import look

JSON = b"application/json"
_PATHS = (
    b"/health/live", b"/health/ready", b"/metrics", b"/metrics/shares", b"/metrics/worker",
    b"/audit/roots.json", b"/v1/models", b"/v1/queue", b"/v1/search",
)  # fmt: skip


class Answer(NamedTuple):
    """Status, content type and body."""

    status: int
    kind: bytes
    body: bytes


class Routes:
    """Answers from memory. ``degraded`` names what does not work now, for readiness; ``roots`` gives the
    published roots of the audit log in JSON, ``policy`` what the worker shares by, ``searches`` what it
    knows of search.
    """

    def __init__(
        self,
        lane: Lane,
        degraded: Callable[[], list[str]],
        started: float,
        roots: Callable[[], bytes] = lambda: b"",
        policy: Callable[[], InForce] = from_modu,
        searches: Callable[[], Searches | None] = lambda: None,
    ) -> None:
        self._lane = lane
        self._degraded = degraded
        self._started = int(started)
        self._roots = roots
        self._policy = policy
        self._searches = searches
        self.known: Callable[[], bool] = lambda: True
        """False until keys and engines are known."""
        self.documents = False
        """Whether each model that talks may answer from public documents too."""

    def answer(self, method: bytes, path: bytes, principal: Principal | None, *, local: bool) -> Answer:
        """Answer a GET; ``local``: it comes from this machine. Raises ApiError."""
        if method not in (b"GET", b"HEAD"):
            raise ApiError("method_not_allowed" if path in _PATHS else "not_found")
        match path:
            case b"/health/live":
                found = Answer(200, JSON, b'{"status":"live"}')
            case b"/health/ready":
                found = self._ready()
            case b"/metrics/worker":
                found = self._worker(local=local)
            case b"/metrics/shares":
                found = self._shares(local=local)
            case b"/audit/roots.json":
                found = Answer(200, JSON, self._roots() or b'{"keys":{},"roots":[]}')
            case b"/v1/models":
                data = [self._model(name, can) for name, can in self._models().items()]
                found = _json({"object": "list", "data": data})
            case b"/v1/queue":
                found = self._queue(principal)
            case _:
                found = self._one_model(path)
        return found

    def _models(self) -> dict[str, Capability]:
        """All models by name; those that talk a second time, for answers from public documents."""
        models = dict(self._lane.fleet.models())
        talking = {name + PUBLIC: can for name, can in models.items() if can.chat}
        return models | talking if self.documents else models

    def _one_model(self, path: bytes) -> Answer:
        if not path.startswith(b"/v1/models/"):
            raise ApiError("not_found")
        name = path[11:].decode("utf-8", "replace")
        can = self._models().get(name)
        if can is None:
            raise ApiError("model_not_found", f"No engine serves {name[:128]!r}.")
        return _json(self._model(name, can))

    def _ready(self) -> Answer:
        """Ready means that requests are taken; what is degraded is named beside it."""
        degraded, leaving, known = self._degraded(), self._lane.leaving, self.known()
        refuses = leaving or not known or self._lane.ledger.full
        status = "stopping" if leaving else "starting" if not known else "degraded" if degraded else "ready"
        return _json({"status": status, "degraded": degraded}, 503 if refuses else 200)

    def figures(self) -> Figures:
        """All that this worker tells of itself."""
        return figures(self._lane, self._searches(), started=self._started, degraded=self._degraded())

    def _worker(self, *, local: bool) -> Answer:
        """For the other workers of this machine only. Fails closed."""
        if not local:
            raise ApiError("not_found")
        return _json(self.figures())

    def _shares(self, *, local: bool) -> Answer:
        """For ``modu shares`` on this machine only. Fails closed."""
        if not local:
            raise ApiError("not_found")
        return _json(look(self._lane, self._policy(), self._started))

    def _model(self, name: str, can: Capability) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": self._started,
            "owned_by": can.origin or "unknown",
            "modu": msgspec.to_builtins(can),
        }

    def _queue(self, principal: Principal | None) -> Answer:
        """Where the key's own requests stand, and what it may use in a day or a month."""
        if principal is None:
            raise ApiError("missing_api_key")
        now = time.monotonic_ns()
        data = [
            {
                "request_id": exchange.id,
                "model": exchange.model,
                "position": place.position,
                "waited_s": round((now - exchange.arrived) / 1e9, 3),
                "expected_wait_s": _seconds(place.wait),
                "expected_range_s": None if place.high < 0 else [_seconds(place.low), _seconds(place.high)],
                "step": place.step,
                "lighter_model": place.lighter or None,
            }
            for exchange, place in self._lane.queue_of(principal)
        ]
        return _json({"object": "list", "data": data, "quotas": self._lane.quotas_of(principal)})


def _seconds(nanoseconds: int) -> float | None:
    """None for what is not known."""
    return None if nanoseconds < 0 else round(nanoseconds / 1e9, 1)


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(status, JSON, msgspec.json.encode(value))
