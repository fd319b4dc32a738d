"""faults: whether ``modu pack check`` finds faults of different kinds, each with its file and line.

They are planted, all together, in a copy of the invented country that tests use; nothing else may be told.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from benchmarks.bars import Bench, Measured, Row
from moduai.gateway.policy_text import parse
from moduai.packs.pack import Fault
from moduai.packs.read import examine, told

INVENTED = Path(__file__).parents[2] / "tests" / "packs" / "xa"
MUST = 20


class Planted(NamedTuple):
    """One fault: ``old`` becomes ``new`` in a file (empty: the file is made), told on the line of ``at``."""

    name: str
    file: str
    old: str
    new: str
    at: str
    told: str


DATA = Path(__file__).parents[1] / "data" / "plan_faults.toml"
PLANTED = tuple(Planted(**{"old": "", **one}) for one in tomllib.loads(DATA.read_text("utf-8"))["planted"])


def faults(bench: Bench) -> Measured:
    """Planted faults that are found with file and line, of all; any other is too much."""
    folder = bench.place("faults") / "xa"
    lost, others = found(folder, PLANTED)
    notes = [f"{len(PLANTED)} kinds planted in one pack, at least {MUST} asked for"]
    notes += [f"not found: {one.name}" for one in lost] + [f"not planted: {told(one)}" for one in others]
    holds = not lost and not others and len(PLANTED) >= MUST
    return Measured(Row("faults", len(PLANTED) - len(lost), f"= {len(PLANTED)}", holds), notes)


def found(folder: Path, planted: Iterable[Planted]) -> tuple[list[Planted], list[Fault]]:
    """Plant into a copy, check it: what was not told on its line, and what was told beside."""
    shutil.copytree(INVENTED, folder)
    for one in planted:
        plant(folder, one)
    left = examine(folder, parse).faults
    lost = []
    for one in planted:
        line = _line(folder, one)
        told_ = [
            each for each in left if each.file == one.file and each.line == line and one.told in each.text
        ]
        left = [each for each in left if each not in told_[:1]]
        lost += [] if told_ else [one]
    return lost, left


def plant(folder: Path, one: Planted) -> None:
    """Put one fault into the files. Raises ValueError where its place is not there."""
    file = folder / one.file
    text = file.read_text("utf-8") if one.old else ""
    if text.count(one.old) != 1 and one.old:
        raise ValueError(f"{one.name}: {one.old!r} is there {text.count(one.old)} times")
    file.write_text(text.replace(one.old, one.new) if one.old else one.new, "utf-8")


def _line(folder: Path, one: Planted) -> int:
    """Of ``at``, in the files as they are now; 0 where there is none."""
    text = (folder / one.file).read_text("utf-8")
    return text[: text.index(one.at)].count("\n") + 1 if one.at else 0
