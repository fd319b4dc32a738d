"""A small ASGI bridge: pages and forms on the same connections as the lane.

The body has been read whole (it is bounded), so an application gets it in one message; what it
sends is written as it comes, with the client's pace respected.
"""

from __future__ import annotations

import asyncio
import http
import logging
import urllib.parse
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from moduai.gateway.errors import ApiError

if TYPE_CHECKING:
    from moduai.gateway.connection import ClientConnection

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

log = logging.getLogger(__name__)
_tasks: set[asyncio.Task[None]] = set()


class Page:
    """One request to the application."""

    def __init__(self, app: AsgiApp, connection: ClientConnection, scheme: str, address: str) -> None:
        self._app = app
        self._connection = connection
        self._scope = _scope(connection, scheme, address)
        self._body: bytes | None = connection.body()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._started = self._over = self._chunked = False
        self._start: Message = {}

    def begin(self) -> None:
        """Run the application."""
        self._connection.begin(self)
        task = asyncio.get_running_loop().create_task(self._run())
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    async def _run(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except Exception:  # the boundary: whatever a page raises becomes a 500 and a log line
            log.exception("a page failed", extra={"path": self._scope["path"]})
        if self._over or self._gone.is_set():
            return
        if self._started:
            self._connection.abort()
        else:
            self._over = True
            self._connection.fail(ApiError("internal_error"))

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set() or self._over:
            return
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._write(message.get("body", b""), more=message.get("more_body", False))
            if self._over:
                self._gone.set()  # nothing more is read or written for this request
            else:
                await self._writable.wait()

    def _write(self, body: bytes, *, more: bool) -> None:
        connection = self._connection
        if not self._started:
            self._started = True
            self._write_head(len(body), more=more)
        if connection.method != b"HEAD" and body:
            connection.write(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)
        if more:
            return
        self._over = True
        if self._chunked and connection.method != b"HEAD":
            connection.write(b"0\r\n\r\n")
        connection.page_over(keep=self._chunked or self._counted)

    def _write_head(self, size: int, *, more: bool) -> None:
        status = self._start["status"]
        lines, names = [], set()
        for name, value in self._start.get("headers", ()):
            if b"\r" in value or b"\n" in value or b"\r" in name or b"\n" in name:
                log.warning("a page's header field was dropped: it holds a line break")
                continue
            names.add(name.lower())
            lines.append(b"%b: %b\r\n" % (name, value))
        bodiless = status in (204, 304)
        self._counted = b"content-length" in names or bodiless
        if not self._counted and not more:
            lines.append(b"content-length: %d\r\n" % size)
            self._counted = True
        self._chunked = not self._counted and self._connection.framed
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        phrase = http.HTTPStatus(status).phrase if status in http.HTTPStatus._value2member_map_ else ""
        self._connection.raw_head(f"HTTP/1.1 {status} {phrase}\r\n".encode(), b"".join(lines))

    _counted = False

    # Work

    def cancel(self) -> None:
        """The client has gone."""
        self._gone.set()
        self._writable.set()

    def pause(self) -> None:
        """The client reads slowly: the application waits."""
        self._writable.clear()

    def resume(self) -> None:
        """The client has caught up."""
        self._writable.set()


def _scope(connection: ClientConnection, scheme: str, address: str) -> Message:
    server = connection.transport.get_extra_info("sockname")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1" if connection.framed else "1.0",
        "server": server[:2] if isinstance(server, tuple) else None,
        "client": (address, 0),
        "scheme": scheme,
        "method": connection.method.decode("ascii"),
        "root_path": "",
        "path": urllib.parse.unquote(connection.path.decode("latin-1")),
        "raw_path": connection.path,
        "query_string": connection.query,
        "headers": list(connection.fields.items()),
    }
