"""A gateway's end: finds the dispatcher of its cell, proves itself, and goes to the next one when it must.

Rules: the greatest epoch that was seen counts, and no older one is heeded (fails closed); but who holds the
lease by an older one, for the store has forgotten the newer, is told of it and ends. A dispatcher that says
nothing for `SILENT_S` is left, for it is stopped or cut off. Where the lease cannot be asked the
dispatcher that is there goes on, and one that has gone is tried at the address where it was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from typing import Protocol, cast

from moduai.cells import wire
from moduai.cells.lease import AwayError, Lease, Owner

log = logging.getLogger(__name__)

SILENT_S = 1.5
LOOK_S = 0.1
"""Between two looks for a dispatcher while there is none."""
NEWER_S = 0.2
"""Between two looks for a newer one."""
CONNECT_S = 1.0
"""Longest time until a dispatcher has taken us."""
MOST_UNSENT = 64 << 20
"""Bytes that a dispatcher may leave unread before it is left."""


class Line(Protocol):
    """What hears a dispatcher."""

    def found(self) -> None:
        """There is one now."""

    def lost(self) -> None:
        """There is none now."""

    def hear(self, message: wire.Message) -> None:
        """What it says."""


class Link:
    """One gateway's connection to whoever is the dispatcher."""

    def __init__(self, lease: Lease, gateway: str, secret: bytes) -> None:
        self.line: Line
        """Set by whoever makes both."""
        self.gateway, self.secret = gateway, secret
        self.epoch = 0
        """The greatest that was seen."""
        self.lease_away = ""
        """Why the lease cannot be asked; empty: it can."""
        self._lease = lease
        self._connection: _Connection | None = None
        self._owner: Owner | None = None
        self._out: list[wire.Message] = []
        self._gone = asyncio.Event()

    def send(self, message: wire.Message) -> None:
        """Say something at the end of this turn of the loop; it is lost while there is no dispatcher."""
        if self._connection is None:
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(message)

    async def run(self) -> None:
        """Stay connected until cancelled."""
        try:
            while True:
                await self._look()
                if self._owner is not None and self._connection is None:
                    await self._connect(self._owner)
                self._gone.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(NEWER_S if self._connection else LOOK_S):
                        await self._gone.wait()
        finally:
            if self._connection is not None:
                self._connection.close()
            await self._lease.close()

    async def _look(self) -> None:
        """Who is the dispatcher now? A newer one than ours is gone to."""
        try:
            owner = await self._lease.owner()
            self.lease_away = ""
        except AwayError as error:
            if not self.lease_away:
                log.warning("the cell's lease cannot be asked", extra={"why": str(error)})
            self.lease_away = str(error)
            return
        if owner is None:
            return
        if owner.epoch >= self.epoch or self._connection is None:  # an older one hears that it is
            self._owner = owner
        if self._connection is not None and owner.epoch > self.epoch:
            self._leave("there is a newer one")

    async def _connect(self, owner: Owner) -> None:
        loop = asyncio.get_running_loop()
        connection = _Connection(self)
        try:
            async with asyncio.timeout(CONNECT_S):
                kind, _, rest = owner.address.partition(":")
                if kind == "unix":
                    await loop.create_unix_connection(lambda: connection, rest)
                else:
                    host, _, port = owner.address.rpartition(":")
                    await loop.create_connection(lambda: connection, host.strip("[]"), int(port))
                await connection.welcome
        except (OSError, ValueError, wire.WireError):
            connection.close()
            return
        self._connection = connection
        log.info("the cell's dispatcher is there", extra={"at": owner.address, "epoch": self.epoch})
        self.line.found()

    def over(self, connection: _Connection) -> None:
        """A connection has ended."""
        if connection is self._connection:
            self._leave("it has gone")

    def _leave(self, why: str) -> None:
        log.warning("the cell's dispatcher is left", extra={"why": why, "epoch": self.epoch})
        connection, self._connection = self._connection, None
        self._out.clear()
        if connection is not None:
            connection.close()
        self.line.lost()
        self._gone.set()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._connection is not None and out:
            self._connection.write(wire.frame(out))

    def heard(self, messages: list[wire.Message]) -> None:
        """What the dispatcher says."""
        for message in messages:
            if isinstance(message, wire.Bye):
                self._leave("it is none any more")
                return
            self.line.hear(message)


class _Connection(asyncio.Protocol):
    """To one dispatcher."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loop = asyncio.get_running_loop()
        self.welcome: asyncio.Future[None] = self._loop.create_future()
        self.welcome.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait
        self._frames = wire.Frames()
        self._transport: asyncio.Transport | None = None
        self._nonces = (b"", secrets.token_bytes(16))
        self._heard = self._loop.time()
        self._watch = self._loop.call_later(SILENT_S, self._silent)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.close()
        self._link.over(self)

    def write(self, data: bytes) -> None:
        """Send it, unless too much is unread."""
        transport = self._transport
        if transport is None:
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MOST_UNSENT:
            self.close()

    def close(self) -> None:
        """Hang up now."""
        self._watch.cancel()
        if not self.welcome.done():
            self.welcome.set_exception(ConnectionError("the connection ended"))
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            messages = self._frames.feed(data)
            if not self.welcome.done():
                messages = self._greet(messages)
        except wire.WireError as error:
            log.warning("what a dispatcher says cannot be read", extra={"why": str(error)})
            self.close()
            return
        if messages:
            self._link.heard(messages)

    def _greet(self, messages: list[wire.Message]) -> list[wire.Message]:
        """Each proves that it knows the installation's secret. Raises WireError: fails closed."""
        link = self._link
        for at, message in enumerate(messages):
            match message:
                case wire.Challenge(version=version, nonce=nonce) if (
                    version >= wire.OLDEST and not self._nonces[0] and len(nonce) >= 16
                ):
                    self._nonces = nonce, self._nonces[1]
                    name = link.gateway.encode()
                    proof = wire.proof(link.secret, b"gateway", name, *self._nonces)
                    spoken = min(version, wire.VERSION)
                    hello = wire.Hello(spoken, link.gateway, link.epoch, self._nonces[1], proof)
                    self.write(wire.frame([hello]))
                case wire.Welcome(epoch=epoch, proof=proof) if epoch >= link.epoch and wire.proves(
                    proof, link.secret, b"dispatcher", epoch.to_bytes(8, "big"), *self._nonces
                ):
                    link.epoch = epoch
                    self.welcome.set_result(None)
                    return messages[at + 1 :]
                case _:
                    raise wire.WireError(f"{type(message).__name__} is no greeting that counts")
        return []

    def _silent(self) -> None:
        left = self._heard + SILENT_S - self._loop.time()
        if left <= 0:
            log.warning("the cell's dispatcher says nothing")
            self.close()
            self._link.over(self)
        else:
            self._watch = self._loop.call_later(left, self._silent)
