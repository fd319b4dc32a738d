from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.knowledge.readers.articles import Reference, find

ONE = [
    ("민법 제750조", "민법 제750조"),
    ("제27조의2제1항제3호가목", "제27조의2제1항제3호가목"),
    ("제27조의2 제1항 제3호 나목", "제27조의2제1항제3호나목"),
    ("근로기준법 60조 1항", "근로기준법 제60조제1항"),
    ("제5조의2(이름)제1항에 따라", "제5조의2제1항"),
    ("「국가를 당사자로 하는 계약에 관한 법률」 제26조", "국가를 당사자로 하는 계약에 관한 법률 제26조"),
    ("영화 및 음반에 관한 법률 시행령 제26조제5호가목에", "영화 및 음반에 관한 법률 시행령 제26조제5호가목"),
    ("산업안전보건법 시행규칙 제3조", "산업안전보건법 시행규칙 제3조"),
    ("개인정보 보호법 제15조는", "개인정보 보호법 제15조"),
    ("법 제5조제3호의2", "법 제5조제3호의2"),
    ("Article 27-2 (1) 3 of the Civil Act", "Civil Act 제27조의2제1항제3호"),
    ("under Article 15(1), personal data", "제15조제1항"),
    ("subparagraph 3 of Article 2", "제2조제3호"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "normal"), ONE)
def test_a_place_has_one_form(text: str, normal: str) -> None:
    assert [mention.reference.normal for mention in find(text)] == [normal]


@pytest.mark.parametrize(
    "text", ["예산 3조 원", "2조 5천억", "8월 1일 3호선", "the article 5 of us", "조 항 호"]
)
def test_other_numbers_are_no_places(text: str) -> None:
    assert find(text) == []


def test_what_is_left_unsaid_comes_from_what_stands_before() -> None:
    text = "민법 제103조제1항 및 제3항, 제104조 그리고 형법 제20조제1호ㆍ제2호와 제3항에 따라 같은 조 제4항"
    assert [mention.reference.normal for mention in find(text)] == [
        "민법 제103조제1항", "민법 제103조제3항", "민법 제104조",
        "형법 제20조제1호", "형법 제20조제2호", "형법 제20조제3항", "형법 제20조제4항",
    ]  # fmt: skip


def test_a_known_title_of_several_words_is_found_whole() -> None:
    def known(name: str) -> bool:
        return name.replace(" ", "") == "가사소송규칙등에관한법"

    assert (
        find("오늘 가사 소송규칙 등에 관한 법 제3조", known)[0].reference.law == "가사 소송규칙 등에 관한 법"
    )


def test_a_relative_place_lies_where_it_is_written() -> None:
    here = Reference("민법", "103", "1")
    assert find("제2항에 따라")[0].reference.within(here).normal == "민법 제103조제2항"
    assert find("이 법 제2조")[0].reference.within(here).normal == "민법 제2조"
    assert find("제3호의 일")[0].reference.within(here).normal == "민법 제103조제1항제3호"
    assert Reference("민법", "103").covers(Reference("민법", "103", "2"))
    assert not Reference("민법", "103", "1").covers(Reference("민법", "103", "2"))


@given(
    st.lists(
        st.sampled_from(
            [*(text for text, _ in ONE), "제", "조", "항", "1", " ", "및", "「", "」", "법", "의", "("]
        )
    ).map("".join)
)
def test_any_text_gives_places_within_it(text: str) -> None:
    for mention in find(text):
        assert 0 <= mention.start < mention.end <= len(text)
        assert mention.reference.place
        again = find(mention.reference.place)
        assert [m.reference for m in again] == [mention.reference._replace(law="")]
