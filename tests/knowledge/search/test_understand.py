from datetime import date

import pytest

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


def test_the_table_is_large_and_sound() -> None:
    table = module.everyday()
    assert len(table) >= 300
    assert all(word and terms and all(terms) for word, terms in table.items())
    assert all(len(title) > 2 for title in module.abbreviations().values())


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
