"""HTTP/1.1 to engines: a small pool of connections for the hot lane, and ``fetch`` for the rest.

One request at a time on a connection. Answers are given to a ``Receiver`` as they arrive; nothing
here decodes a body. Anything that is not clear HTTP (heads, lengths, chunk framing) breaks the
answer off: it is reported, never guessed at (fails closed).
"""

from __future__ import annotations

import asyncio
import functools
import re
import ssl
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast

from mypy_extensions import mypyc_attr

from moduai.engines.address import Address
from moduai.engines.chunked import Decoder, FramingError
from moduai.engines.repeated import RepeatedHead

HEAD_LIMIT = 65_536
INTERIM_LIMIT = 8
"""Most answers with a status below 200 before the answer itself."""


class Receiver(Protocol):
    """Takes one answer: ``head``, then data, then ``end`` or ``broken`` (which may come at any time)."""

    @property
    def passing(self) -> Callable[[bytes], bool] | None:
        """Asked first with every read of a chunked body: True if it was passed on as it is."""

    def head(self, head: Head) -> None:
        """The answer begins."""

    def piece(self, data: bytes) -> None:
        """A part of the body, without framing."""

    def end(self, let_go: Callable[[], None]) -> None:
        """The answer is complete; ``let_go`` frees the connection for the next request."""

    def whole(self, body: bytes) -> None:
        """A complete JSON answer with status 200 at once, instead of all the others; the connection is
        free already.
        """

    def broken(self, reason: str) -> None:
        """The connection or the answer broke; nothing follows."""


