"""Where quotations stand, and that they stand nowhere else."""

from __future__ import annotations

import unicodedata

import pytest

from moduai.knowledge.answer.verify import find, quotations

TEXT = "저장된 대화는 동의하지 않으면\n 학습에  쓰이지 않습니다. He said: “It's 30 unable won.” 끝"


@pytest.mark.parametrize(
    ("quote", "words"),
    [
        ("학습에 쓰이지 않습니다.", "학습에  쓰이지 않습니다."),
        (" 동의하지 않으면 학습에 ", "동의하지 않으면\n 학습에"),
        ('"It’s 30 unable won."', "“It's 30 unable won.”"),
    ],
)
def test_white_space_and_the_shape_of_marks_may_differ(quote: str, words: str) -> None:
    found = find(quote, TEXT)
    assert found is not None
    assert TEXT[found[0] : found[1]] == words


@pytest.mark.parametrize(
    "quote",
    [
        "학습에 쓰입니다.",  # other words
        "able won",  # half a word
        "3",  # half a number
        "대화는 학습에",  # joined pieces
        "대화는 … 학습에",  # what is left out
        "he said",  # letter case
        "unаble",  # a Cyrillic letter
        "un\u200bable",  # an invisible one
        unicodedata.normalize("NFD", "학습에 쓰이지"),  # Hangul in its letters
        "학습에쓰이지",  # a word joined to another
        "...",
        "",
    ],
)
def test_nothing_else_may(quote: str) -> None:
    assert find(quote, TEXT) is None


def test_a_quotation_is_looked_for_in_its_passage_only() -> None:
    assert find("같은 말", "같은 말. 같은 말.", 6) == (6, 10)
    assert find("같은 말. 같은", "같은 말. 같은 말.", 0, 6) is None


def test_a_letter_is_not_taken_from_its_accent() -> None:
    assert find("q", "x q\u0301 y") is None
    assert find("q\u0301", "x q\u0301 y") == (2, 4)


def test_a_mark_that_is_alone_is_no_quotation() -> None:
    assert quotations("그는 “가”와 「나」라고 했다.") == ["가", "나"]
    assert quotations("그는 “가라고 했다.") is None
    assert quotations("가라고” 했다.") is None
