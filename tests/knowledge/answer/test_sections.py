"""What of a passage is a statement, and what only says what it is about."""

from __future__ import annotations

import pytest
from benchmarks.harness.quoting import Shelf

from moduai.knowledge.answer.sections import Source, sections
from moduai.knowledge.answer.support import supported

PAGE = (
    "약에 대해 물을 때\n\n약을 먹어도 되는지 AI에게 물어도 됩니까\n\n"
    "약은 의사에게 물어보십시오. 정말 그렇습니까? 그렇습니다.\n\n"
    "AI는 의사가 아닙니다.\n\n급할 때\n\n119에 전화하십시오."
)


def parts(text: str) -> list[tuple[str, list[str]]]:
    (found,) = Shelf().put("doc", 1, "제목", [text])
    made = sections(Source(found))
    return [(each.heading, [each.source.text[slice(*place)] for place in each.sentences]) for each in made]


def test_statements_stand_below_their_headings() -> None:
    assert parts(PAGE) == [
        (
            "약을 먹어도 되는지 AI에게 물어도 됩니까",
            ["약은 의사에게 물어보십시오.", "그렇습니다.", "AI는 의사가 아닙니다."],
        ),
        ("급할 때", ["119에 전화하십시오."]),
    ]


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("제3조(목적)\n이 법은 주거의 안정을 보장한다.", ["이 법은 주거의 안정을 보장한다."]),
        ("제3조 (목적)\n이 법은 주거의 안정을 보장한다.", ["이 법은 주거의 안정을 보장한다."]),
        ("제3조(정의) ① 집은 건물이다.\n② 땅은 집이 아니다.", ["① 집은 건물이다.", "② 땅은 집이 아니다."]),
        ("대상: 청년\n\n금액: 20만 원\n\n기간: 열두 달", ["대상: 청년", "금액: 20만 원", "기간: 열두 달"]),
        ("- 청년\n- 노인", ["- 청년", "- 노인"]),
        ("제3조(목적)", ["제3조(목적)"]),
    ],
)
def test_articles_lists_and_tables_lose_nothing(text: str, statements: list[str]) -> None:
    assert [each for _, sentences in parts(text) for each in sentences] == statements


def test_no_heading_and_no_question_supports_a_sentence() -> None:
    (found,) = Shelf().put("doc", 1, "제목", [PAGE])
    made = sections(Source(found))
    assert supported("약을 먹어도 되는지 AI에게 물어도 됩니다.", made) is None
    assert supported("정말 그렇습니다.", made) is None
    cited = supported("AI는 의사가 아닙니다.", made)
    assert cited is not None
    assert PAGE[cited.start : cited.end] == cited.quote == "AI는 의사가 아닙니다."
