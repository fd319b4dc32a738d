"""Limits for a day or a month: several gateways on one database, and what a client sees."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC

import pytest
from benchmarks.harness.behaviour import Behaviour
from benchmarks.harness.engine import FakeEngine
from sqlalchemy import select

from moduai.accounts.principal import Principal
from moduai.accounts.quotas import Limit
from moduai.accounts.tables import quota_books
from moduai.gateway.errors import ApiError
from moduai.gateway.policy_text import parse
from moduai.gateway.quotas import Hold, Quotas
from moduai.metering.row import UsageRow
from moduai.scheduling.quota import LEASE, TELL, advance
from moduai.store.database import Connection, Database
from tests.databases import db, postgres, sqlite, url

from .conftest import Gateway, chat, engine_of, request, running_gateway, until

__all__ = ["db", "postgres", "sqlite", "url"]

NOON = 1795435200.0  # 2026-11-23 12:00 UTC
DAY = 86_400
WHO = Principal(subject="sub_a", organisation="org_a", key="key_a")
TODAY = ("2026-11-23", "key_a")


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


def quotas(db: Database, clock: Clock, name: str = "a", **limits: int) -> Quotas:
    made = Quotas(db, name, lambda: UTC, clock)
    made.set_limits({owner: Limit(tokens) for owner, tokens in (limits or {"key_a": 10_000}).items()})
    return made


def used(tokens: int, **more: object) -> UsageRow:
    return UsageRow("boot-1-x", 1, "sub_a", engine="eng_1", tokens_in=tokens, **more)  # type: ignore[arg-type]


def admit(one: Quotas, prompt: int = 0, who: Principal = WHO) -> Hold:
    hold = one.admit(who, "all", prompt, 1)
    assert hold is not None
    return hold


def refusal(one: Quotas, who: Principal = WHO) -> ApiError:
    with pytest.raises(ApiError) as caught:
        one.admit(who, "all", 0, 1)
    return caught.value


async def in_books(db: Database) -> dict[tuple[str, str], tuple[int, dict[str, list[float]]]]:
    async with db.connect() as connection:
        rows = await connection.execute(select(quota_books))
        return {(row.since, row.owner): (row.used, row.leases) for row in rows}


async def until_refused(one: Quotas, clock: Clock, tokens: int, pause: float = 0) -> tuple[int, ApiError]:
    """Ask, each request taking so many tokens, until one is refused; what was used, and why."""
    for whole in range(0, 100_000, tokens):
        try:
            admit(one, tokens - 1).settle(used(tokens))
        except ApiError as error:
            return whole, error
        clock.now += pause
        await one.round()
    raise AssertionError("it never ended")


async def use_up(gateways: list[Quotas], clock: Clock, tokens: int) -> int:
    """Ask at all of them, each request taking so many tokens, until all refuse for good; what was used."""
    whole = 0
    for _ in range(1000):
        over = 0
        for one in gateways:
            try:
                admit(one, tokens - 1).settle(used(tokens))
                whole += tokens
            except ApiError as error:
                over += error.code == "quota_exceeded"
        if over == len(gateways):
            return whole
        clock.now += 0.3
        await asyncio.gather(*(one.round() for one in gateways))
    raise AssertionError("it never ended")


async def test_gateways_end_at_the_limit_together_and_go_on_the_next_day(db: Database) -> None:
    clock = Clock()
    gateways = [quotas(db, clock, str(number)) for number in range(4)]
    for day, ends in (("2026-11-23", NOON + DAY / 2), ("2026-11-24", NOON + DAY * 3 / 2)):
        whole = await use_up(gateways, clock, 70)
        assert 10_000 <= whole <= 10_000 + 4 * (advance(10_000) + 70)
        clock.now += TELL + 1
        await asyncio.gather(*(one.round() for one in gateways))
        assert (await in_books(db))[day, "key_a"] == (whole, {})
        error = refusal(gateways[0])
        assert (error.status, error.retry_after_s) == (429, math.ceil(ends - clock.now))
        assert error.message.startswith("The 10,000 tokens of this API key are used up; they begin anew at ")
        clock.now += DAY / 2


async def test_what_a_dead_gateway_held_comes_back_after_its_lease(db: Database) -> None:
    clock = Clock()
    dead, alive = quotas(db, clock, "dead"), quotas(db, clock, "alive")
    admit(dead, 9000)
    await dead.round()
    assert (await in_books(db))[TODAY][1] == {"dead": [9125, NOON + LEASE]}
    first, error = await until_refused(alive, clock, 100)
    assert (error.code, error.retry_after_s) == ("quota_unknown", 1)
    assert 800 <= first <= 1100
    clock.now += LEASE + 1
    assert 10_000 <= first + await use_up([alive], clock, 100) <= 10_200


async def test_who_leaves_gives_back_at_once(db: Database) -> None:
    clock = Clock()
    one = quotas(db, clock)
    admit(one, 200).settle(used(300))
    await one.round()
    assert (await in_books(db))[TODAY] == (300, {"a": [1212, NOON + LEASE]})
    admit(one, 50).settle(used(60))
    await one.give_back()
    assert (await in_books(db))[TODAY] == (360, {})


async def test_a_request_counts_for_its_key_its_person_and_its_organisation(sqlite: Database) -> None:
    clock = Clock()
    one = quotas(sqlite, clock, key_a=1000, sub_a=2000, org_a=3000)
    assert one.in_use() is one
    admit(one, 10).settle(used(500))
    await one.round()
    assert {owner: row[0] for (_, owner), row in (await in_books(sqlite)).items()} == dict.fromkeys(
        ("key_a", "sub_a", "org_a"), 500
    )
    shown = {each.of: (each.tokens, each.left) for each in one.shown(WHO, "all")}
    assert shown == {"key": (1000, 500), "organisation": (3000, 2500), "person": (2000, 1500)}
    admit(one, 10).settle(used(500))
    clock.now += TELL
    await one.round()
    assert "this API key" in refusal(one).message
    page = Principal(subject="sub_a", organisation="org_a")
    admit(one, 10, page).settle(used(1000))
    clock.now += TELL
    await one.round()
    assert "tokens of you " in refusal(one, page).message
    other = Principal(subject="sub_b", organisation="org_a")
    admit(one, 10, other).settle(used(1000))
    clock.now += TELL
    await one.round()
    assert "your organisation" in refusal(one, other).message
    assert one.admit(Principal(subject="sub_b"), "all", 1, 1) is None
    one.set_limits({})
    assert one.in_use() is None


async def test_a_class_gives_each_of_its_people_a_limit(sqlite: Database) -> None:
    clock = Clock()
    one = quotas(sqlite, clock, sub_b=5000)
    one.set_policy(parse('name = "x"\ndefault = "all"\n[class.all]\ntitle = {en = "All"}\nquota = 700'))
    admit(one).settle(used(700))
    clock.now += TELL
    await one.round()
    assert "700 tokens of you" in refusal(one).message
    admit(one, 0, Principal(subject="sub_c")).settle(used(1))
    (shown,) = one.shown(Principal(subject="sub_b"), "all")
    assert (shown.tokens, shown.left, shown.renews_at) == (5000, None, NOON + DAY / 2)
    one.set_policy(parse('name = "x"\ndefault = "all"\n[class.all]\ntitle = {en = "All"}\nquota = 900'))
    admit(one).settle(used(100))  # more is allowed now
    await one.round()
    clock.now += TELL
    await one.round()
    assert one.shown(WHO, "all")[0].left == 100


async def test_a_request_counts_for_the_day_it_came_in(sqlite: Database) -> None:
    clock = Clock()
    one = quotas(sqlite, clock)
    hold = admit(one, 50)
    clock.now += DAY / 2
    admit(one, 1).settle(used(7))
    hold.settle(used(60))
    clock.now += TELL
    await one.round()
    assert {key: row[0] for key, row in (await in_books(sqlite)).items()} == {
        TODAY: 60,
        ("2026-11-24", "key_a"): 7,
    }
    clock.now += DAY
    await one.round()
    assert not one._past
    assert not one._purses


async def test_a_connection_that_breaks_before_the_answer_counts_nothing_twice(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The book has what was told, or has not: nobody knows, and it is told again."""
    clock = Clock()
    one, other = quotas(db, clock, "one"), quotas(db, clock, "other")
    admit(one, 50).settle(used(70))
    await one.round()
    whole = 70
    for kept in (True, True, False):
        hold = admit(one, 500)
        hold.settle(used(400))
        whole += 400
        clock.now += TELL
        with monkeypatch.context() as patched:
            patched.setattr(db, "begin", lambda kept=kept: broken(db, kept=kept))
            await one.round()
        clock.now += LEASE + 1
        admit(other, 1).settle(used(1))  # who finds its lease over
        await other.round()
        whole += 1
        admit(one, 10).settle(used(10))
        whole += 10
        clock.now += TELL
        await one.round()
        await other.round()
        assert (await in_books(db))[TODAY][0] == whole


