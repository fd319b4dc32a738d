"""The dispatcher process, ``python -m moduai.cells``: stands by until the cell has no dispatcher, then is it.

It follows engines, their health and the policy all the time, so that taking over takes no longer than finding
that the one before is gone. It ends when somebody else is the dispatcher, and whoever keeps it starts it
again, as a standby.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from typing import Any

from moduai.cells.dispatcher import TICK_S, Dispatcher
from moduai.cells.door import Door
from moduai.cells.exchange import Exchange
from moduai.cells.lease import AwayError, Lease, open_lease
from moduai.child import own_folder, run, socket_path
from moduai.engines.address import AddressError
from moduai.engines.fleet import Fleet
from moduai.engines.health import HealthWatch
from moduai.engines.record import Engine
from moduai.engines.repository import list_engines, set_models
from moduai.gateway.decision_log import DecisionLog
from moduai.gateway.policy_file import PolicyFile
from moduai.gateway.supply import Supply
from moduai.metering.machine import machine_id
from moduai.parent import Parent
from moduai.scheduling import FairQueue, Grant
from moduai.scheduling.policy import Policy
from moduai.scheduling.queue import KEPT
from moduai.settings import Loaded
from moduai.store.database import Database
from moduai.store.feed import follow
from moduai.store.keyring import Keyring, KeyringError

LOOK_S = 0.1
"""Between two tries to become the dispatcher."""
CANCEL_S = 2.0
"""Between two cancellings of what did not end."""
SAVE_S = 1.0
"""Between two savings of what the next dispatcher goes on from."""

log = logging.getLogger("moduai.cells")


class Candidate:
    """One process that is, or stands by to be, the dispatcher."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.database = Database(loaded.database_url)
        self.keyring = Keyring.open(loaded.home)
        self.lease: Lease = open_lease(loaded)
        self.stop = asyncio.Event()
        self._policy = PolicyFile(loaded, self.keyring.secret("pages"))
        name = f"{machine_id(loaded.home)}-dispatcher"
        self._decisions = (
            DecisionLog(loaded, name, self._policy.policy) if loaded.settings.line.journal else None
        )
        self.line = self._decisions.line if self._decisions else FairQueue(self._policy.policy)
        self.fleet = Fleet(loaded.settings.upstream)
        self._supply = Supply(self.fleet, self.line, self._start)
        self.fleet.listener = self._supply.changed
        self._dispatcher: Dispatcher | None = None
        self._sure_until = 0.0
        """Until then nobody else can have the lease."""
        self._away = False
        """The lease cannot be asked: we go on."""
        self._known = asyncio.Event()
        """The engines have been read."""
        self._newer = 0
        """A greater epoch than ours that a gateway has seen."""

    # following

    async def follow(self) -> None:
        """Know engines, their health and the policy, until cancelled; a part that ends ends us."""
        upstream = self.loaded.settings.upstream
        watch = HealthWatch(self.fleet, upstream, self._found, self._supply.loaded)
        await _first(
            follow(self.database, self.loaded.settings.database.feed_s, self._read),
            watch.run(),
            self._policy.watch(self._set_policy),
            self._write_decisions(),
        )

    async def _write_decisions(self) -> None:
        while True:
            if self._decisions is not None and self._decisions.rows_waiting:
                await asyncio.to_thread(self._decisions.flush)
            await asyncio.sleep(self.loaded.settings.ledger.flush_s)

    async def _read(self, topics: frozenset[str]) -> None:
        if "engines" in topics or not self._known.is_set():
            async with self.database.connect() as connection:
                try:
                    own = self.loaded.settings.cells.engines
                    self.fleet.apply(await list_engines(connection, self.keyring, own))
                except (KeyringError, AddressError) as error:  # as they were, rather than none
                    why = str(error)
                    log.error("engines cannot be read", extra={"why": why})  # noqa: TRY400  one line says it
            self._known.set()

    async def _found(self, engine: Engine) -> None:
        """An engine has other models than its record says."""
        if self._dispatcher is not None:
            async with self.database.begin() as connection:
                await set_models(connection, engine.id, engine.models)

    def _set_policy(self, policy: Policy) -> None:
        self._start(self.line.set_policy(policy, time.monotonic_ns()))

    def _start(self, grants: list[Grant]) -> None:
        if self._dispatcher is not None:
            self._dispatcher.start(grants)

    # being it

    async def lead(self) -> None:
        """Stand by until the lease is ours, then dispatch until it is not, or until cancelled."""
        await self._known.wait()
        with _bound(self.loaded) as (place, address):
            epoch = await self._take(address)
            restored = await self._restore()
            log.info(
                "this is the dispatcher now", extra={"epoch": epoch, "at": address, "restored": restored >= 0}
            )
            cells = self.loaded.settings.cells
            exchange = Exchange(self.line, self.lease, cells.name, cells.exchange_s)
            self._dispatcher = Dispatcher(self.line, self._seen, restored=restored)
            self._dispatcher.cells = lambda: exchange.ages
            secret = self.keyring.secret("cells")
            door = Door(self._dispatcher, epoch, secret, sure=self.sure, outdated=self._outdated)
            try:
                await door.listen(place)
                await _first(self._keep(door), self._tick(), self._save(), exchange.run())
            finally:
                await door.close()
                self._dispatcher = None
                await self._leave()

    async def _take(self, address: str) -> int:
        least = int(time.time())  # a store that has lost its epochs gives none that was seen before
        while True:
            began = time.monotonic()
            with contextlib.suppress(AwayError):
                if owner := await self.lease.owner():
                    least = max(least, owner.epoch)
                if epoch := await self.lease.take(address, least):
                    self._sure_until = began + self.loaded.settings.cells.term_s
                    return epoch
            await asyncio.sleep(LOOK_S)

    async def _restore(self) -> int:
        """Go on from what the dispatcher before has saved; its age in ns, or -1. Fails open."""
        with contextlib.suppress(AwayError):
            if saved := await self.lease.saved():
                state, age = saved
                if self.line.restore(state, time.monotonic_ns(), age):
                    return age if age < KEPT else -1  # what was owed longer ago is forgiven, charges too
                log.warning("what the dispatcher before has saved cannot be read: fairness begins anew")
        return -1

    def sure(self) -> bool:
        """Whether nobody else can be the dispatcher; or nobody can be asked, and the gateways judge."""
        return self._away or time.monotonic() < self._sure_until

    async def _keep(self, door: Door) -> None:
        """Keep the lease until it is somebody else's."""
        dispatcher, doubted = door.dispatcher, False
        while True:
            began = time.monotonic()
            try:
                if not await self.lease.keep():
                    log.warning("somebody else is the dispatcher now")
                    return
                away, doubted = "", False
                self._sure_until = began + self.loaded.settings.cells.term_s
            except AwayError as error:
                if not (doubted or self.sure()):
                    doubted = True  # we were paused, and somebody may have come: ask once more
                    continue
                away = str(error)
            if bool(away) != self._away:
                (log.warning if away else log.info)("the cell's lease", extra={"away": away or "no more"})
            self._away = dispatcher.degraded = bool(away)
            door.hear_all()
            await asyncio.sleep(self.loaded.settings.cells.term_s / 4)

    def _outdated(self, epoch: int) -> None:
        log.warning("a gateway has seen a newer dispatcher", extra={"epoch": epoch})
        self._newer = max(self._newer, epoch)
        self.stop.set()

    async def _tick(self) -> None:
        while True:
            if self.sure() and self._dispatcher is not None:
                self._dispatcher.tick(
                    (name, replica.is_open) for name, replica in self.fleet.replicas.items()
                )
            await asyncio.sleep(TICK_S)

    async def _save(self) -> None:
        while True:
            await asyncio.sleep(SAVE_S)
            if self.sure():
                steps = self.line.dumping(time.monotonic_ns())
                while not (state := next(steps)):  # noqa: ASYNC110  (who asks now comes first)
                    await asyncio.sleep(0)
                with contextlib.suppress(AwayError):  # it is said already
                    await self.lease.save(state)

    async def _leave(self) -> None:
        with contextlib.suppress(AwayError):
            if await self.lease.keep():
                if not self._newer:  # what it saved counts more
                    await self.lease.save(self.line.dump(time.monotonic_ns()))
                await self.lease.give_up(self._newer)

    def _seen(self, engine: str, ok: bool) -> None:
        self.fleet.report(engine, ok=ok, now=time.monotonic_ns())

    async def close(self) -> None:
        """Let go of everything."""
        if self._decisions is not None:
            self._decisions.close()
        await self.lease.close()
        await self.database.dispose()


@contextlib.contextmanager
def _bound(loaded: Loaded) -> Iterator[tuple[str, str]]:
    """Where to listen, and the address to be found at; nobody can connect until it is listened at."""
    cells = loaded.settings.cells
    if not cells.listen:
        path = socket_path(loaded.home, f"cell-{secrets.token_hex(4)}")
        own_folder(path)
        try:
            yield f"unix:{path}", f"unix:{path}"
        finally:
            path.unlink(missing_ok=True)
        return
    yield cells.listen, cells.address or cells.listen


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Run until the first one ends; raises what it raised."""
    pending = {asyncio.ensure_future(work) for work in works}
    try:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        while pending:  # a client whose time is over at this very moment takes the cancelling for its own
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_S)


async def serve(loaded: Loaded) -> None:
    """Run until told to stop, or until somebody else is the dispatcher."""
    candidate = Candidate(loaded)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(
            name, lambda: os._exit(1) if candidate.stop.is_set() else candidate.stop.set()
        )
    try:
        await _first(candidate.follow(), candidate.lead(), candidate.stop.wait(), Parent().ended())
    finally:
        await candidate.close()


if __name__ == "__main__":
    sys.exit(run("dispatcher", serve))
