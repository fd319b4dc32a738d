"""Numbers as languages group them."""

from __future__ import annotations

import pytest

from moduai.packs.numbers import grouped, measured, percent

KO = {"만": 1e4, "억": 1e8, "조": 1e12, "경": 1e16}
EN = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}


@pytest.mark.parametrize(
    ("value", "ko", "en"),
    [
        (0, "0", "0"),
        (1.5, "1.5", "1.5"),
        (50_000, "50,000", "50,000"),
        (999_999, "999,999", "999,999"),
        (1_000_000, "100만", "1 million"),
        (1_030_500, "103만", "1.03 million"),
        (99_990_000, "9,999만", "99.99 million"),
        (100_000_000, "1억", "100 million"),
        (123_450_000, "1억 2,345만", "123.45 million"),
        (199_999_999, "2억", "200 million"),
        (1.46e12, "1조 4,600억", "1.46 trillion"),
        (1e14, "100조", "100 trillion"),
        (1.0245e12, "1조 245억", "1.024 trillion"),
        (2.5e17, "25경", "250,000 trillion"),
    ],
)
def test_large_numbers_are_grouped_as_the_language_does(value: float, ko: str, en: str) -> None:
    assert grouped(value, KO) == ko
    assert grouped(value, EN) == en
    assert grouped(value, {}) == f"{value:,.15g}"


def test_units_get_the_prefix_that_makes_them_short() -> None:
    assert measured(96_800_000, "W") == "96.8 MW"
    assert measured(1.51e10, "kWh") == "15.1 TWh"
    assert measured(500, "kWh") == "500 kWh"
    assert measured(0, "W") == "0 W"
    assert percent(0.0687) == "6.87%"
    assert percent(4.95) == "495%"
