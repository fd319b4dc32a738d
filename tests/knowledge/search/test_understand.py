from datetime import date

import pytest

from moduai.knowledge.search import tokens
from moduai.knowledge.search import understand as module
from moduai.knowledge.search.understand import understand


@pytest.mark.parametrize(
    ("question", "place"),
    [
        ("민법 제750조", "민법제750조"),
        ("그런데 민법 750조가 뭐예요?", "민법제750조"),
        ("주택임대차보호법 시행령 제4조", "주택임대차보호법시행령제4조"),
        ("개인정보 보호법 제28조의2제1항", "개인정보보호법제28조의2"),
        ("근기법 23조", "근로기준법제23조"),
        ("「도로교통법」 제44조", "도로교통법제44조"),
    ],
)
def test_articles_that_a_question_names(question: str, place: str) -> None:
    assert place in understand(question).places


@pytest.mark.parametrize("question", ["제750조", "3조 원을 썼다", "방법 3가지", ""])
def test_no_law_no_place(question: str) -> None:
    assert understand(question).places == ()


@pytest.mark.parametrize(
    ("question", "term"),
    [
        ("집주인이 보증금을 안 줘요", "임대인"),
        ("집주인이 방 빼래요", "명도"),
        ("월급을 못 받았어요", "임금"),
        ("회사에서 짤렸어요", "해고"),
        ("할머니가 치매예요", "성년후견"),
    ],
)
def test_everyday_words_mean_terms_of_law(question: str, term: str) -> None:
    assert term in understand(question).added


@pytest.mark.parametrize(
    ("question", "law"),
    [
        ("최저임금은 얼마예요", "최저임금법"),
        ("임대차보호법이 뭐예요", "주택임대차보호법"),
        ("임대차법에서 계약 갱신", "주택임대차보호법"),
        ("김영란법 선물 한도", "부정청탁및금품등수수의금지에관한법률"),
    ],
)
def test_laws_of_a_field_of_life_and_by_short_names(question: str, law: str) -> None:
    laws = understand(question).laws
    assert laws[law] == max(laws.values()) == 1.0


def test_laws_named_by_titles_that_are_known() -> None:
    known = {"수상한법", "몹시수상한일에관한법률"}.__contains__
    assert understand("수상한 법 제3조", known=known).laws == {"수상한법": 1.0}
    assert understand("몹시 수상한 일에 관한 법률에서는", known=known).laws == {"몹시수상한일에관한법률": 1.0}
    assert understand("몹시 수상한 일에 관한 법률 제3조", known=known).places == (
        "몹시수상한일에관한법률제3조",
    )
    assert understand("다른 법률").laws == {}


@pytest.mark.parametrize(
    ("question", "level"), [("민법", ""), ("주택법 시행령", "decree"), ("주택법 시행규칙", "rule")]
)
def test_the_rank_that_is_asked_for(question: str, level: str) -> None:
    assert understand(question).level == level


def test_the_words_of_an_entry_stand_near_each_other() -> None:
    assert "접근매체" in understand("통장을 빌려줬어요 통장 빌려주다").added
    assert "접근매체" not in understand("통장을 보여 달라는 회사에 대출 신청서를 빌려주다").added


def test_kiwi_keeps_words_from_standing_within_others() -> None:
    kiwi = tokens.Morphemes()
    kiwi.load()
    assert "제대군인" not in understand("제대로 설명을 안 했어요", kiwi).added
    assert "제대군인" in understand("제대 후에 받는 지원", kiwi).added
    assert understand("어떻게 환불을 받을 수 있나요?", kiwi).grams == ("환불",)


def test_the_tables_are_large_and_sound() -> None:
    for table in (module.everyday(), module.fields()):
        assert len(table) >= 300
        assert all(first for first in table)
        assert all(means and all(means) for entries in table.values() for _, means in entries)
    assert all(len(title) > 1 for title in module.abbreviations().values())


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        ("두 달 전에", ["2개월"]),
        ("18살이면", ["18세"]),
        ("삼 년 동안", ["3년"]),
        ("이십오 퍼센트", ["25퍼센트"]),
        ("천만원을", ["1000만원"]),
        ("사람이 일하는 회사", []),
    ],
)
def test_spelled_numbers(question: str, numbers: list[str]) -> None:
    assert module.numbers(question) == numbers


def test_a_day_counts_only_where_it_is_the_time_to_look_at() -> None:
    assert understand("2020년 3월 1일 당시 최저임금").day == date(2020, 3, 1)
    assert understand("2020년 3월 1일에 계약했어요").day is None
    assert understand("2020-02-31 기준").day is None


def test_a_long_question_is_cut_and_quick() -> None:
    asked = understand("가나다라 " * 50_000 + "민법 제1조")
    assert len(asked.text) == 2_000
