"""A pack in memory: what its files hold, in typed rows with look-ups by id.

Words: a *kind* is the name of a table ("claim"), a *row* one table of it. ``KINDS`` says which file holds
which kinds; everything that reads, checks or describes packs goes by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from moduai.packs import schema
from moduai.packs.schema import (
    Accelerator,
    Actor,
    Budget,
    Change,
    Claim,
    Feed,
    Group,
    Head,
    Holiday,
    Item,
    Locale,
    Office,
    PersonalData,
    Price,
    Purchase,
    Region,
    Revision,
    Rule,
    Seat,
    Site,
    Source,
    Unit,
)


class Kind(NamedTuple):
    """One table: its type, the pack's field for it, and the file it stands in."""

    type: type[schema.Data]
    field: str
    file: str
    one: bool = False
    """Exactly one row, ``[pack]``; else a list of them, ``[[claim]]``."""


STRATEGY: Final = "strategy"
"""The folder of any number of files."""
KINDS: Final[Mapping[str, Kind]] = {
    "pack": Kind(Head, "head", "pack.toml", one=True),
    "locale": Kind(Locale, "locale", "pack.toml", one=True),
    "holiday": Kind(Holiday, "holidays", "pack.toml"),
    "region": Kind(Region, "regions", "regions.toml"),
    "group": Kind(Group, "groups", "regions.toml"),
    "office": Kind(Office, "offices", "offices.toml"),
    "seat": Kind(Seat, "seats", "offices.toml"),
    "actor": Kind(Actor, "actors", "offices.toml"),
    "personal": Kind(PersonalData, "personal", "rules.toml"),
    "rule": Kind(Rule, "rules", "rules.toml"),
    "source": Kind(Source, "sources", "sources.toml"),
    "feed": Kind(Feed, "feeds", "sources.toml"),
    "accelerator": Kind(Accelerator, "accelerators", "sites.toml"),
    "site": Kind(Site, "sites", "sites.toml"),
    "purchase": Kind(Purchase, "purchases", "sites.toml"),
    "price": Kind(Price, "prices", "sites.toml"),
    "budget": Kind(Budget, "budgets", "sites.toml"),
    "unit": Kind(Unit, "units", STRATEGY),
    "item": Kind(Item, "items", STRATEGY),
    "claim": Kind(Claim, "claims", STRATEGY),
    "change": Kind(Change, "changes", STRATEGY),
    "revision": Kind(Revision, "revisions", STRATEGY),
}
"""Name of a table to what it is."""
NAMED: Final = frozenset({"office", "actor"})
"""Kinds that share their ids: who says or does something."""

Key = TypeVar("Key")
Row = TypeVar("Row")


class _Named(Protocol):
    @property
    def id(self) -> str: ...


_NamedRow = TypeVar("_NamedRow", bound=_Named)


class Document(NamedTuple):
    """One page of the pack's knowledge."""

    language: str
    name: str
    """Of its file; the same in each language."""
    text: str
    """Markdown with front matter."""


