"""What `python -m benchmarks planner` measures without the traces, and what it says where they lack."""

import json

import pytest
from benchmarks import planner


def test_the_laws_hold_and_the_same_is_the_same(capsys):
    assert planner.run(only=("laws", "same"), quick=True) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(row["bar"], row["holds"]) for row in rows] == [("laws", True), ("same", True)]


def test_without_the_traces_a_bar_does_not_hold(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("MODU_BENCH_DATA", str(tmp_path))
    assert planner.run(only=("tpot",)) == 1
    assert "MODU_BENCH_DATA" in capsys.readouterr().out.replace("\n", "").replace("│", "").replace(" ", "")
