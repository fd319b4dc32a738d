"""What `python -m benchmarks planner` says where the traces lack; CI runs its short form."""

import pytest
from benchmarks import planner


def test_without_the_traces_a_bar_does_not_hold(capsys, monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("MODU_BENCH_DATA", str(tmp_path))
    assert planner.run(only=("tpot",)) == 1
    assert "MODU_BENCH_DATA" in capsys.readouterr().out.replace("\n", "").replace("│", "").replace(" ", "")
