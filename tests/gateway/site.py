"""One gateway with its own line, or four with a dispatcher: what is fair is so in both.

The four have a lane, a server and a connection to the dispatcher each, over real sockets in the test's loop;
they share their keys and their ledger.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from moduai.accounts.table import KeyTable
from moduai.cells import dispatcher as dispatching
from moduai.cells.dispatcher import Dispatcher
from moduai.cells.door import Door
from moduai.cells.lease import FileLease
from moduai.cells.link import Link
from moduai.cells.remote import RemoteLine
from moduai.engines.fleet import Fleet
from moduai.engines.record import Engine
from moduai.gateway.policy_text import shipped
from moduai.gateway.supply import Supply
from moduai.metering.row import UsageRow
from moduai.scheduling import FairQueue
from moduai.scheduling.policy import Policy

from .conftest import KEY, Gateway, Reply, Rows, running_gateway, settings_of, shared_policy, until

SECRET = b"s" * 32


class Site:
    """The gateways, and the line before their engines."""

    def __init__(
        self, gateways: list[Gateway], line: FairQueue, set_policy: Callable[[Policy], None]
    ) -> None:
        self.gateways, self.line, self._set_policy = gateways, line, set_policy
        self._turn = cycle(gateways)

    def next(self) -> Gateway:
        """Whose turn it is to take a request."""
        return next(self._turn)

    async def ask(self, key: str = KEY, **body: Any) -> Reply:
        return await self.next().ask(key=key, **body)

    async def fill(self, count: int, **body: Any) -> list[asyncio.Task[Reply]]:
        """Requests by the first key, all of them in the line or past it."""
        return await self.asked([self.ask(**body) for _ in range(count)])

    async def asked(self, asks: list[Any]) -> list[asyncio.Task[Reply]]:
        """These are under way, and the line knows of them."""
        before = self.count
        tasks = [asyncio.create_task(ask) for ask in asks]
        await until(lambda: self.count == before + len(asks) and self._known)
        return tasks

    @property
    def count(self) -> int:
        """Requests that the gateways took since they began."""
        return sum(gateway.lane.count for gateway in self.gateways)

    @property
    def _known(self) -> bool:
        lines = [gateway.lane.line for gateway in self.gateways]
        return all(
            line._asked.keys() == line._places.keys() for line in lines if isinstance(line, RemoteLine)
        )

    @property
    def waiting(self) -> int:
        return sum(self.line.waiting().values())

    @property
    def running(self) -> int:
        return sum(self.line.running().values())

    @property
    def rows(self) -> list[UsageRow]:
        return self.gateways[0].ledger.rows

    @property
    def keys(self) -> KeyTable:
        return self.gateways[0].keys

    def share(self, rule: str = "", more: str = "") -> None:
        """Share by another policy (`shared_policy`)."""
        self._set_policy(shared_policy(rule, more))


@asynccontextmanager
async def running_site(
    folder: Path, count: int, *engines: Engine, **changes: dict[str, Any]
) -> AsyncIterator[Site]:
    """One gateway, or several and their dispatcher."""
    if count == 1:
        async with running_gateway(*engines, **changes) as gateway:
            yield Site([gateway], gateway.lane.line, gateway.lane.set_policy)
        return
    async with AsyncExitStack() as stack:
        dispatcher = await stack.enter_async_context(_dispatcher(folder, engines))
        ledger, keys, gateways = Rows(), KeyTable(), []
        for number in range(count):
            gateway = await stack.enter_async_context(
                _member(folder, f"g{number}", *engines, ledger=ledger, keys=keys, **changes)
            )
            gateways.append(gateway)
        await until(lambda: all(gateway.lane.line.there for gateway in gateways))  # type: ignore[attr-defined]

        def set_policy(policy: Policy) -> None:
            for gateway in gateways:
                gateway.lane.set_policy(policy)
            dispatcher.start(dispatcher.line.set_policy(policy, time.monotonic_ns()))

        yield Site(gateways, dispatcher.line, set_policy)
        await until(lambda: not sum(dispatcher.line.running().values()))  # or a place in line has leaked


@asynccontextmanager
async def _dispatcher(folder: Path, engines: tuple[Engine, ...]) -> AsyncIterator[Dispatcher]:
    fleet, line = Fleet(settings_of().upstream), FairQueue(shipped())
    dispatcher = Dispatcher(line, lambda engine, ok: fleet.report(engine, ok=ok, now=time.monotonic_ns()))
    fleet.listener = Supply(fleet, line, dispatcher.start).changed
    fleet.apply(engines)
    dispatcher._settled = 0  # nothing runs yet
    lease = FileLease(folder, "c")
    place = f"unix:{folder / 'd.sock'}"
    door = Door(
        dispatcher, await lease.take(place, 0) or 0, SECRET, sure=lambda: True, outdated=lambda _: None
    )
    await door.listen(place)
    ticking = asyncio.create_task(_tick(dispatcher, fleet))
    try:
        yield dispatcher
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await door.close()
        await lease.close()


async def _tick(dispatcher: Dispatcher, fleet: Fleet) -> None:
    while True:
        dispatcher.tick((name, replica.is_open) for name, replica in fleet.replicas.items())
        await asyncio.sleep(dispatching.TICK_S)


@asynccontextmanager
async def _member(folder: Path, name: str, *engines: Engine, **changes: Any) -> AsyncIterator[Gateway]:
    link = Link(FileLease(folder, "c"), name, SECRET)
    line = RemoteLine(shipped(), link.send)
    async with running_gateway(*engines, queue=line, **changes) as gateway:
        link.line, line.lane, gateway.fleet.seen = line, gateway.lane, line.seen
        linking = asyncio.create_task(link.run())
        try:
            yield gateway
        finally:
            await gateway.server.drain(0.01)
            linking.cancel()
            await asyncio.gather(linking, return_exceptions=True)
