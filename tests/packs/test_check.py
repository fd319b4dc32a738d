"""Rows that contradict one another; what planted faults (``test_read``) do not reach."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.gateway.policy_text import parse
from moduai.packs import plain
from moduai.packs.check import circles
from moduai.packs.read import examine, told
from tests.packs.conftest import change, faults

PLAN = "strategy/plan.toml"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("number = 25_000_000", "number = 26_000_000", "by time, its parts are 41,000,000, more than"),
        ("parts_complete = true\n", "", ""),
        ("number = 15_000_000", "number = 15_000_000\napproximate = true", ""),
        ("number = 15_000_000", "number = 14_000_000\napproximate = true", ""),
        ("number = 15_000_000", "number = 12_000_000\napproximate = true", "less than"),
        ("number = 15_000_000", "number = 14_000_000\nhigh = 16_000_000", ""),
        ("number = 15_000_000", "number = 15_000_000\npurpose = 'compute'", "by purpose"),
        ('number = 25_000_000\nunit = "dinbar"', 'number = 25_000_000\nunit = "foreign"', "two units"),
    ],
)  # fmt: skip
def test_parts_add_up_as_far_as_is_known(copy: Path, old: str, new: str, expected: str) -> None:
    change(copy, PLAN, old, new)
    found = faults(copy)
    assert expected in found[0] if expected else not found, found


def test_a_whole_may_be_divided_by_time_and_by_purpose(copy: Path) -> None:
    part = (
        '[[claim]]\nid = "for-{0}"\nitem = "computers"\nwho = "sara-nur"\nwhat = {{ ar = "س", en = "x" }}\n'
    )
    part += 'number = 20_000_000\nunit = "dinbar"\npurpose = "{0}"\npart_of = "computers-money"\n'
    part += 'source = "xa-speech"\nsaid = 2025-05-10\n'
    with (copy / PLAN).open("a") as file:
        file.write(part.format("compute") + part.format("teaching"))
    assert faults(copy) == []


def test_prerequisites_may_turn_round_on_a_day(copy: Path) -> None:
    """All days together would be a circle; no day is."""
    turned = '[[revision]]\nitem = "{}"\nneeds = [{}]\nday = 2026-03-01\nsource = "xa-gazette"\n'
    with (copy / PLAN).open("a") as file:
        file.write(turned.format("teaching", "") + turned.format("archive", '"teaching"'))
    assert faults(copy) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (PLAN, 'replaces = "teaching-first"', 'replaces = "teaching-second"', "a circle: teaching-second → "),
        (PLAN, 'answered_by = ["computers"]', 'answered_by = ["too-dear"]', "criticism does not answer"),
        (PLAN, 'needs = ["archive"]', 'answered_by = ["archive"]', "only criticism is answered"),
        (PLAN, 'item = "archive"', 'item = "computers"', "nobody says anything of 'archive'"),
        (PLAN, "number = 300", "number = 300\nhigh = 200", "below its beginning"),
        (PLAN, "said = 2025-07-01", 'said = 2025-07-01\nunit = "teachers"', "no number with it"),
        ("strategy/units.toml", 'currency = "XTS"\n', "", "money needs its currency"),
        (PLAN, 'needs = ["teaching", "archive"]', 'needs = ["everyone"]', "a circle: everyone → computers"),
        (PLAN, 'owner = "xa-ministry"\nneeds = ["te', 'owner = "xa"\nneeds = ["te', "there is no who 'xa'"),
        (PLAN, 'owner = ""', 'owner = "?"', "expected an id, or nothing"),
        (PLAN, ', en = "Eight of ten use it." }', " }", "measure is missing in 'en'"),
        (PLAN, "day = 2026-06-01", "day = 2026-07-01", "until when the pack's keepers have looked"),
        ("sites.toml", "high = 0.5", "high = 50", "at most 1"),
        ("sites.toml", "ai = 50_000_000", "ai = 5e10", "more than the whole"),
        ("sites.toml", 'of = "person-year"', 'of = "accelerator-watts"', "told in power"),
        ("regions.toml", 'code = "XA-S"', 'code = "XB-S"', "XB-S is not in XA"),
        ("rules.toml", 'masks = ["XA 9999/99-AA"]', 'masks = ["XX-99"]', "would fit too much"),
        ("rules.toml", 'masks = ["9999 9999 9999 9999"]\n', "", "no form"),
        ("pack.toml", 'languages = ["ar", "en"]', 'languages = ["ar", "en", "ar"]', "is there twice"),
        ("pack.toml", "en = { million", "fr = { million", "'fr' is no language"),
        ("pack.toml", 'time_zone = "Asia/Riyadh"', 'time_zone = "../../etc/passwd"', "no time zone"),
        ("sources.toml", "until = 2026-06-30", "until = 2024-06-30", "before 2025-01-01"),
        ("offices.toml", 'party = "party-of-palms"', 'party = "xa-ministry"', "no party 'xa-ministry'"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_a_fault(copy: Path, file: str, old: str, new: str, expected: str) -> None:
    change(copy, file, old, new)
    assert any(expected in fault for fault in faults(copy)), faults(copy)


def test_regions_that_do_not_sum_are_a_note(copy: Path) -> None:
    change(copy, "regions.toml", "population = 2_000_000", "population = 2_100_000")
    _, found, notes = examine(copy, parse)
    assert found == []
    assert [told(note) for note in notes] == [
        "regions.toml:4: region.0.population: the regions have 2,000,000 people, the country 2,100,000"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<b>bold</b>", "a < b <script>", "</p>", "<!-- x -->", "&lt;b&gt;", "&#60;", "[text](https://x)",
        "{{ x }}", "{% x %}", "javascript:alert(1)", "JavaScript:x", "data:text/html,x",
        "a\x00b", "a\nb", "a\x1b[31m",
        "\u202eabc", "\u2066abc", "\ufeffabc", "\ue000", "\ufffe",
    ],
)  # fmt: skip
def test_texts_that_are_not_plain(text: str) -> None:
    assert plain.unplain(text)


@pytest.mark.parametrize(
    "text",
    [
        "PUE < 1.2 and > 1", "R&D at 5 % of GDP", "‘AI for All’ – 모두의 AI", "می\u200cخواهم",
        "\u200fنص (AI)\u200e", "क्\u200dष", "1.46조 원 ÷ 1만 3천 장 = 1억 1,231만 원", "“quoted” [sic]",
        "f{x}", "a: b; c",
    ],
)  # fmt: skip
def test_texts_that_are_plain(text: str) -> None:
    assert plain.unplain(text) == ""


NAMES = st.integers(0, 7).map(str)


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4).map(tuple), max_size=8))
def test_circles_are_found_exactly_where_there_are_any(edges: dict[str, tuple[str, ...]]) -> None:
    found = list(circles(edges))
    for circle in found:
        for name, needs in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert needs in edges[name]
    reached = {name: {one for one in needs if one in edges} for name, needs in edges.items()}
    for _ in edges:
        reached = {name: ones.union(*(reached[one] for one in ones)) for name, ones in reached.items()}
    assert bool(found) == any(name in ones for name, ones in reached.items())
