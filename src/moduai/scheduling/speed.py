"""How fast a replica is, learned from what it did: an engine that is slower than claimed is soon known.

Model: the first token takes ``prefill x (uncached tokens + OVERHEAD)``; each further one takes
``step + share x running``, the step time of a batch (weights are read once a step, attention and sampling
grow with the batch). Prefill is a ratio of sums; the line through (running, time a token) is fitted by
least squares, between a flat line and a proportional one. Sums fade by `KEEP` with each answer, so about
the last 50 count. Floats: sums, products and quotients alone, which are the same on every machine.
"""

from __future__ import annotations

OVERHEAD = 64
"""A request takes as long as this many more tokens of its prompt would: scheduling, network, first step."""
KEEP = 0.98
PREFILL_NS = 200_000.0
"""Assumed time of a prompt token, until known."""
STEP_NS = 25_000_000.0
"""Assumed time of an output token, until known."""

MOST = 1e30
"""No sum is as large, and none as small as its inverse."""


class Speed:
    """The speed of one replica with one pool. All times are in ns."""

    __slots__ = ("_first", "_prompt", "_seen", "_time", "_x", "_xx", "_xy")

    def __init__(self, prefill_ns: float = PREFILL_NS, step_ns: float = STEP_NS) -> None:
        """Begin from what is assumed; it counts as much as one answer."""
        self._prompt = 1.0 * OVERHEAD
        self._first = prefill_ns * OVERHEAD
        self._seen = self._x = self._xx = 1.0
        self._time = self._xy = step_ns

    def learn(self, uncached: int, out: int, first: int, ran: int, running: int) -> None:
        """An answer of ``out`` tokens, to a prompt of which ``uncached`` were computed, began after ``first``
        (0: it came all at once, and its time is parted as expected) and ended after ``ran``, while
        ``running`` ran, itself included.
        """
        if not first:
            begin = self._first / self._prompt * (uncached + OVERHEAD)
            first = int(ran * begin / (begin + self._time / self._seen * out))
        self._prompt = self._prompt * KEEP + uncached + OVERHEAD
        self._first = self._first * KEEP + first
        if out > 1 and ran > first:
            token = (ran - first) / (out - 1)
            self._seen = self._seen * KEEP + 1.0
            self._time = self._time * KEEP + token
            self._x = self._x * KEEP + running
            self._xx = self._xx * KEEP + running * running
            self._xy = self._xy * KEEP + running * token

    def prefill(self, uncached: int) -> int:
        """Expected time to the first token of a prompt of which ``uncached`` tokens are to be computed."""
        return int(self._first / self._prompt * (uncached + OVERHEAD))

    def decode(self, out: int, running: int) -> int:
        """Expected time for ``out`` tokens after the first, while ``running`` run."""
        mean, time = self._x / self._seen, self._time / self._seen
        spread = self._xx / self._seen - mean * mean
        share = (self._xy / self._seen - mean * time) / spread if spread > 0.25 else 0.0
        share = min(max(share, 0.0), time / mean)
        return int(out * (time + share * (running - mean)))

    def dump(self) -> tuple[float, ...]:
        """All that is known."""
        return self._prompt, self._first, self._seen, self._x, self._xx, self._time, self._xy

    def restore(self, dumped: tuple[float, ...]) -> None:
        """Take back what `dump` gave; anything else is left out: fails open."""
        if len(dumped) == len(self.dump()) and all(1 / MOST < value < MOST for value in dumped):
            self._prompt, self._first, self._seen, self._x, self._xx, self._time, self._xy = dumped
