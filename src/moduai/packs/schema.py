"""What stands in the files of a pack, typed. Money is in the pack's currency, dates are days of its calendar.

``Words`` are one text in each language of the pack. Ids are short, lower case, unique among their kind.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9.-]{0,63}$")]
MaybeId = Annotated[str, Meta(pattern="^([a-z0-9][a-z0-9.-]{0,63})?$")]
RegionCode = Annotated[str, Meta(pattern="^[A-Z]{2}(-[A-Z0-9]{1,3})?$")]
"""ISO 3166-2; the two letters alone are the whole country."""
Language = Annotated[str, Meta(pattern="^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$")]
Words = dict[Language, Annotated[str, Meta(min_length=1, max_length=2_000)]]
Count = Annotated[int, Meta(ge=0, le=10**12)]
Number = Annotated[float, Meta(ge=0, le=1e18)]

ItemKind = Literal["goal", "pledge", "programme", "facility", "post", "criticism", "background"]
Pillar = Literal[
    "money",
    "compute",
    "model",
    "data",
    "talent",
    "service",
    "industry",
    "safety",
    "governance",
    "world",
    "region",
]
"""What an item is about. ``talent``, ``compute`` and ``data`` are the three that wait for one another."""
Status = Literal["announced", "funded", "tendered", "under-way", "done", "dropped"]
Basis = Literal["measured", "published", "derived", "assumed"]
"""How a number came to be; ``derived``: from others here, by the arithmetic that its note states."""
Live = Literal[
    "accelerators", "residents", "residents-by-region", "residents-by-group", "documents", "models", "tokens",
    "guests", "engines", "collections", "corpora", "releases", "spend",
]  # fmt: skip
"""Figures that an installation counts itself."""


class Data(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a pack."""


# pack.toml


class Head(Data, frozen=True, kw_only=True):
    """``[pack]``: what it is and who keeps it."""

    id: Id
    name: Words
    version: Annotated[int, Meta(ge=1)]
    as_of: date
    """Until when its keepers have looked."""
    licence: str
    """An SPDX expression for the pack's own text."""
    keepers: tuple[str, ...] = ()
    about: Words


class Locale(Data, frozen=True, kw_only=True):
    """``[locale]``."""

    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    """ISO 3166-1; XA to XZ are free for invented ones."""
    languages: Annotated[tuple[Language, ...], Meta(min_length=1, max_length=16)]
    """The first is the pages' default. Whether one is written from right to left is known from its script."""
    time_zone: str
    """IANA."""
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]
    """ISO 4217."""
    currency_words: Words
    """What people call it: "won"."""
    large_numbers: dict[Language, dict[str, Number]] = {}
    """Names of large numbers as this language groups them: ``ko = { 만 = 1e4, 억 = 1e8, 조 = 1e12 }``."""
    name_order: Literal["family-given", "given-family"]
    week_starts: Literal["monday", "saturday", "sunday"] = "monday"


class Holiday(Data, frozen=True, kw_only=True):
    """``[[holiday]]``: a day on which offices are closed and people ask otherwise."""

    day: date
    name: Words
    source: Id


# regions.toml


class Region(Data, frozen=True, kw_only=True):
    """``[[region]]``: coarse, as people may say they live in."""

    code: RegionCode
    name: Words
    population: Count
    approximate: bool = False
    """Whether it is rounded."""
    households: Count | None = None
    source: Id
    said: date
    """The day that the count is of."""
    basis: Basis = "published"
    capital_area: bool = False


class Group(Data, frozen=True, kw_only=True):
    """``[[group]]``: people whom a plan names (students, older people)."""

    id: Id
    name: Words
    population: Count | None = None
    """None where nobody has counted: the page then says so."""
    approximate: bool = False
    """Whether it is rounded."""
    source: Id | None = None
    said: date | None = None
    basis: Basis = "published"
    first: bool = False
    """Whether the plan serves them before others."""


# offices.toml


class Office(Data, frozen=True, kw_only=True):
    """``[[office]]``: a committee, council, ministry, agency, task force or centre."""

    id: Id
    name: Words
    kind: Literal["committee", "council", "ministry", "agency", "task-force", "centre", "president", "party"]
    under: Id | None = None
    """The office that it answers to."""
    does: Words
    since: date | None = None
    until: date | None = None
    source: Id


class Seat(Data, frozen=True, kw_only=True):
    """``[[seat]]``: a post in an office and its term."""

    id: Id
    office: Id
    title: Words
    holder: Id | None = None
    """An actor; None: not known here, or nobody."""
    since: date | None = None
    until: date | None = None
    source: Id


class Actor(Data, frozen=True, kw_only=True):
    """``[[actor]]``: a person in a public role, or an organisation, that says or does something here."""

    id: Id
    name: Words
    kind: Literal["person", "company", "office", "party", "university", "country", "media", "other"]
    party: Id | None = None
    role: Words = {}
    """In which role it speaks here."""


# rules.toml


class PersonalData(Data, frozen=True, kw_only=True):
    """``[[personal]]``: a kind of personal data that is in use, by its form. No pattern language: a mask, in
    which ``9`` is a digit, ``A`` a capital letter and anything else itself.
    """

    id: Id
    name: Words
    masks: tuple[Annotated[str, Meta(min_length=4, max_length=40)], ...] = ()
    """Empty where it has no form (a name)."""
    checksum: Literal["none", "luhn", "weighted-11", "weighted-10"] = "none"
    note: Words = {}
    source: Id


class Rule(Data, frozen=True, kw_only=True):
    """``[[rule]]``: what the law asks of a service here."""

    id: Id
    text: Words
    asks: Literal[
        "label-output",
        "consent",
        "withdrawal",
        "age",
        "keep-records",
        "explain",
        "security",
        "access",
        "other",
    ]
    law: Words
    """The act and its article."""
    since: date | None = None
    source: Id
    kept_by: str = ""
    """The page of the docs that says how Modu keeps it; empty: the operator's task."""


