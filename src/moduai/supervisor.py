"""The supervisor: one small process that starts the others, keeps them running and stops them in order.

Words: a *child* is a process that it keeps; *ready* means that the worker answered for the first time;
to *drain* is to take nothing new and end what runs. Rules:

* It opens the listening socket itself and hands it to the worker, so connections wait in the backlog
  while a worker is started again.
* A child that ends is started again after 0.1 s, doubling to 30 s (the worker: to 5 s), and after 0.1 s
  once more when it had proven well: the worker had answered, any child had lived for 30 s. One that
  ends with status 78 cannot run as things are and is left alone.
* A worker that answers nothing three times in a row is killed and started again (fails closed). Each is asked
  at a socket of its own.
* At SIGUSR1 (`modu reload`) each child but the engine is replaced, one after the other: a worker by another
  one that takes new connections while it ends its own, the others by a restart. So an upgrade fails nobody.
* Children are stopped in the reverse order of the list, so the process that keeps usage goes last.
  The first signal drains, a second stops now.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from moduai.service import Answer, NotStartedError, Service, probe, write_status

log = logging.getLogger(__name__)

BACK_OFF_S = (0.1, 30.0)
"""First and longest pause before a child is started again."""
SETTLED_S = 30.0
"""A child that lived this long starts with the first pause again."""
WORKER_PAUSE_S = 5.0
"""Longest pause before the worker is started again: without it nobody is served."""
ENGINE = "engine"
"""The child that is not replaced: what runs there would be lost."""
CANNOT_RUN = os.EX_CONFIG
"""Exit status (78) of a child that must not be started again; it has said why."""
FIRST_STARTS = 6
"""How often a needed child may end before the service was ever ready."""
LIVE_EVERY_S, LIVE_WITHIN_S, LIVE_FAILURES = 5.0, 5.0, 3
START_S = 60.0
"""How long a worker that is started again may take to its first answer."""
GRACE_S = 3.0
"""What a child gets beyond its drain time before it is killed."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    fds: tuple[int, ...] = ()
    """Open files that it inherits."""
    drain_s: float = 10.0
    needed: bool = True
    """The service stops when this child cannot run."""
    longest_pause_s: float = BACK_OFF_S[1]
    """Longest pause before it is started again."""
    when_ready: bool = False
    """Started only once the service is ready, so that the first answer comes sooner."""
    live: str = ""
    """Address at which it answers for itself, of a worker."""


