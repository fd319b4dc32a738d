"""Tables as people see them: in a wide terminal, in a narrow one, and in a pipe."""

from __future__ import annotations

import re
import sys

import pytest

from moduai.cli.common import count, size_text, table

COLUMNS = {"name": "name", "address": "address", "tokens": "tokens in", "origin": "who made it"}
ROWS = [
    {"name": "하나", "address": "unix:///home/modu/run/engine.sock", "tokens": 1234, "origin": "Google"},
    {"name": "two", "address": "http://10.0.0.5:8000", "tokens": 7, "origin": "한빛연구소"},
]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch):
    def wide(columns: int) -> None:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return wide


def test_in_a_wide_terminal_each_row_is_a_line(terminal, capsys):
    terminal(100)
    table(ROWS, COLUMNS)
    told = capsys.readouterr().out
    assert any("하나" in line and "1,234" in line and "Google" in line for line in told.splitlines())


def test_only_the_widest_column_is_folded(terminal, capsys):
    terminal(62)
    table(ROWS, COLUMNS)
    told = capsys.readouterr().out
    assert "tokens in" in told
    assert "who made it" in told
    assert "unix:///home/modu/run/engine.sock" not in told, "it is folded"
    assert max(len(re.sub(r"\x1b\[\d*m", "", line)) for line in told.splitlines()) <= 62


def test_in_a_narrow_terminal_each_field_is_a_line(terminal, capsys):
    terminal(50)
    table(ROWS, COLUMNS)
    told = capsys.readouterr().out.splitlines()
    assert told[:5] == [
        "name         하나",
        "address      unix:///home/modu/run/engine.sock",
        "tokens in    1,234",
        "who made it  Google",
        "",
    ]


def test_in_a_pipe_columns_stand_under_each_other(capsys):
    table(ROWS, COLUMNS)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.index("address") == first.index("unix") + 2 == second.index("http")  # Hangul is wide


def test_numbers_and_sizes_are_told_in_words():
    assert [count(n, "segment") for n in (0, 1, 2000)] == ["0 segments", "1 segment", "2,000 segments"]
    assert [size_text(n) for n in (0, 7500, 2_500_000, 81e9)] == ["0.0 kB", "7.5 kB", "2.5 MB", "81.0 GB"]
