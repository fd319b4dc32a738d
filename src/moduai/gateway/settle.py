"""From an ended exchange to its ledger row: tokens, times, accelerator time and energy.

Methods (also in docs/ledger.md). *Accelerator time*: the engine's accelerators times the request's
equal share of the engine's busy time (``scheduling.share``). *Energy*: accelerator time times the
power of a busy accelerator as the engine's record states it, times the site's PUE. *Tokens*: the
engine's usage where it is given; for a stream without it, the events that came ("counted"); else
``bytes / 4`` ("estimated").
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from moduai.engines.record import Hardware
from moduai.gateway.usage import Usage

BYTES_PER_TOKEN = 4
"""English text has about 4.5 bytes a token, Korean 4.3 with a Korean tokenizer."""


class Tokens(NamedTuple):
    """Tokens of one request and where the figures come from."""

    tokens_in: int
    tokens_cached: int
    tokens_out: int
    source: Literal["engine", "counted", "estimated"]


def tokens(usage: Usage | None, *, asked_bytes: int, answered_bytes: int, events: int | None) -> Tokens:
    """Count tokens; ``events`` is None for an answer that was not a stream."""
    if usage is not None:
        return Tokens(usage.tokens_in, usage.tokens_cached, usage.tokens_out, "engine")
    asked = asked_bytes // BYTES_PER_TOKEN
    if events is not None:
        return Tokens(asked, 0, events, "counted")
    return Tokens(asked, 0, answered_bytes // BYTES_PER_TOKEN, "estimated")


class Spent(NamedTuple):
    """What a request took of the machines."""

    accelerator_us: int
    energy_mj: int


def spent(share_ns: int, hardware: Hardware, pue: float) -> Spent:
    """Accelerator-microseconds and millijoules of a share of the engine's busy time."""
    accelerator_us = share_ns * hardware.count // 1000
    return Spent(accelerator_us, int(accelerator_us * hardware.watts * pue) // 1000)
