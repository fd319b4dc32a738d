"""A gateway's end and a dispatcher's end over real sockets: who is taken, who is heeded, who is left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moduai.cells import door as door_module
from moduai.cells import link as link_module
from moduai.cells import wire
from moduai.cells.dispatcher import Dispatcher
from moduai.cells.door import MOST_GREETING, Door
from moduai.cells.lease import AwayError, Owner
from moduai.cells.link import Link
from moduai.scheduling import FairQueue

from ..scheduling.world import policy

SECRET = b"s" * 32


class Lease:
    """Says who the owner is."""

    def __init__(self) -> None:
        self.now: Owner | None = None
        self.away = False

    async def owner(self) -> Owner | None:
        if self.away:
            raise AwayError("away")
        return self.now

    async def close(self) -> None:
        pass


class Line:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[wire.Message] = []
        self.states: list[str] = []

    def found(self) -> None:
        self.states.append("found")

    def lost(self) -> None:
        self.states.append("lost")

    def hear(self, message: wire.Message) -> None:
        self.heard.append(message)


async def until(met: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not met():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@asynccontextmanager
async def door_at(address: str, epoch: int = 1, secret: bytes = SECRET) -> AsyncIterator[Door]:
    dispatcher = Dispatcher(FairQueue(policy()), lambda _engine, _ok: None)
    door = Door(dispatcher, epoch, secret, sure=lambda: door.is_sure, outdated=door_told.append)
    door.is_sure = True  # type: ignore[attr-defined]
    door.at = await door.listen(address)  # type: ignore[attr-defined]
    try:
        yield door
    finally:
        await door.close()


door_told: list[int] = []


@asynccontextmanager
async def linked(lease: Lease, secret: bytes = SECRET) -> AsyncIterator[tuple[Link, Line]]:
    link, line = Link(lease, "gate", secret), Line()  # type: ignore[arg-type]
    link.line = line
    task = asyncio.create_task(link.run())
    try:
        yield link, line
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """These dispatchers say nothing by themselves."""
    monkeypatch.setattr(link_module, "SILENT_S", 600)


@pytest.fixture(params=["unix", "tcp"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'd.sock'}" if request.param == "unix" else "127.0.0.1:0"


async def test_they_know_each_other_and_talk(address: str) -> None:
    lease = Lease()
    async with door_at(address) as door, linked(lease) as (link, line):
        lease.now = Owner(1, door.at)
        await until(lambda: line.states == ["found"])
        assert (link.epoch, list(door.dispatcher.sessions)) == (1, ["gate"])
        link.send(wire.Leaves(7))
        link.send(wire.Ask(7, "m", ("c", "o", "p"), "a", 1, 1, 0, (), (), 1000))
        door.dispatcher._settled = 0
        await until(lambda: line.heard)
        assert line.heard[0] == wire.Turned(7, "no_replica", 5_000_000_000)


async def test_who_does_not_know_the_secret_is_not_taken(tmp_path: Path, caplog) -> None:
    lease = Lease()
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as door, linked(lease, b"other") as (_, line):
        lease.now = Owner(1, door.at)
        await until(lambda: "what a gateway says cannot be read" in caplog.text)
        assert (line.states, door.dispatcher.sessions) == ([], {})


async def test_a_false_dispatcher_is_not_heeded(tmp_path: Path, caplog, monkeypatch) -> None:
    """It takes every gateway, but cannot prove itself."""
    lease = Lease()
    monkeypatch.setattr("moduai.cells.door.wire", Lenient())
    async with door_at(f"unix:{tmp_path / 'd.sock'}", secret=b"other") as door, linked(lease) as (_, line):
        lease.now = Owner(1, door.at)
        await until(lambda: "what a dispatcher says cannot be read" in caplog.text)
        assert line.states == []


class Lenient:
    """The wire of a dispatcher that believes everyone."""

    def __getattr__(self, name: str) -> object:
        return (lambda *_: True) if name == "proves" else getattr(wire, name)


class Version:
    """The wire of another version."""

    def __init__(self, oldest: int, newest: int) -> None:
        self.OLDEST, self.VERSION = oldest, newest

    def __getattr__(self, name: str) -> object:
        return getattr(wire, name)


@pytest.mark.parametrize(
    ("door", "gate", "talk"),
    [((1, 2), (1, 1), True), ((1, 1), (1, 2), True), ((2, 3), (1, 2), True), ((3, 4), (1, 2), False)],
)
async def test_a_version_understands_the_one_before(
    tmp_path: Path, caplog, monkeypatch, door: tuple[int, int], gate: tuple[int, int], talk: bool
) -> None:
    """So gateways and dispatchers can be replaced one after the other."""
    lease = Lease()
    monkeypatch.setattr("moduai.cells.door.wire", Version(*door))
    monkeypatch.setattr("moduai.cells.link.wire", Version(*gate))
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as found, linked(lease) as (_, line):
        lease.now = Owner(1, found.at)
        await until(lambda: line.states or "cannot be read" in caplog.text)
        assert bool(line.states) is talk


async def test_a_newer_dispatcher_is_gone_to_and_an_older_one_never(tmp_path: Path) -> None:
    lease = Lease()
    async with (
        door_at(f"unix:{tmp_path / 'a.sock'}", 1) as old,
        door_at(f"unix:{tmp_path / 'b.sock'}", 2) as new,
        linked(lease) as (link, line),
    ):
        lease.now = Owner(1, old.at)
        await until(lambda: line.states == ["found"])
        lease.now = Owner(2, new.at)
        await until(lambda: line.states == ["found", "lost", "found"])
        assert link.epoch == 2
        await until(lambda: old.dispatcher.sessions["gate"].peer is None)
        lease.now = Owner(1, old.at)
        await new.close()
        await until(lambda: door_told)  # it hears of the newer one
        assert line.states == ["found", "lost", "found", "lost"]
        door_told.clear()
        lease.now = Owner(2, old.at)  # who says so, but is not
        await until(lambda: door_told)
        assert door_told == [2] * len(door_told)
        assert line.states[-1] == "lost"


async def test_a_dispatcher_that_says_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SILENT_S", 0.2)
    lease = Lease()
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as door, linked(lease) as (_, line):
        lease.now = Owner(1, door.at)
        await until(lambda: "lost" in line.states)


async def test_one_that_says_good_bye(tmp_path: Path) -> None:
    lease = Lease()
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as door, linked(lease) as (_, line):
        lease.now = Owner(1, door.at)
        await until(lambda: line.states == ["found"])
        lease.now = None
        door.dispatcher.end()
        await until(lambda: line.states[:2] == ["found", "lost"])


async def test_a_lease_that_cannot_be_asked_changes_nothing(tmp_path: Path) -> None:
    lease = Lease()
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as door, linked(lease) as (link, line):
        lease.now = Owner(1, door.at)
        await until(lambda: line.states == ["found"])
        lease.away = True
        await until(lambda: link.lease_away)
        assert line.states == ["found"]
        lease.away = False
        await until(lambda: not link.lease_away)


async def test_what_is_said_while_it_is_not_sure_waits(tmp_path: Path) -> None:
    lease = Lease()
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as door, linked(lease) as (link, line):
        lease.now = Owner(1, door.at)
        await until(lambda: line.states == ["found"])
        door.is_sure = False
        door.dispatcher._settled = 0
        link.send(wire.Ask(7, "m", ("c", "o", "p"), "a", 1, 1, 0, (), (), 1000))
        await until(lambda: any(peer._held for peer in door.peers))
        assert line.heard == []
        door.is_sure = True
        door.hear_all()
        await until(lambda: line.heard)


async def test_strangers_who_take_all_places_make_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door_module, "MOST_GATEWAYS", 3)
    monkeypatch.setattr(door_module, "GREET_S", 600)
    lease = Lease()
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as door, linked(lease) as (_, line):
        strangers = [await asyncio.open_unix_connection(tmp_path / "d.sock") for _ in range(3)]
        await until(lambda: len(door.peers) == 3)
        first = set(door.peers)
        lease.now = Owner(1, door.at)
        await until(lambda: line.states)
        strangers += [await asyncio.open_unix_connection(tmp_path / "d.sock") for _ in range(3)]
        await until(lambda: first.isdisjoint(door.peers))
        assert (line.states, len(door.peers)) == (["found"], 3)
        for _, writer in strangers:
            writer.transport.abort()


@pytest.mark.parametrize(
    "said", [b"GET / HTTP/1.1\r\n\r\n", (MOST_GREETING + 1).to_bytes(4, "big"), wire.frame([wire.Told()])]
)
async def test_strangers(tmp_path: Path, said: bytes) -> None:
    async with door_at(f"unix:{tmp_path / 'd.sock'}") as door:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "d.sock")
        writer.write(said)
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionResetError):
                while await reader.read(4096):
                    pass
        writer.close()
        assert not door.dispatcher.sessions
