"""The running service as others see it: its lock, its status file, the address it listens on.

Words: the *lock* is held on ``run/service.lock`` for as long as a service runs on a home folder, so a
process number that a crash left behind is never believed; the *status* is ``run/service.json``.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import ipaddress
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    import ssl

BACKLOG = 4096
LIVE = b'{"status":"live"'
"""How the answer of /health/live begins: what tells another Modu from another program."""


class NotStartedError(RuntimeError):
    """The service cannot start; the text says why and what to do."""


class PortTakenError(NotStartedError):
    """Somebody listens there already. ``free`` is a port near it that nobody listens on."""

    def __init__(self, port: int, free: int, *, modu: bool) -> None:
        whose = "another Modu" if modu else "another program"
        super().__init__(f"port {port} is taken by {whose}; `modu up --port {free}` would take a free one")
        self.port, self.free = port, free


class Service(NamedTuple):
    """A running service: ``run/service.json``."""

    pid: int
    url: str
    """Empty while it starts."""
    started: int
    """Unix time in seconds."""


def hold(home: Path) -> int:
    """Take the home folder's lock for the life of this process. Raises NotStartedError if it is held."""
    file = os.open(_run(home) / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for attempt in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02 * attempt)  # somebody may only be looking
        else:
            return file
    os.close(file)
    raise NotStartedError(f"a service already runs on {home}")


def running(home: Path) -> Service | None:
    """The service that runs on this home folder. What a crashed one left behind is removed."""
    lock, status = home / "run" / "service.lock", home / "run" / "service.json"
    if lock.exists():
        with lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(status)
            status.unlink(missing_ok=True)  # while we hold the lock: a new service may write its own next
    return None


def _read(status: Path) -> Service:
    with suppress(OSError, msgspec.DecodeError):
        told = msgspec.json.decode(status.read_bytes(), type=dict[str, int | str])
        return Service(int(told["pid"]), str(told["url"]), int(told["started"]))
    return Service(0, "", 0)


def write_status(home: Path, service: Service) -> None:
    """Write the status whole or not at all, readable by its owner only."""
    new = _run(home) / "service.json.new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(service._asdict()))
    new.replace(home / "run" / "service.json")


def _run(home: Path) -> Path:
    folder = home / "run"
    for each in (home, folder):  # a parent that mkdir makes by itself would be open to others
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``. A name other than localhost counts as not."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTakenError or NotStartedError with what to do."""
    try:
        return _bind(host, port)
    except socket.gaierror:
        raise NotStartedError(f"{host!r} is not an address of this machine; see gateway.host") from None
    except PermissionError:
        raise NotStartedError(f"port {port} needs more rights; take one above 1023 with --port") from None
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise NotStartedError(f"{host!r} is not an address of this machine; see gateway.host") from None
        if error.errno != errno.EADDRINUSE:
            raise
    answer = asyncio.run(probe(f"http://{authority(host, port)}", "/health/live", within_s=1.0))
    raise PortTakenError(port, _free(host, port), modu=answer is not None and answer.modu)


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _free(host: str, port: int) -> int:
    for near in [*range(port + 1, min(port + 50, 65536)), 0]:
        with suppress(OSError), _bind(host, near) as opened:
            return int(opened.getsockname()[1])
    return 0


def url_of(listening: socket.socket, *, tls: bool) -> str:
    """The address by which this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{authority(host, port)}"


def authority(host: str, port: int) -> str:
    """Host and port as an address has them; one that stands for every address is this machine's."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Answer(NamedTuple):
    """What an address answered."""

    status: int
    body: bytes
    """Its first 4 kB."""

    @property
    def modu(self) -> bool:
        """It answered as Modu answers at /health/live."""
        return self.body.startswith(LIVE)

    @property
    def degraded(self) -> set[str]:
        """What does not work, as /health/ready tells; empty where it tells of nothing."""
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(self.body, type=_Ready).degraded
        return set()


class _Ready(msgspec.Struct):
    degraded: set[str] = set()


async def probe(url: str, path: str, *, within_s: float) -> Answer | None:
    """GET a path of our own processes; None when nothing that speaks HTTP answers in time."""
    scheme, _, authority = url.partition("://")
    name = "localhost" if scheme == "unix" else authority
    try:
        async with asyncio.timeout(within_s):
            reader, writer = await _connect(scheme, authority)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.read(4096)
            finally:
                writer.transport.abort()
        return Answer(int(head.split(b" ", 2)[1]), body)
    except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError):
        return None


async def _connect(scheme: str, authority: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if scheme == "unix":
        return await asyncio.open_unix_connection(authority)
    host, _, port = authority.rpartition(":")
    context = _own_certificate() if scheme == "https" else None
    return await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)


def _own_certificate() -> ssl.SSLContext:
    import ssl  # noqa: PLC0415  only where the service itself serves HTTPS

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the peer is our own socket
    return context
