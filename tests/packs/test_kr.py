"""Korea's pack says what the documents say: figures in claims, and content in pages of both languages."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACK = ROOT / "src" / "moduai" / "packs" / "kr"
DATA = ROOT / "benchmarks" / "data"
FIGURES = [json.loads(line) for line in (DATA / "plan_figures.jsonl").read_text("utf-8").splitlines()]
QUESTIONS = [json.loads(line) for line in (DATA / "plan_questions.jsonl").read_text("utf-8").splitlines()]
PAGES = {
    language: {page.name: page.read_text("utf-8") for page in (PACK / "documents" / language).iterdir()}
    for language in ("ko", "en")
}


def rows(kind: str) -> list[dict[str, Any]]:
    """All tables of one kind, in whichever file."""
    files = sorted(PACK.rglob("*.toml"))
    return [row for file in files for row in tomllib.loads(file.read_text("utf-8")).get(kind, [])]


CLAIMS = {claim["id"]: claim for claim in rows("claim")}


@pytest.mark.parametrize("figure", FIGURES, ids=lambda each: f"{each['document']}: {each['figure']}")
def test_each_figure_of_the_documents_is_a_claim(figure: dict[str, Any]) -> None:
    claim = CLAIMS[figure["claim"]]
    if "day" in figure:
        assert claim[figure["field"]] == date.fromisoformat(figure["day"])
    else:
        assert (claim["number"], claim["unit"]) == (figure["number"], figure["unit"])
    if figure["document"] != "later":
        assert claim["source"] == figure["document"]


def test_no_claim_has_a_number_that_the_documents_do_not_have() -> None:
    """The five documents; what came later has sources of its own."""
    of_documents = {
        name for name, claim in CLAIMS.items() if claim["source"] in "abcde" and "number" in claim
    }
    assert of_documents == {each["claim"] for each in FIGURES if "number" in each} & of_documents


def test_every_item_is_claimed_by_somebody() -> None:
    assert {item["id"] for item in rows("item")} == {claim["item"] for claim in CLAIMS.values()}


def test_a_live_figure_stands_where_the_service_serves_and_only_there() -> None:
    assert [item["id"] for item in rows("item") if ("live" in item) != ("serves" in item)] == []


def test_the_regions_add_up_to_the_country() -> None:
    """Within the rounding: seventeen regions, each to ten thousand."""
    regions = rows("region")
    assert len(regions) == 17
    rounded = [row for row in (*regions, *rows("group")) if row.get("population", 1) % 10_000 == 0]
    assert all(region["approximate"] for region in rounded), "the page says so"
    assert abs(sum(region["population"] for region in regions) - 51_217_221) <= 17 * 5_000


def test_the_pages_are_the_same_in_both_languages() -> None:
    assert PAGES["ko"].keys() == PAGES["en"].keys()
    for name, korean in PAGES["ko"].items():
        english = PAGES["en"][name]
        assert korean.count("\n## ") == english.count("\n## "), name
        assert not re.search("[가-힣]", english), name


@pytest.mark.parametrize("name", PAGES["en"])
def test_a_sentence_of_a_page_can_be_quoted_alone(name: str) -> None:
    beginnings = r"(?:It|Its|They|Them|These|Those|그것|그런|이것|이런)"
    for language in ("ko", "en"):
        body = PAGES[language][name].split("---\n", 2)[2]
        assert re.findall(rf"(?:^|[.!?] ){beginnings}[ 은이을에도 ][^.!?]*", body, flags=re.MULTILINE) == []
        assert 100 <= len(body.split()) <= 500


def test_twenty_questions_in_two_languages_have_their_page_and_its_words() -> None:
    assert len({each["id"] for each in QUESTIONS}) == len(QUESTIONS)
    assert sum(each["part"] != "more" for each in QUESTIONS) == 40
    for each in QUESTIONS:
        assert each["must"] in PAGES[each["language"]][each["page"]]
        assert each["question"] not in PAGES[each["language"]][each["page"]]
