"""What a number of accelerators costs, and what a sum buys: arithmetic from the pack's own unit prices. Pure.

Rule: every figure says how it came (``formula``), from which sources, and the weakest basis among them; each
is a range from the lowest to the highest prices, never a single number where the prices are a range. Nothing
is rounded here; ``rounded`` is for showing, to three digits.

    cost   = count × price of one               [currency]
    power  = count × watts × PUE                [W], at full load
    energy = power × 8,760 h                    [kWh a year], at full load all year: the most there can be
    bill   = energy × price of a kWh            [currency; of a year, or of what was used]
    state  = cost × (1 - private share)         [currency]
"""

from __future__ import annotations

from collections.abc import Iterator
from math import floor, log10
from typing import Final, Literal

from msgspec import Struct

from moduai.packs.pack import Pack
from moduai.packs.schema import Basis, Claim
from moduai.packs.strategy import Plan

HOURS = 8_760
"""Of a year."""
Known = Basis | Literal["asked"]
WEAKEST: Final[tuple[Known, ...]] = ("asked", "measured", "published", "derived", "assumed")
"""From the best known to the least."""


class PriceError(ValueError):
    """A question that the pack's prices cannot answer; the text says what is missing."""


class Figure(Struct, frozen=True, kw_only=True):
    """A number with its range, and where it comes from."""

    name: str
    low: float
    middle: float
    high: float
    unit: str
    """``accelerators``, ``W``, ``kWh``, a currency, ``part`` (1 is all of it), or a unit of the pack."""
    formula: tuple[str | float, ...]
    """How it follows: names of figures, ids of prices, numbers, signs and words."""
    basis: Known
    """The weakest of what it is computed from."""
    sources: tuple[str, ...]

    @property
    def how(self) -> str:
        """The formula as a line."""
        return " ".join(one if isinstance(one, str) else f"{one:,.15g}" for one in self.formula)


class Beside(Struct, frozen=True, kw_only=True):
    """A sum that the same people pledged, beside what it would have to pay."""

    claim: str
    pledged: float
    """The most that was said."""
    cost: float
    """The middle."""
    ratio: float
    """Of cost to what was pledged: above 1 the sum is not enough at that price."""
    enough: bool


class Priced(Struct, frozen=True, kw_only=True):
    """The answer: figures in the order in which they follow from one another."""

    figures: tuple[Figure, ...]
    beside: tuple[Beside, ...] = ()

    def figure(self, name: str) -> Figure:
        """One by its name. Raises KeyError."""
        return {one.name: one for one in self.figures}[name]


class Terms(Struct, frozen=True, kw_only=True):
    """How to price: what may be changed to see what it does."""

    private: float | None = None
    """The part that partners pay, 0 to 1; None: the pack's range."""
    year: int | None = None
    """Of whose budget parts are taken; None: the last."""
    per: str = ""
    """Id of a price or purchase that says what one accelerator costs; empty: the pack's first price."""


USUAL: Final = Terms()


def price_claim(plan: Plan, claim: str, terms: Terms = USUAL) -> Priced:
    """What a claim's number costs or buys. Raises PriceError for one that is neither money of the pack's
    currency nor accelerators nor people.
    """
    pack = plan.pack
    if claim not in plan.standing:
        raise PriceError(f"no claim {claim!r} stands on {plan.day}")
    said = plan.standing[claim].claim
    unit = pack.unit.get(said.unit or "")
    if said.number is None or unit is None:
        raise PriceError(f"claim {claim!r} has no number")
    given = Figure(
        name="said",
        low=said.number,
        middle=said.number,
        high=said.high or said.number,
        unit=unit.id,
        formula=("as said",),
        basis=said.basis,
        sources=(said.source,),
    )
    if unit.kind == "accelerators":
        priced = price_accelerators(pack, given, terms)
        return Priced(figures=priced.figures, beside=_beside(plan, said, priced.figure("cost")))
    if unit.kind == "people":
        return Priced(
            figures=(given, _times("pay", pack.locale.currency, given, _price(pack, "person-year")))
        )
    if pack.is_money(said, own=True):
        return price_money(pack, given, terms)
    raise PriceError(
        f"claim {claim!r} is in {unit.id}: neither {pack.locale.currency}, accelerators nor people"
    )


def price_accelerators(pack: Pack, count: float | Figure, terms: Terms = USUAL) -> Priced:
    """What so many accelerators cost and draw. Raises PriceError."""
    given = count if isinstance(count, Figure) else asked(count, "accelerators")
    cost = _times("cost", pack.locale.currency, given, one_accelerator(pack, terms.per))
    return Priced(figures=(given, cost, *_energy(pack, given), *_shares(pack, cost, terms)))


def price_money(pack: Pack, money: float | Figure, terms: Terms = USUAL) -> Priced:
    """What a sum buys when all of it goes into accelerators, and what these draw. Raises PriceError."""
    given = money if isinstance(money, Figure) else asked(money, pack.locale.currency)
    one = one_accelerator(pack, terms.per)
    if not one.low:
        raise PriceError(f"the price {one.name} begins at nothing: it says not how many a sum buys")
    numbers = (given.low / one.high, given.middle / one.middle, given.high / one.low)
    count = _derived("accelerators", "accelerators", numbers, (given.name, "/", one.name), given, one)
    return Priced(figures=(given, count, *_energy(pack, count), *_shares(pack, given, terms)))


def one_accelerator(pack: Pack, per: str = "") -> Figure:
    """What one costs: by a price or purchase of the pack. Raises PriceError."""
    for bought in pack.purchases:
        if per == bought.id and bought.count:
            cost = bought.cost / bought.count
            formula = (bought.cost, "/", bought.count, f"({bought.year})")
            return _derived(
                bought.id, pack.locale.currency, (cost, cost, cost), formula, sources=(bought.source,)
            )
    return _price(pack, "accelerator", per)


