"""Predictions that learn from how they turned out."""

from __future__ import annotations

import random

import pytest

from moduai.scheduling.calibration import FEW, HEAVY, LIGHT, MOST, SECOND, Calibration


def taught(bias: float, spread: float, waits: int = 3000) -> Calibration:
    calibration, source = Calibration(), random.Random(2)
    for _ in range(waits):
        raw = int(source.uniform(2, 60) * SECOND)
        forecast = calibration.forecast(1, raw)
        calibration.learn(forecast, int(raw * bias * source.lognormvariate(0, spread)))
    return calibration


@pytest.mark.parametrize("bias", [0.5, 1.0, 3.0])
def test_the_median_is_corrected_and_the_interval_covers_four_of_five(bias: float) -> None:
    calibration = taught(bias, 0.3)
    forecast = calibration.forecast(1, 20 * SECOND)
    assert forecast.wait == pytest.approx(20 * SECOND * bias, rel=0.15)
    assert forecast.low < forecast.wait < forecast.high
    [figure] = calibration.figures()
    assert figure.kind == LIGHT
    assert 750 <= figure.covered <= 850
    assert figure.error < 300


def test_a_wider_spread_gives_a_wider_interval() -> None:
    def width(spread: float) -> float:
        forecast = taught(1.0, spread).forecast(1, 20 * SECOND)
        return forecast.high / forecast.low

    assert width(0.8) > 1.5 * width(0.2)


def test_light_and_heavy_and_short_and_long_are_apart() -> None:
    calibration = Calibration()
    for _ in range(300):
        calibration.learn(calibration.forecast(1, 2 * SECOND), 4 * SECOND)
        calibration.learn(calibration.forecast(1, 200 * SECOND), 100 * SECOND)
        calibration.learn(calibration.forecast(FEW + 1, 2 * SECOND), 2 * SECOND)
    assert calibration.forecast(1, 2 * SECOND).wait == pytest.approx(4 * SECOND, rel=0.1)
    assert calibration.forecast(1, 200 * SECOND).wait == pytest.approx(100 * SECOND, rel=0.1)
    assert calibration.forecast(FEW + 1, 2 * SECOND).wait == pytest.approx(2 * SECOND, rel=0.1)
    assert calibration.forecast(2, 200 * SECOND).wait == pytest.approx(200 * SECOND, rel=0.5)
    assert [figure.kind for figure in calibration.figures()] == [LIGHT, HEAVY]


def test_a_length_not_seen_yet_begins_from_what_is_known_of_others() -> None:
    calibration = Calibration()
    for _ in range(300):
        calibration.learn(calibration.forecast(1, 2 * SECOND), 6 * SECOND)
    assert calibration.forecast(1, 100 * SECOND).wait == pytest.approx(300 * SECOND, rel=0.15)


def test_a_wait_that_nobody_was_shown_teaches_nothing() -> None:
    calibration = Calibration()
    calibration.learn(calibration.forecast(1, SECOND), SECOND // 2)
    assert calibration.figures() == []


def test_a_ratio_beyond_reason_is_bounded() -> None:
    calibration = Calibration()
    for _ in range(500):
        calibration.learn(calibration.forecast(1, 0), 10**6 * SECOND)
        calibration.learn(calibration.forecast(1, 10**6 * SECOND), 10**3 * SECOND)
    assert calibration.forecast(1, 1000).high <= 1000 * MOST * 1.1
    assert calibration.forecast(1, 10**6 * SECOND).low >= 10**6 * SECOND // MOST * 0.9
