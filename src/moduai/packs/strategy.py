"""The plan as it stood on a day: what had been said, what had become of it, what is missing in it. Pure.

Words: a *standing* claim was said by that day and nothing said by then took its place; its status is that of
the last change. Who is in charge of an item, its measure and what it waits for are as *revisions* by then
made them. An *entry* is an item with its standing claims. A *gap* is something that a plan would have and the
documents do not give: a judgement of plans, never of persons. Rule: what different people said is put side by
side and never added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from moduai.packs.pack import Pack, grouped
from moduai.packs.schema import Claim, Item, ItemKind, Pillar, Revision, Status

Gap = Literal["owner", "money", "date", "measure", "prerequisite"]

EXPECTED: Final[Mapping[ItemKind, tuple[Gap, ...]]] = {
    "goal": ("owner", "date", "measure", "prerequisite"),
    "pledge": ("owner", "money", "date", "measure", "prerequisite"),
    "programme": ("owner", "money", "date", "measure", "prerequisite"),
    "facility": ("owner", "money", "date", "measure", "prerequisite"),
    "post": ("owner", "date"),
    "criticism": (),
    "background": (),
}
"""What an item of a kind has when its plan is whole."""
TRIANGLE: Final[tuple[Pillar, ...]] = ("talent", "compute", "data")


class Standing(Struct, frozen=True, kw_only=True):
    """A claim as it stood."""

    claim: Claim
    status: Status
    since: date
    """Of the status."""
    source: str
    """Of the status."""
    replaced: tuple[str, ...] = ()
    """Claims whose place it took, the last one first."""


class Entry(Struct, frozen=True, kw_only=True):
    """An item and what had been said of it."""

    item: Item
    """As it was on that day."""
    revisions: tuple[Revision, ...]
    """That made it so, in the order of their days."""
    claims: tuple[Standing, ...]
    """In the order of their days."""
    gaps: tuple[Gap, ...]
    conflicts: tuple[tuple[str, str], ...]
    """Pairs of its claims, or of one of its and another's, that say otherwise."""


class Money(Struct, frozen=True, kw_only=True):
    """One sum of the pack's currency."""

    claim: str
    item: str
    who: str
    purpose: str
    """Of the claim, else the pillar of its item."""
    first_year: int | None
    last_year: int | None
    """None: the documents give no time."""
    low: float
    high: float
    whole: bool
    """Whether other sums here are its parts: who adds up leaves it out."""
    status: Status


class Edge(Struct, frozen=True, kw_only=True):
    """One pillar's item waits for one of another."""

    item: str
    needs: str
    pillar: Pillar
    waits_for: Pillar


@dataclass(frozen=True)
class Plan:
    """A pack's strategy on a day; ``as_of`` makes it."""

    pack: Pack
    day: date
    standing: Mapping[str, Standing]
    """By the claim's id, in the order of the pack."""
    item: Mapping[str, Item]
    """By id, as they were on that day: also those of which nobody had spoken yet."""

    @cached_property
    def of_item(self) -> Mapping[str, tuple[Standing, ...]]:
        """Standing claims of each item, in the order of their days."""
        ordered = sorted(self.standing.values(), key=lambda one: one.claim.said)
        return grouped((one.claim.item, one) for one in ordered)

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Items of which something had been said, in the order of the pack."""
        pairs = conflicts(self)
        return {name: self._entry(item, pairs) for name, item in self.item.items() if name in self.of_item}

    def _entry(self, item: Item, pairs: Iterable[tuple[str, str]]) -> Entry:
        claims = self.of_item[item.id]
        mine = {one.claim.id for one in claims}
        return Entry(
            item=item,
            revisions=_by(self.pack, item.id, self.day),
            claims=claims,
            gaps=gaps(self, item),
            conflicts=tuple(pair for pair in pairs if mine & set(pair)),
        )


def as_of(pack: Pack, day: date | None = None) -> Plan:
    """The plan on a day; without one, on the last that the pack's keepers have looked at."""
    day = day or pack.head.as_of
    said = {one.id: one for one in pack.claims if one.said <= day}
    gone = {one.replaces for one in said.values()}
    return Plan(
        pack,
        day,
        {name: _standing(pack, one, day) for name, one in said.items() if name not in gone},
        {name: _revised(one, _by(pack, name, day)) for name, one in pack.item.items()},
    )