class Connection(asyncio.Protocol):
    """One connection to an engine."""

    __slots__ = (
        "_decoder", "_head", "_interim", "_left", "_mode", "_passing", "_paused", "_pool", "_receiver",
        "_reusable", "_transport", "gone", "kept_until",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._receiver: Receiver | None = None
        self._mode = self._idle
        self._head = b""
        self._left = 0
        self._decoder: Decoder | None = None
        self._reusable = True
        self._interim = 0
        self._passing: Callable[[bytes], bool] | None = None
        self._paused = False
        self.kept_until = 0
        self.gone = False
        """True once it is closed or about to be."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on in the current state."""
        if self._passing is None or self._decoder is not None or not self._passing(data):
            self._mode(data)

    def eof_received(self) -> None:
        """The end of an answer without a length; otherwise the connection just closes."""
        if self._mode == self._until_close:
            self._complete()

    def connection_lost(self, error: Exception | None) -> None:
        """The engine or the network closed."""
        self.gone = True
        self._pool.forget(self)
        self._break("the engine closed the connection")

    # used by the lane

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send a whole request; its answer goes to ``receiver``."""
        self._receiver = receiver
        self._mode = self._read_head
        self._transport.write(request)

    def pause(self) -> None:
        """Stop reading: the client is slower than the engine."""
        self._paused = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once; the receiver hears nothing more. This is how a request is cancelled."""
        self._receiver = self._passing = None
        self.gone = True
        self._transport.abort()

    # reading, one method a state

    def _idle(self, data: bytes) -> None:
        self.abort()

    def _read_head(self, data: bytes) -> None:
        repeated = self._pool.repeated
        body = repeated.body(data) if repeated is not None and not self._head else None
        if body is not None and self._receiver is not None:
            receiver, self._receiver, self._mode = self._receiver, None, self._idle
            self._let_go()
            receiver.whole(body)
            return
        data = self._head + data
        end = data.find(b"\r\n\r\n")
        if end >= 0:
            self._head = b""
            self._take_head(data, end)
        elif len(data) > HEAD_LIMIT:
            self._break("the engine's answer has no end of its head")
        else:
            self._head = data

    def _take_head(self, data: bytes, end: int) -> None:
        try:
            head = parse_head(data[:end])
        except FramingError as error:
            self._break(str(error))
            return
        rest = data[end + 4 :]
        if 100 <= head.status < 200:
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                self._break("the engine sends one interim answer after the other")
            elif rest:
                self._read_head(rest)
            return
        self._interim = 0
        self._begin_body(head)
        if head.status == 200 and head.keep and head.kind.startswith(b"application/json"):
            self._pool.repeated = RepeatedHead.of(data)
        if self._receiver is not None:
            self._receiver.head(head)
        if head.chunked and self._receiver is not None:
            self._passing = self._receiver.passing
        if rest and self._receiver is not None:
            self._mode(rest)
        elif self._mode == self._counted and not self._left:
            self._complete()

    def _begin_body(self, head: Head) -> None:
        self._reusable = head.keep
        if head.chunked:
            self._decoder, self._mode = None, self._chunked
        elif head.length >= 0 or head.status in (204, 304):
            self._left, self._mode = max(0, head.length), self._counted
        else:
            self._reusable, self._mode = False, self._until_close

    def _counted(self, data: bytes) -> None:
        self._left -= len(data)
        receiver = self._receiver
        if receiver is None or self._left < 0:
            self._break("the engine sent more than its Content-Length")
            return
        receiver.piece(data)
        if not self._left:
            self._complete()

    def _until_close(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.piece(data)

    def _chunked(self, data: bytes) -> None:
        receiver, decoder = self._receiver, self._decoder
        if receiver is None:
            return
        if decoder is None:
            decoder = self._decoder = Decoder()
        try:
            payload = decoder.feed(data)
        except FramingError as error:
            self._break(str(error))
            return
        if payload:
            receiver.piece(payload)
        if decoder.done:
            self._complete()
        elif decoder.between:
            self._decoder = None

    def _complete(self) -> None:
        receiver, self._receiver = self._receiver, None
        self._mode, self._decoder, self._passing = self._idle, None, None
        if receiver is not None:
            receiver.end(self._let_go)

    def _let_go(self) -> None:
        """The answer is complete: the connection may serve the next request, read on if it was paused."""
        if not self._reusable:
            self.abort()
            return
        if self._paused:
            self.resume()
        self._pool.give(self)

    def _break(self, reason: str) -> None:
        receiver, self._receiver, self._passing = self._receiver, None, None
        self.gone = True
        self._transport.abort()
        if receiver is not None:
            receiver.broken(reason)


@mypyc_attr(allow_interpreted_subclasses=True)
class Pool:
    """Connections to one engine, newest first. Not bounded here: the line bounds what runs."""

    def __init__(self, address: Address, connect_s: float = 5.0, keep_s: float = 30.0) -> None:
        self.address = address
        self._connect_s, self._keep_ns = connect_s, int(keep_s * 1e9)
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._retired = False
        self.repeated: RepeatedHead | None = None
        """The head of the engine's last answer, if it came whole."""
        self._loop = asyncio.get_running_loop()

    def take(self, now: int) -> Connection | None:
        """A kept connection, or None; ``now`` is the monotonic time in ns."""
        while self._idle:
            connection = self._idle.pop()
            if now < connection.kept_until and not connection.gone:
                return connection
            connection.abort()
        return None

    async def connect(self) -> Connection:
        """A new connection. Raises OSError (ssl errors too) or TimeoutError."""
        address = self.address
        async with asyncio.timeout(self._connect_s):
            if address.path:
                _, connection = await self._loop.create_unix_connection(
                    lambda: Connection(self), address.path
                )
            else:
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self), address.host, address.port, ssl=_tls() if address.tls else None
                )
        self._all.add(connection)
        return connection

    def give(self, connection: Connection) -> None:
        """Take a connection back after a complete answer."""
        if not self._retired:
            connection.kept_until = time.monotonic_ns() + self._keep_ns
            self._idle.append(connection)
        else:
            connection.abort()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def retire(self) -> None:
        """Let answers under way end, keep nothing."""
        self._retired = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def close(self) -> None:
        """Close all connections; answers under way break."""
        for connection in list(self._all):
            connection.abort()
        self._idle.clear()


