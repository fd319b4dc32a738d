"""What a token of a pool costs, in nano-accelerator-seconds: the one currency of all accelerators.

Rules, in words: the operator's price stands if there is one. Else a price begins from the peak speed of
the accelerator and the size of the model, as far as their names tell (two floating-point operations a
parameter and token, at `USED_PER_MILLE` of the peak), and follows what is measured: accelerator time while
busy, divided by weighted tokens (computed input + 2 x output). It is measured only while the pool is full,
for an engine with nothing else to do spends its whole time on one request. It moves by a sixteenth at most
each time, so what people were charged an hour ago stays comparable.
"""

from __future__ import annotations

import re

PEAK_TFLOPS = {
    "B200": 2250, "H200": 989, "H100": 989, "A100": 312, "RNGD": 256, "REBEL": 1024, "ATOM": 128, "CPU": 1,
}  # fmt: skip
"""Dense BF16 (ATOM: FP16), from the makers' data sheets; found in the name of a kind."""
OTHER_TFLOPS = 256
OTHER_SIZE = 8_000_000_000
"""Parameters of a model whose name does not tell."""
USED_PER_MILLE = 300
"""Part of the peak that serving reaches with a full batch."""
LEAST_EVIDENCE = 10_000
"""Weighted tokens below which nothing is concluded."""
_ACTIVE = re.compile(r"(?i)a(\d{1,4}(?:\.\d{1,3})?)b(?![a-z])")
_SIZE = re.compile(r"(?i)(?<![\d.a-z])(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z])")


def size(model: str) -> int:
    """Parameters that a token meets, from a model's name: of "30B-A3B" the 3 billion that are active."""
    if found := _ACTIVE.search(model):
        return max(1, round(float(found[1]) * 1e9))
    if found := _SIZE.search(model):
        return max(1, round(float(found[1]) * (1e9 if found[2] in "bB" else 1e6)))
    return OTHER_SIZE


def assumed(kind: str, model: str) -> int:
    """A first price for a model on a kind of accelerator; at least 1."""
    upper = kind.upper()
    peak = next((tflops for name, tflops in PEAK_TFLOPS.items() if name in upper), OTHER_TFLOPS)
    return max(1, 2 * size(model) // (peak * USED_PER_MILLE))


class Price:
    """The price of one pool."""

    __slots__ = ("_busy", "_tokens", "value")

    def __init__(self, value: int) -> None:
        self.value = value
        """Nano-accelerator-seconds a weighted token."""
        self._busy = self._tokens = 0

    def learn(self, busy: int, tokens: int) -> None:
        """Accelerators were busy for ``busy`` ns in all for these weighted tokens, the pool being full."""
        self._busy += busy
        self._tokens += tokens

    def follow(self) -> int:
        """The price from now on: a step towards what was measured. Asked now and then, off the hot lane."""
        if self._tokens >= LEAST_EVIDENCE:
            step = max(1, self.value // 16)
            off = self._busy // self._tokens - self.value
            self.value = max(1, self.value + min(max(off, -step), step))
            self._busy //= 2
            self._tokens //= 2
        return self.value
