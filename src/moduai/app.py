"""The gateway worker: the only place where the parts meet. ``python -m moduai.app``.

Keys and engines come from the database by the change feed into memory; usage goes out through the
segment writer; pages are loaded when the first one is asked for. With ``MODU_LISTEN_FD`` it serves a
socket that its supervisor holds; otherwise it listens on the settings' address.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from moduai.accounts.audit_roots import TOPIC as ROOTS
from moduai.accounts.audit_roots import Sealing, published
from moduai.accounts.keys import load_principals
from moduai.accounts.quotas import TOPIC as QUOTAS
from moduai.accounts.quotas import load_limits
from moduai.accounts.sessions import SessionTable
from moduai.accounts.table import KeyTable
from moduai.cells.exchange import stale
from moduai.cells.lease import open_lease
from moduai.cells.link import Link
from moduai.cells.remote import RemoteLine
from moduai.child import run
from moduai.desk import Desk, Known
from moduai.desk.api import Counter
from moduai.desk.shelf import StoredShelf
from moduai.engines.address import AddressError
from moduai.engines.fleet import Fleet
from moduai.engines.health import HealthWatch
from moduai.engines.record import Engine, Model
from moduai.engines.repository import list_engines, set_models
from moduai.gateway import degraded as ways
from moduai.gateway import kept
from moduai.gateway.asgi import AsgiApp
from moduai.gateway.author import Sessions
from moduai.gateway.decision_log import DecisionLog
from moduai.gateway.lane import Lane
from moduai.gateway.local import LocalAsk
from moduai.gateway.machine import Machine
from moduai.gateway.policy_file import PolicyFile
from moduai.gateway.policy_text import parse
from moduai.gateway.quotas import Quotas
from moduai.gateway.routes import Routes
from moduai.gateway.searches import Searches
from moduai.gateway.server import Server
from moduai.gateway.switches import TOPIC as SWITCHES
from moduai.gateway.switches import load_switches
from moduai.gateway.workers import Workers
from moduai.history.forgetting import replay
from moduai.history.recorder import FLUSH_S, Recorder
from moduai.knowledge.client import Search
from moduai.knowledge.watch import Watch
from moduai.metering.machine import machine_id
from moduai.metering.segment import Appender, SegmentWriter
from moduai.metering.taken import Taken
from moduai.packs import choose
from moduai.parent import Parent
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import Policy
from moduai.settings import Loaded
from moduai.store.database import Connection, Database
from moduai.store.feed import FeedState, follow
from moduai.store.keyring import Keyring, KeyringError
from moduai.store.subjects import SubjectKeys, SubjectsAwayError

LOOK_S = 1.0
"""Between two looks at the machine."""

log = logging.getLogger(__name__)


class Worker:
    """One gateway worker and all that it holds in memory."""

    def __init__(self, loaded: Loaded) -> None:
        settings = loaded.settings
        self.loaded = loaded
        self.parent = Parent()
        self.database = Database(loaded.database_url)
        self.keyring = Keyring.open(loaded.home, create=True)
        self.subjects = SubjectKeys.open(loaded.home, self.keyring, create=True)
        self.keys = KeyTable()
        self.sessions = SessionTable()
        self.fleet = Fleet(settings.upstream)
        name = f"{machine_id(loaded.home)}-worker"
        self.writer = SegmentWriter(loaded.path("usage"), settings.ledger, name)
        self.recorder = Recorder(loaded.path("turns"), self.subjects, settings.ledger, name)
        self.feed = FeedState()
        self.followed = False
        """Another process has taken our place."""
        self.known = False
        """True once keys and engines have been read."""
        self.engines_unread = False
        """True while the record of an engine cannot be read."""
        self.policy = PolicyFile(loaded, self.keyring.secret("pages"))
        policy = self.policy.policy
        logged = settings.line.journal and not loaded.shared_line
        decisions = DecisionLog(loaded, name, policy) if logged else None
        self._appenders: list[Appender[Any]] = [self.writer, *([decisions] if decisions else [])]
        boot = secrets.token_hex(6)
        self.link = (
            Link(open_lease(loaded), boot, self.keyring.secret("cells")) if loaded.shared_line else None
        )
        """To the dispatcher that holds the line; None: it is held here."""
        remote = RemoteLine(policy, self.link.send) if self.link else None
        line = remote or (decisions.line if decisions else FairQueue(policy))
        self.lane = Lane(settings, self.fleet, self.writer, boot, line)
        if self.link and remote:
            self.link.line, remote.lane, self.fleet.seen = remote, self.lane, remote.seen
        self.quotas = Quotas(self.database, boot, lambda: choose.zone(loaded, parse))
        self.lane.prefix_key = self.keyring.secret("prompts")
        self.lane.recorder = self.recorder
        self.taken = self.lane.taken = _taken(loaded, name)
        self.machine = Machine(loaded)
        self.sealing = Sealing(self.database, loaded.home)
        self.roots = b""
        """The published roots of the audit log, in JSON."""
        self.started = time.time()
        self.searches = Searches()
        self.search = Search(loaded, self.searches.ended) if settings.knowledge.enabled else None
        self.watch = Watch(self.search) if self.search else None
        """None where nothing is to be searched."""
        self.desk = self._desk(self.search) if self.search else None
        self.server = self._served()
        self._tasks: list[asyncio.Task[None]] = []

    def _served(self) -> Server:
        """What listens, with all that it answers."""
        routes = Routes(
            self.lane,
            self.degraded,
            self.started,
            lambda: self.roots,
            lambda: self.policy.found,
            self._searches,
        )
        server = Server(self.loaded.settings, self.lane, self.keys, routes, self._pages)
        server.sessions = Sessions(self.sessions, self.database)
        server.ready = routes.known = lambda: self.known
        server.workers = _workers(self.loaded, routes)
        if self.desk:
            server.documents, routes.documents = Counter(self.desk), True
        return server

    async def start(self) -> None:
        """Read what is known, begin to follow it, and listen."""
        settings = self.loaded.settings
        self._limit(self.policy.policy)
        with contextlib.suppress(*self.database.errors):
            await self._read(frozenset({"keys", "engines"}))
        watch = HealthWatch(self.fleet, settings.upstream, self._found, self.lane.supply.loaded)
        works = [
            follow(self.database, settings.database.feed_s, self._read, self.feed),
            self.link.run() if self.link else watch.run(),
            self._flush(settings.ledger.flush_s),
            self._record(),
            self.policy.watch(self._shared_anew),
            self.quotas.run(),
            self.sealing.run(),
            self._look(),
        ]
        if self.watch:
            works.append(self.watch.run())
        fd = os.environ.get("MODU_LISTEN_FD")
        if fd:
            works.append(_end_with(self.parent))
        for work in works:
            task = asyncio.get_running_loop().create_task(work)
            task.add_done_callback(_must_not_fail)
            self._tasks.append(task)
        host, port = await self.server.listen(socket.socket(fileno=int(fd)) if fd else None)
        if own := os.environ.get("MODU_OWN_SOCKET"):
            await self.server.listen_alone(Path(own))
        log.info("listening", extra={"host": host, "port": port})
        gc.collect()
        gc.freeze()

    async def leave(self) -> None:
        """Say that nobody should come any more, and serve as before until that was heard."""
        self.lane.leaving = True
        await asyncio.sleep(self.loaded.settings.gateway.leave_s)

    async def stop(self) -> None:
        """Drain, write the last rows, and let go."""
        if self.link is None and not self.followed:
            kept.keep(self.loaded.home, self.lane.line)
        cut_off = await self.server.drain(self.loaded.settings.gateway.drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._write()
        await self.quotas.give_back()
        for appender in self._appenders:
            appender.close()
        if self.taken is not None:
            self.taken.close()
        self.recorder.close()
        self.subjects.close()
        await self.database.dispose()
        log.info("stopped", extra={"cut_off": cut_off})

    def degraded(self) -> list[str]:
        """What does not work now, by name (``gateway.degraded``)."""
        holds = self.modes()
        return [mode.name for mode in ways.MODES if holds[mode]]

    def modes(self) -> dict[ways.Mode, bool]:
        """Which degraded modes hold."""
        line, link, lag = self.lane.line, self.link, self.feed.lag_s
        every_s = self.loaded.settings.cells.exchange_s
        active = [each for each in self.fleet.replicas.values() if each.engine.state == "active"]
        opened = sum(each.is_open for each in active)
        return {
            ways.DATABASE: not self.known or lag > self.loaded.settings.database.late_s,
            ways.LEDGER: self.writer.failing,
            ways.HISTORY: self.recorder.failing,
            ways.POLICY: bool(self.policy.found.problems),
            ways.ENGINES: self.engines_unread or not opened,
            ways.ENGINE: 0 < opened < len(active),
            ways.LINE: isinstance(line, RemoteLine) and not line.there,
            ways.LEASE: isinstance(line, RemoteLine) and (line.unsure or bool(link and link.lease_away)),
            ways.CELLS: any(stale(age, every_s) for age in line.cells().values()),
            ways.SEARCH: self.watch is not None and not self.watch.ready,
            ways.AUDIT: bool(self.sealing.failing),
            **self.machine.modes,
        }

    def _searches(self) -> Searches | None:
        """What the metrics tell of search."""
        if self.watch is None:
            return None
        searches, status = self.searches, self.watch.status
        searches.up = status is not None
        if status is not None:
            searches.documents, searches.passages = status.documents, status.passages
            searches.behind, searches.morphemes = status.behind, status.morphemes
        return searches

    def _shared_anew(self, policy: Policy) -> None:
        """Another policy counts."""
        self._limit(policy)
        self.lane.set_policy(policy)

    def _limit(self, policy: Policy) -> None:
        """The limits of a policy's classes count."""
        self.quotas.set_policy(policy)
        self.lane.quotas = self.quotas.in_use()

    async def _read(self, topics: frozenset[str]) -> None:
        if topics & {"sessions", "people"}:
            self.sessions.clear()
        if not self.known:
            await self._forget()
        async with self.database.connect() as connection:
            if "keys" in topics or not self.known:
                self.keys.replace(await load_principals(connection))
            if "engines" in topics or not self.known:
                await self._read_engines(connection)
            if SWITCHES in topics or not self.known:
                self.lane.switches.replace(await load_switches(connection))
            if QUOTAS in topics or not self.known:
                limits = await load_limits(connection)
                if limits:  # reading a pack for the first time takes half a second
                    await asyncio.to_thread(choose.zone, self.loaded, parse)
                self.quotas.set_limits(limits)
                self.lane.quotas = self.quotas.in_use()
            if ROOTS in topics or not self.known:
                self.roots = msgspec.json.encode(await published(connection, self.loaded.home))
        if not self.known and self.link is None:
            kept.take_back(self.loaded.home, self.lane.line)
        self.known = True

    async def _forget(self) -> None:
        """Deletions that an older copy of the database or of the keys would undo are done again, before
        anyone is served. While the keys are away this is left out, with an error: nothing can be unsealed
        then (fails open for the rest, such as sessions).
        """
        try:
            forgotten = await replay(self.database, self.subjects)
        except SubjectsAwayError as error:
            log.error("deletions cannot be replayed", extra={"why": str(error)})  # noqa: TRY400  one line says it
            return
        if forgotten:
            log.warning("accounts that had been deleted were there again", extra={"deleted": forgotten})

    async def _read_engines(self, connection: Connection) -> None:
        """An engine's record that cannot be read must not keep revoked keys good: the engines stay as they
        were, readiness names them, and keys are followed all the same.
        """
        try:
            own = self.loaded.settings.cells.engines
            self.fleet.apply(await list_engines(connection, self.keyring, own))
        except (KeyringError, AddressError) as error:
            log.error("engines cannot be read", extra={"why": str(error)})  # noqa: TRY400  one line says it
            self.engines_unread = True
        else:
            self.engines_unread = False

    async def _found(self, engine: Engine) -> None:
        """An engine has other models than its record says."""
        async with self.database.begin() as connection:
            await set_models(connection, engine.id, engine.models)

    async def _look(self) -> None:
        while True:
            await asyncio.to_thread(self.machine.look)
            self.writer.behind_s = self.machine.behind_s
            await asyncio.sleep(LOOK_S)

    def _write(self) -> None:
        """Write what waits, then free the slots of what is on disk."""
        made = self.taken.ended if self.taken else 0
        for appender in self._appenders:
            appender.flush()
        if self.taken and not self.writer.failing:
            self.taken.written(made)

    async def _flush(self, seconds: float) -> None:
        while True:
            if any(appender.rows_waiting for appender in self._appenders):
                await asyncio.to_thread(self._write)
            await asyncio.sleep(seconds)

    async def _record(self) -> None:
        while True:
            await self.recorder.flush()
            await asyncio.sleep(FLUSH_S)

    def _pages(self) -> AsgiApp:
        """The web application, loaded at the first page."""
        from moduai.web import Services, create_app  # noqa: PLC0415  (memory: a worker may never serve a page)

        services = Services(
            loaded=self.loaded,
            ask=self.desk or LocalAsk(self.lane),
            desk=self.desk,
            documents_first=self._documents_first,
            models=self._models,
            secret=self.keyring.secret("pages"),
            database=self.database,
            keyring=self.keyring,
            subjects=self.subjects,
            sessions=self.sessions,
            switches=self.lane.switches,
            keys=self.keys,
            lane=self.lane,
            started=int(self.started),
            workers=self.server.workers,
            degraded=self.degraded,
            policy=lambda: self.policy.found,
            search=self.search,
        )
        return create_app(services)

    def _desk(self, search: Search) -> Desk:
        shelf = StoredShelf(self.database)
        check = self.lane.switches.check
        return Desk(LocalAsk(self.lane), search, shelf, self._known_model, self.recorder.add, check)

    def _known_model(self, name: str) -> Known | None:
        """What the desk needs to know of a model that talks; None where nobody serves it."""
        can = self.fleet.models().get(name)
        if can is None or not can.chat:
            return None
        kinds = [replica.engine.kind for replica in self.fleet.serving(name)]
        return Known(can.context, in_the_box=all(kind == "embedded" for kind in kinds))

    def _documents_first(self) -> bool:
        """Until a stronger engine is attached the page answers from public documents."""
        models = [self._known_model(model.name) for model in self._models()]
        return all(model is not None and model.in_the_box for model in models)

    def _models(self) -> list[Model]:
        """Models that can be talked to now, each name once."""
        return [
            Model(name=name, upstream_name=name, capability=can)
            for name, can in self.fleet.models().items()
            if can.chat and any(replica.is_open for replica in self.fleet.serving(name))
        ]


