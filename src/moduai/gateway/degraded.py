"""What may not work while people are served: the one list of degraded modes.

Readiness, the console's first page, the metrics, the alerts and the documents all go by it. A mode has a name
that is stable, and says what it costs; a worker decides which ones hold (`app.Worker.modes`). Another mode is
a line here, a line there and its words in the console; tests hold the three to each other.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Mode(NamedTuple):
    """One way of being degraded."""

    name: str
    what: str
    """What does not work, in a sentence; the console's words are the same."""
    do: str
    """Where to look."""
    page: bool = False
    """Somebody is wanted now; else in working hours."""


DATABASE: Final = Mode(
    "database",
    "The database does not answer, or answers late.",
    "modu doctor, and the database's log",
    page=True,
)
LEDGER: Final = Mode(
    "ledger",
    "Usage cannot be written to the disk; it is kept in memory.",
    "make room in the home folder",
    page=True,
)
METERING: Final = Mode(
    "metering",
    "Usage waits in its files: it has not reached the database for a while.",
    "the log of the metering process, and modu doctor",
)
DISK: Final = Mode("disk", "The disk of the home folder is nearly full.", "make room there, or give it more")
HISTORY: Final = Mode("history", "Conversations cannot be written to the disk.", "modu doctor")
POLICY: Final = Mode(
    "policy",
    "The policy file cannot be used: the policy that was in force still counts.",
    "modu policy check",
)
ENGINES: Final = Mode(
    "engines",
    "No engine takes requests, or an engine’s record cannot be read.",
    "modu engine list",
    page=True,
)
ENGINE: Final = Mode(
    "engine",
    "An engine failed and gets nothing; the others answer.",
    "modu engine list, then modu engine show",
)
LINE: Final = Mode(
    "line",
    "There is no dispatcher: who waits goes on waiting, and who comes is soon refused.",
    "the logs of the dispatchers",
    page=True,
)
LEASE: Final = Mode(
    "lease",
    "The store of the dispatcher’s lease does not answer: no other one could take over.",
    "Valkey, or the way to it",
)
CELLS: Final = Mode(
    "cells",
    "Another cell says nothing: each shares by itself, and who asks in both may get more than is due.",
    "the logs of that cell's dispatchers",
)
SEARCH: Final = Mode(
    "search",
    "Search of public documents does not answer, or is still being built.",
    "modu doctor, and the log of the search process",
)
AUDIT: Final = Mode(
    "audit",
    "The audit log is recorded, but its past days cannot be sealed.",
    "modu audit verify, and the gateway's log",
)
CLOCK: Final = Mode(
    "clock",
    "The clock was moved, or nothing ran here for long: what is old is deleted later.",
    "set the clock (NTP), then modu doctor",
)
MODES: Final = (
    DATABASE, LEDGER, METERING, DISK, HISTORY, POLICY, ENGINES, ENGINE, LINE, LEASE, CELLS, SEARCH,
    AUDIT, CLOCK,
)  # fmt: skip