class Head(NamedTuple):
    """What matters of an answer's head."""

    status: int
    kind: bytes
    """Content type, in lower case."""
    length: int
    """Content-Length; -1 for none."""
    chunked: bool
    keep: bool
    """Whether the connection may serve another request."""


_LENGTHS = (b"content-length", b"transfer-encoding")
_FIELDS = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|content-type):[ \t]*([^\r\n]*)", re.IGNORECASE
)


def parse_head(head: bytes) -> Head:
    """Read an answer's head (without its blank line). Raises FramingError. Only these fields are read."""
    code = head[9:12]
    if head[:9] not in (b"HTTP/1.1 ", b"HTTP/1.0 ") or not code.isdigit() or head[12:13] not in b" \r":
        raise FramingError("the engine's answer is not HTTP")
    if head.count(b"\n") != head.count(b"\r\n"):
        raise FramingError("the engine's answer has a broken header field")
    found = [(name.lower(), value.strip().lower()) for name, value in _FIELDS.findall(head)]
    fields = dict(found)
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if sum(name in _LENGTHS for name, _ in found) > 1 or coding not in (None, b"chunked"):
        raise FramingError("the engine's answer has an unclear length")
    if length is not None and not (length.isdigit() and len(length) < 16):
        raise FramingError("the engine's answer has a bad Content-Length")
    closes = any(name == b"connection" and b"close" in value for name, value in found)
    keep = head[7:8] == b"1" and not closes
    kind = fields.get(b"content-type", b"")
    return Head(int(code), kind, -1 if length is None else int(length), coding is not None, keep)


def request_head(address: Address, method: str, path: str, key: str = "") -> bytes:
    """The constant part of a request's head: all but Content-Length and the blank line."""
    lines = [
        f"{method} {address.prefix}{path} HTTP/1.1",
        f"Host: {address.authority}",
        "User-Agent: modu",
        "Accept-Encoding: identity",
    ]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes


@mypyc_attr(native_class=False)
class FetchError(OSError):
    """An engine could not be asked: refused, too slow, too much, or not HTTP. The text says which."""


class _Collector:
    """Receives a whole answer into memory, bounded."""

    def whole(self, body: bytes) -> None:
        """All at once."""
        self._status = 200
        self.piece(body)
        self._over()

    passing = None

    def __init__(self, limit: int) -> None:
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._status = 0
        self._body = bytearray()

    def head(self, head: Head) -> None:
        """Keep the status."""
        self._status = head.status

    def piece(self, data: bytes) -> None:
        """Keep a part, within the limit."""
        self._body += data
        if len(self._body) > self._limit:
            self.broken(f"the answer is larger than {self._limit} bytes")

    def end(self, let_go: Callable[[], None]) -> None:
        """Done; the connection is not used again."""
        self._over()

    def _over(self) -> None:
        if not self.reply.done():
            self.reply.set_result(Reply(self._status, bytes(self._body)))

    def broken(self, reason: str) -> None:
        """Failed."""
        if not self.reply.done():
            self.reply.set_exception(FetchError(reason))


async def fetch(
    address: Address,
    method: str,
    path: str,
    *,
    key: str = "",
    body: bytes = b"",
    timeout_s: float = 5.0,
    limit: int = 4_194_304,
) -> Reply:
    """Ask once on a connection of its own, off the lane. Raises FetchError with a clear reason."""
    pool = Pool(address, connect_s=timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            connection = await pool.connect()
            collector = _Collector(limit)
            head = request_head(address, method, path, key) + b"Connection: close\r\n"
            if body:
                head += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
            connection.send(head + b"\r\n" + body, collector)
            return await collector.reply
    except FetchError:
        raise
    except TimeoutError:
        raise FetchError(f"no answer within {timeout_s:g} s") from None
    except ssl.SSLError as error:
        raise FetchError(f"TLS failed: {error.reason or error}") from None
    except OSError as error:
        raise FetchError(error.strerror or str(error)) from None
    finally:
        pool.close()


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
