"""Races of the lane: the real lane and exchanges, a scripted engine, and many orders of what may happen.

After each step the line's counts are compared with the exchanges: no place leaks, whatever comes when. In the
end every request has one row in the ledger and one answer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from moduai.accounts.principal import Principal
from moduai.engines import fleet as fleets
from moduai.engines.fleet import Fleet
from moduai.engines.http import Head
from moduai.engines.record import Capability, Engine, Model
from moduai.gateway.ask import look
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.exchange import Exchange
from moduai.gateway.lane import Lane
from moduai.gateway.policy_text import parse, shipped
from moduai.gateway.switches import Stop
from moduai.scheduling import FairQueue
from moduai.scheduling.journal import FIELDS, Journal, replay
from moduai.scheduling.ticket import NO_TICKET

from .conftest import Rows, settings_of

WHOLE = b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5}}'
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
INVENTED = parse((Path(__file__).parents[1] / "packs" / "xa" / "policy.toml").read_text("utf-8"))
CAPPED = parse(
    'name = "t"\ndefault = "standard"\n[limits]\nperson = 2\norganisation = 3\ntotal = 4\n[pressure]\n'
    'lighter_after_s = 1\nlighter_mode = "auto"\nlighter = { m = "light" }\n'
    '[class.standard]\ntitle = { ko = "모두", en = "All" }\ncap = 50\n'
)
Step = Callable[[], object]


class Wire:
    """A scripted connection to an engine."""

    def __init__(self, receiver: Any = None) -> None:
        self.receiver = receiver

    def send(self, _request: bytes, receiver: Any) -> None:
        self.receiver = receiver

    def abort(self) -> None:
        self.receiver = None

    pause = resume = lambda _self: None


class Pool:
    """Connections of one engine: half of them have to be opened first, some cannot be."""

    random = Random(0)

    def __init__(self, *_: object) -> None:
        self.given = 0

    def take(self, _now: int) -> Wire | None:
        return Wire() if self.random.random() < 0.6 else None

    async def connect(self) -> Wire:
        await asyncio.sleep(0)
        if self.random.random() < 0.1:
            raise OSError("refused")
        return Wire()

    def give(self, _wire: Wire) -> None:
        self.given += 1

    def retire(self) -> None:
        pass


class Sink:
    """A client that takes what comes."""

    framed = False

    def __init__(self) -> None:
        self.ended = 0

    def head(self, *_: object) -> None:
        assert not self.ended

    write = head

    def end(self, *, close: bool = False) -> None:
        self.ended += 1

    def abort(self) -> None:
        self.ended += 1

    def whole(self, *_: object) -> None:
        self.ended += 1


def engine(number: int, concurrency: int, *models: str) -> Engine:
    can = Capability(context=8192)
    made = tuple(Model(name=name, upstream_name=name, capability=can) for name in models)
    url = f"http://127.0.0.1:{number}"
    return Engine(id=f"e{number}", name=f"e{number}", url=url, concurrency=concurrency, models=made)


class Race:
    """A lane and what may happen to it."""

    def __init__(self, random: Random, line: FairQueue) -> None:
        self.random = random
        settings = settings_of(line={"max_wait_s": 3600.0})
        self.fleet, self.ledger = Fleet(settings.upstream), Rows()
        self.lane = Lane(settings, self.fleet, self.ledger, "b", line)
        self.engines = [engine(1, random.choice([1, 2]), "m"), engine(2, 1, "m", "light")]
        self.engines = self.engines[: random.choice([1, 2, 2])]
        self.fleet.apply(self.engines)
        self.asked: list[tuple[Exchange, Sink]] = []

    def ask(self) -> None:
        stream = self.random.random() < 0.5
        body = json.dumps({"model": "m", "messages": [], "stream": stream}).encode()
        who = self.random.choice("abc")
        sink = Sink()
        ask = look(body, Endpoint.CHAT, 4, frozenset())
        exchange = self.lane.submit(ask, Principal(subject=f"s{who}", organisation=f"o{who}"), sink)
        self.asked.append((exchange, sink))

    # what happens to an exchange

    def answer(self, exchange: Exchange) -> None:
        receiver, wire = exchange, exchange._connection
        if wire is None:
            return
        if exchange.ask is not None and exchange.ask.stream:
            if not exchange.first:
                receiver.head(Head(200, b"text/event-stream", -1, True, True))
            receiver.piece(EVENT)
        else:
            receiver.whole(WHOLE)

    def end(self, exchange: Exchange) -> None:
        if exchange._connection is not None and exchange.first:
            exchange.end(lambda: None)

    def busy(self, exchange: Exchange) -> None:
        if exchange._connection is not None and not exchange.first:
            exchange.head(Head(503, b"application/json", 0, False, True))
            exchange.end(lambda: None)

    def broken(self, exchange: Exchange) -> None:
        if exchange._connection is not None:
            exchange.broken("scripted")

    def silent(self, exchange: Exchange) -> None:
        exchange.check_time(time.monotonic_ns() + 4000 * 1_000_000_000)

    # what happens to all

    def report(self) -> None:
        name, now = self.random.choice(self.engines).id, time.monotonic_ns()
        for _ in range(self.random.choice([1, 3])):
            self.fleet.report(name, ok=self.random.random() < 0.5, now=now)

    def apply(self) -> None:
        self.fleet.apply(self.random.sample(self.engines, self.random.randint(0, len(self.engines))))

    def apply_all(self) -> None:
        self.fleet.apply(self.engines)
        for each in self.engines:
            self.fleet.report(each.id, ok=True, now=time.monotonic_ns())

    def policy(self) -> None:
        self.lane.set_policy(self.random.choice([shipped(), CAPPED, INVENTED]))

    def switch(self) -> None:
        self.lane.switches.replace({"service": Stop()})

    def tick(self) -> None:
        self.lane.start(self.lane.line.tick(time.monotonic_ns()))

    def step(self) -> Step:
        alive = [exchange for exchange, _ in self.asked if not exchange.over]
        if not alive or self.random.random() < 0.3:
            return self.ask
        if self.random.random() < 0.25:
            self.lane.switches.replace({})
            return self.random.choice(
                [self.report, self.apply, self.policy, self.switch, self.tick, *[self.apply_all] * 4]
            )
        act = self.random.choice([self.answer] * 4 + [self.end] * 4 + [self.busy, self.broken, self.silent])
        one = self.random.choice(alive)
        return one.cancel if self.random.random() < 0.15 else partial(act, one)

    def check(self) -> None:
        lane = self.lane
        running = {name: count for name, count in lane.line.running().items() if count}
        assert running == dict(lane.running())
        assert sum(lane.line.waiting().values()) == len(lane._waiting)
        alive = {exchange for exchange, _ in self.asked if not exchange.over}
        assert alive == lane.exchanges
        for exchange in alive:
            waits = exchange.ticket is not NO_TICKET and exchange.ticket.id in lane._waiting
            assert waits != (exchange.grant is not None), "it neither waits nor runs, or both"
        assert len(self.ledger.rows) == len(self.asked) - len(alive)

    async def close(self) -> None:
        await self.lane.drain(0.001)
        await asyncio.sleep(0)
        assert not self.lane.exchanges
        assert not any(self.lane.line.running().values())
        assert not any(self.lane.line.waiting().values())
        assert all(clock.running == 0 for clock in self.lane.clocks.values())
        rows = [row.id for row in self.ledger.rows]
        assert sorted(rows) == sorted(exchange.id for exchange, _ in self.asked)
        assert all(sink.ended == (row_of(self, e) != "client_left") for e, sink in self.asked)


def row_of(race: Race, exchange: Exchange) -> str:
    return next(row.error for row in race.ledger.rows if row.id == exchange.id)


@asynccontextmanager
async def race(seed: int, line: FairQueue, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Race]:
    monkeypatch.setattr(fleets, "Pool", Pool)
    monkeypatch.setattr(Pool, "random", Random(seed))
    made = Race(Random(seed), line)
    yield made
    await made.close()


@pytest.mark.source
async def test_no_place_leaks_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(100):
        line = FairQueue(shipped())
        line._to_learn = 0 if seed % 2 else line._to_learn
        async with race(seed, line, monkeypatch) as running:
            for _ in range(80):
                running.step()()
                running.check()
                if running.random.random() < 0.5:
                    await asyncio.sleep(0)
                    running.check()
        outcomes.update(row.outcome for row in running.ledger.rows)
        outcomes.update(row.step for row in running.ledger.rows)
        outcomes["retries"] += running.lane.stats.retries
    kinds = ("ok", "cancelled", "failed", "timeout", "queued", "retries")
    assert min(outcomes[each] for each in kinds) > 25


async def test_what_happened_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    retried = 0
    for seed in range(5):
        lines: list[bytes] = []
        journal = Journal(shipped(), lines.append)
        async with race(seed, journal, monkeypatch) as running:
            for _ in range(80):
                running.step()()
                await asyncio.sleep(0)
        journal.close()
        assert replay(lines).agrees
        told = [msgspec.json.decode(line) for line in lines]
        assert told[-1][1] > 25
        again = [dict(zip(FIELDS, line[2], strict=True)) for line in told if line[0] == "submit" and line[3]]
        for ticket in again:  # nothing of the run that failed, or its notes would be a replay's first
            assert ticket["avoid"]
            assert [ticket[name] for name in ("out", "uncached", "home", "held", "state")] == [0, 0, "", 0, 0]
        retried += len(again)
    assert retried > 5
