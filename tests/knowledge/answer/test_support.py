"""The rule of support, each of its five parts."""

from __future__ import annotations

import pytest
from benchmarks.harness.quoting import Shelf

from moduai.knowledge.answer.sections import Section, Source, sections
from moduai.knowledge.answer.support import supported
from moduai.knowledge.answer.verify import stands

KO = (
    "청년에게 월세를 12개월 동안 지급합니다. 신청은 주민센터에서 받습니다. 소득이 많으면 지급하지 않습니다. "
    "신청자는 서류를 내야 합니다. 서류는 미리 떼는 것이 좋습니다. 조문에는 “무주택 청년”이라고 적혀 있습니다."
)
EN = "Staff cannot read conversations. A steward may look with a reason. Each look is kept for 30 days."


def parts() -> list[Section]:
    shelf = Shelf()
    found = [*shelf.put("ko", 1, "월세 지원", [KO]), *shelf.put("en", 1, "Looks", [EN])]
    return [section for each in found for section in sections(Source(each))]


@pytest.mark.parametrize(
    ("sentence", "place"),
    [
        ("청년에게 월세를 12개월 동안 지급한다.", "청년에게 월세를 12개월 동안 지급합니다."),
        ("월세는 청년에게 12개월 동안 지급합니다.", "청년에게 월세를 12개월 동안 지급합니다."),
        ("신청은 주민센터에서 받아요.", "신청은 주민센터에서 받습니다."),
        ("조문에는 '무주택 청년'이라고 적혀 있습니다.", "조문에는 “무주택 청년”이라고 적혀 있습니다."),
        ("제1조 월세 지원: 신청은 주민센터에서 받습니다.", "신청은 주민센터에서 받습니다."),
        ("Each look is kept 30 days.", "Each look is kept for 30 days."),
        ("Stewards may look with reasons.", "A steward may look with a reason."),
    ],
)
def test_a_sentence_in_the_words_of_one_of_the_passage_is_supported(sentence: str, place: str) -> None:
    citation = supported(sentence, parts())
    assert citation is not None
    assert citation.quote == place
    assert any(stands(citation, text) for text in (f"{KO}\n", f"{EN}\n"))


@pytest.mark.parametrize(
    "sentence",
    [
        "청년에게 월세를 24개월 동안 지급합니다.",
        "청년에게 월세를 12일 동안 지급합니다.",
        "청년에게 월세를 12개월 동안 지급하지 않습니다.",
        "청년에게 월세를 12개월 동안 지급할 수 있습니다.",
        "청년에게만 월세를 12개월 동안 지급합니다.",
        "소득이 많으면 지급합니다.",
        "지급하지 않습니다.",  # without its condition
        "신청자는 서류를 냅니다.",
        "서류는 미리 뗍니다.",
        "서류는 미리 떼는 것입니다.",
        "청년은 신청을 주민센터에서 받습니다.",  # words of two sentences
        "조문에는 “유주택 청년”이라고 적혀 있습니다.",
        "월세 지원.",  # headings alone
        "12개월 동안 월세를 지급합니다.",  # without whom it is about
        "월세는 지급합니다.",  # too little of it
        "청년에게 청년에게 월세를 12개월 동안 지급합니다.",  # a word twice
        "네, 청년에게 월세를 12개월 동안 지급합니다.",
        "I may look with a reason.",
        "있습니다.",
        "Staff can read conversations.",
        "A steward must look with a reason.",
        "Each look is kept for 300 days.",
        "Each look is kept for 30 weeks.",
        "Each look is kept for 30 days\u202e.",
    ],
)
def test_what_changes_the_meaning_is_not(sentence: str) -> None:
    assert supported(sentence, parts()) is None
