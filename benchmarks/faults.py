"""When parts die: each fault, what it costs people, and the tests that show it with real processes.

The rows are in `data/faults.toml`. `docs/failure-modes.md` shows them, and `python -m benchmarks cells --only
faults` runs them; a test holds the names of tests to those that there are.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct


class Fault(Struct, frozen=True, forbid_unknown_fields=True):
    """One row."""

    part: str
    fault: str
    seen: str
    """What people see."""
    refused: str
    kept: str
    back: str
    """How it comes back."""
    tests: tuple[str, ...]
    """As pytest names them; the first one is of real processes."""

    @property
    def name(self) -> str:
        """Part and fault in a few words."""
        return f"{self.part}, {self.fault}"


def read() -> list[Fault]:
    """All rows, in their order."""
    text = Path(__file__).with_name("data").joinpath("faults.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, list[Fault]])["faults"]
