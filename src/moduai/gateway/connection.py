"""A client's connection: reads one request at a time, strictly and within limits, and writes its answer.

Everything unclear is refused and the connection closed (fails closed): broken or oversized heads,
compressed bodies, upgrades, pipelined requests, foreign hosts. llhttp (in httptools) refuses what
smuggling needs: two lengths, a length beside chunks, spaces before colons, folded lines.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import httptools

from moduai.accounts.principal import Principal
from moduai.engines.repeated import RepeatedHead
from moduai.gateway.ask import look
from moduai.gateway.author import Author, Authors
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import NOT_BEGUN, ApiError
from moduai.gateway.public import PUBLIC
from moduai.history.record import NEW, PlaceError, TurnPlace

if TYPE_CHECKING:
    from moduai.gateway.server import Server

STATUS = {
    code: f"HTTP/1.1 {code} {reason}\r\n".encode()
    for code, reason in {
        200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
        404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 413: "Content Too Large",
        415: "Unsupported Media Type", 417: "Expectation Failed", 421: "Misdirected Request",
        429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
        502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
    }.items()
}  # fmt: skip
LANE = {endpoint.path.encode(): endpoint for endpoint in Endpoint}
SINGLE = frozenset(
    b"host authorization content-length content-type content-encoding transfer-encoding expect".split()
)
"""Fields that may stand only once."""
AI_MADE = b"x-ai-generated: true\r\n"
"""Answers say that they are made by AI (Korea's AI Basic Act, article 31)."""
GOOD = b"HTTP/1.1 200 OK\r\n" + AI_MADE + b"content-type: application/json\r\ndate: "
"""How a complete good answer begins."""
BELIEVED_S = 1.0
"""How long a key or a session that may expire is not looked for again on the same connection."""
ELSEWHERE = frozenset({b"@elsewhere", b"@at_last"})
"""Where our nginx configuration has what was not begun asked again (deploy/nginx)."""
LINGER_S = 2.0
"""After a refusal in mid-request: how long the rest is read and thrown away, so the refusal arrives."""


class Work(Protocol):
    """What is under way for a request: an exchange of the lane, or a page."""

    def cancel(self) -> None:
        """The client has gone."""

    def pause(self) -> None:
        """The client reads slowly."""

    def resume(self) -> None:
        """The client has caught up."""


class Remembered(NamedTuple):
    """The last head of a connection, and what came of it."""

    head: RepeatedHead
    endpoint: Endpoint
    token: bytes
    principal: Principal
    table: Authors
    version: int
    """Of the table in which the principal was found."""
    until: float
    """Loop time at which the principal is looked for again; it may have expired then."""
    place: TurnPlace


class ClientConnection(asyncio.Protocol):
    """One connection. It is also the sink that the lane writes an answer to."""

    __slots__ = (
        "_answered", "_author", "_body", "_complete", "_discarding", "_elsewhere", "_head_bytes", "_in_head",
        "_in_one_read", "_keep", "_most_bytes", "_parser", "_pipelined", "_raw", "_read_bytes", "_refused",
        "_remembered", "_seam", "_server", "_url", "_work", "deadline", "fields", "framed", "method", "path",
        "query", "transport", "write",
    )  # fmt: skip

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport
        self.path = self.query = b""
        self.framed = self._keep = True
        """``framed``: HTTP/1.1, so answers of unknown length are chunked."""
        self.deadline = 0.0
        self._most_bytes = 0
        self._work: Work | None = None
        self._refused: ApiError | None = None
        self._author: Author | None = None
        self._remembered: Remembered | None = None
        self._pipelined = self._discarding = self._in_one_read = self._answered = False
        self._elsewhere = b""
        self._reset()

    def _reset(self) -> None:
        self._url = self._seam = self.method = b""
        self._raw: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}
        """Lower-case name to value; repeated fields are joined."""
        self._body: bytes | bytearray = b""
        self._head_bytes = self._read_bytes = 0
        self._in_head, self._complete = True, False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it in, or turn it away."""
        self.transport = cast("asyncio.Transport", transport)
        self.write = self.transport.write
        self.deadline = self._server.now() + self._server.settings.limits.head_s
        if not self._server.enter(self):
            self._refuse(ApiError("too_many_connections", retry_after_s=5))

    def connection_lost(self, error: Exception | None) -> None:
        """The client has gone: stop what runs for it."""
        self._server.leave(self)
        work, self._work = self._work, None
        if work is not None:
            work.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; answer when a whole request is there."""
        if self._complete or self._discarding:
            self._pipelined |= bool(data.strip(b"\r\n"))
            return
        if self._remembered is not None and not self._head_bytes and self._same_head(data, self._remembered):
            return
        try:
            self._count(data)
            self._parser.feed_data(data)
        except ApiError as error:
            self._refuse(error)
        except httptools.HttpParserUpgrade:
            self._refuse(ApiError("upgrade_refused"))
        except httptools.HttpParserError:
            self._refuse(self._refused or ApiError("bad_request"))
        else:
            if self._refused is not None:
                self._refuse(self._refused)
            elif self._complete:
                self._serve(data)

    def author_known(self, author: Author) -> None:
        """The session has been looked up: go on where the head ended."""
        if self._discarding or self.transport.is_closing():
            return
        self._author = author
        self.transport.resume_reading()
        if self._complete:
            self._serve(b"")

    def author_refused(self, error: ApiError) -> None:
        """There is no such session."""
        if not self._discarding and not self.transport.is_closing():
            self.transport.resume_reading()
            self._refuse(error)

    def _count(self, data: bytes) -> None:
        """Bound what one request may send, framing and all. Raises ApiError. Fails closed."""
        limits = self._server.settings.limits
        self._read_bytes += len(data)
        if self._in_head and not self._count_head(data):
            raise ApiError("head_too_large")
        if self._read_bytes > 2 * limits.body_bytes + limits.head_bytes:
            raise ApiError("body_too_large", "The body's chunks are smaller than their framing.")

    def _count_head(self, data: bytes) -> bool:
        """Count the bytes of the head; False if there are too many. Fails closed."""
        limits = self._server.settings.limits
        if not self._head_bytes:
            self.deadline = self._server.now() + limits.head_s
        before = len(self._seam)
        end = (self._seam + data).find(b"\r\n\r\n") - before + 4
        whole = end > 3 - before
        self._in_one_read = whole and not self._head_bytes
        self._head_bytes += end if whole else len(data)
        self._seam = data[-3:]
        return self._head_bytes <= limits.head_bytes

    def _same_head(self, data: bytes, known: Remembered) -> bool:
        """Serve a whole request whose head is the last one's; False if it is anything else."""
        head, endpoint, token, principal, table, version, until, place = known
        body = head.body(data)
        server = self._server
        if body is None or len(body) > server.body_bytes:
            return False
        if version != table.version or until <= server.clock:
            found = table.find(token, time.time())
            if found is None:
                return False
            principal, version, until = found, table.version, self._believed(found)
            self._remembered = known._replace(principal=principal, version=version, until=until)
        self.method, self.framed, self._complete = b"POST", True, True
        self._serve_lane(endpoint, principal, body, place)
        return True

    def eof_received(self) -> None:
        """The client closed its side: it has left; a half-closed connection is not told apart."""

    def pause_writing(self) -> None:
        """The client reads slowly: it has this long to catch up."""
        self.deadline = self._server.now() + self._server.settings.limits.write_s
        if self._work is not None:
            self._work.pause()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.deadline = 0.0 if self._complete else self._server.clock + self._server.settings.limits.idle_s
        if self._work is not None:
            self._work.resume()

    # httptools callbacks; an ApiError is kept, because the parser would hide it

    def on_message_begin(self) -> None:
        """A second request in one read is pipelining."""
        self._pipelined |= self._complete

    def on_url(self, url: bytes) -> None:
        """The target, perhaps in parts."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field; after the body it would be a trailer, which is not served."""
        if self._in_head:
            self._raw.append((name, value))
        elif not self._pipelined:
            self._refused = ApiError("bad_request", "Fields after the body are not served.")

    def on_headers_complete(self) -> None:
        """The head is whole: check all that can be checked before a body is taken."""
        if self._pipelined:
            return
        self._in_head = False
        self.method = self._parser.get_method()
        self.framed = self._parser.get_http_version() != "1.0"
        try:
            self.fields = join_fields(self._raw)
            self._check_head()
        except ApiError as error:
            self._refused = error

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if self._pipelined or self._refused:
            return
        if len(self._body) + len(data) > self._most_bytes:
            self._refused = ApiError("body_too_large")
        elif not self._body:
            self._body = data
        elif isinstance(self._body, bytearray):
            self._body += data
        else:
            self._body = bytearray(self._body + data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._complete:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    # the request

    def _check_head(self) -> None:
        server, fields = self._server, self.fields
        limits = server.settings.limits
        if len(self._raw) > limits.headers:
            raise ApiError("head_too_large")
        self.path, _, self.query = self._url.partition(b"?")
        if not self.path.startswith(b"/"):
            raise ApiError("bad_request", "Only plain targets such as /v1/models are served.")
        server.check_host(fields.get(b"host"), old=not self.framed)
        self._author = None
        place = fields.get(b"modu-elsewhere", b"")
        self._elsewhere = place if place in ELSEWHERE else b""
        self._most_bytes = limits.body_bytes if self.path.startswith(b"/v1/") else limits.form_bytes
        length = fields.get(b"content-length")
        if length is not None and int(length) > self._most_bytes:
            raise ApiError("body_too_large")
        if fields.get(b"content-encoding", b"identity").lower() != b"identity":
            raise ApiError("unsupported_encoding")
        if self.path.startswith(b"/v1/"):
            self._author = server.authenticate(self)
        expect = fields.get(b"expect")
        if expect is not None:
            if expect.lower() != b"100-continue":
                raise ApiError("expectation_failed")
            if self.framed:
                self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.deadline = server.now() + limits.body_s

    def body(self) -> bytes:
        """The whole body."""
        return bytes(self._body)

    def _serve(self, data: bytes) -> None:
        author, endpoint = self._author, LANE.get(self.path)
        if author is not None and author.principal is None:
            return  # its session is being looked up
        if endpoint is None:
            self.deadline = 0.0
            self._server.serve_other(self, author.principal if author is not None else None)
        elif self.method != b"POST":
            self.fail(ApiError("method_not_allowed", f"{endpoint.path} takes POST."), b"allow: POST\r\n")
        elif author is not None and author.principal is not None:
            try:
                place = _place(self.fields) if author.principal.history else NEW
            except PlaceError as error:
                self.fail(ApiError("bad_request", f"modu-conversation, modu-parent: {error}."))
                return
            self._remember(data, endpoint, author.principal, author, place)
            self._serve_lane(endpoint, author.principal, self.body(), place)

    def _remember(
        self, data: bytes, endpoint: Endpoint, principal: Principal, author: Author, place: TurnPlace
    ) -> None:
        """Keep a head that came whole, in one read, with a Content-Length."""
        head = (
            RepeatedHead.of(data)
            if self._keep and self._in_one_read and b"expect" not in self.fields
            else None
        )
        if head is None:
            self._remembered = None
            return
        version, until = author.table.version, self._believed(principal)
        self._remembered = Remembered(
            head, endpoint, author.token, principal, author.table, version, until, place
        )

    def _believed(self, principal: Principal) -> float:
        """Loop time until which a principal that may expire is believed without another look."""
        if not principal.expires_at:
            return math.inf
        return self._server.clock + min(BELIEVED_S, principal.expires_at - time.time())

    def _serve_lane(self, endpoint: Endpoint, principal: Principal, body: bytes, place: TurnPlace) -> None:
        self.deadline = 0.0
        server = self._server
        try:
            if "inference" not in principal.scopes:
                raise ApiError("scope_missing", "The API key may not ask models.")
            ask = look(body, endpoint, server.most_choices, server.allowed_fields)
        except ApiError as error:
            server.lane.refuse(endpoint, principal, self, error)
            return
        if server.documents is not None and endpoint is Endpoint.CHAT and ask.model.endswith(PUBLIC):
            self._work = server.documents.answer(ask, principal, self, place)
            return
        exchange = server.lane.submit(ask, principal, self, place)
        if not exchange.over:
            self._work = exchange

    def begin(self, work: Work) -> None:
        """Something other than the lane works on the request."""
        self._work = work

    # the answer: a Sink

    def _head(self, status: int, lines: bytes, request_id: str) -> bytes:
        last = b"" if self._keeps() else b"connection: close\r\n"
        own = b"x-request-id: %b\r\n" % request_id.encode() if request_id else b""
        if self._elsewhere and NOT_BEGUN in lines:
            own += b"x-accel-redirect: %b\r\n" % self._elsewhere
        return b"%bdate: %b\r\n%b%b%b\r\n" % (STATUS[status], self._server.date, own, lines, last)

    def _keeps(self) -> bool:
        """Whether an answer's head promises another one; what it has promised is kept, also in a drain."""
        self._answered = True
        self._keep = self._keep and not self._server.draining and not self._server.lane.leaving
        return self._keep and not self._pipelined

    def head(self, status: int, content_type: bytes, request_id: str) -> None:
        """Begin an answer of unknown length; the head goes out with the first part or at once."""
        coding = b"transfer-encoding: chunked\r\n" if self.framed else b""
        self._keep = self._keep and self.framed
        lines = b"content-type: %b\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n%b" % (
            content_type,
            coding,
        )
        self.write(self._head(status, AI_MADE + lines, request_id))

    def end(self, *, close: bool = False) -> None:
        """The answer is complete."""
        if self.framed:
            self.write(b"0\r\n\r\n")
        self._keep = self._keep and not close
        self._answer_over()

    def whole(self, status: int, content_type: bytes, headers: bytes, body: bytes, request_id: str) -> None:
        """A complete answer."""
        if request_id and status == 200 and not headers and self._keeps():  # from the lane: plain JSON
            rest = f"\r\nx-request-id: {request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
            self.write(GOOD + self._server.date + rest.encode() + body)
            self._next()
        else:
            lines = b"content-type: %b\r\n%bcontent-length: %d\r\n" % (content_type, headers, len(body))
            head = self._head(status, lines, request_id)
            self.write(head if self.method == b"HEAD" else head + body)
            self._answer_over()

    def raw_head(self, status_line: bytes, lines: bytes) -> None:
        """The head of a page, whose framing its own fields say."""
        last = b"" if self._keeps() else b"connection: close\r\n"
        self.write(b"%bdate: %b\r\n%b%b\r\n" % (status_line, self._server.date, lines, last))

    def page_over(self, *, keep: bool) -> None:
        """A page has been written."""
        self._keep = self._keep and keep
        self._answer_over()

    def abort(self) -> None:
        """Break the connection."""
        self._work = None
        self.transport.abort()

    def fail(self, error: ApiError, headers: bytes = b"") -> None:
        """Answer with an error that no exchange is behind."""
        self._server.lane.stats.errors[error.code] += 1
        self.whole(error.status, b"application/json", error.headers() + headers, error.body(), "")

    def _next(self) -> None:
        """The connection is kept: ready for the next request."""
        self._work = None
        if self._raw:
            self._reset()
        self._complete = False
        self.deadline = self._server.clock + self._server.idle_s

    def _answer_over(self) -> None:
        self._work = None
        if self.transport.is_closing():
            return
        if self._keep and not self._pipelined:
            self._next()
        elif self._pipelined and self._keep:
            self._pipelined = self._keep = False
            self.fail(ApiError("pipelining_refused"))
        else:
            self.deadline = self._server.now() + self._server.settings.limits.write_s
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Answer in mid-request; what still comes is read and thrown away for a moment."""
        self._discarding, self._keep = True, False
        self._server.lane.stats.errors[error.code] += 1
        body = error.body()
        lines = b"content-type: application/json\r\ncontent-length: %d\r\n%b" % (len(body), error.headers())
        self.write(self._head(error.status, lines, "") + (b"" if self.method == b"HEAD" else body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline = self._server.now() + LINGER_S

    def timed_out(self) -> None:
        """The deadline has passed: say so if a request had begun; a client that reads nothing is cut off."""
        if (
            self._head_bytes
            and not self._complete
            and not self._discarding
            and not self.transport.is_closing()
        ):
            self._refuse(ApiError("request_timeout"))
        elif self.transport.get_write_buffer_size() or self.transport.is_closing() or self._discarding:
            self.transport.abort()
        else:
            self.transport.close()

    def close_if_idle(self, *, new: bool = True) -> None:
        """The service stops: close unless an answer is under way; ``new``: also if nothing was asked yet."""
        if self._work is None and not self._complete and (new or self._answered):
            self.transport.close()


def _place(fields: dict[bytes, bytes]) -> TurnPlace:
    """Where the request's turn goes. Raises PlaceError."""
    conversation, parent = fields.get(b"modu-conversation", b""), fields.get(b"modu-parent", b"")
    return TurnPlace.of(conversation.decode("latin-1"), parent.decode("latin-1"))


def join_fields(raw: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Fields by lower-case name. Raises ApiError for one that may stand only once. Fails closed."""
    fields = {name.lower(): value for name, value in raw}
    if len(fields) == len(raw):
        return fields
    fields = {}
    for name, value in raw:
        lower = name.lower()
        if lower not in fields:
            fields[lower] = value
        elif lower in SINGLE:
            raise ApiError("bad_request", f"{lower.decode('latin-1')} stands twice.")
        else:
            fields[lower] += (b"; " if lower == b"cookie" else b", ") + value
    return fields