def gaps(plan: Plan, item: Item) -> tuple[Gap, ...]:
    """What a whole plan would have for this item and had not by that day. Parts of an item count for it."""
    claims = [one.claim for name in _with_parts(plan.pack, item.id) for one in plan.of_item.get(name, ())]
    there = {
        "owner": item.owner is not None,
        "money": any(plan.pack.is_money(one) and one.number is not None for one in claims),
        "date": any(one.until for one in claims),
        "measure": bool(item.measure),
        "prerequisite": any(name in plan.of_item for name in item.needs),
    }
    return tuple(gap for gap in EXPECTED[item.kind] if not there[gap])


def conflicts(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Pairs of standing claims that say otherwise, each once."""
    pairs = {
        (min(name, other), max(name, other))
        for name, one in plan.standing.items()
        for other in one.claim.conflicts
        if other in plan.standing
    }
    return tuple(sorted(pairs))


def waits_for(plan: Plan, item: str) -> tuple[str, ...]:
    """All that an item waits for, itself and through others, the nearest first."""
    found: dict[str, None] = {}
    ahead = [item]
    while ahead:
        needs = [name for one in ahead for name in plan.item[one].needs if name not in found]
        found.update(dict.fromkeys(needs))
        ahead = list(dict.fromkeys(needs))
    return tuple(name for name in found if name != item and name in plan.of_item)


def triangle(plan: Plan) -> tuple[Edge, ...]:
    """Which items of talent, compute and data wait for items of another of the three, themselves or through
    others.
    """
    items = plan.item
    return tuple(
        Edge(item=name, needs=need, pillar=items[name].pillar, waits_for=items[need].pillar)
        for name in plan.entries
        if items[name].pillar in TRIANGLE
        for need in waits_for(plan, name)
        if items[need].pillar in TRIANGLE and items[need].pillar != items[name].pillar
    )


def money(plan: Plan) -> tuple[Money, ...]:
    """All sums of the pack's currency, by time and purpose; nothing is added up."""
    pack = plan.pack
    parts = {one.claim.part_of for one in plan.standing.values() if one.claim.number is not None}
    found = []
    for name, one in plan.standing.items():
        claim = one.claim
        if claim.number is None or not pack.is_money(claim, own=True):
            continue
        first = claim.since or claim.until
        found.append(
            Money(
                claim=name,
                item=claim.item,
                who=claim.who,
                purpose=claim.purpose or pack.item[claim.item].pillar,
                first_year=first.year if first else None,
                last_year=claim.until.year if claim.until else None,
                low=claim.number,
                high=claim.high or claim.number,
                whole=name in parts,
                status=one.status,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.first_year or 9999, one.last_year or 9999, one.purpose)))


def compare(plan: Plan, who: Iterable[str] = ()) -> Mapping[str, tuple[Standing, ...]]:
    """Pledges side by side: who made them, to their standing claims; all who made any, or those named."""
    wanted = tuple(who)
    pledged = [
        one
        for entry in plan.entries.values()
        if entry.item.kind == "pledge"
        for one in entry.claims
        if not wanted or one.claim.who in wanted
    ]
    return grouped((one.claim.who, one) for one in pledged)


def _standing(pack: Pack, claim: Claim, day: date) -> Standing:
    changes = [one for one in pack.changes_of.get(claim.id, ()) if one.day <= day]
    replaced = []
    before = claim.replaces
    while before:
        replaced.append(before)
        before = pack.claim[before].replaces
    last = changes[-1] if changes else None
    return Standing(
        claim=claim,
        status=last.status if last else claim.status,
        since=last.day if last else claim.said,
        source=last.source if last else claim.source,
        replaced=tuple(replaced),
    )


def _by(pack: Pack, item: str, day: date) -> tuple[Revision, ...]:
    """An item's revisions by a day."""
    return tuple(one for one in pack.revisions_of.get(item, ()) if one.day <= day)


def _revised(item: Item, revisions: Iterable[Revision]) -> Item:
    for one in revisions:
        item = replace(
            item,
            owner=item.owner if one.owner is None else one.owner or None,
            measure=item.measure if one.measure is None else one.measure,
            needs=item.needs if one.needs is None else one.needs,
        )
    return item


def _with_parts(pack: Pack, name: str) -> Iterator[str]:
    """An item, and all that are parts of it."""
    found = [name]
    for one in found:
        found += pack.parts_of.get(one, ())
    yield from found
