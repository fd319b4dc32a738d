"""A whole gateway without sockets: real server, lane, fleet and connections on wires in memory."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

import msgspec

from moduai.accounts.keys import digest
from moduai.accounts.principal import Principal
from moduai.accounts.table import KeyTable
from moduai.engines.fleet import Fleet
from moduai.engines.http import Connection, Pool
from moduai.engines.record import Capability, Engine, Hardware, Model
from moduai.gateway import asgi
from moduai.gateway.connection import ClientConnection
from moduai.gateway.lane import Lane
from moduai.gateway.routes import Routes
from moduai.gateway.server import Server
from moduai.metering.row import UsageRow
from moduai.settings import Settings

KEY, READ_ONLY = b"modu-" + b"k" * 43, b"modu-" + b"r" * 43
MODEL = "m"
LATE_NS = 10**15
"""Later than every deadline."""


class Wire(asyncio.Transport):
    """One side's transport: keeps what is sent, and knows whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closing = self.aborted = self.lost = self.ended = False

    def write(self, data: Any) -> None:
        if self.ended:
            raise RuntimeError("written after write_eof")
        if not self.closing:
            self.sent += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 9) if name in {"peername", "sockname"} else default


class Upstream:
    """A connection to an engine, seen from the engine."""

    def __init__(self, connection: Connection, wire: Wire) -> None:
        self.connection, self.wire = connection, wire

    def asked(self) -> bytes | None:
        """The request that waits for an answer."""
        if not self.wire.sent or self.wire.closing:
            return None
        request = bytes(self.wire.sent)
        self.wire.sent.clear()
        return request


class MemoryPool(Pool):
    """A pool whose connections are wires."""

    def fill(self, upstreams: deque[Upstream]) -> MemoryPool:
        """Where new connections are told."""
        self.upstreams = upstreams
        return self

    def take(self, now: int) -> Connection | None:
        return super().take(now) or self._open()

    async def connect(self) -> Connection:
        return self._open()

    def _open(self) -> Connection:
        connection, wire = Connection(self), Wire()
        connection.connection_made(wire)
        self._all.add(connection)
        self.upstreams.append(Upstream(connection, wire))
        return connection


class Rows:
    """A ledger in memory."""

    full = failing = False
    rows_waiting = 0
    behind_s = 0.0

    def __init__(self) -> None:
        self.rows: list[UsageRow] = []
        self.add = self.rows.append


class World:
    """The gateway and the engines behind it."""

    def __init__(self, engines: int = 1, concurrency: int = 4, **limits: Any) -> None:
        tree = msgspec.to_builtins(Settings())
        tree["limits"] |= {"head_bytes": 4096, "body_bytes": 20_000, "headers": 20} | limits
        self.settings = msgspec.convert(tree, Settings)
        self.rows = Rows()
        fleet, keys = Fleet(self.settings.upstream), KeyTable()
        keys.replace(
            [
                (digest(KEY), Principal(subject="s", organisation="o", key="k")),
                (digest(READ_ONLY), Principal(subject="r", scopes=frozenset({"models"}))),
            ]
        )
        self.lane = Lane(self.settings, fleet, self.rows, "b")
        routes = Routes(self.lane, list, time.time())
        self.server = Server(self.settings, self.lane, keys, routes, lambda: page)
        self.upstreams: deque[Upstream] = deque()
        fleet.apply([_engine(number, concurrency) for number in range(engines)])
        for replica in fleet.replicas.values():
            replica.pool.close()
            replica.pool = MemoryPool(replica.address).fill(self.upstreams)
        self.fleet = fleet

    def connect(self) -> tuple[ClientConnection, Wire]:
        """A new client."""
        connection, wire = ClientConnection(self.server), Wire()
        connection.connection_made(wire)
        return connection, wire

    async def settle(self) -> None:
        """Let tasks (pages, new connections to engines) run to their end."""
        for _ in range(50):
            if not (asgi._tasks or self.lane._tasks or self.server._looks):
                return
            await asyncio.sleep(0)

    def end_engines(self) -> None:
        """Tell connections that were closed so, and close all others: nothing is kept between inputs."""
        while self.upstreams:
            upstream = self.upstreams.popleft()
            upstream.wire.abort()
            upstream.connection.connection_lost(None)

    def heal(self) -> None:
        """Close every breaker."""
        for name in self.fleet.replicas:
            self.fleet.report(name, ok=True, now=time.monotonic_ns())

    def leaks(self) -> list[str]:
        """What is still held although nobody is connected."""
        lane = self.lane
        held = {
            "exchanges": len(lane.exchanges),
            "places": sum(lane.line.running().values()),
            "waiting": sum(lane.line.waiting().values()) + len(lane._waiting),
            "clocks": sum(clock.running for clock in lane.clocks.values()),
            "connections": self.server.connections,
            "pages": len(asgi._tasks),
        }
        return [f"{count} {what} held at the end" for what, count in held.items() if count]

    async def let_go(self) -> None:
        """End what leaked, so that the next input begins anew."""
        for exchange in list(self.lane.exchanges):
            exchange.cancel()
        pages = list(asgi._tasks)
        for task in pages:
            task.cancel()
        await asyncio.gather(*pages, return_exceptions=True)

    async def close(self) -> None:
        await self.server.drain(0.01)


def _engine(number: int, concurrency: int) -> Engine:
    can = Capability(context=0, embeddings=True, responses=True)
    return Engine(
        id=f"eng_{number}",
        name=f"e{number}",
        url=f"http://127.0.0.1:{number + 1}",
        concurrency=concurrency,
        hardware=Hardware(kind="fake", count=1, watts=1.0),
        models=(Model(name=MODEL, upstream_name=MODEL, capability=can),),
    )


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Stands for the web application."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"page"})


def rss() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123  (called in loops)
        return int(file.read().split()[1]) * 4096
