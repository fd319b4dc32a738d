"""A worker's eye on the search process: is it there, and how far is its index?"""

from __future__ import annotations

import asyncio
import logging

from moduai.knowledge.client import Search
from moduai.knowledge.types import SearchAwayError
from moduai.knowledge.wire import Status

log = logging.getLogger(__name__)

EVERY_S, AWAY_EVERY_S = 2.0, 0.25
"""Time between two looks, in seconds; a look takes a fifth of a millisecond."""


class Watch:
    """What a worker knows of search. Until the first look it counts as away: fails closed."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self.status: Status | None = None
        """As it was at the last look; None: it is away."""

    @property
    def ready(self) -> bool:
        """Whether all that is there can be found."""
        return self.status is not None and self.status.state == "ready"

    async def run(self) -> None:
        """Look until cancelled; says once when search goes away, and when it is back."""
        was: Status | None = None
        while True:
            try:
                self.status = await self._search.status()
            except SearchAwayError as error:
                self.status = None
                if was is not None:
                    log.warning("search is away", extra={"why": error.why})
            else:
                if was is None:
                    log.info("search is there", extra={"documents": self.status.documents})
            was = self.status
            await asyncio.sleep(EVERY_S if self.ready else AWAY_EVERY_S)
