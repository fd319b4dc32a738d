"""A circuit breaker for one engine: after failures in a row it keeps requests away for a while.

States: *closed* takes all, *open* takes none until its pause is over, *half open* lets exactly one
trial through and waits for what it says. Pure: time in integer nanoseconds is an argument.
Fails closed: a replica whose breaker is open gets no request.
"""

from __future__ import annotations

from typing import Literal

SECOND = 1_000_000_000
FAILURES_TO_OPEN = 3
FIRST_PAUSE = 1 * SECOND
LONGEST_PAUSE = 30 * SECOND
LONGEST_TRIAL = 30 * SECOND
"""A trial that reports nothing for this long is taken for lost, so that the breaker cannot stay shut."""

BreakerState = Literal["closed", "open", "half_open"]


class Breaker:
    """Counts failures in a row; the pause doubles with each trial that fails, up to 30 s."""

    __slots__ = ("_failures", "_pause", "_until", "doubted", "state")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._until = 0
        self.doubted = False
        """It has answered 500 and nothing well since: its fault or the requests', and no failure yet."""

    @property
    def troubled(self) -> bool:
        """True if a success would change anything."""
        return self._failures > 0 or self.doubted or self.state != "closed"

    def allow(self, now: int) -> bool:
        """Whether a request may go now. In half open the one that is told yes is the trial."""
        if self.state == "closed":
            return True
        if now < self._until:
            return False
        self.state = "half_open"
        self._until = now + LONGEST_TRIAL
        return True

    def success(self, now: int) -> None:
        """A request or a health check went well: close, and forget what was."""
        self.state = "closed"
        self.doubted = False
        self._failures = 0
        self._pause = FIRST_PAUSE

    def failure(self, now: int) -> None:
        """A request or a health check failed. While open it changes nothing: late news is old news."""
        if self.state == "half_open":
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._open(now)
        elif self.state == "closed":
            self._failures += 1
            if self._failures >= FAILURES_TO_OPEN:
                self._open(now)

    def _open(self, now: int) -> None:
        self.state = "open"
        self._until = now + self._pause