@dataclass(frozen=True, kw_only=True)
class Pack:
    """One country. ``read.read`` makes it; what is in it was checked."""

    folder: str
    """Where it was read from."""
    head: Head
    locale: Locale
    holidays: tuple[Holiday, ...] = ()
    regions: tuple[Region, ...] = ()
    groups: tuple[Group, ...] = ()
    offices: tuple[Office, ...] = ()
    seats: tuple[Seat, ...] = ()
    actors: tuple[Actor, ...] = ()
    personal: tuple[PersonalData, ...] = ()
    rules: tuple[Rule, ...] = ()
    sources: tuple[Source, ...] = ()
    feeds: tuple[Feed, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    sites: tuple[Site, ...] = ()
    purchases: tuple[Purchase, ...] = ()
    prices: tuple[Price, ...] = ()
    budgets: tuple[Budget, ...] = ()
    units: tuple[Unit, ...] = ()
    items: tuple[Item, ...] = ()
    claims: tuple[Claim, ...] = ()
    changes: tuple[Change, ...] = ()
    revisions: tuple[Revision, ...] = ()
    policy: str = ""
    """The text of ``policy.toml``; empty: the policy that comes with Modu."""
    documents: tuple[Document, ...] = ()
    messages: Mapping[str, str] = field(default_factory=dict)
    """Language to the text of its ``messages.po``."""

    @cached_property
    def region(self) -> Mapping[str, Region]:
        """By code."""
        return {row.code: row for row in self.regions}

    @cached_property
    def group(self) -> Mapping[str, Group]:
        """By id."""
        return by_id(self.groups)

    @cached_property
    def office(self) -> Mapping[str, Office]:
        """By id."""
        return by_id(self.offices)

    @cached_property
    def actor(self) -> Mapping[str, Actor]:
        """By id."""
        return by_id(self.actors)

    @cached_property
    def source(self) -> Mapping[str, Source]:
        """By id."""
        return by_id(self.sources)

    @cached_property
    def accelerator(self) -> Mapping[str, Accelerator]:
        """By id."""
        return by_id(self.accelerators)

    @cached_property
    def unit(self) -> Mapping[str, Unit]:
        """By id."""
        return by_id(self.units)

    @cached_property
    def item(self) -> Mapping[str, Item]:
        """By id."""
        return by_id(self.items)

    @cached_property
    def claim(self) -> Mapping[str, Claim]:
        """By id."""
        return by_id(self.claims)

    @cached_property
    def claims_of(self) -> Mapping[str, tuple[Claim, ...]]:
        """Item to what is said of it, in the order of the days."""
        return grouped((one.item, one) for one in sorted(self.claims, key=lambda one: one.said))

    @cached_property
    def changes_of(self) -> Mapping[str, tuple[Change, ...]]:
        """Claim to its changes, in the order of the days."""
        return grouped((one.claim, one) for one in sorted(self.changes, key=lambda one: one.day))

    @cached_property
    def revisions_of(self) -> Mapping[str, tuple[Revision, ...]]:
        """Item to its revisions, in the order of the days."""
        return grouped((one.item, one) for one in sorted(self.revisions, key=lambda one: one.day))

    @cached_property
    def parts_of(self) -> Mapping[str, tuple[str, ...]]:
        """Item to the items that are parts of it."""
        return grouped((one.part_of, one.id) for one in self.items if one.part_of)

    @property
    def languages(self) -> tuple[str, ...]:
        """The first is the default."""
        return self.locale.languages

    @property
    def people(self) -> int:
        """Residents: as the row of the whole country says, else the sum of the regions."""
        whole = self.region.get(self.locale.country)
        return whole.population if whole else sum(one.population for one in self.regions)

    def who(self, name: str) -> Office | Actor:
        """Who says or does something. Raises KeyError."""
        return self.office.get(name) or self.actor[name]

    def rows(self, kind: str) -> tuple[Any, ...]:
        """All rows of a kind, in the order of their files."""
        found = getattr(self, KINDS[kind].field)
        return (found,) if KINDS[kind].one else found

    def is_money(self, claim: Claim, *, own: bool = False) -> bool:
        """Whether a claim's number is of money; ``own``: of the pack's currency."""
        unit = self.unit.get(claim.unit or "")
        return bool(unit and unit.kind == "money" and (not own or unit.currency == self.locale.currency))


def in_language(texts: Mapping[str, str], language: str) -> str:
    """A text in a language; if it has none there in English, else in the first there is."""
    return texts.get(language) or texts.get("en") or next(iter(texts.values()), "")


def by_id(rows: Iterable[_NamedRow]) -> dict[str, _NamedRow]:
    """Rows by their ids."""
    return {row.id: row for row in rows}


def grouped(pairs: Iterable[tuple[Key, Row]]) -> dict[Key, tuple[Row, ...]]:
    """Key to all rows that stand with it, in their order."""
    found: dict[Key, list[Row]] = {}
    for key, row in pairs:
        found.setdefault(key, []).append(row)
    return {key: tuple(rows) for key, rows in found.items()}


class Problem(Struct, frozen=True):
    """What is wrong with a row; ``read`` knows its file and line."""

    kind: str
    number: int
    """Which of the kind's rows."""
    field: str
    """With dots to what is in it; empty: the whole row."""
    text: str


class Fault(Struct, frozen=True):
    """What is wrong with a pack, and where."""

    file: str
    line: int
    """0: the whole file."""
    path: tuple[str | int, ...]
    text: str
