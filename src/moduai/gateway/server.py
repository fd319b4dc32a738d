"""The gateway's server: who may connect, what answers which address, and the clock of all deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from pathlib import Path
from typing import Any

from moduai.accounts.principal import Principal
from moduai.accounts.table import KeyTable
from moduai.gateway.asgi import AsgiApp, Page
from moduai.gateway.author import Author, Sessions, from_our_page, session_token
from moduai.gateway.connection import ClientConnection
from moduai.gateway.errors import ApiError
from moduai.gateway.lane import Lane
from moduai.gateway.metrics import exposition
from moduai.gateway.public import Documents
from moduai.gateway.routes import Routes
from moduai.gateway.workers import Later, Workers
from moduai.settings import Settings

SWEEP_S = 0.5
OWN = frozenset({b"/metrics", b"/metrics/shares", b"/metrics/worker", b"/audit/roots.json"})
"""Addresses beside /v1 and /health that are no pages."""
SEARCH, METRICS = b"/v1/search", b"/metrics"
FORWARDED = frozenset(
    {b"forwarded", b"via", b"x-real-ip", *(b"x-forwarded-" + end for end in (b"for", b"host", b"proto"))}
)
"""What proxies add to a request."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Server:
    """All client connections of one worker."""

    def __init__(
        self, settings: Settings, lane: Lane, keys: KeyTable, routes: Routes, app: Callable[[], AsgiApp]
    ) -> None:
        self.settings, self.lane, self.keys = settings, lane, keys
        self.allowed_fields = frozenset(settings.gateway.allowed_fields)
        self.body_bytes, self.most_choices = settings.limits.body_bytes, settings.limits.choices
        self.date = formatdate(usegmt=True).encode()
        self.draining = False
        self.idle_s = settings.limits.idle_s
        self.ready: Callable[[], bool] = lambda: True
        """False until keys and engines are known: a good key must not be called wrong."""
        self.sessions: Sessions | None = None
        """None: nobody can sign in."""
        self.documents: Documents | None = None
        """None: there are no public documents to answer from."""
        self.workers = Workers(routes.figures)
        self._looks: set[asyncio.Task[None]] = set()
        self._routes, self._make_app, self._app = routes, app, None
        self._hosts = {
            host.lower().encode() for host in (*settings.gateway.allowed_hosts, settings.gateway.host)
        }
        self._hosts |= {host.encode() for host in LOOPBACK}
        self._proxies = [ipaddress.ip_network(network) for network in settings.gateway.behind_proxy]
        self._collectors = [ipaddress.ip_network(network) for network in settings.gateway.scraped_by]
        self._connections: set[ClientConnection] = set()
        self._listeners: list[asyncio.Server] = []
        self._tls: ssl.SSLContext | None = None
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.clock = self.now()
        """The loop's time at the last sweep: exact enough for long deadlines."""
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    _app: AsgiApp | None

    async def listen(self, sock: Any = None) -> tuple[str, int]:
        """Listen on an inherited socket, or on the settings' address; returns host and port."""
        gateway = self.settings.gateway
        context = self._tls = (
            _tls(gateway.tls_certificate, gateway.tls_key) if gateway.tls_certificate else None
        )
        make = lambda: ClientConnection(self)  # noqa: E731  (a factory is what asyncio asks for)
        if sock is not None:
            server = await self._loop.create_server(make, sock=sock, ssl=context, backlog=4096)
        else:
            server = await self._loop.create_server(
                make, gateway.host, gateway.port, ssl=context, backlog=4096
            )
        self._listeners.append(server)
        host, port = server.sockets[0].getsockname()[:2]
        return host, port

    async def listen_alone(self, path: Path) -> None:
        """Listen on a socket of this worker's own too, for its supervisor: who asks there asks this one."""
        before = os.umask(0o177)
        try:
            self._listeners.append(await self._loop.create_unix_server(lambda: ClientConnection(self), path))
        finally:
            os.umask(before)

    async def hand_over(self, seconds: float, hurry: asyncio.Event) -> None:
        """Take no new connections, for another process does; those that are open are served once more and
        closed, so that nobody sees one that closes while he asks. What is left after so many seconds, or when
        ``hurry`` is set, is drained.
        """
        self.draining = True
        for listener in self._listeners:
            listener.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._connections and not hurry.is_set():  # noqa: ASYNC110  (no event tells it)
                    await asyncio.sleep(0.05)

    async def drain(self, seconds: float) -> int:
        """Take no new connections, end what runs; returns how many requests were cut off."""
        self.draining = True
        await self._take_all()
        for listener in self._listeners:
            listener.close()
        for connection in list(self._connections):
            connection.close_if_idle(new=False)
        cut_off = await self.lane.drain(seconds)
        for _ in range(20):
            if not self._connections:
                break
            await asyncio.sleep(0.02)
            for connection in list(self._connections):
                connection.close_if_idle()
        for connection in list(self._connections):
            connection.transport.abort()
        self._sweeper.cancel()
        for look in self._looks:
            look.cancel()
        return cut_off

    async def _take_all(self) -> None:
        """Take the connections that wait in the backlog: closing the listener would break them, with requests
        on their way.
        """
        for sock in [sock for listener in self._listeners for sock in listener.sockets]:
            if sock.family == socket.AF_UNIX:
                continue
            with socket.socket(fileno=os.dup(sock.fileno())) as same, contextlib.suppress(OSError):
                same.setblocking(False)
                while True:
                    taken, _ = same.accept()
                    taken.setblocking(False)
                    await self._loop.connect_accepted_socket(
                        lambda: ClientConnection(self), taken, ssl=self._tls
                    )

    # connections

    def enter(self, connection: ClientConnection) -> bool:
        """Count a connection in; False when there are too many. Fails closed."""
        self._connections.add(connection)
        return len(self._connections) <= self.settings.limits.connections

    def leave(self, connection: ClientConnection) -> None:
        """Count it out."""
        self._connections.discard(connection)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def _sweep(self) -> None:
        now = self.clock = self.now()
        self.date = formatdate(usegmt=True).encode()
        for connection in list(self._connections):
            if 0 < connection.deadline < now:
                connection.timed_out()
        self._sweeper = self._loop.call_later(SWEEP_S, self._sweep)

    # checks

    def check_host(self, host: bytes | None, *, old: bool) -> None:
        """Only names that are ours, against DNS rebinding; HTTP/1.0 may leave Host out. Fails closed."""
        if host is None:
            if not old:
                raise ApiError("host_missing")
            return
        name = host.lower()
        name = name.partition(b"]")[0][1:] if name.startswith(b"[") else name.partition(b":")[0]
        if name not in self._hosts and b"*" not in self._hosts:
            raise ApiError(
                "host_not_allowed",
                "This service does not answer to this host name (gateway.allowed_hosts lists them).",
            )

    def authenticate(self, connection: ClientConnection) -> Author:
        """The author of an API request, by key, or by the cookie of a session where no key is sent; one
        whose session is not in memory is looked up. Raises ApiError. Fails closed.
        """
        authorization = connection.fields.get(b"authorization")
        if authorization is None:
            return self._by_session(connection)
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise ApiError("missing_api_key")
        if not self.ready():
            raise ApiError("not_ready", retry_after_s=2, begun=False)
        token = token.strip()
        principal = self.keys.find(token, time.time())
        if principal is None:
            raise ApiError("invalid_api_key")
        return Author(principal, token, self.keys)

    def _by_session(self, connection: ClientConnection) -> Author:
        sessions = self.sessions
        token = session_token(connection.fields, secure=self.scheme(connection) == "https")
        if token is None or sessions is None:
            raise ApiError("missing_api_key")
        if not from_our_page(connection.fields):
            raise ApiError("cross_site")
        if not self.ready():
            raise ApiError("not_ready", retry_after_s=2, begun=False)
        author = Author(sessions.find(token, time.time()), token, sessions)
        if author.principal is None:
            connection.transport.pause_reading()
            self._take_time(self._look_up(connection, sessions, author))
        return author

    def _take_time(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)
        return task

    async def _look_up(self, connection: ClientConnection, sessions: Sessions, author: Author) -> None:
        try:
            principal = await sessions.load(author.token)
        except ApiError as error:
            connection.author_refused(error)
        else:
            connection.author_known(author._replace(principal=principal))

    def peer(self, connection: ClientConnection) -> tuple[str, bool]:
        """The client's address, and whether it is the connection's own: a listed proxy is believed."""
        name = connection.transport.get_extra_info("peername")
        address = name[0] if isinstance(name, tuple) else "127.0.0.1"
        forwarded = connection.fields.get(b"x-forwarded-for")
        if forwarded is None or not self._is_proxy(address):
            return address, True
        for hop in reversed([hop.strip() for hop in forwarded.decode("latin-1").split(",")]):
            address = hop
            if not self._is_proxy(hop):
                break
        return address, False

    def scheme(self, connection: ClientConnection) -> str:
        """The scheme (http, https) as the client sees it: a listed proxy is believed."""
        proto = connection.fields.get(b"x-forwarded-proto")
        if proto in (b"http", b"https") and not self.peer(connection)[1]:
            return proto.decode()
        return "https" if self.settings.gateway.tls_certificate else "http"

    def _is_proxy(self, address: str) -> bool:
        return _within(address, self._proxies)

    def _is_local(self, connection: ClientConnection) -> bool:
        """Whether this machine itself asks, or for metrics a listed collector, with nobody behind it: a proxy
        on the same machine that is not listed speaks for the world. Fails closed.
        """
        address, direct = self.peer(connection)
        if not direct or not FORWARDED.isdisjoint(connection.fields):
            return False
        return ipaddress.ip_address(address).is_loopback or (
            connection.path == METRICS and _within(address, self._collectors)
        )

    # all that is not the lane

    def serve_other(self, connection: ClientConnection, principal: Principal | None) -> None:
        """The small addresses of the API, health and metrics; everything else is a page."""
        path = connection.path
        if not path.startswith((b"/v1/", b"/health/")) and path not in OWN:
            self._serve_page(connection)
            return
        if path == SEARCH and self.documents and principal and connection.method == b"GET":
            connection.begin(self.documents.search(connection.query, principal, connection))
            return
        try:
            local = self._is_local(connection)
            if path == METRICS and connection.method in (b"GET", b"HEAD"):
                self._tell(connection, local=local)
                return
            status, kind, body = self._routes.answer(connection.method, path, principal, local=local)
        except ApiError as error:
            connection.fail(error)
            return
        connection.whole(status, kind, b"cache-control: no-store\r\n", body, "")

    def _tell(self, connection: ClientConnection, *, local: bool) -> None:
        """Metrics of all workers, for this machine and the collectors of ``gateway.scraped_by``. Raises
        ApiError; fails closed.
        """
        if not local:
            raise ApiError("not_found")
        connection.begin(Later(self._take_time(self._told(connection))))

    async def _told(self, connection: ClientConnection) -> None:
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        body = exposition(await self.workers.told())
        connection.whole(200, kind, b"cache-control: no-store\r\n", body, "")

    def _serve_page(self, connection: ClientConnection) -> None:
        if self._app is None:
            self._app = self._make_app()
        Page(self._app, connection, self.scheme(connection), self.peer(connection)[0]).begin()


def _within(address: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


def _tls(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
