"""From the strategy to a scenario: a claim of accelerators, or a number of them, as a file to run and change.

Rule: nothing is hidden in it. What the strategy does not say (kind, site, models) is written out as an
assumption that its reader can see and change. Pages use this too, so it needs no NumPy.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from moduai.packs import where
from moduai.packs.files import SCENARIOS
from moduai.packs.pack import Pack
from moduai.packs.schema import Accelerator, Claim
from moduai.planner.devices import devices

HEAD = """\
# {why}
# What the documents do not say is assumed here: the kind of accelerator, where they stand, what they run, and
# that all of them answer people (lower `models` for what trains and researches). Change it, and run it:
#
#   modu plan run FILE
#
"""


@cache
def everything() -> Mapping[str, Path]:
    """Scenarios of Modu and its packs, by name; what others begin from has `_` before its name."""
    folders = [Path(__file__).parent, *where.shipped().values()]
    return {file.stem: file for folder in folders for file in sorted((folder / SCENARIOS).glob("*.toml"))}


class CannotHandOverError(ValueError):
    """A claim is not of accelerators; the text says what it is of."""


def handed(pack: Pack, name: str, asked: Claim | float, *, proposed: bool = False) -> str:
    """The text of a scenario. ``name``: of the pack, as a scenario names it; ``proposed``: the claim is of an
    accepted proposal, so the pack's files do not have it. Raises CannotHandOverError.
    """
    claim = asked if isinstance(asked, Claim) else None
    unit = pack.unit.get(claim.unit or "") if claim else None
    if claim and (claim.number is None or unit is None or unit.kind != "accelerators"):
        raise CannotHandOverError(f"claim {claim.id} is not a number of accelerators")
    number = (claim.number or 0.0) if claim else asked
    base = f"_{pack.head.id}" if f"_{pack.head.id}" in everything() else "_everyone"
    site = next((one.id for one in pack.sites), "somewhere")
    year = (claim.until or claim.since or claim.said).year if claim else pack.head.as_of.year
    words = pack.item[claim.item].title if claim else {"en": f"{number:,.0f} accelerators"}
    lines = [
        HEAD.format(why=f"From claim {claim.id} of pack {name}." if claim else f"From pack {name}."),
        "[scenario]",
        f"name = {_table(words)}",
        *([f"about = {_table(claim.what)}"] if claim else []),
        f"extends = {_text(base)}",
        f"pack = {_text(name)}",
        f"start = {max(year, pack.head.as_of.year)}-12-01",
        *(["", "[[site]]", f"id = {_text(site)}"] if not pack.sites else []),
        "",
        "[[fleet]]",
        'id = "handed-over"',
        f"accelerator = {_text(_kind(pack))}",
        f"claim = {_text(claim.id)}" if claim and not proposed else f"count = {number:.0f}",
        f"sites = {{ {_key(site)} = 1 }}",
        f"models = {_models(base)}",
        f"bought = {year}",
        'source = "the kind, the site and the models are assumed: the documents do not name them"',
    ]
    return "\n".join(lines) + "\n"


def _kind(pack: Pack) -> str:
    """The pack's fastest GPU, by Modu's name for it where Modu knows it: that one is calibrated."""
    known = [one for one in pack.accelerators if one.kind == "gpu"] or list(pack.accelerators)
    if not known:
        return "h100"
    best = max(known, key=lambda one: one.bandwidth_tb_s)
    return next((name for name, one in devices().items() if _same(best, one.memory_gb, one.tflops)), best.id)


def _same(one: Accelerator, memory: float, tflops: float) -> bool:
    return one.memory_gb == memory and one.bf16_tflops == tflops


def _models(base: str) -> str:
    """Models that the base's demands ask for, by how many ask."""
    of: dict[str, str] = {}
    while base:
        raw = tomllib.loads(everything()[base].read_text("utf-8"))
        of = {one["id"]: one["model"] for one in raw.get("demand", ()) if "model" in one} | of
        base = raw["scenario"].get("extends", "")
    asked = Counter(of.values())
    whole = sum(asked.values())
    parts = {model: int(1000 * count / whole) / 1000 for model, count in asked.items()}
    return f"{{ {', '.join(f'{_text(model)} = {part:g}' for model, part in parts.items())} }}"


def _table(words: Mapping[str, str]) -> str:
    return f"{{ {', '.join(f'{_key(language)} = {_text(text)}' for language, text in words.items())} }}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(text: str) -> str:
    """A basic string: JSON's escapes are TOML's too."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
