from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.knowledge.readers.limits import Limits
from moduai.knowledge.readers.outline import LONG, Outline, clean, place, row
from moduai.knowledge.types import Facts, Parsed, Passage, ReadError

FACTS = Facts(title="t")


def words(parsed: Parsed, passage: Passage) -> str:
    return parsed.text[passage.start : passage.end]


def holds(parsed: Parsed) -> None:
    """What every reader promises of its passages."""
    last = 0
    for passage in parsed.passages:
        assert last <= passage.start < passage.end <= len(parsed.text)
        assert words(parsed, passage) == words(parsed, passage).strip()
        assert passage.end - passage.start <= LONG
        last = passage.end
    parsed.text.encode()


def test_a_short_document_is_one_passage() -> None:
    outline = Outline()
    outline.title("Title")
    outline.heading(2, "Part")
    outline.add("Words.")
    parsed = outline.parsed(FACTS)
    assert [(p.path, p.label, words(parsed, p)) for p in parsed.passages] == [
        ((), "", "Title\n\nPart\n\nWords.")
    ]


def test_a_long_document_is_cut_at_its_headings_and_headings_alone_are_no_passage() -> None:
    outline = Outline()
    outline.title("Title")
    outline.heading(1, "A")
    outline.heading(2, "A1")
    outline.add("a " * 250)
    outline.heading(2, "A2")
    outline.add("b " * 250)
    outline.heading(1, "B")
    parsed = outline.parsed(FACTS)
    assert [(p.path, p.label) for p in parsed.passages] == [(("A",), "A1"), (("A",), "A2")]
    assert words(parsed, parsed.passages[0]).startswith("A1\n\na a")


def test_a_page_is_always_a_part_of_its_own() -> None:
    outline = Outline()
    for number in (1, 2):
        outline.page(number)
        outline.add(f"words of page {number}")
    parsed = outline.parsed(FACTS)
    assert [(p.label, p.page, words(parsed, p)) for p in parsed.passages] == [
        ("p. 1", 1, "words of page 1"),
        ("p. 2", 2, "words of page 2"),
    ]


def test_a_very_long_article_is_cut_at_paragraphs_then_items_and_says_which() -> None:
    long = "말 " * 300
    outline = Outline()
    outline.article("제2조 (정의)", "제2조(정의)")
    outline.below("\n".join(["① 짧다.", "② 길다.", *(f"  {n}. {long}" for n in (1, 2, 3)), "③ 끝."]))
    parsed = outline.parsed(FACTS)
    holds(parsed)
    assert [p.label for p in parsed.passages] == [
        "제2조(정의) 제1항",
        "제2조(정의) 제2항–제2항제2호",
        "제2조(정의) 제2항제3호",
        "제2조(정의) 제3항",
    ]
    third = parsed.passages[2]
    assert words(parsed, third).startswith("3. 말")


def test_the_place_of_a_character_in_an_article() -> None:
    outline = Outline()
    outline.article("제2조 (정의)", "제2조(정의)")
    outline.below("말은 다음과 같다.\n① 하나\n  1. 둘\n  3의2. 셋\n    가. 넷\n② 다섯")
    parsed = outline.parsed(FACTS)
    where = {
        word: place(parsed.text, parsed.passages[0], parsed.text.index(word))
        for word in ("말은", "셋", "넷", "다섯")
    }
    assert where == {"말은": "", "셋": "제1항제3호의2", "넷": "제1항제3호의2가목", "다섯": "제2항"}


def test_articles_in_plain_lines_are_parts_under_their_chapters() -> None:
    outline = Outline()
    outline.add(
        "어떤 법\n제1장 총칙\n제1조(목적) 이 법은\n제2조(정의) 말은\n"
        "제2장 벌칙\n제3조의2(벌칙) 제1조(목적)를 어기면"
    )
    parsed = outline.parsed(FACTS)
    assert [(p.path, p.label) for p in parsed.passages] == [
        ((), ""),
        (("제1장 총칙",), "제1조(목적)"),
        (("제1장 총칙",), "제2조(정의)"),
        (("제2장 벌칙",), "제3조의2(벌칙)"),
    ]


def test_words_that_hide_are_taken_out() -> None:
    assert clean("a\u200bb\u202ec\r\nd\x00e\ufeff\U000e0041") == "abc\nde"
    assert clean("\u1112\u1161\u11ab") == "한"
    assert clean("x\ud800y") == "x\ufffdy"
    assert row([" a\n b", "", "c"]) == "a b |  | c"


def filled(limits: Limits, parts: int) -> Parsed:
    outline = Outline(limits)
    for number in range(parts):
        outline.heading(1, f"h{number}")
        outline.add("x" * 1_000)
    return outline.parsed(FACTS)


def test_more_than_the_limits_and_nothing_are_refused() -> None:
    for limits, parts, code in (
        (Limits(characters=10), 1, "too_large"),
        (Limits(passages=2), 3, "too_large"),
        (Limits(), 0, "empty"),
    ):
        with pytest.raises(ReadError) as refused:
            filled(limits, parts)
        assert refused.value.code == code
    assert len(filled(Limits(passages=2), 2).passages) == 2


LINES = st.sampled_from(["① ", "1. ", "가. ", "1) ", "- ", "제3조(가) ", "제1장 나", "", " "])
BLOCKS = st.lists(
    st.tuples(
        st.integers(-2, 7),
        st.lists(st.tuples(LINES, st.text(max_size=30), st.sampled_from([1, 40, 400])), max_size=4),
    ),
    max_size=12,
)


@given(BLOCKS)
def test_passages_keep_order_and_cover_all_but_headings(
    blocks: list[tuple[int, list[tuple[str, str, int]]]],
) -> None:
    outline, page, added = Outline(), 0, ""
    for kind, lines in blocks:
        text = "\n".join(mark + word * times for mark, word, times in lines)
        if kind == -2:
            outline.page(page := page + 1)
        elif kind == -1:
            outline.article("제9조 (이름)", "제9조(이름)")
        elif kind >= 1:
            outline.heading(kind, text)
        else:
            outline.add(text)
            added += clean(text)
    try:
        parsed = outline.parsed(FACTS)
    except ReadError as error:
        assert error.code == "empty"  # noqa: PT017
        return
    holds(parsed)
    found = "".join(words(parsed, passage) for passage in parsed.passages)
    if not re.search("제[0-9]", added):  # chapters in plain lines are headings too
        assert not set("".join(added.split())) - set(found)
        assert len("".join(added.split())) <= len("".join(found.split()))
