"""What is kept of the bytes that passed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moduai.accounts.people import clean_line
from moduai.history.record import MOST_TITLE, PlaceError, TurnPlace, title_of
from moduai.history.text import MOST_BYTES, Answer, read_question
from tests.history.conftest import answered, asked


def events(*documents: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in documents)


def delta(text: str | None, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {"content": text, **fields}}]}


def heard(*pieces: bytes) -> Answer:
    answer = Answer()
    answer.take_events(pieces)
    return answer


@pytest.mark.parametrize(
    ("body", "question", "notes"),
    [
        (asked("안녕"), "안녕", set()),
        (b'{"messages":[{"role":"user","content":"1"},{"role":"user","content":"2"}]}', "2", set()),
        (b'{"messages":[{"role":"user","content":"q"},{"role":"tool","content":"r"}]}', "q", set()),
        (asked([{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:"}}]),
         "what?\n[image]", {"media"}),
        (asked([{"type": "input_audio"}, {"type": "file"}]), "[audio]\n[file]", {"media"}),
        (asked(None), "", set()),
        (b'{"messages":[]}', "", set()),
        (b'{"prompt":"once"}', "once", set()),
        (b'{"prompt":["a","b"]}', "b", set()),
        (b'{"input":[{"role":"user","content":[{"type":"input_text","text":"r"}]}]}', "r", set()),
        (b'{"input":[]}', "", set()),
        (b'{"input":[1]}', "", set()),
        (b"nothing", "", set()),
        (b"{}", "", set()),
    ],
)  # fmt: skip
def test_the_last_question(body: bytes, question: str, notes: set[str]) -> None:
    assert read_question(body) == (question, notes)


def test_a_stream_in_any_framing() -> None:
    one, two = events(delta("서")), events(delta("울"), {"choices": [], "usage": {}})
    assert heard(b": queue position=1\n\n", one, two, b"data: [DONE]\n\n").text == "서울"
    chunked = [b"%x\r\n%b\r\n" % (len(event), event) for event in (one, two)]
    assert heard(*chunked).text == "서울"
    assert heard(one.replace(b"\n", b"\r\n"), two.replace(b"data: ", b"data:")).text == "서울"


def test_what_is_left_out_is_noted() -> None:
    answer = heard(events(delta("a"), delta("b", index=1), delta(None, tool_calls=[{"id": "1"}])))
    assert (answer.text, answer.notes) == ("a", {"choices", "tools"})
    answer = heard(events(delta("a", tool_calls=[]), {"error": {"message": "broke"}}), b"data: {broken\n\n")
    assert (answer.text, answer.notes) == ("a", set())


def test_answers_of_completions_and_responses() -> None:
    assert heard(events({"choices": [{"index": 0, "text": "말"}]})).text == "말"
    said = {"type": "response.output_text.delta", "delta": "말"}
    assert heard(events(said, {"type": "response.completed", "response": {}})).text == "말"
    answer = Answer()
    answer.take(json.dumps({"output": [{"content": [{"type": "output_text", "text": "말"}]}]}).encode())
    assert answer.text == "말"


def test_a_long_turn_is_cut_and_says_so() -> None:
    question, notes = read_question(asked("가" * MOST_BYTES))
    assert (len(question.encode()), notes) == (MOST_BYTES - MOST_BYTES % 3, {"cut"})
    answer = Answer()
    answer.take(answered("가" * MOST_BYTES))
    answer.take(answered("나"))
    assert (len(answer.text.encode()), answer.notes) == (MOST_BYTES - MOST_BYTES % 3, {"cut"})


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=30))
def test_every_letter_of_a_stream_is_kept(parts: list[str]) -> None:
    assert heard(*(events(delta(part)) for part in parts)).text == "".join(parts)


@given(st.binary(max_size=200))
def test_no_bytes_are_an_error(junk: bytes) -> None:
    read_question(junk)
    heard(b"data: " + junk + b"\n\n").take(junk)


def test_titles() -> None:
    assert title_of("  한국의\n수도는? ") == "한국의 수도는?"
    assert len(title_of("가나 " * 100)) <= 60
    assert title_of("") == ""
    assert title_of("\u202e \u200b\ufeff\n") == ""
    assert title_of("\u202e수도는\u200b \u2066어디?\x1b[31m\x00") == "수도는 어디?[31m"
    assert title_of("가족 👨‍👩‍👧") == "가족 👨‍👩‍👧"


@given(st.text())
def test_a_title_that_is_made_is_one_that_a_person_may_give(question: str) -> None:
    title = title_of(question)
    assert clean_line(title, MOST_TITLE, "a title") == title


@pytest.mark.parametrize(
    ("conversation", "parent"),
    [("cnv_", ""), ("x", ""), ("cnv_a\n", ""), ("cnv_" + "a" * 65, ""), ("", "a b")],
)
def test_ids_from_outside_are_checked(conversation: str, parent: str) -> None:
    with pytest.raises(PlaceError):
        TurnPlace.of(conversation, parent)
