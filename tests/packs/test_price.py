"""The arithmetic of pledges, by hand on the invented country and with Korea's published figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.gateway.policy_text import parse
from moduai.packs.pack import Pack
from moduai.packs.price import (
    Figure,
    PriceError,
    Terms,
    price_accelerators,
    price_claim,
    price_money,
    rounded,
)
from moduai.packs.read import read
from moduai.packs.strategy import Plan, as_of
from moduai.packs.where import shipped


@pytest.fixture(scope="module")
def korea() -> Plan:
    return as_of(read(shipped()["kr"], parse))


def span(figure: Figure) -> tuple[float, float, float]:
    return (figure.low, figure.middle, figure.high)


def test_a_million_at_the_price_of_2025_is_more_than_what_was_pledged_beside_it(korea: Plan) -> None:
    """1.46 trillion won bought 13,000: a million is 112 trillion, and 100 trillion were pledged."""
    priced = price_claim(korea, "c-kim-dong-yeon-gpus", Terms(per="gpu-2025"))
    cost = priced.figure("cost")
    assert cost.middle == pytest.approx(1e6 * 1.46e12 / 13_000)
    assert rounded(cost.middle) == 112e12
    assert {"c", korea.pack.purchases[0].source} <= set(cost.sources)
    (beside,) = priced.beside
    assert (beside.pledged, beside.enough, rounded(beside.ratio)) == (100e12, False, 1.12)


def test_figures_follow_from_prices_with_their_ranges(xa: Pack) -> None:
    priced = price_claim(as_of(xa), "computers-count")
    assert span(priced.figure("cost")) == (40e6, 50e6, 80e6)
    assert span(priced.figure("power of devices")) == (200e3, 250e3, 300e3)
    assert span(priced.figure("power")) == pytest.approx((220e3, 300e3, 450e3))
    assert span(priced.figure("energy")) == pytest.approx((220 * 8760, 300 * 8760, 450 * 8760))
    assert span(priced.figure("bill")) == pytest.approx((22 * 8760, 60 * 8760, 180 * 8760))
    assert span(priced.figure("state")) == pytest.approx((20e6, 37.5e6, 80e6))
    assert span(priced.figure("part of the budget")) == pytest.approx((0.02, 0.0375, 0.08))  # of 2026
    assert span(priced.figure("part of the AI budget")) == pytest.approx((0.4, 0.75, 1.6))
    assert span(priced.figure("per resident")) == pytest.approx((10, 18.75, 40))
    assert [(one.claim, one.pledged, one.enough) for one in priced.beside] == [
        ("computers-money", 40e6, False)
    ]


def test_every_figure_says_how_and_from_what(xa: Pack) -> None:
    priced = price_claim(as_of(xa), "computers-count")
    assert all(one.how and one.sources and one.unit for one in priced.figures)
    assert {one.name: one.basis for one in priced.figures}["cost"] == "derived"
    assert {one.name: one.basis for one in priced.figures}["power"] == "assumed"
    assert priced.figure("bill").sources == ("xa-speech", "xa-assumptions", "xa-gazette")
    assert all(source in xa.source for one in priced.figures for source in one.sources)


def test_a_sum_buys_what_is_at_the_highest_and_lowest_prices(xa: Pack) -> None:
    priced = price_claim(as_of(xa), "computers-money")
    assert span(priced.figure("accelerators")) == (500, 800, 1000)
    assert priced.figure("accelerators").how == "said / one-palm"


def test_people_are_priced_by_the_year(xa: Pack) -> None:
    assert span(price_claim(as_of(xa), "teaching-second").figure("pay")) == (3e6, 3.6e6, 6e6)


def test_terms_change_what_follows(xa: Pack) -> None:
    terms = Terms(private=0.9, year=2025, per="first-hundred")
    priced = price_accelerators(xa, 1000, terms)
    assert span(priced.figure("cost")) == (50e6, 50e6, 50e6)
    assert span(priced.figure("state")) == pytest.approx((5e6, 5e6, 5e6))
    assert priced.figure("part of the budget").middle == pytest.approx(5e6 / 900e6)
    assert "part of the AI budget" not in {one.name for one in priced.figures}  # 2025 has none


def test_without_prices_there_is_no_answer_and_without_some_there_is_less(xa: Pack) -> None:
    bare = replace(xa, prices=())
    with pytest.raises(PriceError, match="no price of accelerator"):
        price_accelerators(bare, 10)
    names = {one.name for one in price_accelerators(bare, 10, Terms(per="first-hundred")).figures}
    assert names == {"asked", "cost", "state", "part of the budget", "part of the AI budget", "per resident"}


@pytest.mark.parametrize(
    ("claim", "terms", "told"),
    [
        ("nothing", Terms(), "no claim 'nothing' stands on 2026-06-30"),
        ("teaching-first", Terms(), "no claim"),
        ("archive-open", Terms(), "has no number"),
        ("everyone-2027", Terms(), "neither XTS, accelerators nor people"),
        ("computers-headline", Terms(), "neither XTS"),
        ("computers-count", Terms(year=1999), "no budget of 1999"),
        ("computers-count", Terms(per="none"), "no price 'none'"),
        ("computers-count", Terms(private=1.5), "between 0 and 1"),
    ],
)
def test_questions_without_an_answer(xa: Pack, claim: str, terms: Terms, told: str) -> None:
    with pytest.raises(PriceError, match=told):
        price_claim(as_of(xa), claim, terms)


@given(st.floats(1e-6, 1e18), st.integers(1, 6))
def test_rounding_keeps_the_digits_that_count(value: float, digits: int) -> None:
    assert abs(rounded(value, digits) / value - 1) <= 0.5 * 10 ** (1 - digits) + 1e-9


@given(st.floats(0, 1e9))
def test_a_sum_buys_what_costs_that_sum(xa: Pack, money: float) -> None:
    count = price_money(xa, money).figure("accelerators").middle
    assert price_accelerators(xa, count).figure("cost").middle == pytest.approx(money)
