"""The workers of one machine, as the one that is asked sees them: for metrics and the console's first page.

Each answers for itself at a socket of its own, in a folder that only our user can enter. Rule: whoever does
not answer in time is told of as away, and the figures of the others are shown (fails open).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from moduai.gateway.metrics import Figures

WITHIN_S = 1.0
"""A worker that takes longer than this counts as away for this time."""
PATH = "/metrics/worker"
"""Where a worker tells of itself alone."""
ASK = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


class Workers:
    """All workers of this machine, by their names."""

    def __init__(
        self, own: Callable[[], Figures], name: str = "1", sockets: Mapping[str, Path] | None = None
    ) -> None:
        """``sockets``: of all of them, by name, where there are several."""
        self._own, self._name, self._sockets = own, name, sockets or {}

    async def told(self) -> dict[str, Figures | None]:
        """What each tells now; None: it does not answer."""
        names = sorted({self._name, *self._sockets}, key=lambda name: (len(name), name))
        return dict(zip(names, await asyncio.gather(*map(self._of, names)), strict=True))

    async def _of(self, name: str) -> Figures | None:
        return self._own() if name == self._name else await _ask(self._sockets[name])


async def _ask(path: Path) -> Figures | None:
    try:
        async with asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(ASK)
                await reader.readuntil(b"\r\n\r\n")
                return msgspec.json.decode(await reader.read(), type=Figures)
            finally:
                writer.transport.abort()
    except (OSError, EOFError, asyncio.LimitOverrunError, msgspec.DecodeError):
        return None


class Later:
    """An answer that takes a moment, for a client who may go before it is there."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        """The client has gone."""
        self._task.cancel()

    def pause(self) -> None:
        """The answer is written at once."""

    def resume(self) -> None:
        """The answer is written at once."""
