"""Soft before hard: what is done while the expected wait of a pool is long.

The steps, each with all before it: *queue* fairly; *shorten* the answers of whoever has more in line or
running; *lighter*: offer another model by the operator's rule; *refuse* new requests of whoever waits
already. Someone who has nothing waiting may always join the line, as long as it is not full.
"""

from __future__ import annotations

from moduai.scheduling.policy import Pressure

SECOND = 1_000_000_000
QUEUE, SHORTEN, LIGHTER, REFUSE = range(4)
NAMES = ("queue", "shorten", "lighter", "refuse")


def step(rule: Pressure, wait: int) -> int:
    """The step at an expected wait in ns (-1: not known). Fails open: what is not known is no pressure."""
    after = (rule.shorten_after_s, rule.lighter_after_s, rule.refuse_after_s)
    reached = [number for number, seconds in enumerate(after, 1) if 0 < seconds * SECOND <= wait]
    return reached[-1] if reached else QUEUE


def shortened(rule: Pressure, max_out: int) -> int:
    """Most tokens of an answer whose client allows ``max_out`` (0: any number); 0 if that is not less."""
    return rule.shorten_to if not max_out or max_out > rule.shorten_to else 0


def retry_after(rule: Pressure, wait: int) -> int:
    """When a refused client should ask again: when the wait should have fallen to what is not refused."""
    return max(SECOND, wait - rule.refuse_after_s * SECOND)
