from hypothesis import given
from hypothesis import strategies as st

from moduai.engines.breaker import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_TRIAL, SECOND, Breaker


def opened(now: int = 0) -> Breaker:
    breaker = Breaker()
    for _ in range(3):
        breaker.failure(now)
    return breaker


def test_two_failures_leave_it_closed_and_a_success_forgets_them():
    breaker = Breaker()
    for _ in range(2):
        breaker.failure(0)
    breaker.success(0)
    for _ in range(2):
        breaker.failure(0)
    assert breaker.state == "closed"
    assert breaker.allow(0)


def test_three_failures_open_it_for_a_second():
    breaker = opened()
    assert breaker.state == "open"
    assert not breaker.allow(FIRST_PAUSE - 1)
    assert breaker.allow(FIRST_PAUSE)
    assert breaker.state == "half_open"


def test_half_open_lets_one_trial_through():
    breaker = opened()
    assert breaker.allow(FIRST_PAUSE)
    assert not breaker.allow(FIRST_PAUSE + 1)
    breaker.success(FIRST_PAUSE + 2)
    assert breaker.state == "closed"
    assert breaker.allow(FIRST_PAUSE + 2)


def test_a_lost_trial_does_not_shut_it_for_ever():
    breaker = opened()
    assert breaker.allow(FIRST_PAUSE)
    assert breaker.allow(FIRST_PAUSE + LONGEST_TRIAL)


def test_the_pause_doubles_to_thirty_seconds_and_starts_again_after_a_success():
    breaker, now, pauses = opened(), 0, []
    for _ in range(7):
        waited = next(s for s in range(1, 40) if breaker.allow(now + s * SECOND))
        now += waited * SECOND
        pauses.append(waited)
        breaker.failure(now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert breaker.allow(now + LONGEST_PAUSE)
    breaker.success(now + LONGEST_PAUSE)
    now += LONGEST_PAUSE
    for _ in range(3):
        breaker.failure(now)
    assert breaker.allow(now + FIRST_PAUSE)


def test_late_failures_do_not_lengthen_an_open_pause():
    breaker = opened()
    breaker.failure(FIRST_PAUSE - 1)
    assert breaker.allow(FIRST_PAUSE)


@given(st.lists(st.tuples(st.sampled_from(["allow", "success", "failure"]), st.integers(0, 40 * SECOND))))
def test_whatever_happens_it_lets_a_trial_through_within_thirty_seconds(steps):
    breaker, now = Breaker(), 0
    for step, passed in steps:
        now += passed
        getattr(breaker, step)(now)
    assert breaker.allow(now + LONGEST_PAUSE)