@asynccontextmanager
async def broken(db: Database, *, kept: bool) -> AsyncIterator[Connection]:
    """A transaction whose end nobody hears of."""
    with suppress(LookupError):
        async with Database.begin(db) as connection:
            yield connection
            if not kept:
                raise LookupError
    raise ConnectionError("it ended before its answer")


async def test_a_clock_that_was_a_day_ahead_gives_no_second_limit(sqlite: Database) -> None:
    clock = Clock()
    one = quotas(sqlite, clock)
    assert await use_up([one], clock, 70) >= 10_000
    clock.now += DAY
    admit(one, 1).settle(used(7))
    clock.now -= DAY
    assert await use_up([one], clock, 70) <= advance(10_000) + 70


async def test_a_clock_that_was_set_back_keeps_nobody_waiting(sqlite: Database) -> None:
    clock = Clock()
    one, other = quotas(sqlite, clock, "one"), quotas(sqlite, clock, "other")
    hold = admit(other, 9000)
    await other.round()
    assert (await until_refused(one, clock, 100))[1].code == "quota_unknown"
    clock.now -= DAY / 24
    assert refusal(one).code == "quota_unknown"
    hold.settle(used(1000))
    await other.give_back()
    await one.round()
    assert await use_up([one], clock, 100) >= 7000


