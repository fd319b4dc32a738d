"""What the pages need from the rest of the service, given by the one who wires the parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from moduai.accounts.principal import Principal
from moduai.accounts.sessions import SessionTable
from moduai.accounts.table import KeyTable
from moduai.desk import Desk
from moduai.engines.record import Model
from moduai.gateway.lane import Lane
from moduai.gateway.policy_file import InForce, from_modu
from moduai.gateway.switches import Switches
from moduai.gateway.workers import Workers
from moduai.knowledge.client import Search
from moduai.settings import Loaded
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys
from moduai.web.scenario_runs import Runs


class Ask(Protocol):
    """``gateway.local.LocalAsk``."""

    def __call__(
        self, body: dict[str, Any], principal: Principal, *, conversation: str = "", parent: str = ""
    ) -> AsyncIterator[Any]:
        """A chat request's body and its author to events; closing it cancels upstream. ``conversation``
        and ``parent`` say where its turn goes if the person's history is on.
        """


@dataclass(frozen=True)
class Services:
    """The seam between the pages and the gateway."""

    loaded: Loaded
    ask: Ask
    models: Callable[[], list[Model]]
    """Models that can be talked to now, each name once."""
    secret: bytes
    """32 bytes that never leave the machine; every signature of the pages is derived from it."""
    database: Database
    keyring: Keyring
    subjects: SubjectKeys
    sessions: SessionTable
    """The lane looks sessions up in the same table."""
    switches: Switches = field(default_factory=Switches)
    """What staff set for everyone: here the banner."""
    keys: KeyTable = field(default_factory=KeyTable)
    """API keys: those with the scope ``manage`` may call the operations."""
    lane: Lane | None = None
    """For live figures; None where there is none."""
    started: int = 0
    """When this worker began, Unix time in seconds."""
    workers: Workers | None = None
    """All workers of this machine; None where there is none."""
    desk: Desk | None = None
    """Public documents, where there are any to answer from; then ``ask`` is this desk."""
    documents_first: Callable[[], bool] = lambda: False
    """Whether the page answers from public documents unless one asks otherwise."""
    degraded: Callable[[], list[str]] = list
    """What does not work now, by name."""
    policy: Callable[[], InForce] = from_modu
    """What the worker shares by."""
    scenarios: Runs = field(default_factory=Runs)
    """Runs of the planner for the console."""
    search: Search | None = None
    """Public documents; None where nothing is to be searched."""
