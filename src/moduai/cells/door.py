"""A dispatcher's end: takes gateways that know the installation's secret, and nobody else.

Rules: a connection has `GREET_S` to prove itself, and until then may say little (fails closed); where there
are too many, the oldest of those that have not is ended. A gateway that has seen a greater epoch shows that
this dispatcher is none any more. While it is not sure that it still is the one, it hears nothing: what was
said waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from typing import cast

from moduai.cells import wire
from moduai.cells.dispatcher import Dispatcher, Session

log = logging.getLogger(__name__)

GREET_S = 2.0
MOST_GREETING = 4096
MOST_GATEWAYS = 1024
MOST_UNSENT = 64 << 20
"""Bytes that a gateway may leave unread."""


class Door:
    """Where gateways come in."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        epoch: int,
        secret: bytes,
        *,
        sure: Callable[[], bool],
        outdated: Callable[[int], None],
    ) -> None:
        """``sure``: whether we are the dispatcher beyond doubt now; ``outdated`` is told a greater epoch that
        a gateway has seen.
        """
        self.dispatcher, self.epoch, self.secret = dispatcher, epoch, secret
        self.sure, self.outdated = sure, outdated
        self.peers: dict[_Peer, None] = {}
        self._server: asyncio.Server | None = None

    async def listen(self, address: str) -> str:
        """Listen at ``unix:PATH`` or ``HOST:PORT``; returns where. Raises OSError."""
        loop = asyncio.get_running_loop()
        kind, _, path = address.partition(":")
        if kind == "unix":
            before = os.umask(0o177)
            try:
                self._server = await loop.create_unix_server(lambda: _Peer(self), path)
            finally:
                os.umask(before)
            return address
        host, _, port = address.rpartition(":")
        self._server = await loop.create_server(lambda: _Peer(self), host.strip("[]"), int(port))
        return f"{host}:{self._server.sockets[0].getsockname()[1]}"

    def hear_all(self) -> None:
        """It is sure again: what was said meanwhile is heard."""
        for peer in list(self.peers):
            peer.hear_held()

    async def close(self) -> None:
        """Hang up on all."""
        self.dispatcher.end()
        if self._server is not None:
            self._server.close()
        await asyncio.sleep(0)
        for peer in list(self.peers):
            peer.flush()
            peer.close()


class _Peer(asyncio.Protocol):
    """One gateway's connection."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._frames = wire.Frames(MOST_GREETING)
        self._nonce = secrets.token_bytes(16)
        self._session: Session | None = None
        self._held = bytearray()
        self._out: list[wire.Message] = []
        self._ending = False
        self._late = self._loop.call_later(GREET_S, self.close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peers = self._door.peers
        peers[self] = None
        if len(peers) > MOST_GATEWAYS:
            oldest = next(peer for peer in peers if not peer.known)  # else strangers could keep gateways out
            del peers[oldest]
            oldest.close()
        self._transport.write(wire.frame([wire.Challenge(wire.VERSION, self._nonce)]))

    @property
    def known(self) -> bool:
        """It has proved itself."""
        return self._session is not None

    def connection_lost(self, error: Exception | None) -> None:
        self._late.cancel()
        self._door.peers.pop(self, None)
        if self._session is not None:
            self._door.dispatcher.leave(self._session, self)

    def data_received(self, data: bytes) -> None:
        if not self._door.sure():  # reading is not paused: libuv spins where the other end goes meanwhile
            self._held += data
            if len(self._held) > self._frames.most:
                self.close()
            return
        try:
            for message in self._frames.feed(data):
                if self._session is not None and self._session.peer is not self:
                    break  # it has another connection now
                if self._session is not None:
                    self._door.dispatcher.hear(self._session, message)
                else:
                    self._greet(message)
        except wire.WireError as error:
            log.warning("what a gateway says cannot be read", extra={"why": str(error)})
            self.close()

    def hear_held(self) -> None:
        """Hear what was said while it was not sure."""
        if self._held:
            held, self._held = bytes(self._held), bytearray()
            self.data_received(held)

    def _greet(self, message: wire.Message) -> None:
        """Raises WireError: fails closed."""
        door = self._door
        match message:
            case wire.Hello(version=version, gateway=gateway, epoch=epoch, nonce=nonce, proof=proof) if (
                wire.OLDEST <= version <= wire.VERSION
                and len(nonce) >= 16
                and wire.proves(proof, door.secret, b"gateway", gateway.encode(), self._nonce, nonce)
            ):
                if epoch > door.epoch:
                    door.outdated(epoch)
                    self.close()
                    return
                self._late.cancel()
                self._frames.most = wire.MOST_BYTES
                self._session = door.dispatcher.enter(gateway, self)
                whole = wire.proof(
                    door.secret, b"dispatcher", door.epoch.to_bytes(8, "big"), self._nonce, nonce
                )
                self.send(wire.Welcome(door.epoch, whole))
            case _:
                raise wire.WireError(f"{type(message).__name__} is no greeting that counts")

    def send(self, message: wire.Message) -> None:
        """Say something at the end of this turn of the loop."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(message)

    def flush(self) -> None:
        """Say it now."""
        out, self._out = self._out, []
        if not out or self._transport.is_closing():
            return
        self._transport.write(wire.frame(out))
        if self._ending:
            self._transport.close()
        elif self._transport.get_write_buffer_size() > MOST_UNSENT:
            self.close()

    def end(self) -> None:
        """Hang up once all was said."""
        self._ending = True
        if not self._out:
            self._transport.close()

    def close(self) -> None:
        """Hang up now."""
        self._late.cancel()
        self._transport.abort()
