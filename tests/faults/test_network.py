"""Valkey behind a network that is cut for some, in network namespaces.

The store stands in one namespace and a dispatcher in another; gateways and the other dispatcher are where the
test is. They all have the home folder, so gateways and dispatchers find each other by sockets in it, whatever
is cut. A cut is silent: what is sent gets no answer.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from benchmarks.harness.cell import Cell, Part, redis_server, running_cell
from benchmarks.harness.modu import Home

from tests.cells.test_cell import asking, in_ledger, until_degraded
from tests.faults.conftest import LONG, needs, until

CUT_S = 60 if LONG else 0


class Net:
    """Two networks that reach a store."""

    def __init__(self) -> None:
        name = secrets.token_hex(3)
        self.store, self.other = f"modu-s-{name}", f"modu-d-{name}"
        self._end = f"m{name}"
        base = ip_address("198.18.0.0") + 16 * secrets.randbelow(8192)  # of networks that are for tests
        self.address = str(base + 1)
        self.here, self.there = str(base + 5), str(base + 9)
        """The test's end, and that of the dispatcher elsewhere; the store's ends are one above."""

    def build(self) -> None:
        """Raises CalledProcessError where the kernel forbids it."""
        ip(f"netns add {self.store}")
        ip(f"netns add {self.other}")
        ip(f"link add {self._end} type veth peer name here netns {self.store}")
        ip(f"-n {self.store} link add there type veth peer name store netns {self.other}")
        ip(f"-n {self.store} link set lo up")
        ip(f"-n {self.store} address add {self.address}/32 dev lo")
        for end, address, theirs, way in (
            ("here", self.here, self._end, ""),
            ("there", self.there, "store", f"-n {self.other} "),
        ):
            above = ip_address(address) + 1
            ip(f"-n {self.store} address add {above}/30 dev {end}")
            ip(f"-n {self.store} link set {end} up")
            ip(f"{way}address add {address}/30 dev {theirs}")
            ip(f"{way}link set {theirs} up")
            ip(f"{way}route add {self.address}/32 via {above}")

    def remove(self) -> None:
        for name in (self.store, self.other):  # links go with them
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def cut(self, address: str) -> None:
        """What the store sends there is lost."""
        ip(f"-n {self.store} route add blackhole {address}/32")

    def mend(self, address: str) -> None:
        ip(f"-n {self.store} route del blackhole {address}/32")


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True, capture_output=True)


@pytest.fixture
def net() -> Iterator[Net]:
    needs("ip")
    made = Net()
    try:
        made.build()
    except subprocess.CalledProcessError as error:
        made.remove()
        why = error.stderr.decode().strip()
        assert re.search("not permitted|not supported|denied", why), why
        pytest.skip(f"this kernel lets us make no network namespace: {why}")
    yield made
    made.remove()


@pytest.fixture
def cell(net: Net, home: Home, tmp_path: Path) -> Iterator[Cell]:
    command = ["ip", "netns", "exec", net.store, redis_server(), "--port", "6379", "--bind", net.address]
    store = Part("valkey", [*command, "--save", "", "--protected-mode", "no"], tmp_path / "store.log", {})
    settings = {"cells__lease": f"redis://{net.address}:6379/0"}
    way = ["ip", "netns", "exec", net.other]
    store.start()
    try:
        until(lambda: answers(net.address))
        with running_cell(
            home, tmp_path / "parts", gateways=1, dispatchers=2, settings=settings, elsewhere=way
        ) as found:
            yield found
            log = found.logs()
    finally:
        store.stop()
    assert "Traceback" not in log, log[-6000:]


def answers(address: str) -> bool:
    with suppress(OSError), closing(socket.create_connection((address, 6379), 1)):
        return True
    return False


async def takes_over(cell: Cell, part: Part) -> None:
    async with asyncio.timeout(60):
        while cell.leader() is not part:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def ends(part: Part) -> None:
    """It finds that it is the one no more."""
    async with asyncio.timeout(60):
        while not part.gone:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    part.start()


async def test_a_network_that_is_cut_for_some(cell: Cell, net: Net) -> None:
    far, near = cell.dispatchers
    if cell.leader() is near:
        near.stop()
        await takes_over(cell, far)
        near.start()
    async with asking(cell, 5) as load:
        net.cut(
            net.there
        )  # the dispatcher cannot ask, goes on, and the gateways see that there is a newer one
        await takes_over(cell, near)
        await load.answers(8)
        assert not far.gone
        net.mend(net.there)
        await ends(far)
        await load.answers(8)

        net.cut(net.here)  # nobody but the standby can ask: it takes over, and is not found
        await until_degraded(cell.gateways[0].url, {"lease"})
        await takes_over(cell, far)
        await load.answers(8)
        assert not near.gone, "the gateways still have it"
        ended = time.monotonic() + CUT_S
        while time.monotonic() < ended:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        await load.answers(8)
        net.mend(net.here)
        await ends(near)
        await until_degraded(cell.gateways[0].url, set())
        await load.answers(8)
    assert load.broken == []
    await in_ledger(cell, load.ids)
