"""How quick this Python is: prints microseconds for a fixed piece of work, a space, and its own path.

For `scripts/install`, which takes the quickest Python that can make an environment. Ends with an error
where the venv module lacks what it needs.
"""

import ensurepip  # noqa: F401  # Debian keeps it in a package of its own: without it there is no environment
import os
import sys
import time

ROUNDS = 5
"""The least of so many rounds, each of a few milliseconds, is hardly disturbed by other work."""


class _Counter:
    def __init__(self) -> None:
        self.total = 0

    def add(self, value: int) -> int:
        self.total += value
        return self.total


def work() -> None:
    """Calls, attributes, a dictionary and bytes: what a request is made of."""
    counter, seen = _Counter(), {}
    for number in range(20_000):
        seen[number & 255] = counter.add(number & 7)
    for key, value in seen.items():
        (b"%d:%d" % (key, value)).find(b":")


def pace() -> int:
    """Microseconds of CPU for the work, at best."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return round(best * 1e6)


if __name__ == "__main__":
    sys.stdout.write(f"{pace()} {os.path.realpath(sys.executable)}\n")
