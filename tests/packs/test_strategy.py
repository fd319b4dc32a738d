"""The plan as it stood on a day, on the invented country; and that Korea's reads as its documents do."""

from __future__ import annotations

from dataclasses import replace as pack_replace
from datetime import date

import pytest
from msgspec.structs import replace

from moduai.gateway.policy_text import parse
from moduai.packs import strategy
from moduai.packs.pack import Pack
from moduai.packs.read import read
from moduai.packs.strategy import Edge, as_of
from moduai.packs.where import shipped


@pytest.fixture(scope="module")
def kr() -> Pack:
    return read(shipped()["kr"], parse)


def test_claims_come_with_the_day_on_which_they_were_said(xa: Pack) -> None:
    assert not as_of(xa, date(2025, 5, 9)).entries
    first = as_of(xa, date(2025, 5, 10))
    assert set(first.entries) == {"everyone", "computers", "too-dear"}
    assert "computers-bought" not in first.standing
    assert "computers-bought" in as_of(xa, date(2025, 11, 1)).standing
    assert as_of(xa).day == xa.head.as_of


def test_a_claim_stands_until_another_takes_its_place(xa: Pack) -> None:
    before, after = as_of(xa, date(2026, 1, 14)), as_of(xa, date(2026, 1, 15))
    assert [one.claim.id for one in before.of_item["teaching"]] == ["teaching-first"]
    (standing,) = after.of_item["teaching"]
    assert (standing.claim.id, standing.replaced) == ("teaching-second", ("teaching-first",))


def test_a_status_is_that_of_the_last_change(xa: Pack) -> None:
    for day, status, since in [
        (date(2025, 12, 19), "announced", date(2025, 5, 10)),
        (date(2025, 12, 20), "funded", date(2025, 12, 20)),
        (date(2026, 6, 30), "tendered", date(2026, 4, 1)),
    ]:
        standing = as_of(xa, day).standing["computers-money"]
        assert (standing.status, standing.since) == (status, since)


def test_gaps_are_what_the_documents_do_not_give(xa: Pack) -> None:
    plan = as_of(xa)
    assert {name: entry.gaps for name, entry in plan.entries.items()} == {
        "everyone": ("owner",),
        "computers": ("measure",),
        "teaching": ("owner", "money", "date", "measure"),
        "archive": ("owner", "money", "date", "measure", "prerequisite"),
        "too-dear": (),
    }


def test_who_is_in_charge_and_what_is_waited_for_are_of_their_day(xa: Pack) -> None:
    for day, owner, needs in [
        (date(2026, 1, 31), "xa-council", ("teaching",)),
        (date(2026, 2, 1), "xa-ministry", ("teaching", "archive")),
    ]:
        entry = as_of(xa, day).entries["computers"]
        assert (entry.item.owner, entry.item.needs) == (owner, needs)
        assert len(entry.revisions) == (day.month == 2)
    before, after = (as_of(xa, date(2026, 6 - early, 1)) for early in (1, 0))
    assert (before.entries["everyone"].item.owner, before.entries["everyone"].gaps) == ("xa-ministry", ())
    assert after.entries["everyone"].item.owner is None
    assert after.entries["everyone"].gaps == ("owner",), "what is empty is gone, and missing"
    assert after.entries["everyone"].item.measure["en"] == "Eight of ten use it."
    assert after.entries["everyone"].item.needs == before.entries["everyone"].item.needs, (
        "what is left out stays"
    )
    early = as_of(xa, date(2025, 5, 10))
    alone = replace(xa.item["everyone"], needs=("teaching",))
    assert strategy.gaps(early, alone) == ("prerequisite",), "nobody had spoken of it yet"


def test_koreas_pledges_were_the_candidates_until_an_office_took_them(kr: Pack) -> None:
    then, now = as_of(kr, date(2025, 6, 3)), as_of(kr)
    for item, first, last in [
        ("ai-for-all", "lee-jae-myung", "msit"),
        ("gpus-50000", "lee-jae-myung", "msit"),
        ("committee-strengthened", "lee-jae-myung", "strategy-committee"),
    ]:
        assert (then.item[item].owner, now.item[item].owner) == (first, last)


def test_money_and_days_of_parts_count_for_the_whole(xa: Pack) -> None:
    whole = replace(xa.item["everyone"], kind="programme")
    assert strategy.gaps(as_of(xa), whole) == ("money",)
    under = tuple(replace(one, part_of="everyone") if one.id == "computers" else one for one in xa.items)
    assert strategy.gaps(as_of(pack_replace(xa, items=under)), whole) == ()


def test_conflicts_stand_side_by_side(xa: Pack) -> None:
    plan = as_of(xa)
    assert strategy.conflicts(plan) == (("computers-headline", "computers-money"),)
    assert plan.entries["computers"].conflicts == strategy.conflicts(plan)
    assert plan.entries["teaching"].conflicts == ()


def test_what_waits_for_what(xa: Pack) -> None:
    plan = as_of(xa)
    assert strategy.waits_for(plan, "everyone") == ("computers", "teaching", "archive")
    assert strategy.waits_for(plan, "archive") == ()
    assert strategy.waits_for(as_of(xa, date(2025, 5, 10)), "everyone") == ("computers",)
    assert strategy.triangle(plan) == (
        Edge(item="computers", needs="teaching", pillar="compute", waits_for="talent"),
        Edge(item="computers", needs="archive", pillar="compute", waits_for="data"),
        Edge(item="teaching", needs="archive", pillar="talent", waits_for="data"),
    )


def test_money_is_told_by_time_and_purpose_and_not_added(xa: Pack) -> None:
    found = [
        (one.claim, one.first_year, one.last_year, one.low, one.whole) for one in strategy.money(as_of(xa))
    ]
    assert found == [
        ("computers-money-2025", 2025, 2025, 15e6, False),
        ("computers-money", 2025, 2026, 40e6, True),
        ("computers-money-2026", 2026, 2026, 25e6, False),
    ]
    assert "computers-headline" not in [name for name, *_ in found]  # of another currency


def test_pledges_are_compared_by_who_made_them(xa: Pack) -> None:
    found = strategy.compare(as_of(xa))
    assert list(found) == ["sara-nur", "zanbar-times", "xa-ministry"]
    assert [one.claim.id for one in strategy.compare(as_of(xa), ["xa-ministry"])["xa-ministry"]] == [
        "computers-bought"
    ]


def test_koreas_pledges_stand_as_they_were_said(kr: Pack) -> None:
    plan = as_of(kr, date(2025, 6, 2))
    found = {
        who: [
            one.claim.number
            for one in claims
            if kr.is_money(one.claim, own=True) and one.claim.part_of is None and one.claim.source == "c"
        ]
        for who, claims in strategy.compare(plan).items()
    }
    assert {who: numbers for who, numbers in found.items() if numbers} == {
        "lee-jae-myung": [100e12],
        "kim-dong-yeon": [100e12],
        "kim-kyoung-soo": [100e12],
        "han-dong-hoon": [200e12],
        "hong-joon-pyo": [50e12],
        "kim-moon-soo": [100e12],
        "ahn-cheol-soo": [20e12],
    }


def test_the_headline_in_another_currency_stands_beside_the_text(kr: Pack) -> None:
    units = [
        {kr.unit[kr.claim[name].unit or ""].currency for name in pair}
        for pair in strategy.conflicts(as_of(kr))
        if all(kr.claim[name].unit and kr.unit[kr.claim[name].unit or ""].kind == "money" for name in pair)
    ]
    assert {"USD", "KRW"} in units
