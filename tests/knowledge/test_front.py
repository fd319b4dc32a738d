from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.knowledge.readers import front
from moduai.knowledge.readers.text import address, language

FRONT = """---
# a comment
title: "A \\"quoted\\" title"
제목: 'It''s
  two lines'
plain: value # comment
url: https://x.kr/a#b
inline: [one, 'two']
기관:
- 가
- 나
files:
- name: a
  size: 1
deep:
  below: 1
text: |
  one
  two
none: null
a b: c
---
body: stays
---
"""


def test_fields_of_the_first_level_are_read() -> None:
    fields, body = front.split(FRONT)
    assert body == "body: stays\n---\n"
    assert fields == {
        "title": ('A "quoted" title',),
        "제목": ("It's two lines",),
        "plain": ("value",),
        "url": ("https://x.kr/a#b",),
        "inline": ("one", "two"),
        "기관": ("가", "나"),
        "files": ("name: a",),
        "text": ("one\ntwo",),
        "a b": ("c",),
    }


@pytest.mark.parametrize(
    "text", ["", "no front", "---\n", "---\nno end: 1\n", "---\njust words\n---\nbody", "--- \n"]
)
def test_a_rule_is_no_front_matter(text: str) -> None:
    assert front.split(text) == ({}, text)


@given(
    st.lists(
        st.sampled_from(["---\n", "a: b\n", "- ", "  ", "&a ", "*a", "'", '"', "[", "]", ":", "\n", "|", "#"])
    )
)
def test_any_front_is_split_or_left(pieces: list[str]) -> None:
    text = "---\n" + "".join(pieces)
    fields, body = front.split(text)
    assert text.endswith(body)
    assert sum(len(value) for values in fields.values() for value in values) <= len(text)


def test_dates_addresses_and_languages() -> None:
    days = ["2026-03-17", "2026. 3. 17.", "20260317", "2026년 3월 17일"]
    assert {front.day(day) for day in days} == {date(2026, 3, 17)}
    assert [front.day(day) for day in ("", "soon", "2026-13-01", "0000-00-00")] == [None] * 4
    assert address("https://www.law.go.kr/법령/민법") == "https://www.law.go.kr/법령/민법"
    assert [
        address(bad) for bad in ("javascript:alert(1)", "file:///etc", "http://", "http://[", 'http://x"y')
    ] == [""] * 5
    assert [language(text) for text in ("민법 제1조", "The Civil Act applies here", "12 34", "")] == [
        "ko",
        "en",
        "",
        "",
    ]