class Kept:
    """One child, its present process, and the task that starts it again."""

    def __init__(self, child: Child, ready: asyncio.Event) -> None:
        """``ready`` is set when the service was ready once: from then on the child is started without end."""
        self.child = child
        self.ready = ready
        self.process: subprocess.Popen[bytes] | None = None
        self.changed = asyncio.Event()
        self.started = asyncio.Event()
        """Set at each start, for who watches it to clear."""
        self.well = False
        """The present process has proven well."""
        self._retiring: list[subprocess.Popen[bytes]] = []
        """Whose place another one has taken."""

    async def keep(self) -> None:
        """Start it, and again when it ends. Raises NotStartedError when a needed child cannot run."""
        pause, starts = BACK_OFF_S[0], 0
        if self.child.when_ready:
            await self.ready.wait()
        while True:
            began = time.monotonic()
            if self.process is None or self.process.poll() is not None:  # it may have been replaced meanwhile
                self.process, self.well = _start(self.child), False
                self.started.set()
            status = await self.ended()
            starts += 1
            if status == CANNOT_RUN:
                log.warning("process cannot run", extra={"child": self.child.name})
                if not (self.child.needed and self.ready.is_set()):
                    self._give_up(f"{self.child.name} cannot run as things are")
                    return
                pause = self.child.longest_pause_s  # the others serve on, and the settings may be mended
            if starts >= FIRST_STARTS and not self.ready.is_set():
                self._give_up(f"{self.child.name} ended {starts} times before the service was ready")
            if self.well or time.monotonic() - began >= SETTLED_S:
                pause = BACK_OFF_S[0]
            log.warning(
                "process ended, starting it again",
                extra={"child": self.child.name, "status": status, "in_s": round(pause, 1)},
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, self.child.longest_pause_s)

    def _give_up(self, why: str) -> None:
        if self.child.needed:
            raise NotStartedError(f"{why}; the lines above say why, and `modu doctor` may know what to do")

    async def ended(self) -> int:
        """Wait for the present process; its exit status, or minus the signal that ended it."""
        while self.process is not None and (status := self.process.poll()) is None:
            self.changed.clear()
            await self.changed.wait()
        return status if self.process is not None and status is not None else 0

    async def _all_ended(self) -> None:
        await self.ended()
        while any(old.poll() is None for old in self._retiring):
            self.changed.clear()
            await self.changed.wait()

    async def replace(self) -> None:
        """Start another worker beside it; once that answers, this one ends what it has and goes. Where it
        never does, this one stays.
        """
        old = self.process
        with suppress(FileNotFoundError):
            os.unlink(self.child.live.removeprefix("unix://"))  # noqa: PTH108  (there the new one answers)
        self.process, self.well = _start(self.child), False
        self.started.set()
        if old is not None:
            self._retiring.append(old)
        while not _serves(await probe(self.child.live, "/health/ready", within_s=LIVE_WITHIN_S)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if old is not None and old.poll() is None:
            old.send_signal(signal.SIGUSR1)

    def reap(self) -> None:
        """Forget those that have gone."""
        self._retiring = [old for old in self._retiring if old.poll() is None]

    def signal(self, number: int) -> None:
        """Send a signal to the present process, if there is one."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    async def stop(self, hurry: asyncio.Event) -> None:
        """Drain; when ``hurry`` is set or the time is over, stop now; at last kill."""
        self.signal(signal.SIGTERM)
        for old in self._retiring:
            old.send_signal(signal.SIGTERM)
        over = asyncio.ensure_future(self._all_ended())
        hurried = asyncio.ensure_future(hurry.wait())
        await asyncio.wait({over, hurried}, timeout=self.child.drain_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not over.done():
            self.signal(signal.SIGTERM)
            await asyncio.wait({over}, timeout=GRACE_S)
        if not over.done():
            log.error("process did not stop and was killed", extra={"child": self.child.name})
            self.signal(signal.SIGKILL)
            for old in self._retiring:
                old.kill()
        await over


def _start(child: Child) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  the commands are our own
        child.command,
        env={**os.environ, **child.environ},
        pass_fds=child.fds,
        stdin=subprocess.DEVNULL,
        stdout=2,  # logs and stray prints go to standard error
        process_group=0,  # a Ctrl-C in the terminal is ours to pass on
        preexec_fn=_end_with_parent,  # noqa: PLW1509  this process has one thread
    )


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """In the child: have the kernel send SIGTERM when the supervisor is gone, however it went."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def supervise(
    home: Path,
    url: str,
    listening: socket.socket,
    children: Sequence[Child],
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Keep the children until a signal comes, then stop them. The workers have an address to answer at.

    Raises NotStartedError when a needed child cannot run.
    """
    stop, hurry, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
    kept = [Kept(child, ready) for child in children]
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, _wake, kept)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, _asked_to_stop, stop, hurry)
    renew = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, renew.set)
    tasks = [asyncio.create_task(one.keep()) for one in kept]
    watches = [asyncio.create_task(_watch(one)) for one in kept if one.child.live]
    watches += [
        asyncio.create_task(_announce(home, url, ready, on_ready)),
        asyncio.create_task(_renew(kept, renew)),
    ]
    stopped = asyncio.create_task(stop.wait())
    try:
        await _until(stopped, [*tasks, *watches])
    finally:
        stop.set()
        for watch in watches:
            watch.cancel()
        listening.close()
        (home / "run" / "service.json").unlink(missing_ok=True)
        log.info("stopping")
        for task in tasks:
            task.cancel()
        for together in _in_turn(kept):
            await asyncio.gather(*(one.stop(hurry) for one in together))
        log.info("stopped")


def _in_turn(kept: list[Kept]) -> list[list[Kept]]:
    """In which order children stop: the last one first, all workers at once."""
    workers = [one for one in kept if one.child.live]
    return [workers, *([one] for one in reversed(kept) if one not in workers)]


def _wake(kept: list[Kept]) -> None:
    for one in kept:
        one.reap()
        one.changed.set()


def _asked_to_stop(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    (hurry if stop.is_set() else stop).set()


async def _until(stopped: asyncio.Task[bool], tasks: list[asyncio.Task[None]]) -> None:
    """Wait for the signal; a task that fails fails us. One that merely ended is no matter."""
    pending: set[asyncio.Task[bool] | asyncio.Task[None]] = {stopped, *tasks}
    while not stopped.done():
        over, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in over:
            task.result()


async def _announce(home: Path, url: str, ready: asyncio.Event, on_ready: Callable[[], None]) -> None:
    """Say when the service is ready."""
    while await probe(url, "/health/ready", within_s=LIVE_WITHIN_S) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    ready.set()
    write_status(home, Service(os.getpid(), url, int(time.time())))
    on_ready()


async def _renew(kept: list[Kept], asked: asyncio.Event) -> None:
    """Replace the children whenever it is asked for."""
    while True:
        await asked.wait()
        asked.clear()
        log.info("children are replaced")
        for one in kept:
            if one.child.live:
                await one.replace()
            elif one.child.name != ENGINE:
                one.signal(signal.SIGTERM)
        log.info("children are replaced: all")


def _serves(answer: Answer | None) -> bool:
    """Whether a new worker can take the place of one that knows its keys and its line."""
    return answer is not None and answer.status == 200 and not answer.degraded & {"database", "line"}


async def _watch(worker: Kept) -> None:
    """Kill a worker that no longer answers."""
    live = worker.child.live
    while await probe(live, "/health/ready", within_s=LIVE_WITHIN_S) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    worker.well = True
    failures, process, answered, began = 0, worker.process, True, time.monotonic()
    while True:
        await _started(worker, LIVE_EVERY_S)
        if worker.process is not process:
            failures, process, answered, began = 0, worker.process, False, time.monotonic()
        answer = await probe(live, "/health/live", within_s=LIVE_WITHIN_S)
        if worker.process is not process:
            continue  # another process may have answered
        worker.well = answer is not None and answer.status == 200
        answered = answered or worker.well
        starts = not answered and time.monotonic() - began < START_S
        failures = 0 if worker.well or starts else failures + 1
        if failures == LIVE_FAILURES:
            log.error("worker does not answer and is killed", extra={"failures": failures})
            worker.signal(signal.SIGKILL)
            failures = 0


async def _started(kept: Kept, within_s: float) -> None:
    """Wait until the child is started again, but not longer than this."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await kept.started.wait()
    kept.started.clear()
