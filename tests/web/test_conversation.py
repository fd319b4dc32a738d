from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.web.conversation import ANSWER_TOKENS, CARRIED_BYTES, Turn, pack, request_body, unpack

SECRET, GUEST = b"k" * 32, b"g" * 16
TURNS = st.lists(
    st.builds(Turn, st.text(max_size=50), st.text(max_size=200), st.text(max_size=20)), max_size=8
)


@settings(max_examples=50, deadline=None)
@given(TURNS)
def test_turns_come_back_as_they_were(turns: list[Turn]) -> None:
    assert unpack(pack(turns, SECRET, GUEST), SECRET, GUEST) == tuple(turns)


def test_a_changed_or_foreign_field_holds_nothing() -> None:
    field = pack([Turn("질문", "답")], SECRET, GUEST)
    changed = field[:-4] + ("AAAA" if not field.endswith("AAAA") else "BBBB")
    assert unpack(changed, SECRET, GUEST) == ()
    assert unpack(field, SECRET, b"h" * 16) == ()
    assert unpack(field, b"z" * 32, GUEST) == ()
    assert unpack("", SECRET, GUEST) == ()
    assert unpack("A" * (CARRIED_BYTES + 1), SECRET, GUEST) == ()


def test_the_field_is_bounded_and_the_oldest_turns_go_first() -> None:
    import random  # noqa: PLC0415

    noise = random.Random(1)
    turns = [
        Turn(str(n), "".join(chr(noise.randrange(0xAC00, 0xD7A3)) for _ in range(3000))) for n in range(20)
    ]
    field = pack(turns, SECRET, GUEST)
    kept = unpack(field, SECRET, GUEST)
    assert len(field) <= CARRIED_BYTES
    assert 0 < len(kept) < 20
    assert kept == tuple(turns[-len(kept) :])
    long = [Turn("q", "a" * 100_000) for _ in range(5)]
    assert len(unpack(pack(long, SECRET, GUEST), SECRET, GUEST)) == 1


def test_a_request_holds_what_fits_the_context() -> None:
    turns = [Turn(f"q{n}", "답" * 900) for n in range(10)] + [Turn("unanswered")]
    body, left_out = request_body(turns, "새 질문", "m", 4096)
    asked = [m["content"] for m in body["messages"] if m["role"] == "user"]
    assert asked == ["q7", "q8", "q9", "새 질문"]
    assert left_out
    assert body["max_tokens"] == ANSWER_TOKENS
    body, left_out = request_body(turns[:1], "새 질문", "m", 0)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    assert not left_out
