"""TOML within limits, and the line of each value."""

from __future__ import annotations

from contextlib import suppress

import pytest

from moduai.lined import MOST_DEPTH, Lined, LinedError

MOST = 1_000_000
TEXT = """\
# a comment
top = 1   # GAP: another
[a.b]
"c d" = '''
two
lines ['''
list = [
  1,  # inside
  "]",
]
[[row]]
id = "x"
words = { ko = "가", en = "# no comment" }
[[row]]

id = "y"
"""


def test_every_path_has_its_line() -> None:
    lined = Lined(TEXT, MOST)
    for path, line in {
        ("top",): 2,
        ("a", "b"): 3,
        ("a", "b", "c d"): 4,
        ("a", "b", "list"): 7,
        ("row", 0): 11,
        ("row", 0, "words", "en"): 13,
        ("row", 1): 14,
        ("row", 1, "id"): 16,
    }.items():
        assert lined.line(path) == line, path
    assert lined.line(("row", 1, "nothing")) == 14
    assert lined.line(("nothing",)) == 0


def test_comments_are_found_outside_texts_only() -> None:
    assert Lined(TEXT, MOST).comments == {1: "# a comment", 2: "# GAP: another", 8: "# inside"}


@pytest.mark.parametrize("text", ['a = """\\""""\nb = 1\n', "a = ''''x''''\nb = 1\n", 'a = "\\\\"\nb = 1'])
def test_texts_end_where_toml_ends_them(text: str) -> None:
    assert Lined(text, MOST).line(("b",)) == 2


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("a = 1\na = 2\n", 2, "not TOML"),
        ("a = 1\nb = " + "[" * (MOST_DEPTH + 1), 2, "nested too deeply"),
        ("a = 1\n" + ".".join("a" * (MOST_DEPTH + 1)) + " = 1", 2, "nested too deeply"),
        ("# " + "x" * MOST, 0, "too large"),
        (b"a = 1\n# \xff", 2, "not UTF-8"),
        ('a = """\nnever ends', 2, "not TOML"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str | bytes, line: int, told: str) -> None:
    with pytest.raises(LinedError, match=told) as caught:
        Lined(text, MOST)
    assert caught.value.line == line


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 100_000) + " = 1",
        "a = [\n" + "[],\n" * 50_000 + "]",
        '"""\\' * 50_000,
        "'" * 200_001,
        "a" * 200_000,
        "[" * 200_000,
    ],
)
def test_time_grows_with_the_length_and_no_faster(text: str) -> None:
    """Where a part of the reading is of the square of its length, these do not end before a test must."""
    with suppress(LinedError):
        assert Lined(text, MOST).line(("a",)) == 1
