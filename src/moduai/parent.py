"""The process that started us: a child that outlived it would keep its port, its files and its memory.

On Linux the kernel tells a child of its parent's end (see ``supervisor``); elsewhere the child looks.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

CHECK_S = 1.0
"""Time between two looks, in seconds."""


@dataclass(frozen=True, slots=True)
class Parent:
    """Our parent at the time this was made."""

    pid: int = field(default_factory=os.getppid)

    @property
    def gone(self) -> bool:
        """Whether it has ended: the system has given us another one."""
        return os.getppid() != self.pid

    async def ended(self) -> None:
        """Wait for its end."""
        while not self.gone:  # noqa: ASYNC110  (no event tells it)
            await asyncio.sleep(CHECK_S)
