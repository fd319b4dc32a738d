"""Where packs lie: those that come with Modu, by their ids; others, by their paths. Reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

SHIPPED = Path(__file__).parent
POLICY: Final = "policy.toml"
"""A pack's file of the sharing policy."""


@cache
def shipped() -> Mapping[str, Path]:
    """Id to folder of the packs that come with Modu."""
    return {file.parent.name: file.parent for file in sorted(SHIPPED.glob("??/pack.toml"))}


def folder(use: str, home: Path) -> Path:
    """Where a pack lies: by its id, or by its path, below the home folder unless it is absolute."""
    return shipped().get(use) or home / Path(use).expanduser()
