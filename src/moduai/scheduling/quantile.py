"""A running quantile kept in one number.

It moves up by its part of a step when a sample lies above it and down by the rest of a step otherwise, so
in the long run that part of the samples lies below it whatever their distribution (Robbins and Monro 1951;
for the bounds of an interval: Gibbs and Candès, Adaptive Conformal Inference, 2021). A step is a part of
the value, so numbers of any size are learned alike. The first sample is met half-way, the next steps are
large, later ones a sixteenth, so what is old fades as new samples come. Integers only: the same everywhere.
"""

from __future__ import annotations

from mypy_extensions import mypyc_attr

UNIT = 1024
"""Fixed point of the value."""
MOST_SEEN = 30
"""Evidence counts no higher, if nothing else is said: a settled step is 2/(MOST_SEEN + 2) of the value."""


@mypyc_attr(acyclic=True)
class Quantile:
    """``value`` is in 1/UNIT of the samples' unit; ``seen`` is the evidence for it, in samples."""

    __slots__ = ("seen", "value")

    def __init__(self, value: int, seen: int = 0) -> None:
        self.value = value
        self.seen = seen

    def learn(self, sample: int, part: int, most: int = MOST_SEEN) -> None:
        """Take a sample, 0 or more; ``part`` is the quantile wanted, in thousandths; evidence counts up to
        ``most``.
        """
        value = self.value
        step = 2 * value // (self.seen + 2)
        if not self.seen:
            self.value = (value + sample * UNIT) // 2
        elif sample * UNIT > value:
            self.value = value + step * part // 1000 + 1
        elif value > UNIT:
            self.value = value - step * (1000 - part) // 1000
        if self.seen < most:
            self.seen += 1
