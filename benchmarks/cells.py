"""``python -m benchmarks cells``: what several gateways, databases and dying parts may cost nobody."""

from __future__ import annotations

from benchmarks import area
from benchmarks.bars.cells_cost import hop
from benchmarks.bars.cells_death import books, failover, soak, upgrade
from benchmarks.bars.cells_faults import faults
from benchmarks.bars.cells_keys import revoke
from benchmarks.bars.cells_shares import gap, skew
from benchmarks.bars.cells_totals import totals

BARS: area.Bars = {
    "gap": gap,
    "failover": failover,
    "hop": hop,
    "books": books,
    "revoke": revoke,
    "skew": skew,
    "totals": totals,
    "soak": soak,
    "upgrade": upgrade,
    "faults": faults,
}


def run(*, only: tuple[str, ...] = (), quick: bool = False) -> int:
    """See ``area.run``."""
    return area.run("Bars of cells", BARS, only=only, quick=quick)