def price_energy(pack: Pack, kwh: float) -> Figure:
    """What energy that was used costs; it was estimated, so the figure is no better. Raises PriceError."""
    used = Figure(
        name="energy used",
        low=kwh,
        middle=kwh,
        high=kwh,
        unit="kWh",
        formula=("estimated",),
        basis="assumed",
        sources=(),
    )
    return _times("electricity", pack.locale.currency, used, _price(pack, "kwh"))


def asked(value: float, unit: str) -> Figure:
    """A number of the asker's."""
    return Figure(
        name="asked",
        low=value,
        middle=value,
        high=value,
        unit=unit,
        formula=("as asked",),
        basis="asked",
        sources=(),
    )


def rounded(value: float, digits: int = 3) -> float:
    """To so many digits that count, for showing."""
    return round(value, digits - 1 - floor(log10(abs(value)))) if value else 0.0


def _energy(pack: Pack, count: Figure) -> Iterator[Figure]:
    """Power at full load with all that the site needs, energy of a year of it, and its bill; nothing where
    the pack has no prices for it.
    """
    there = {one.of for one in pack.prices}
    if not {"accelerator-watts", "pue"} <= there:
        return
    devices = _times("power of devices", "W", count, _price(pack, "accelerator-watts"))
    power = _times("power", "W", devices, _price(pack, "pue"))
    hours = tuple(watts / 1_000 * HOURS for watts in (power.low, power.middle, power.high))
    energy = _derived("energy", "kWh", (hours[0], hours[1], hours[2]), ("power", "×", HOURS, "h"), power)
    yield from (devices, power, energy)
    if "kwh" in there:
        yield _times("bill", pack.locale.currency, energy, _price(pack, "kwh"))


def _shares(pack: Pack, cost: Figure, terms: Terms) -> Iterator[Figure]:
    """What the state pays of it, its part of the year's budgets, and what it is for each resident."""
    private = _private(pack, terms)
    numbers = (
        cost.low * (1 - private.high),
        cost.middle * (1 - private.middle),
        cost.high * (1 - private.low),
    )
    formula = (cost.name, "×", "(", 1, "−", private.name, ")")
    state = _derived("state", pack.locale.currency, numbers, formula, cost, private)
    yield state
    budgets = sorted(
        (one for one in pack.budgets if terms.year in {None, one.year}), key=lambda one: one.year
    )
    if terms.year is not None and not budgets:
        raise PriceError(f"the pack has no budget of {terms.year}")
    for budget in budgets[-1:]:
        for name, whole in (("part of the budget", budget.whole), ("part of the AI budget", budget.ai)):
            if whole:
                yield _by(name, "part", state, whole, (budget.source,), (whole, f"({budget.year})"))
    if pack.people:
        sources = tuple(one.source for one in pack.regions)
        about = ("about",) if any(one.approximate for one in pack.regions) else ()
        residents = (*about, pack.people, "residents")
        yield _by("per resident", pack.locale.currency, state, pack.people, sources, residents)


def _private(pack: Pack, terms: Terms) -> Figure:
    if terms.private is not None:
        if not 0 <= terms.private <= 1:
            raise PriceError("the private part is between 0 and 1")
        return asked(terms.private, "part")
    has_price = any(one.of == "share-private" for one in pack.prices)
    return _price(pack, "share-private") if has_price else asked(0, "part")


def _beside(plan: Plan, said: Claim, cost: Figure) -> tuple[Beside, ...]:
    """Sums that the same people pledged and that are not parts of others."""
    found = []
    for one in plan.standing.values():
        sum_ = one.claim.high or one.claim.number
        same = one.claim.who == said.who and one.claim.part_of is None
        if sum_ and same and plan.pack.is_money(one.claim, own=True):
            ratio = cost.middle / sum_
            found.append(
                Beside(claim=one.claim.id, pledged=sum_, cost=cost.middle, ratio=ratio, enough=ratio <= 1)
            )
    return tuple(found)


def _price(pack: Pack, of: str, per: str = "") -> Figure:
    """A unit price as a figure: the one named, else the first of its kind. Raises PriceError."""
    for one in pack.prices:
        if one.of == of and per in {"", one.id}:
            return Figure(
                name=one.id,
                low=one.low,
                middle=one.middle,
                high=one.high,
                unit=one.unit,
                formula=("price",),
                basis=one.basis,
                sources=(one.source,),
            )
    raise PriceError(f"the pack has no price {per!r} of {of}" if per else f"the pack has no price of {of}")


def _times(name: str, unit: str, one: Figure, other: Figure) -> Figure:
    numbers = (one.low * other.low, one.middle * other.middle, one.high * other.high)
    return _derived(name, unit, numbers, (one.name, "×", other.name), one, other)


def _by(
    name: str, unit: str, one: Figure, whole: float, sources: tuple[str, ...], of: tuple[str | float, ...]
) -> Figure:
    """``of``: the whole, as the formula tells it."""
    numbers = (one.low / whole, one.middle / whole, one.high / whole)
    return _derived(name, unit, numbers, (one.name, "/", *of), one, sources=sources)


def _derived(
    name: str,
    unit: str,
    numbers: tuple[float, float, float],
    formula: tuple[str | float, ...],
    *of: Figure,
    sources: tuple[str, ...] = (),
) -> Figure:
    """A figure that follows from others."""
    low, middle, high = numbers
    return Figure(
        name=name,
        low=low,
        middle=middle,
        high=high,
        unit=unit,
        formula=formula,
        basis=max(("derived", *(one.basis for one in of)), key=WEAKEST.index),
        sources=tuple(dict.fromkeys((*(source for one in of for source in one.sources), *sources))),
    )
