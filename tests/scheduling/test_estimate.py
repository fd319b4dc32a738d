"""Estimates of an answer's length."""

from __future__ import annotations

from moduai.scheduling.estimate import ASSUMED, HALF_LIFE, Estimates


def taught(app: str, out: int, times: int = 60) -> Estimates:
    estimates = Estimates()
    for _ in range(times):
        estimates.learn(app, "m", out, 0)
    return estimates


def test_nothing_known_is_assumed_and_a_bound_only_lowers() -> None:
    estimates = Estimates()
    assert estimates.estimate("a", "m", 0) == ASSUMED
    assert estimates.estimate("a", "m", 10) == 10
    assert estimates.estimate("a", "m", 10**9) == ASSUMED


def test_an_application_is_learned_apart_and_a_new_one_begins_as_the_others_began() -> None:
    estimates = taught("short", 20)
    assert 18 <= estimates.estimate("short", "m", 0) <= 23
    assert estimates.estimate("new", "m", 0) < ASSUMED // 2
    assert estimates.estimate("short", "other", 0) == ASSUMED
    for _ in range(60):
        estimates.learn("long", "m", 3000, 0)
    assert estimates.estimate("long", "m", 0) > 2000
    assert 18 <= estimates.estimate("short", "m", 0) <= 23


def test_old_evidence_gives_way_quickly() -> None:
    fresh, aged = taught("a", 100), taught("a", 100)
    for _ in range(4):
        fresh.learn("a", "m", 400, 0)
        aged.learn("a", "m", 400, 5 * HALF_LIFE)
    assert aged.estimate("a", "m", 0) > 1.5 * fresh.estimate("a", "m", 0)


def test_those_not_seen_for_long_are_forgotten() -> None:
    estimates = Estimates(most=4)
    for _ in range(60):
        estimates.learn("old", "m", 5000, 0)
        estimates.learn("used", "m", 900, 0)
    for number in range(3):
        estimates.learn(f"new{number}", "m", 1, 0)
        estimates.learn("used", "m", 900, 0)
    assert estimates.estimate("used", "m", 0) > 800
    assert estimates.estimate("old", "m", 0) < 3000
    assert len(estimates.dump()[1]) <= 4


def test_a_dump_restores_the_same_estimates() -> None:
    estimates = taught("a", 77)
    again = Estimates()
    again.restore(estimates.dump())
    assert again.dump() == estimates.dump()
    assert again.estimate("a", "m", 0) == estimates.estimate("a", "m", 0)
