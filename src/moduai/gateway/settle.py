"""From an ended exchange to its ledger row: tokens, times, accelerator time and energy.

Methods (also in docs/ledger.md). *Accelerator time*: the engine's accelerators times the request's
equal share of the engine's busy time (``scheduling.share``). *Energy*: accelerator time times the
power of a busy accelerator as the engine's record states it, times the site's PUE. *Tokens*: the
engine's usage where it is given; for a stream without it, the events that came ("counted"); else
``bytes / 4`` ("estimated").
"""

from __future__ import annotations

from moduai.engines.record import Hardware
from moduai.gateway.usage import Usage

BYTES_PER_TOKEN = 4
"""English text has about 4.5 bytes a token, Korean 4.3 with a Korean tokenizer."""


NOTHING = Usage(0, 0, 0)


def count_tokens(*, asked_bytes: int, answered_bytes: int, events: int | None) -> Usage:
    """Tokens where the engine did not say; ``events`` is None for an answer that was not a stream."""
    asked = asked_bytes // BYTES_PER_TOKEN
    if events is not None:
        return Usage(asked, 0, events, "counted")
    return Usage(asked, 0, answered_bytes // BYTES_PER_TOKEN, "estimated")


def spent(share_ns: int, hardware: Hardware, pue: float) -> tuple[int, int]:
    """Accelerator-microseconds and millijoules of a share of the engine's busy time."""
    accelerator_us = share_ns * hardware.count // 1000
    return accelerator_us, int(accelerator_us * hardware.watts * pue) // 1000
