"""What the pages need from the rest of the service, given by the one who wires the parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from moduai.accounts.principal import Principal
from moduai.engines.record import Model
from moduai.settings import Loaded

Ask = Callable[[dict[str, Any], Principal], AsyncIterator[Any]]
"""``gateway.local.ask``: a chat request's body and its author to events; closing it cancels upstream."""


@dataclass(frozen=True)
class Services:
    """The seam between the pages and the gateway."""

    loaded: Loaded
    ask: Ask
    models: Callable[[], list[Model]]
    """Models that can be talked to now, each name once."""
    secret: bytes
    """32 bytes that never leave the machine; every signature of the pages is derived from it."""