def _taken(loaded: Loaded, name: str) -> Taken | None:
    """Where requests under way are kept. Without it those of a worker that dies leave no row: fails open."""
    try:
        return Taken(loaded.path("usage"), name)
    except OSError as error:
        log.warning("requests under way cannot be kept", extra={"why": str(error)})
        return None


def _workers(loaded: Loaded, routes: Routes) -> Workers:
    """The worker itself and those beside it, where `modu up` has given each a socket."""
    if not (given := os.environ.get("MODU_OWN_SOCKET")):
        return Workers(routes.figures)
    own = Path(given)
    names = [str(number) for number in range(1, loaded.settings.gateway.workers + 1)]
    sockets = {name: own.with_name(f"worker-{name}.sock") for name in names}
    return Workers(routes.figures, own.stem.rpartition("-")[2], sockets)


async def _end_with(parent: Parent) -> None:
    """Without its supervisor the worker would keep the port that a new service needs: drain and end."""
    await parent.ended()
    log.warning("the supervisor is gone, so the worker stops")
    signal.raise_signal(signal.SIGTERM)


def _must_not_fail(task: asyncio.Task[None]) -> None:
    """Without the feed a revoked key would stay good, without the flush no row would be kept: a task of
    the worker that fails ends it, and the supervisor starts another. Fails closed.
    """
    if not task.cancelled() and (error := task.exception()):
        log.critical("a part of the worker failed, so it stops", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


async def serve(loaded: Loaded) -> None:
    """Run until told to stop, or until another process takes our place (SIGUSR1)."""
    worker = Worker(loaded)
    stop, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        if ended.is_set():
            os._exit(1)
        ended.set()
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, told)
    loop.add_signal_handler(signal.SIGUSR1, stop.set)
    await worker.start()
    await stop.wait()
    if not ended.is_set():
        worker.followed = True
        await worker.server.hand_over(loaded.settings.gateway.drain_s, ended)
    else:
        await worker.leave()
    await worker.stop()


if __name__ == "__main__":
    sys.exit(run("gateway", serve))
