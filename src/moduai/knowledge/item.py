"""One file of a source, before it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import NamedTuple


class Item(NamedTuple):
    """One file of a source: give it ``read`` or ``fetch``."""

    key: str
    name: str
    """With a suffix that says its format."""
    address: str
    """For a link out; empty where there is none."""
    read: Callable[[], bytes] | None = None
    """Its bytes; raises SourceError, OSError. Blocks."""
    fetch: Callable[[], Awaitable[bytes]] | None = None
    """The same from afar."""
    mark: str = ""
    """What its source says of its state: while that is as before, it is not fetched again."""
    until: date | None = None
    """The last day on which it is in force, where only its source as a whole tells."""

    async def data(self) -> bytes:
        """Its bytes. Raises SourceError, OSError."""
        if self.fetch:
            return await self.fetch()
        assert self.read  # noqa: S101  (one of the two is given)
        return await asyncio.to_thread(self.read)
