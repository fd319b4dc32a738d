"""items: whether every figure of the digest that a plan's documents were put into stands in the pack.

The digest has a section for each document, headed by a letter; the pack's claims of that document have the
letter as their source. Walked are numbers (with their scale), small numbers in words, days and years. Where
a table names who said it, the claim must be of the same one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from benchmarks.bars import Bench, Measured, NoDataError, Row
from benchmarks.bars.knowledge_data import DATA
from moduai.gateway.policy_text import parse
from moduai.packs.pack import Pack
from moduai.packs.read import read
from moduai.packs.schema import Claim
from moduai.packs.where import shipped

SCALES = {"T": 1e12, "trillion": 1e12, "tn": 1e12, "billion": 1e9, "million": 1e6, "": 1.0}
CURRENCIES = {"KRW": "won", "USD": "dollars"}
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_SECTION = re.compile(r"^## ([A-Z])\. (.*)$", re.MULTILINE)
_DAY = re.compile(rf"\b(\d{{1,2}}) ({'|'.join(MONTHS)})\b")
_YEAR = re.compile(r"\b(20\d\d)\b")
_NUMBER = re.compile(
    r"(?P<dollar>\$)?(?P<number>\b(?:\d[\d,]*\d|\d)(?:\.\d+)?|\b[Oo]ne(?=-trillion))"
    r"(?P<scale>T\b|[ -](?:trillion|billion|million|tn)\b)?(?P<after>[ -]*(?:won|dollars|GPUs|%)?)"
)
_LISTED = re.compile(r"^\d\. ", re.MULTILINE)


class Figure(Struct, frozen=True):
    """One figure of the digest."""

    section: str
    said: str
    """As it stands there, with what is around it."""
    value: float | None = None
    kind: str = ""
    """Of its unit: ``KRW``, ``USD``, ``accelerators``, ``share``; empty: not told beside it."""
    who: str = ""
    """The name in its row of a table."""
    day: tuple[int, int] | None = None
    """Day and month."""
    year: int | None = None


def items(bench: Bench) -> Measured:
    """Figures of the digest that no claim has; a pack with a fault has none. Raises NoDataError."""
    digest = Path(os.environ.get(DATA, "../shared/data")).parent / "SEEDS.md"
    if not digest.exists():
        raise NoDataError(f"no digest at {digest}: set {DATA} to the folder beside it")
    walked = list(figures(digest.read_text("utf-8")))
    pack = read(shipped()["kr"], parse)
    lost = missing(pack, walked)
    notes = [f"{len(walked)} figures in {digest}, {len(pack.claims)} claims"]
    notes += [f"no claim of {one.section!r} has {one.said!r}" for one in lost]
    return Measured(
        Row("items", len(walked) - len(lost), f"= {len(walked)}", not lost and bool(walked)), notes
    )


def missing(pack: Pack, walked: list[Figure]) -> list[Figure]:
    """Figures that no claim of their section has."""
    return [
        figure
        for figure in walked
        if not any(_has(pack, claim, figure) for claim in pack.claims if claim.source == figure.section)
    ]


def figures(digest: str) -> Iterator[Figure]:
    """All figures, section by section."""
    heads = list(_SECTION.finditer(digest))
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        section, text = head[1].lower(), digest[head.end() : after.start() if after else None]
        yield from _dates(section, head[2] + text)
        text = _YEAR.sub(" ", _DAY.sub(" ", _LISTED.sub("", text)))
        for line in text.splitlines():
            yield from _row(section, line) if line.startswith("| ") else _numbers(section, line)


def _dates(section: str, text: str) -> Iterator[Figure]:
    for found in _DAY.finditer(text):
        yield Figure(section, found[0], day=(int(found[1]), MONTHS.index(found[2]) + 1))
    for found in _YEAR.finditer(text):
        yield Figure(section, found[0], year=int(found[1]))


def _row(section: str, line: str) -> Iterator[Figure]:
    """A row of the table: who, party, trillions of won, accelerators, people and else."""
    who, _, won, gpus, people = (cell.strip() for cell in line.strip("| \n").split(" |", 4))
    for cell, scale, kind in ((won, 1e12, "KRW"), (gpus, 1.0, "accelerators"), (people, 1.0, "")):
        for one in _numbers(section, cell, scale, kind):
            yield Figure(section, f"{who}: {one.said}", one.value, one.kind, who)


def _numbers(section: str, line: str, times: float = 1.0, usual: str = "") -> Iterator[Figure]:
    """``times`` and ``usual``: the scale and kind of bare numbers in a column."""
    for found in _NUMBER.finditer(line):
        number = 1.0 if found["number"].lower() == "one" else float(found["number"].replace(",", ""))
        scale = SCALES[(found["scale"] or "").strip(" -")]
        after = found["after"].strip(" -")
        kind = {"won": "KRW", "dollars": "USD", "GPUs": "accelerators", "%": "share", "": ""}[after]
        said = line[max(0, found.start() - 20) : found.end() + 20]
        yield Figure(section, said, number * scale * times, "USD" if found["dollar"] else kind or usual)
    for number, word in enumerate(WORDS):
        for found in re.finditer(rf"\b(?:top|over) {word}\b|\b{word} (?:times|years|questions)\b", line):
            yield Figure(section, found[0], float(number))


def _has(pack: Pack, claim: Claim, figure: Figure) -> bool:
    days = [day for day in (claim.said, claim.since, claim.until) if day]
    if figure.day:
        return any((day.day, day.month) == figure.day for day in days) or _told(claim, figure.said)
    if figure.year:
        return any(day.year == figure.year for day in days) or _told(claim, figure.said)
    if figure.value is None or figure.value not in {claim.number, claim.high}:
        return False
    unit = pack.unit[claim.unit or ""]
    gained = CURRENCIES.get(figure.kind, "") in unit.name["en"].split()  # what is gained is not what is paid
    if figure.kind and figure.kind not in {unit.kind, unit.currency} and not gained:
        return False
    return not figure.who or pack.who(claim.who).name["en"] in figure.who


def _told(claim: Claim, words: str) -> bool:
    return words in claim.what.get("en", "")
