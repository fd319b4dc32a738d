"""Responses that are written while an answer is made, and that stop it when the reader has gone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class LiveResponse(StreamingResponse):
    """A stream that watches for the reader's leaving even while there is nothing to write.

    Starlette's own notices it at the next write only, which may be minutes later for someone in line.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the end, or until the reader has gone; then close the source."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]
            writer = asyncio.create_task(self._write(send))
            watcher = asyncio.create_task(self.listen_for_disconnect(receive))
            try:
                await asyncio.wait((writer, watcher), return_when=asyncio.FIRST_COMPLETED)
            finally:
                watcher.cancel()
                if not writer.done():
                    writer.cancel()
                with suppress(asyncio.CancelledError):
                    await writer
                with suppress(asyncio.CancelledError):
                    await watcher

    async def _write(self, send: Send) -> None:
        with suppress(OSError):
            await self.stream_response(send)
