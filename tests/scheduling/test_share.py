"""Shares of an engine's busy time add up to the time it was busy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moduai.scheduling import BusyClock


def test_one_request_has_all_and_two_have_half_each() -> None:
    clock = BusyClock()
    first = clock.start(0)
    second = clock.start(100)
    assert clock.stop(first, 300) == 100 + 100
    assert clock.stop(second, 400) == 100 + 100
    idle = clock.start(1000)
    assert clock.stop(idle, 1001) == 1


def test_a_clock_that_steps_back_charges_nothing() -> None:
    clock = BusyClock()
    mark = clock.start(1000)
    assert clock.stop(mark, 500) == 0


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 5)), min_size=1, max_size=60))
def test_the_ledger_balances(steps: list[tuple[int, int]]) -> None:
    clock, marks, now, busy, charged = BusyClock(), [], 0, 0, 0
    for passed, choice in steps:
        busy += passed if marks else 0
        now += passed
        if marks and choice < 3:
            charged += clock.stop(marks.pop(choice % len(marks)), now)
        else:
            marks.append(clock.start(now))
    while marks:
        charged += clock.stop(marks.pop(), now)
    assert busy - 2 * len(steps) <= charged <= busy


def test_others_beside_take_their_part() -> None:
    clock = BusyClock()
    mark = clock.start(0)
    clock.beside(3, 100)
    assert clock.stop(mark, 500) == 100 + 400 // 4
    clock.beside(0, 600)
    assert clock.stop(clock.start(600), 700) == 100
