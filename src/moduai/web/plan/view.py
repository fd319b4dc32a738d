"""A plan in one language, for templates: texts, numbers, sources and what belongs together. Pure.

Words: a *note* is the number by which the page names a source at a figure; it is given at the first use, and
the list of sources at the page's end is in the order of the notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from moduai.packs import numbers, strategy
from moduai.packs.pack import Pack, grouped
from moduai.packs.price import Beside, Figure, Priced, PriceError, price_claim, price_energy, rounded
from moduai.packs.schema import Claim, Item, Live, Revision, Source
from moduai.packs.strategy import TRIANGLE, Entry, Gap, Money, Plan, Standing
from moduai.web.language import Language, direction
from moduai.web.plan import drawing, live, words
from moduai.web.plan.events import Event, became, events
from moduai.web.plan.live import Energy

MOST_EVENTS = 12
"""Changes that the page itself lists; the feed has them all."""
FOLLOWED = ("pledge", "programme", "facility", "post")
"""Kinds of the list of everything that is followed; goals and criticism have sections of their own."""


class Group(NamedTuple):
    """Rows under one heading."""

    name: str
    rows: list[Any]


class Sum(NamedTuple):
    """A sum of money, and its part of the largest beside it."""

    money: Money
    standing: Standing
    part: float


class Pledger(NamedTuple):
    """What one candidate pledged: claims by what they are of."""

    who: str
    cells: Mapping[str, tuple[Standing, ...]]
    """``money``, ``accelerators``, ``people`` and ``else``."""


class Price(NamedTuple):
    """Claims of the same number, and what it costs or buys."""

    claims: tuple[Standing, ...]
    priced: Priced
    """Of the first."""
    beside: list[tuple[str, Beside]]
    """Who pledged a sum beside it, and that sum; each once."""

    @property
    def main(self) -> str:
        """The figure that answers first."""
        return "cost" if self.figure("cost") else "accelerators"

    def figure(self, name: str) -> Figure | None:
        """One by its name, where the pack has prices for it."""
        return next((one for one in self.priced.figures if one.name == name), None)


class View:
    """One page's look at a plan."""

    def __init__(self, plan: Plan, language: Language, figures: live.Figures | None) -> None:
        self.plan = plan
        self.pack: Pack = plan.pack
        self.language = language
        self.t = language.words
        self.figures = figures
        self._notes: dict[str, int] = {}

    # texts

    def text(self, texts: Mapping[str, str]) -> Markup:
        """A text of the pack in the page's language, or else in another, which its markup then names."""
        code = self.language.code if self.language.code in texts else next(iter(texts), "")
        text = escape(texts.get(code, ""))
        if code in {self.language.texts, ""}:
            return text
        return Markup('<span lang="{}" dir="{}">{}</span>').format(code, direction(code), text)

    def plain(self, texts: Mapping[str, str]) -> str:
        """The same as text alone."""
        return texts.get(self.language.code) or next(iter(texts.values()), "")

    def who(self, name: str) -> Markup:
        """Who says or does something."""
        return self.text(self.pack.who(name).name)

    def title(self, item: str) -> Markup:
        """An item's title."""
        return self.text(self.pack.item[item].title)

    def purpose(self, name: str) -> Markup:
        """What money is for: a pillar or an item."""
        return self.title(name) if name in self.pack.item else escape(self.pillar(name))

    def pillar(self, code: str) -> str:
        """What an item is about."""
        return words.say(words.PILLARS, self.t, code)

    def kind(self, code: str) -> str:
        """What an item is."""
        return words.say(words.KINDS, self.t, code)

    def status(self, code: str) -> str:
        """How far it is."""
        return words.say(words.STATUSES, self.t, code)

    def gap(self, code: str) -> str:
        """What a plan has."""
        return words.say(words.GAPS, self.t, code)

    def counted(self, code: Live) -> str:
        """A figure of this installation."""
        return words.say(words.LIVE, self.t, code)

    def basis(self, code: str) -> str:
        """How a number came to be."""
        return words.say(words.BASES, self.t, code)

    def named(self, figure: str) -> str:
        """A figure of the arithmetic."""
        return words.say(words.FIGURES, self.t, figure)

    def region(self, code: str) -> Markup:
        """A region; the country by the pack's name."""
        found = self.pack.region.get(code)
        return self.text(found.name if found else self.pack.head.name)

    def became(self, revision: Revision) -> Markup:
        """What a revision gives an item, in a line."""
        lines = []
        for gap, texts in became(self.pack, revision):
            what = Markup(", ").join(map(self.text, texts)) or escape(words.none(self.t))
            lines.append(Markup("<bdi>{}</bdi>: <bdi>{}</bdi>").format(self.gap(gap), what))
        return Markup("; ").join(lines)

    def before(self, entry: Entry) -> Markup:
        """What an item had before its first revision, of that which was revised."""
        was = self.pack.item[entry.item.id]
        return self.became(
            Revision(
                item=was.id,
                owner=was.owner or "" if any(one.owner is not None for one in entry.revisions) else None,
                measure=was.measure if any(one.measure is not None for one in entry.revisions) else None,
                needs=was.needs if any(one.needs is not None for one in entry.revisions) else None,
                day=entry.revisions[0].day,
                source=entry.revisions[0].source,
            )
        )

    # numbers

    def number(self, value: float) -> Markup:
        """A number for people, with the exact one in its markup."""
        shown, exact = self._grouped(value), numbers.exact(value)
        title = Markup(' title="{}"').format(exact) if shown != exact else ""
        return Markup('<data value="{}"{}>{}</data>').format(f"{value:.15g}", title, shown)

    def amount(self, claim: Claim) -> Markup:
        """A claim's number with its unit; empty where it has none."""
        if claim.number is None:
            return Markup("")
        number = self.number(claim.number)
        if claim.high is not None:
            number += Markup("–") + self.number(claim.high)
        unit = self.pack.unit.get(claim.unit or "")
        if unit:
            number += Markup("&nbsp;") + self.text(unit.name)
        if claim.at_least:
            return escape(self.t.gettext("at least %(number)s")) % {"number": number}
        if claim.approximate:
            return escape(self.t.gettext("about %(number)s")) % {"number": number}
        return number

    def figure(self, figure: Figure, which: str = "middle") -> Markup:
        """A number of the arithmetic, to three digits, in its unit."""
        value: float = getattr(figure, which)
        exact = Markup('<data value="{}" title="{}">{}</data>')
        if figure.unit == "part":
            return exact.format(f"{value:.15g}", numbers.exact(value), numbers.percent(value))
        if figure.unit in {"W", "kWh"}:
            return exact.format(f"{value:.15g}", numbers.exact(value), numbers.measured(value, figure.unit))
        shown = exact.format(f"{value:.15g}", numbers.exact(value), self._grouped(rounded(value)))
        if figure.unit == self.pack.locale.currency:
            return shown + Markup("&nbsp;") + self.text(self.pack.locale.currency_words)
        if figure.unit == "accelerators":
            return escape(self.t.gettext("%(number)s accelerators")) % {"number": shown}
        unit = self.pack.unit.get(figure.unit)
        return shown + Markup("&nbsp;") + self.text(unit.name) if unit else shown

    def energy(self, kwh: float) -> Markup:
        """Energy with the prefix that makes it short."""
        return Markup('<data value="{}">{}</data>').format(f"{kwh:.15g}", numbers.measured(kwh, "kWh"))

    def percent(self, part: float) -> str:
        """A part of one."""
        return numbers.percent(part)

    def how(self, figure: Figure) -> Markup:
        """How a figure follows, in the page's words."""
        return Markup(" ").join(map(self._piece, figure.formula))

    def _piece(self, piece: str | float) -> Markup:
        if not isinstance(piece, str):
            return self.number(piece)
        prices = (self.text(one.name) for one in self.pack.prices if one.id == piece)
        return next(prices, escape(words.say(words.FIGURES, self.t, piece)))

    def period(self, claim: Claim) -> str:
        """The time that a claim is about; empty where it gives none."""
        if claim.until and not claim.since:
            return self.t.gettext("by %(day)s") % {"day": claim.until}
        if claim.since and claim.until:
            ends = f"{claim.since:%m-%d} {claim.until:%m-%d}"
            years = claim.since.year, claim.until.year
            first, last = years if ends == "01-01 12-31" else (claim.since, claim.until)
            return str(first) if first == last else f"{first} – {last}"
        return self.t.gettext("from %(day)s") % {"day": claim.since} if claim.since else ""

    def _grouped(self, value: float) -> str:
        return numbers.grouped(value, self.pack.locale.large_numbers.get(self.language.code, {}))

    # sources

    def note(self, source: str) -> Markup:
        """The link from a figure to its source."""
        number = self._notes.setdefault(source, len(self._notes) + 1)
        named = self.t.gettext("Source %(number)d: %(title)s") % {
            "number": number,
            "title": self.plain(self.pack.source[source].title),
        }
        return Markup('<a class="note" href="#s-{}" title="{}" aria-label="{}">{}</a>').format(
            source, named, named, number
        )

    @property
    def noted(self) -> list[tuple[int, Source]]:
        """Sources that were named so far, by their notes."""
        return [(number, self.pack.source[name]) for name, number in self._notes.items()]

    # what belongs together

    def entries(self, *kinds: str) -> list[Entry]:
        """Items of some kinds."""
        return [one for one in self.plan.entries.values() if one.item.kind in kinds]

    def followed(self) -> list[Group]:
        """Everything that is followed, by what it is about."""
        by_pillar = grouped((one.item.pillar, one) for one in self.entries(*FOLLOWED))
        return [Group(self.pillar(name), list(rows)) for name, rows in by_pillar.items()]

    def money(self) -> list[Group]:
        """Sums of the pack's currency by time; each beside the largest of its group."""
        found = grouped((_years(one), one) for one in strategy.money(self.plan))
        groups = []
        for (first, last), rows in found.items():
            name = Markup('<bdi dir="ltr">{}–{}</bdi>').format(first, last) if first != last else str(first)
            most = max(one.high for one in rows) or 1
            groups.append(
                Group(
                    name if first else self.t.gettext("No time given"),
                    [Sum(one, self.plan.standing[one.claim], one.high / most) for one in rows],
                )
            )
        return groups

    def money_of(self, entry: Entry) -> list[Standing]:
        """Claims of an item that are money and not parts of others of it."""
        mine = {one.claim.id for one in entry.claims}
        return [
            one
            for one in entry.claims
            if one.claim.number is not None
            and self.pack.is_money(one.claim)
            and one.claim.part_of not in mine
        ]

    def numbered(self, entry: Entry) -> list[Standing]:
        """Claims of an item that have another number."""
        money = self.money_of(entry)
        return [one for one in entry.claims if one.claim.number is not None and one not in money]

    def due(self, entry: Entry) -> list[Standing]:
        """Claims of an item that say by when, the first of each day."""
        days: dict[date, Standing] = {}
        for one in entry.claims:
            if one.claim.until:
                days.setdefault(one.claim.until, one)
        return list(days.values())

    def of_plan(self, entry: Entry, gap: Gap) -> bool:
        """Whether a whole plan would have it for such an item."""
        return gap in strategy.EXPECTED[entry.item.kind]

    def latest(self, entry: Entry) -> Standing:
        """The claim that says how far an item is: of the last status."""
        return max(entry.claims, key=lambda one: one.since)

    def waits(self, item: str) -> list[Item]:
        """What an item waits for itself."""
        return [self.plan.item[name] for name in self.plan.item[item].needs if name in self.plan.entries]

    def triangle(self) -> tuple[Markup, list[Item]]:
        """The drawing of talent, compute and data, and its items in the order of their numbers."""
        edges = [(one.item, one.needs) for one in strategy.triangle(self.plan)]
        inside = {name for edge in edges for name in edge}
        items = [
            self.pack.item[name]
            for pillar in TRIANGLE
            for name in self.plan.entries
            if name in inside and self.pack.item[name].pillar == pillar
        ]
        names = {pillar: self.pillar(pillar) for pillar in TRIANGLE}
        label = self.t.gettext(
            "Which items of talent, computing and data wait for one another; the list says it in words."
        )
        return drawing.triangle(label, names, [(one.id, one.pillar) for one in items], edges), items

    def across(self, item: str) -> list[str]:
        """Items of the other two of the triangle that an item waits for."""
        return [one.needs for one in strategy.triangle(self.plan) if one.item == item]

    def pledgers(self) -> list[Pledger]:
        """Persons who pledged, side by side."""
        found = []
        for name, claims in strategy.compare(self.plan).items():
            actor = self.pack.actor.get(name)
            if actor is None or actor.kind != "person":
                continue
            mine = {one.claim.id for one in claims}
            cells = grouped((self._column(one), one) for one in claims if one.claim.part_of not in mine)
            found.append(Pledger(name, cells))
        return found

    def together(self, claims: Iterable[Standing]) -> list[tuple[Standing, ...]]:
        """Claims that give the same number, whoever gives it and where."""
        return list(grouped((self.amount(one.claim), one) for one in claims).values())

    def _column(self, one: Standing) -> str:
        unit = self.pack.unit.get(one.claim.unit or "")
        return unit.kind if unit and unit.kind in {"money", "accelerators", "people"} else "else"

    def conflicts(self) -> list[tuple[Standing, Standing]]:
        """Claims that say otherwise, side by side."""
        standing = self.plan.standing
        return [(standing[one], standing[other]) for one, other in strategy.conflicts(self.plan)]

    def prices(self) -> list[Price]:
        """What pledged numbers cost or buy: those that are not parts of others, equal ones together."""
        said = [one for one in self.plan.standing.values() if self._may_be_priced(one.claim)]
        found = []
        for claims in self.together(said):
            priced = [(one.claim.who, self.price(one.claim.id)) for one in claims]
            if priced[0][1] is None:
                continue
            beside = {
                (who, other.pledged): (who, other)
                for who, mine in priced
                for other in (mine.beside if mine else ())
                if self._is_pledged(self.pack.claim[other.claim])
            }
            found.append(Price(claims, priced[0][1], list(beside.values())))
        return found

    def _may_be_priced(self, claim: Claim) -> bool:
        unit = self.pack.unit.get(claim.unit or "")
        kind = unit.kind if unit else ""
        return kind in {"money", "accelerators"} and not claim.part_of and self._is_pledged(claim)

    def _is_pledged(self, claim: Claim) -> bool:
        return self.pack.item[claim.item].kind in {"pledge", "goal"}

    def price(self, claim: str) -> Priced | None:
        """The arithmetic of one claim; None where the pack's prices cannot answer."""
        try:
            return price_claim(self.plan, claim)
        except PriceError:
            return None

    def is_of_accelerators(self, claim: Claim) -> bool:
        """Whether its number is of accelerators: then the planner can run it."""
        unit = self.pack.unit.get(claim.unit or "")
        return claim.number is not None and unit is not None and unit.kind == "accelerators"

    def live(self, name: Live) -> live.Figure | None:
        """A figure of this installation; None where there is no ledger of it."""
        return self.figures.get(name) if self.figures else None

    def spent(self, energy: Energy) -> Figure | None:
        """What the electricity of this month costs; None where nobody knows the energy or a price."""
        try:
            return price_energy(self.pack, energy.kwh) if energy.covered else None
        except PriceError:
            return None

    def lives(self) -> list[Live]:
        """Figures that any item names, in the order of their names here."""
        there = {name for one in self.pack.items for name in one.live}
        return [name for name in words.LIVE if name in there]

    def part(self, name: Live, part: str) -> Markup:
        """A row of a figure by what people call it."""
        if not part:
            return escape(self.t.gettext("not said"))
        if name == "residents-by-region" and part in self.pack.region:
            return self.text(self.pack.region[part].name)
        if name == "residents-by-group" and part in self.pack.group:
            return self.text(self.pack.group[part].name)
        return escape(part)

    def changed(self, after: date | None = None) -> tuple[Event, ...]:
        """What was said or changed after a day; without one, the last by the day of the plan."""
        return events(self.pack, after=after) if after else events(self.pack, until=self.plan.day)


def _years(one: Money) -> tuple[int | None, int | None]:
    return one.first_year, one.last_year


def missing(entries: Iterable[Entry]) -> int:
    """How many things the documents do not give."""
    return sum(len(one.gaps) for one in entries)
