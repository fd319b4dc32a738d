"""Limits for a day or a month: what gateways let in together, whatever they know of each other."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.scheduling import quota
from moduai.scheduling.quota import Book, Heard, Period, Purse, Told, advance, period

DAY = Period("2026-11-22", 0, 1e9)
SEOUL = timezone(timedelta(hours=9))


def purse(limit: int = 10_000, *, away: bool = False, now: float = 0) -> Purse:
    return Purse("key_a", limit, DAY, now, away=away)


def spend(one: Purse, tokens: int, used: int | None = None) -> None:
    """A request from its beginning to its end."""
    one.touch()
    one.take(tokens)
    one.settle(tokens, tokens if used is None else used, 0)


def talk(one: Purse, book: Book, now: float, gateway: str = "a") -> Heard:
    told = one.tell()
    heard = book.lease(gateway, told, now)
    one.hear(told, heard, now)
    return heard


@pytest.mark.parametrize(
    ("each", "at", "zone", "since", "gone", "left"),
    [
        ("day", 1795359600, SEOUL, "2026-11-23", 0, 86_400),
        ("day", 1795359599, SEOUL, "2026-11-22", 86_399, 1),
        ("day", 1795359599, UTC, "2026-11-22", 15 * 3600 - 1, 9 * 3600 + 1),
        ("month", 1795359600, SEOUL, "2026-11", 22 * 86_400, 8 * 86_400),
        ("month", 1798729199, SEOUL, "2026-12", 31 * 86_400 - 1, 1),
        ("month", 1798729200, SEOUL, "2027-01", 0, 31 * 86_400),
    ],
)
def test_days_and_months_begin_in_a_time_zone(each, at, zone, since, gone, left):
    assert period(each, at, zone) == (since, at - gone, at + left)


def test_a_block_is_a_share_of_what_nobody_holds():
    dead = (5000, 10.0)
    book = Book(1000, {"b": (1000, 99.0), "dead": dead, "long ago": (5000, 10.0 - quota.REMEMBERED)})
    assert book.lease("a", Told(10_000, 0, 0, 0, more=True), 10.0) == (1000, 9000)
    assert book.leases == {"b": (1000, 99.0), "dead": dead, "a": (1000, 10.0 + quota.LEASE)}
    assert book.lease("a", Told(10_000, 600, 100, 400, more=False), 11.0) == (500, 8400)
    assert book.lease("a", Told(10_000, 400, 0, -50, more=False), 12.0) == (100, 8000)
    assert book.lease("c", Told(10_000, 6_890, 0, 0, more=True), 12.0) == (10, 1110)
    assert book.lease("d", Told(10_000, 0, 0, 50, more=True), 12.0) == (0, 1110)
    assert "d" not in book.leases


def test_a_small_limit_lets_one_request_in():
    assert advance(5) == 1
    one = purse(5)
    assert one.open
    spend(one, 300)
    assert not one.open
    assert talk(one, Book(), 0) == (0, -295)
    assert one.spent


def test_what_is_known_of_what_is_left():
    one, book = purse(), Book(used=4000)
    assert one.left() is None
    spend(one, 80)
    assert one.low
    assert one.due(0)
    talk(one, book, 0)
    assert one.left() == 5920
    one.take(100)
    assert one.left() == 5820
    one.settle(100, 5900, 0)
    assert (one.left(), one.open) == (20, False)
    talk(one, book, 1)
    one.take(5000)
    assert one.left() == 0


def test_an_estimate_follows_the_answers():
    one = purse()
    assert (one.estimate(10, 0), one.estimate(10, 5), one.estimate(10, 999)) == (266, 15, 266)
    for _ in range(60):
        one.take(0)
        one.settle(0, 0, 1000)
    assert 990 <= one.estimate(0, 0) <= 1000


def test_when_the_book_is_told():
    one, book = purse(), Book()
    assert not one.due(99)
    one.touch()
    assert not one.due(1)
    assert one.due(quota.TELL)
    spend(one, 60)
    assert one.due(0)  # more than half of what it may: at once
    talk(one, book, 0)
    assert not one.due(quota.TELL - 1)
    assert one.due(quota.TELL)  # nobody asked: its block goes back
    talk(one, book, 5)
    assert book.leases == {"a": (100, 5 + quota.LEASE)}
    assert not one.due(999)
    one.take(1)
    assert one.due(5 + quota.TELL)  # what runs keeps its lease


def test_what_was_told_without_an_answer_counts_once():
    one, book = purse(), Book()
    for at in range(20):
        spend(one, 10)
        told = one.tell()
        if at == 15:
            book.lease("a", told, at)
        one.wonder(told, at)
    assert len(told.unsure) == len(one.tell().unsure) == quota.UNSURE
    assert book.used == 160
    talk(one, book, 20)
    assert book.used == 200
    assert not one.tell().unsure


def test_a_clock_that_was_set_back():
    one, book = purse(), Book()
    talk(one, book, 5000)
    assert not one.due(5001)
    assert one.due(4999)
    talk(one, book, 4999)
    assert not one.due(5000)


def test_who_gets_nothing_asks_again_and_not_too_often():
    one, book = purse(), Book(0, {"b": (10_000, 99.0)})
    spend(one, 100)
    talk(one, book, 0)
    assert (one.open, one.spent) == (False, False)
    assert not one.due(quota.AGAIN)  # nobody wants more
    one.touch()
    assert not one.due(quota.AGAIN / 2)
    assert one.due(quota.AGAIN)
    book.leases["b"] = (1000, 99.0)
    assert talk(one, book, 1) == (1112, 9900)


def test_all_that_was_used_stays_so_until_the_period_ends():
    one, book = purse(), Book(used=9_950)
    spend(one, 100)
    one.take(5)
    assert talk(one, book, 0).left == -50
    assert one.spent
    assert not one.due(999)
    assert not one.over(999)
    one.settle(5, 5, 0)
    assert not one.due(1)
    assert one.due(quota.TELL)
    talk(one, book, 5)
    assert not one.over(999)
    assert one.over(DAY.ends)
    one.change(20_000)
    assert one.open
    assert one.due(5 + quota.TELL)


def test_a_limit_that_changes_while_the_book_is_told():
    one, book = purse(), Book()
    spend(one, 100)
    told = one.tell()
    one.change(50)
    one.hear(told, book.lease("a", told, 0), 0)
    assert (one.total, one.idle) == (None, True)
    talk(one, book, 1)
    assert one.spent


def test_what_is_forgotten():
    one = purse()
    assert not one.over(quota.HOLD - 1)
    assert one.over(quota.HOLD)
    one.take(5)
    assert not one.over(quota.HOLD)
    one.settle(5, 5, 0)
    assert not one.over(quota.HOLD)


def test_without_the_database_a_part_is_let_in_once():
    one = purse(away=True)
    spend(one, 1000)
    one.lend(0)
    assert not one.open
    held, book = purse(), Book()
    spend(held, 100)
    talk(held, book, 0)
    held.lend(1)
    spend(held, 1000)
    assert held.open  # of its block there is still something
    held.lend(quota.HOLD)
    spend(held, 1000)
    held.lend(quota.HOLD)
    assert not held.open
    talk(held, book, 50)
    spend(held, 900)
    held.lend(51)
    assert held.open  # the next time the database goes, it is let in again
    gone, full = purse(), Book(used=10_000)
    spend(gone, 100)
    talk(gone, full, 0)
    gone.lend(99)
    assert not gone.open


def test_requests_that_come_while_the_book_is_told():
    one, book = purse(), Book()
    spend(one, 100)
    told = one.tell()
    one.take(40)
    one.settle(40, 70, 0)
    one.hear(told, book.lease("a", told, 0), 0)
    assert one.left() == 10_000 - 170
    assert talk(one, book, 1).left == 10_000 - 170


class Gateways:
    """Some gateways on one database; a request's estimate is right, so the bound is exact."""

    def __init__(self, limit: int, count: int, chance: random.Random) -> None:
        self.limit, self.chance, self.book = limit, chance, Book()
        self.purses: dict[int, Purse] = {}
        self.running: dict[int, list[int]] = {number: [] for number in range(count)}
        self.used, self.lost, self.begun, self.now = 0, 0, count, 0.0
        self.untold: Counter[int] = Counter()
        self.most = 0

    def ask(self, number: int, tokens: int) -> None:
        if number not in self.purses:
            self.purses[number] = purse(self.limit, now=self.now)
        one = self.purses[number]
        one.touch()
        if one.open and not one.spent:
            one.take(tokens)
            self.running[number].append(tokens)
            self.most = max(self.most, tokens)

    def end(self, number: int) -> None:
        if self.running[number]:
            tokens = self.running[number].pop(0)
            self.purses[number].settle(tokens, tokens, tokens)
            self.used += tokens
            self.untold[number] += tokens

    def die(self, number: int) -> None:
        """Without a word; another one takes its place."""
        self.purses.pop(number, None)
        self.running[number].clear()
        self.lost += self.untold.pop(number, 0)
        new = max(self.running) + 1
        self.running[new] = []
        del self.running[number]
        self.begun += 1

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for number, one in list(self.purses.items()):
            if one.due(self.now):
                talk(one, self.book, self.now, str(number))
                self.untold[number] = 0
            if one.over(self.now):
                del self.purses[number]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            number = self.chance.choice(list(self.running))
            match self.chance.choices(("ask", "end", "time", "die"), (40, 36, 20, 0.4))[0]:
                case "ask":
                    self.ask(number, self.chance.randint(1, max(2, self.limit // 20)))
                case "end":
                    self.end(number)
                case "time":
                    self.pass_time(self.chance.choice((0.1, 1.0, 1.0, 4.0)))
                case _:
                    self.die(number)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 200_000), st.integers(1, 5), st.integers(0, 2**32))
def test_gateways_together_let_in_the_limit_and_little_more(limit, count, seed):
    world = Gateways(limit, count, random.Random(seed))
    world.run(600)
    running = sum(map(sum, world.running.values()))
    assert world.used + running <= limit + world.lost + world.begun * (advance(limit) + world.most)


@settings(max_examples=40, deadline=None)
@given(st.integers(200, 200_000), st.integers(1, 5), st.integers(0, 2**32))
def test_nothing_leased_is_lost_for_longer_than_a_lease(limit, count, seed):
    """Whatever has been held, and by whom that died: one gateway gets all of the rest, a lease later."""
    world = Gateways(limit, count, random.Random(seed))
    world.run(150)
    for number in list(world.running):
        world.die(number)
    world.now += quota.LEASE
    (last,) = list(world.running)[-1:]
    for _ in range(2000):
        world.ask(last, limit // 200)
        world.end(last)
        world.pass_time(quota.AGAIN if world.purses and not world.purses[last].open else 0)
        if world.purses and world.purses[last].spent:
            break
    assert limit <= world.book.used <= world.used