# sources.toml


class Source(Data, frozen=True, kw_only=True):
    """``[[source]]``: a document that claims rest on."""

    id: Id
    title: Words
    publisher: str
    published: date | None = None
    until: date | None = None
    """For what was published over a time (news of some days), its last day."""
    url: Annotated[str, Meta(pattern="^https?://[^ ]{4,400}$")] | None = None
    """None where no public address is known: the page says so."""
    kind: Literal["news", "law", "statistics", "paper", "specification", "report", "digest", "release"]
    note: Words = {}


class Feed(Data, frozen=True, kw_only=True):
    """``[[feed]]``: public documents that may be added to the knowledge (``modu knowledge add``)."""

    id: Id
    name: Words
    address: Annotated[str, Meta(max_length=400)]
    licence: str
    ministry: Id | None = None
    default: bool = False


# sites.toml


class Accelerator(Data, frozen=True, kw_only=True):
    """``[[accelerator]]``: a kind of GPU or NPU, by its maker's sheet."""

    id: Id
    name: str
    maker: str
    kind: Literal["gpu", "npu"]
    bf16_tflops: Number | None = None
    fp8_tflops: Number | None = None
    memory_gb: Number
    bandwidth_tb_s: Number
    watts: Number
    source: Id
    basis: Basis = "published"


class Site(Data, frozen=True, kw_only=True):
    """``[[site]]``: a data centre, planned or standing."""

    id: Id
    name: Words
    region: RegionCode | None = None
    """None: not decided."""
    item: Id | None = None
    """The item of the strategy that it belongs to."""
    power_mw: Number | None = None
    pue: Annotated[float, Meta(ge=1, le=3)] | None = None
    source: Id


class Purchase(Data, frozen=True, kw_only=True):
    """``[[purchase]]``: accelerators bought, and for how much: what unit prices are derived from."""

    id: Id
    year: Annotated[int, Meta(ge=2000, le=2100)]
    count: Count | None = None
    """None: not said."""
    cost: Number
    accelerator: Id | None = None
    site: Id | None = None
    claims: tuple[Id, ...] = ()
    source: Id


class Price(Data, frozen=True, kw_only=True):
    """``[[price]]``: a unit price with its range, for the arithmetic."""

    id: Id
    of: Literal["accelerator", "kwh", "person-year", "pue", "accelerator-watts", "share-private"]
    name: Words
    low: Number
    middle: Number
    high: Number
    unit: Id
    basis: Basis
    source: Id
    note: Words = {}


class Budget(Data, frozen=True, kw_only=True):
    """``[[budget]]``: the state's budget of a year, that shares are taken of."""

    year: Annotated[int, Meta(ge=2000, le=2100)]
    whole: Number | None = None
    ai: Number | None = None
    source: Id


# strategy/*.toml


class Unit(Data, frozen=True, kw_only=True):
    """``[[unit]]``: what numbers are of."""

    id: Id
    name: Words
    kind: Literal["money", "accelerators", "people", "share", "rank", "count", "power", "time"]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    """Of money."""


class Item(Data, frozen=True, kw_only=True):
    """``[[item]]``: one thing that is followed."""

    id: Id
    kind: ItemKind
    pillar: Pillar
    title: Words
    owner: Id | None = None
    """An office or actor; None: the documents name none, and the page says "missing"."""
    measure: Words = {}
    """What would show that it is reached; empty: missing."""
    needs: tuple[Id, ...] = ()
    """Items that it waits for."""
    part_of: Id | None = None
    answered_by: tuple[Id, ...] = ()
    """Of criticism: items or nothing."""
    live: tuple[Live, ...] = ()
    """Figures of this installation that serve it; empty: followed only."""
    serves: Words = {}
    """What of Modu serves it, in a sentence."""


class Claim(Data, frozen=True, kw_only=True):
    """``[[claim]]``: what one source says of an item."""

    id: Id
    item: Id
    who: Id
    """The actor or office that said it, or of which it was said."""
    what: Words
    number: Number | None = None
    high: Number | None = None
    """With ``number`` a range."""
    at_least: bool = False
    approximate: bool = False
    unit: Id | None = None
    """Must stand with a number."""
    since: date | None = None
    until: date | None = None
    """The time that the claim is about: five years, a year's budget, a due day (``until`` alone)."""
    region: RegionCode | None = None
    purpose: Id | None = None
    """Of money: what it is for, by a pillar's or item's id."""
    part_of: Id | None = None
    """A claim whose number this one is a part of; with ``parts_complete`` there, parts add up to it."""
    parts_complete: bool = False
    source: Id
    said: date
    status: Status = "announced"
    conflicts: tuple[Id, ...] = ()
    """Claims that say otherwise; it is enough to name them on one side."""
    replaces: Id | None = None
    """An earlier claim that this one takes the place of, from ``said`` on."""
    basis: Basis = "published"
    note: Words = {}


class Change(Data, frozen=True, kw_only=True):
    """``[[change]]``: a claim's status became another."""

    claim: Id
    status: Status
    day: date
    source: Id
    note: Words = {}


class Revision(Data, frozen=True, kw_only=True):
    """``[[revision]]``: another is in charge of an item, or it is measured otherwise or waits for others.
    What is left out stays as it was; what is empty is gone (``owner = ""``: nobody is in charge any more).
    """

    item: Id
    owner: MaybeId | None = None
    measure: Words | None = None
    needs: tuple[Id, ...] | None = None
    day: date
    source: Id
    note: Words = {}
