"""What tests of packs share: the invented country, and a copy of it to spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moduai.gateway.policy_text import parse
from moduai.packs.pack import Pack
from moduai.packs.read import examine, read, told

INVENTED = Path(__file__).parent / "xa"


@pytest.fixture(scope="session")
def xa() -> Pack:
    """The invented country: right to left, another currency, other forms of personal data."""
    return read(INVENTED, parse)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Its files, to spoil."""
    return Path(shutil.copytree(INVENTED, tmp_path / "xa"))


def faults(folder: Path) -> list[str]:
    """What is wrong, as people read it."""
    return [told(fault) for fault in examine(folder, parse).faults]


def change(folder: Path, file: str, old: str, new: str) -> None:
    """Put ``new`` where ``old`` stands, once."""
    path = folder / file
    text = path.read_text("utf-8")
    assert text.count(old) == 1, (old, text.count(old))
    path.write_text(text.replace(old, new), "utf-8")
