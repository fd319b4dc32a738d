"""What is done under pressure, step by step."""

from __future__ import annotations

import pytest

from moduai.scheduling import pressure
from moduai.scheduling.policy import Pressure

SECOND = pressure.SECOND
RULE = Pressure(10, 100, 20, {}, "offer", 60)


@pytest.mark.parametrize(
    ("wait", "name"), [(-1, "queue"), (9, "queue"), (10, "shorten"), (20, "lighter"), (99, "refuse")]
)
def test_steps(wait: int, name: str) -> None:
    assert pressure.NAMES[pressure.step(RULE, wait * SECOND)] == name


def test_a_step_that_is_not_set_is_never_taken() -> None:
    assert pressure.step(Pressure(), 10**6 * SECOND) == pressure.QUEUE
    assert pressure.step(Pressure(0, 100, 0, {}, "offer", 5), 6 * SECOND) == pressure.REFUSE


def test_shortened_and_retry() -> None:
    assert [pressure.shortened(RULE, most) for most in (0, 99, 100, 101)] == [100, 0, 0, 100]
    assert pressure.retry_after(RULE, 90 * SECOND) == 30 * SECOND
    assert pressure.retry_after(RULE, 60 * SECOND) == SECOND