async def test_nobody_knows_what_ran_of_an_answer_that_was_left() -> None:
    for row, expected in (
        (used(5, outcome="cancelled"), 51),
        (used(5, outcome="cancelled", stream=True), 5),
        (used(5, outcome="refused", status=429), 5),
        (UsageRow("id", 1, "sub_a", tokens_in=9, outcome="refused"), 0),
    ):
        one = quotas(Database("sqlite+aiosqlite:////nowhere/at-all.db"), Clock())
        hold = admit(one, 50)
        hold.settle(row)
        assert hold.purses[0].tell().used == expected


async def test_without_the_database_a_tenth_and_then_nothing(sqlite: Database) -> None:
    clock = Clock()
    one = quotas(sqlite, clock)
    admit(one, 100).settle(used(100))
    await one.round()
    file = sqlite.file
    assert file is not None
    file.rename(file.with_suffix(".away"))
    more, error = await until_refused(one, clock, 100, 1)
    held = 100 + more
    assert (error.code, error.retry_after_s) == ("quota_unknown", 5)
    assert 1000 <= held <= 100 + 1237 + 1000 + 100
    new = Principal(subject="sub_n", key="key_n")
    one.set_limits({"key_a": Limit(10_000), "key_n": Limit(1000)})
    admit(one, 100, new)
    assert refusal(one, new).code == "quota_unknown"
    file.with_suffix(".away").rename(file)
    clock.now += 1
    await one.round()
    assert (await in_books(sqlite))[TODAY][0] == held
    admit(one, 100)


@pytest.fixture
async def limited(fake: FakeEngine, sqlite: Database) -> AsyncIterator[Gateway]:
    async with running_gateway(engine_of(fake)) as gateway:
        gateway.lane.quotas = quotas(sqlite, Clock(), key_a=400)
        yield gateway


async def test_a_client_is_refused_when_its_tokens_are_used_up(limited: Gateway, sqlite: Database) -> None:
    one = limited.lane.quotas
    assert one is not None
    headers = "Accept: */*\r\n"
    queue = request("/v1/queue", b"", headers=headers, method="GET")
    (before,) = (await limited.raw(queue)).json["quotas"]
    assert before == {"of": "key", "tokens": 400, "each": "day", "left": None, "renews_at": NOON + DAY / 2}
    while (reply := await limited.ask(**chat(max_tokens=8))).status == 200:
        await one.round()
    total = sum(row.tokens_in + row.tokens_out for row in limited.ledger.rows)
    assert 400 <= total < 500
    assert reply.code in {"quota_exceeded", "quota_unknown"}
    one._clock.now += TELL  # type: ignore[attr-defined]
    await one.round()
    assert (await in_books(sqlite))[TODAY][0] == total
    for stream in (False, True):
        reply = await limited.ask(**chat(stream=stream))
        assert (reply.status, reply.code) == (429, "quota_exceeded")
        assert reply.json["error"]["type"] == "rate_limit_error"
        assert reply.headers["retry-after"] == str(round(DAY / 2 - TELL))
        assert "2026-11-24 00:00+00:00" in reply.json["error"]["message"]
    assert limited.ledger.rows[-1].error == "quota_exceeded"
    (after,) = (await limited.raw(queue)).json["quotas"]
    assert after["left"] == 0


async def test_a_limit_that_is_cleared_while_a_request_runs(limited: Gateway, fake: FakeEngine) -> None:
    fake.behaviour = Behaviour(chunks=3, pace_s=0.05)
    task = asyncio.create_task(limited.ask(**chat(stream=True)))
    await until(lambda: limited.lane.exchanges)
    (exchange,) = limited.lane.exchanges
    hold = exchange.hold
    assert hold is not None
    limited.lane.quotas = None
    assert (await task).done
    assert hold.purses[0].tell().held == 0
