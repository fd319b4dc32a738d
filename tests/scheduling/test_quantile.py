"""A running quantile: the wanted part of the samples lies below it."""

from __future__ import annotations

import random

import pytest

from moduai.scheduling.quantile import MOST_SEEN, UNIT, Quantile


@pytest.mark.parametrize("part", [100, 500, 900])
def test_the_part_that_is_asked_for_lies_below(part: int) -> None:
    source, known, below = random.Random(1), Quantile(200 * UNIT), 0
    for _ in range(5000):
        sample = int(source.lognormvariate(5, 1))
        below += sample * UNIT <= known.value
        known.learn(sample, part)
    assert below / 5000 == pytest.approx(part / 1000, abs=0.03)


def test_the_first_sample_is_met_half_way() -> None:
    known = Quantile(100 * UNIT)
    known.learn(3000, 500)
    assert known.value == 1550 * UNIT


def test_a_change_is_followed_in_about_forty_samples() -> None:
    known = Quantile(100 * UNIT)
    for _ in range(100):
        known.learn(100, 500)
    for _ in range(40):
        known.learn(300, 500)
    assert 250 < known.value / UNIT < 320
    assert known.seen == MOST_SEEN


def test_it_grows_from_nothing_and_does_not_fall_below_one() -> None:
    known = Quantile(0, 1)
    known.learn(5, 500)
    assert known.value > 0
    known = Quantile(2 * UNIT, 1)
    for _ in range(100):
        known.learn(0, 100)
    assert 0 < known.value <= UNIT


def test_one_sample_moves_a_settled_value_by_a_sixteenth_at_most() -> None:
    known = Quantile(100 * UNIT, MOST_SEEN)
    known.learn(10**12, 900)
    assert known.value <= 100 * UNIT * 17 // 16
