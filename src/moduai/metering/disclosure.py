"""Which figures of small groups are kept back, so that a table of usage tells nothing of a few people.

Words: a *group* is one row of a table; it is *small* if fewer than ``LEAST`` people are in it.

Rule: a small group's figures are not shown. Where all that is kept back together would still be fewer than
``LEAST`` people, the smallest group that is shown is kept back too: or a total less the rows that are shown
would give it away. Where the total itself is small, nothing is shown. Fails closed: a group whose people
are not known counts as small.

What this does not hold off: looking at the same table twice and taking the difference in time. Tables
therefore have fixed times that do not overlap (``web.api.usage``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

LEAST = 5
"""Fewest people of whom figures are shown."""


class Group(Protocol):
    """One row: its name, and how many people are in it."""

    @property
    def group(self) -> str:
        """Its name."""

    @property
    def people(self) -> int:
        """How many they are."""


def hidden(rows: Iterable[Group], people: int, people_of_small: int) -> frozenset[str]:
    """The groups to keep back. ``people`` are those of the total, ``people_of_small`` those of all small
    groups together (somebody may be in several).
    """
    rows = list(rows)
    if people < LEAST:
        return frozenset(row.group for row in rows)
    small = {row.group for row in rows if row.people < LEAST}
    if small and people_of_small < LEAST:
        others = [row for row in rows if row.group not in small]
        if others:
            small.add(min(others, key=lambda row: (row.people, row.group)).group)
    return frozenset(small)
