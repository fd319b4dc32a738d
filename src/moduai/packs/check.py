"""What is wrong with a pack that its types cannot say: rows that contradict one another. Pure.

Rules: an id is used once and exists; a number has a unit, and numbers that are compared or added have units
that can be; nobody waits for themselves; nothing is told before it was said, or after its source; what is
called complete adds up. Fails closed: what cannot be right is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from datetime import date
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from moduai.lined import near
from moduai.packs import plain
from moduai.packs.pack import KINDS, NAMED, Pack, Problem, grouped
from moduai.packs.schema import Actor, Claim, Office, Pillar, Price

PILLARS: Final[tuple[str, ...]] = get_args(Pillar)
UNITS_OF: Final = {
    "accelerator": ("money",),
    "kwh": ("money",),
    "person-year": ("money",),
    "accelerator-watts": ("power",),
    "share-private": ("count", "share"),
    "pue": ("count", "share"),
}
"""What a price may be told in."""
ROUGH = 0.05
"""Approximate numbers may miss their sum by this part."""
EXACT = 1e-9

REFERENCES: Final[Mapping[str, Mapping[str, str]]] = {
    "holiday": {"source": "source"},
    "region": {"source": "source"},
    "group": {"source": "source"},
    "office": {"under": "office", "source": "source"},
    "seat": {"office": "office", "holder": "actor", "source": "source"},
    "actor": {"party": "party"},
    "personal": {"source": "source"},
    "rule": {"source": "source"},
    "feed": {"ministry": "office"},
    "accelerator": {"source": "source"},
    "site": {"region": "region", "item": "item", "source": "source"},
    "purchase": {"accelerator": "accelerator", "site": "site", "claims": "claim", "source": "source"},
    "price": {"unit": "unit", "source": "source"},
    "budget": {"source": "source"},
    "item": {"owner": "who", "needs": "item", "part_of": "item", "answered_by": "item"},
    "claim": {
        "item": "item",
        "who": "who",
        "unit": "unit",
        "region": "region",
        "purpose": "purpose",
        "part_of": "claim",
        "source": "source",
        "conflicts": "claim",
        "replaces": "claim",
    },
    "change": {"claim": "claim", "source": "source"},
    "revision": {"item": "item", "owner": "who", "needs": "item", "source": "source"},
}
"""Fields that name another row, and of which kind; ``who`` is an office or actor, ``purpose`` a pillar or
item, ``party`` an office or actor that is one.
"""
TOGETHER: Final = {"who": ("office", "actor"), "party": ("office", "actor"), "purpose": ("item",)}
ALL: Final = "*"
Unread = Set[tuple[str, str]]
"""Kind and id of rows that could not be read; ``ALL``: some of the kind, nobody knows which."""
Check = Callable[[Pack], Iterator[Problem]]


def problems(pack: Pack, unread: Unread = frozenset()) -> list[Problem]:
    """All that is wrong between the rows of a pack."""
    found = [*_unknown(pack, unread), *_unsaid(pack, unread)]
    for one in CHECKS:
        found += one(pack)
    return found


def notes(pack: Pack) -> list[Problem]:
    """What may be right, and is worth a look: regions that do not sum to the country."""
    rows = [(number, one) for number, one in enumerate(pack.regions) if one.code == pack.locale.country]
    parts = sum(one.population for one in pack.regions if one.code != pack.locale.country)
    return [
        Problem(
            "region",
            number,
            "population",
            f"the regions have {parts:,} people, the country {one.population:,}",
        )
        for number, one in rows
        if parts not in {0, one.population}
    ]


# names


def _unknown(pack: Pack, unread: Unread) -> Iterator[Problem]:
    known, whole = _known(pack, unread), {kind for kind, name in unread if name == ALL}
    for kind, fields in REFERENCES.items():
        for number, row in enumerate(pack.rows(kind)):
            for field, target in fields.items():
                if whole & set(TOGETHER.get(target, (target,))):
                    continue
                value = getattr(row, field)
                for name in value if isinstance(value, tuple) else filter(None, (value,)):
                    if name not in known[target]:
                        why = f"there is no {target} {name!r}; {_near(name, known[target])}"
                        yield Problem(kind, number, field, why)


def _unsaid(pack: Pack, unread: Unread) -> Iterator[Problem]:
    if any(kind == "claim" for kind, _ in unread):
        return
    for number, item in enumerate(pack.items):
        if item.id not in pack.claims_of:
            why = f"nobody says anything of {item.id!r}: it has no claim, so no source"
            yield Problem("item", number, "", why)


def _near(name: str, known: Iterable[str]) -> str:
    said = near(name, sorted(known))
    return said if len(said) <= 200 else "see `modu pack show`"


def _known(pack: Pack, unread: Unread) -> dict[str, set[str]]:
    known = {kind: {_key(kind, row) for row in pack.rows(kind)} for kind in KINDS}
    for kind, name in unread:
        known[kind].add(name)
    who: tuple[Office | Actor, ...] = (*pack.offices, *pack.actors)
    parties = {one.id for one in who if one.kind == "party"}
    return {
        **known,
        "region": known["region"] | {pack.locale.country},
        "who": known["office"] | known["actor"],
        "purpose": known["item"] | set(PILLARS),
        "party": parties | {name for kind, name in unread if kind in NAMED},
    }


def _key(kind: str, row: Any) -> str:
    """What a row is found by."""
    match kind:
        case "holiday":
            return str(row.day)
        case "region":
            return str(row.code)
        case "budget":
            return str(row.year)
        case "change" | "revision":
            return f"{row.claim if kind == 'change' else row.item} on {row.day}"
        case "locale":
            return ""
        case _:
            return str(row.id)


def _twice(pack: Pack) -> Iterator[Problem]:
    taken: dict[str, set[str]] = {"who": set()}
    for kind in KINDS:
        names = taken["who"] if kind in NAMED else taken.setdefault(kind, set())
        for number, row in enumerate(pack.rows(kind)):
            key = _key(kind, row)
            if key in names:
                yield Problem(kind, number, "", f"{key!r} is there twice")
            names.add(key)
    for number, item in enumerate(pack.items):
        if item.id in PILLARS:
            yield Problem("item", number, "id", f"{item.id!r} is the name of a pillar")


def _locale(pack: Pack) -> Iterator[Problem]:
    locale = pack.locale
    if not _is_zone(locale.time_zone):
        yield Problem("locale", 0, "time_zone", f"there is no time zone {locale.time_zone!r}")
    if len(set(locale.languages)) < len(locale.languages):
        yield Problem("locale", 0, "languages", "a language is there twice")
    for number, region in enumerate(pack.regions):
        if region.code.split("-")[0] != locale.country:
            yield Problem("region", number, "code", f"{region.code} is not in {locale.country}")


def _is_zone(name: str) -> bool:
    """Whether there is such a time zone; where the machine knows none at all, any (fails open)."""
    try:
        return bool(ZoneInfo(name).key)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        return not available_timezones()


# numbers and units


def _numbers(pack: Pack) -> Iterator[Problem]:
    for number, one in enumerate(pack.claims):
        unit = pack.unit.get(one.unit or "")
        if one.number is not None and one.unit is None:
            yield Problem("claim", number, "number", f"{one.number:,.15g} has no unit")
        if one.number is None and (one.unit or one.high is not None):
            yield Problem("claim", number, "unit" if one.unit else "high", "there is no number with it")
        if one.number is not None and one.high is not None and one.high < one.number:
            yield Problem("claim", number, "high", f"the range ends at {one.high:,.15g}, below its beginning")
        if unit and unit.kind == "share" and max(one.number or 0, one.high or 0) > 100:
            yield Problem("claim", number, "number", "a share is at most 100 percent")
    for number, budget in enumerate(pack.budgets):
        if None not in {budget.whole, budget.ai} and (budget.ai or 0) > (budget.whole or 0):
            yield Problem("budget", number, "ai", "a part is more than the whole")


def _units(pack: Pack) -> Iterator[Problem]:
    for number, unit in enumerate(pack.units):
        if (unit.kind == "money") != (unit.currency is not None):
            text = "money needs its currency" if unit.kind == "money" else "only money has a currency"
            yield Problem("unit", number, "currency", text)
    for number, price in enumerate(pack.prices):
        yield from _price(pack, number, price)
    for number, claim in enumerate(pack.claims):
        for field, other in _others(pack, claim):
            here, there = pack.unit.get(claim.unit or ""), pack.unit.get(other.unit or "")
            differ = (
                here and there and (here.id != there.id if field == "part_of" else here.kind != there.kind)
            )
            if here and there and differ:
                yield Problem(
                    "claim", number, field, f"{claim.id} is in {here.id}, {other.id} in {there.id}: two units"
                )


def _others(pack: Pack, claim: Claim) -> Iterator[tuple[str, Claim]]:
    """Claims that its number is compared with."""
    named = [("part_of", claim.part_of), ("replaces", claim.replaces)]
    for field, name in [*named, *(("conflicts", name) for name in claim.conflicts)]:
        if other := pack.claim.get(name or ""):
            yield field, other


def _price(pack: Pack, number: int, price: Price) -> Iterator[Problem]:
    if not price.low <= price.middle <= price.high:
        yield Problem("price", number, "middle", "low, middle and high are not in order")
    unit = pack.unit.get(price.unit)
    if unit and unit.kind not in UNITS_OF[price.of]:
        yield Problem(
            "price",
            number,
            "unit",
            f"{price.of} is told in {' or '.join(UNITS_OF[price.of])}, not in {unit.kind}",
        )
    elif unit and unit.currency and unit.currency != pack.locale.currency:
        yield Problem(
            "price", number, "unit", f"prices are in {pack.locale.currency}, not in {unit.currency}"
        )
    if price.of == "share-private" and price.high > 1:
        yield Problem("price", number, "high", "the private share is a part of one, at most 1")


def _sums(pack: Pack) -> Iterator[Problem]:
    """Parts of a whole by year and its parts by purpose are two ways to divide it: each adds up by itself."""
    parts = grouped((one.part_of, one) for one in pack.claims if one.part_of and one.number is not None)
    for number, whole in enumerate(pack.claims):
        mine = parts.get(whole.id, ())
        if whole.parts_complete and (not mine or whole.number is None):
            yield Problem("claim", number, "parts_complete", "there are no numbers to add up")
        if whole.number is None or any(one.unit != whole.unit for one in mine):
            continue
        replaced = {one.replaces for one in mine}
        for how in (True, False):
            some = [one for one in mine if (one.purpose is not None) == how and one.id not in replaced]
            if some and (wrong := _sum(whole, some)):
                yield Problem("claim", number, "number", f"by {'purpose' if how else 'time'}, {wrong}")


def _sum(whole: Claim, parts: list[Claim]) -> str:
    """Why parts do not add up; empty: they do, as far as their ranges tell."""
    low = sum(one.number or 0 for one in parts)
    high = sum(one.high or one.number or 0 for one in parts)
    rough = ROUGH if any(one.approximate for one in (whole, *parts)) else EXACT
    least, most = (whole.number or 0) * (1 - rough), (whole.high or whole.number or 0) * (1 + rough)
    if low > most and not whole.at_least:
        return f"its parts are {low:,.15g}, more than the {whole.high or whole.number:,.15g} that it is"
    if whole.parts_complete and high < least and not any(one.at_least for one in parts):
        return f"its parts are complete and {high:,.15g}, less than the {whole.number:,.15g} that it is"
    return ""


# circles


def _circles(pack: Pack) -> Iterator[Problem]:
    for kind, field in (
        ("item", "needs"),
        ("item", "part_of"),
        ("claim", "part_of"),
        ("claim", "replaces"),
        ("office", "under"),
    ):
        rows = pack.rows(kind)
        numbers = {row.id: number for number, row in enumerate(rows)}
        edges = {}
        for row in rows:
            value = getattr(row, field)
            edges[row.id] = value if isinstance(value, tuple) else tuple(filter(None, (value,)))
        for circle in circles(edges):
            yield Problem(kind, numbers[circle[0]], field, _round(circle))


def _later_circles(pack: Pack) -> Iterator[Problem]:
    """Prerequisites that close a circle on the first day on which any do. Most packs have none even with the
    prerequisites of all days together, and then no day is looked at.
    """
    edges = {one.id: one.needs for one in pack.items}
    later = [(number, one, one.needs) for number, one in enumerate(pack.revisions) if one.needs is not None]
    together = grouped(pair for pair in (*edges.items(), *((one.item, needs) for _, one, needs in later)))
    if any(circles(edges)) or not any(circles({name: sum(all_, ()) for name, all_ in together.items()})):
        return
    by_day = grouped((one.day, (number, one.item, needs)) for number, one, needs in later)
    for day in sorted(by_day):
        edges |= {item: needs for _, item, needs in by_day[day]}
        if circle := next(circles(edges), None):
            number = next(number for number, item, _ in by_day[day] if item in circle)
            yield Problem("revision", number, "needs", _round(circle))
            return


def _round(circle: list[str]) -> str:
    return f"a circle: {' → '.join((*circle, circle[0]))}"


def circles(edges: Mapping[str, tuple[str, ...]]) -> Iterator[list[str]]:
    """Ways that lead back to where they began; at least one of each knot."""
    done: set[str] = set()
    for start in edges:
        way: list[str] = []
        at: dict[str, int] = {}
        ahead: list[tuple[str, Iterator[str]]] = []
        follow = iter((start,)) if start not in done else iter(())
        ahead.append(("", follow))
        while ahead:
            name, following = ahead[-1]
            new = next(following, None)
            if new is None:
                ahead.pop()
                if name:
                    done.add(way.pop())
                    del at[name]
            elif new in at:
                yield way[at[new] :]
            elif new in edges and new not in done:
                at[new] = len(way)
                way.append(new)
                ahead.append((new, iter(edges[new])))


# days


def _days(pack: Pack) -> Iterator[Problem]:
    for kind in ("office", "seat", "claim"):
        rows = pack.rows(kind)
        for number, row in enumerate(rows):
            if row.since and row.until and row.until < row.since:
                yield Problem(
                    kind, number, "until", f"it ends on {row.until}, before it begins on {row.since}"
                )
    for number, source in enumerate(pack.sources):
        if source.published and source.until and source.until < source.published:
            yield Problem("source", number, "until", f"it ends on {source.until}, before {source.published}")
    for kind, field in (
        ("claim", "said"),
        ("change", "day"),
        ("revision", "day"),
        ("region", "said"),
        ("group", "said"),
    ):
        rows = pack.rows(kind)
        for number, row in enumerate(rows):
            day = getattr(row, field)
            if day and (wrong := _late(pack, row.source, day, is_claim=kind == "claim")):
                yield Problem(kind, number, field, wrong)


def _late(pack: Pack, source: str | None, day: date, *, is_claim: bool) -> str:
    if day > pack.head.as_of:
        return f"{day} is after {pack.head.as_of}, until when the pack's keepers have looked"
    told = pack.source.get(source or "")
    last = told and (told.until or told.published)
    if told and last and day > last and is_claim:
        return f"it was said on {day}, after its source {told.id} of {last}"
    return ""


def _order(pack: Pack) -> Iterator[Problem]:
    for number, change in enumerate(pack.changes):
        claim = pack.claim.get(change.claim)
        if claim and change.day < claim.said:
            yield Problem(
                "change", number, "day", f"{change.day} is before {claim.said}, when the claim was said"
            )
    for number, one in enumerate(pack.revisions):
        first = next(iter(pack.claims_of.get(one.item, ())), None)
        if first and one.day < first.said:
            text = f"{one.day} is before {first.said}, when the item was first spoken of"
            yield Problem("revision", number, "day", text)
    for number, claim in enumerate(pack.claims):
        before = pack.claim.get(claim.replaces or "")
        if before and claim.said < before.said:
            text = f"{claim.id} of {claim.said} cannot replace {before.id}, said later"
            yield Problem("claim", number, "replaces", text)


# what hangs together


def _items(pack: Pack) -> Iterator[Problem]:
    for number, item in enumerate(pack.items):
        if item.answered_by and item.kind != "criticism":
            yield Problem("item", number, "answered_by", "only criticism is answered")
        if any(name in pack.item and pack.item[name].kind == "criticism" for name in item.answered_by):
            yield Problem("item", number, "answered_by", "criticism does not answer criticism")
    for number, one in enumerate(pack.revisions):
        if one.owner is None and one.measure is None and one.needs is None:
            yield Problem("revision", number, "", "nothing changes by it: give owner, measure or needs")


def _personal(pack: Pack) -> Iterator[Problem]:
    for number, kind in enumerate(pack.personal):
        for mask in kind.masks:
            if sum(char in "9A" for char in mask) < 4:
                yield Problem(
                    "personal", number, "masks", f"{mask!r} would fit too much: fewer than four of 9 and A"
                )
        if kind.checksum != "none" and not kind.masks:
            yield Problem("personal", number, "checksum", "there is no form to compute it of")


CHECKS: Final[tuple[Check, ...]] = (
    _twice,
    _locale,
    _numbers,
    _units,
    _sums,
    _circles,
    _later_circles,
    _days,
    _order,
    _items,
    _personal,
    plain.problems,
)
