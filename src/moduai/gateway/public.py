"""The seam to public documents: the lane's connections hand over what is asked of them, and know no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from moduai.accounts.principal import Principal
from moduai.gateway.ask import Ask
from moduai.gateway.sink import Sink
from moduai.history.record import TurnPlace

if TYPE_CHECKING:
    from moduai.gateway.connection import Work

PUBLIC = "+public"
"""What stands behind a model's name where it is to answer from public documents."""


class Documents(Protocol):
    """``desk.api.Counter``."""

    def answer(self, ask: Ask, principal: Principal, sink: Sink, place: TurnPlace) -> Work:
        """Answer a chat request whose model ends with ``PUBLIC``."""

    def search(self, query: bytes, principal: Principal, sink: Sink) -> Work:
        """Answer ``GET /v1/search``; the query is that of the address."""
