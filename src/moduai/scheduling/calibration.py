"""Predictions that learn from how they turned out: the correction, the interval, and the error itself.

Rules, in words:

* What is learned is the ratio of the wait that came to the one predicted. Its median corrects the prediction;
  its 10 % and 90 % quantiles are the interval, which so covers four of five in the long run, whatever the
  load does.
* It is learned apart for what is alike: by the tickets that a person has waiting, in powers of two, and by
  the seconds predicted, in powers of four. What is seen for the first time begins from its kind as a whole:
  light people, with up to `FEW` waiting, and heavy ones.
* Only waits of `SHOWN` and more count: a shorter one is over before anybody is told a prediction, and whoever
  is told one has waited that long already.
* A ratio beyond `MOST` or below its inverse counts as that: predictions from the first moments of an overload
  may be off by any factor.
* The error is measured on what was predicted at the time, before learning from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from moduai.scheduling.quantile import MOST_SEEN, UNIT, Quantile
from moduai.scheduling.state import Known, Predictions
from moduai.scheduling.types import Figure

SECOND = 1_000_000_000
SHOWN = SECOND
FEW = 4
PARTS = (100, 500, 900)
"""Quantiles of the ratio, per mille: the interval's bounds and the median."""
BEGIN = (520, 1000, 1900)
"""What they are before anything is known."""
CAUTION = (6, 100, 6)
"""How often that counts as seen: the bounds learn quickly, the median is moved by lasting errors alone."""
STEADY = (MOST_SEEN, 250, MOST_SEEN)
"""Most evidence that counts."""
ONE_TO_ONE = 1000
"""Ratios are in thousandths."""
MOST = 8
LONGEST = 8
"""Powers of four of quarter seconds, and of two of tickets, above which no difference is made."""
REMEMBERED = 1024
"""Waits after which what was covered counts half."""
LIGHT, HEAVY = "light", "heavy"


class Forecast(NamedTuple):
    """A wait as predicted when its ticket came; times in ns."""

    line: int
    """Tickets that its person had waiting, itself included."""
    raw: int
    """What the model said."""
    wait: int
    low: int
    high: int


class _Kind:
    __slots__ = ("alike", "covered", "error", "seen", "whole")

    def __init__(self) -> None:
        self.whole = _ratios(BEGIN)
        self.alike: dict[tuple[int, int], list[Quantile]] = {}
        self.error = Quantile(250 * UNIT)
        self.covered = self.seen = 0

    def ratios(self, line: int, raw: int) -> list[Quantile]:
        """The quantiles for what is alike."""
        key = min(line.bit_length(), LONGEST), min((raw * 4 // SECOND).bit_length() // 2, LONGEST)
        known = self.alike.get(key)
        if known is None:
            known = self.alike[key] = _ratios(one.value // UNIT for one in self.whole)
        return known


def _ratios(values: Iterable[int]) -> list[Quantile]:
    return [Quantile(value * UNIT, seen) for value, seen in zip(values, CAUTION, strict=True)]


def _plain(ratios: list[Quantile]) -> list[Known]:
    return [(one.value, one.seen) for one in ratios]


class Calibration:
    """What is known of the predictions of one pool."""

    __slots__ = ("_kinds",)

    def __init__(self) -> None:
        self._kinds = {LIGHT: _Kind(), HEAVY: _Kind()}

    def forecast(self, line: int, raw: int) -> Forecast:
        """Correct what the model predicts (ns) for a ticket whose person has ``line`` waiting, it too."""
        low, wait, high = (
            raw * one.value // (ONE_TO_ONE * UNIT) for one in self._kind(line).ratios(line, raw)
        )
        return Forecast(line, raw, wait, min(low, wait), max(high, wait))

    def learn(self, forecast: Forecast, waited: int) -> None:
        """A ticket went ``waited`` ns after this was forecast for it."""
        if waited < SHOWN:
            return
        known = self._kind(forecast.line)
        known.error.learn(min(abs(waited - forecast.wait) * 1000 // waited, 1000 * MOST), 500)
        known.covered += forecast.low <= waited <= forecast.high
        known.seen += 1
        if known.seen >= REMEMBERED:
            known.seen //= 2
            known.covered //= 2
        ratio = min(max(waited * ONE_TO_ONE // max(forecast.raw, 1), ONE_TO_ONE // MOST), ONE_TO_ONE * MOST)
        for ratios in (known.ratios(forecast.line, forecast.raw), known.whole):
            for one, part, most in zip(ratios, PARTS, STEADY, strict=True):
                one.learn(ratio, part, most)

    def figures(self) -> list[Figure]:
        """The error and the cover of each kind that has been seen."""
        return [
            Figure(kind, known.error.value // UNIT, known.covered * 1000 // known.seen, known.seen)
            for kind, known in self._kinds.items()
            if known.seen
        ]

    def dump(self) -> list[Predictions]:
        """All that is known."""
        return [
            (
                kind,
                _plain(known.whole),
                [(*key, _plain(ratios)) for key, ratios in known.alike.items()],
                (known.error.value, known.error.seen),
                known.covered,
                known.seen,
            )
            for kind, known in self._kinds.items()
        ]

    def restore(self, dumped: list[Predictions]) -> None:
        """Take back what `dump` gave; kinds that there are not are left out: fails open."""
        for kind, whole, alike, error, covered, seen in dumped:
            known = self._kinds.get(kind)
            if known is not None:
                known.whole = [Quantile(*each) for each in whole]
                known.alike = {
                    (tickets, wait): [Quantile(*each) for each in ratios]
                    for tickets, wait, ratios in alike
                    if max(tickets, wait) <= LONGEST
                }
                known.error = Quantile(*error)
                known.covered, known.seen = min(covered, seen), seen

    def _kind(self, line: int) -> _Kind:
        return self._kinds[LIGHT if line <= FEW else HEAVY]
