"""What if: a few changes of a scenario, said at the command line or with the controls of a page.

Rule: a change is rows of a scenario like any others, so it is checked like any others.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from msgspec import Struct


class WhatIf(Struct, frozen=True, kw_only=True):
    """The changes; as they are: none."""

    lose: tuple[str, ...] = ()
    """Sites that are lost all the time."""
    launch: float = 1.0
    """So many times the questions, all the time."""
    faster: dict[str, float] = {}
    """Kinds of accelerators, and how many times as fast each is."""
    fleet: float = 1.0
    """All fleets so many times as large; of the world, not of its rows (``World.grown``)."""
    days: int = 0
    """0: as the scenario says."""
    start: date | None = None
    """None: as the scenario says."""
    draws: int = -1
    """Runs for the bands; -1: as the scenario says."""

    cell: int = 0
    """Accelerators of a cell; 0: as the scenario says."""

    def tables(self) -> dict[str, Any]:
        """As tables of a scenario that extends it."""
        head: dict[str, Any] = {"days": self.days} if self.days else {}
        head |= {"start": self.start} if self.start else {}
        head |= {"draws": self.draws} if self.draws >= 0 else {}
        head |= {"cell": self.cell} if self.cell else {}
        events: list[dict[str, Any]] = [
            {"id": f"what-if.lost.{number}", "kind": "site-lost", "site": site}
            for number, site in enumerate(self.lose)
        ]
        if self.launch != 1.0:
            events.append({"id": "what-if.launch", "kind": "launch", "factor": self.launch})
        events += [
            {"id": f"what-if.faster.{number}", "kind": "faster", "accelerator": kind, "factor": factor}
            for number, (kind, factor) in enumerate(self.faster.items())
        ]
        return {**({"scenario": head} if head else {}), **({"event": events} if events else {})}
