"""Speeds that are learned from answers."""

from __future__ import annotations

import random

import pytest

from moduai.scheduling.speed import PREFILL_NS, STEP_NS, Speed

MS = 1_000_000


def real(uncached: int, out: int, running: int, times: int = 1) -> tuple[int, int]:
    """First token and whole time of an engine of 50 µs a prompt token and 10 + running ms a step."""
    first = times * (5 * MS + uncached * MS // 20)
    return first, first + times * (out - 1) * (10 + running) * MS


def taught(*, streamed: bool = True, times: int = 1) -> Speed:
    speed, source = Speed(), random.Random(3)
    for _ in range(300):
        uncached, out, running = source.randrange(4000), source.randrange(2, 500), source.randrange(1, 33)
        first, ran = real(uncached, out, running, times)
        speed.learn(uncached, out, first if streamed else 0, ran, running)
    return speed


def test_before_anything_is_known_it_is_assumed() -> None:
    assert Speed().prefill(0) == int(PREFILL_NS * 64)
    assert Speed().decode(10, 1) == Speed().decode(10, 30) == int(STEP_NS * 10)
    assert Speed(1.0, 2.0).decode(10, 1) == 20


def test_prefill_and_the_step_of_a_batch_are_learned() -> None:
    speed = taught()
    assert speed.prefill(2000) == pytest.approx(105 * MS, rel=0.05)
    for running in (1, 16, 32):
        assert speed.decode(100, running) == pytest.approx(100 * (10 + running) * MS, rel=0.05)


def test_answers_that_come_all_at_once_teach_the_whole_time() -> None:
    speed = taught(streamed=False)
    ran = real(2000, 250, 16)[1]
    assert speed.prefill(2000) + speed.decode(249, 16) == pytest.approx(ran, rel=0.15)


def test_an_engine_that_becomes_slower_is_noticed() -> None:
    speed = taught()
    for _ in range(200):
        first, ran = real(1000, 100, 16, times=4)
        speed.learn(1000, 100, first, ran, 16)
    assert speed.decode(100, 16) == pytest.approx(4 * 100 * 26 * MS, rel=0.15)
    assert speed.prefill(1000) == pytest.approx(4 * 55 * MS, rel=0.15)


def test_one_load_alone_says_nothing_of_others() -> None:
    speed = Speed()
    for _ in range(300):
        speed.learn(100, 11, 10 * MS, 210 * MS, 8)
    assert speed.decode(10, 8) == pytest.approx(200 * MS, rel=0.02)
    assert 0 <= speed.decode(10, 1) <= 210 * MS


def test_an_answer_of_one_token_or_a_clock_that_stood_still_teaches_no_step() -> None:
    speed = Speed()
    speed.learn(100, 1, 10 * MS, 10 * MS, 1)
    speed.learn(100, 50, 10 * MS, 10 * MS, 1)
    assert speed.decode(1, 1) == int(STEP_NS)
