"""What `python -m benchmarks service` prints and how it ends."""

import json
import sqlite3

import pytest
from benchmarks import service
from benchmarks.bars import Measured, Row
from benchmarks.bars.crash import Told
from benchmarks.harness.process import StartError
from benchmarks.peers import EVERY


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.fixture
def bars(monkeypatch):
    """The bars are replaced by those a test gives."""

    def give(**given):
        monkeypatch.setattr(service, "BARS", given)

    return give


def test_a_line_for_each_bar_with_these_keys(bars, capsys):
    bars(
        one=lambda _: Measured(Row("one", 2.1, "<= 2.4", holds=True), ["as it was"]),
        two=lambda _: Measured(Row("two", [1, 0], "<= 2; 0", holds=True), []),
    )
    assert service.run() == 0
    assert lines(capsys) == [
        {"bar": "one", "value": 2.1, "must": "<= 2.4", "holds": True},
        {"bar": "two", "value": [1, 0], "must": "<= 2; 0", "holds": True},
    ]


def test_a_bar_that_does_not_hold_fails_but_not_a_quick_run(bars):
    bars(one=lambda _: Measured(Row("one", 9.9, "<= 2.4", holds=False), []))
    assert service.run() == 1
    assert service.run(quick=True) == 0


def test_a_bar_that_cannot_be_measured_fails_both(bars, capsys):
    def fails(_):
        raise StartError("nothing listens")

    bars(one=fails)
    assert service.run() == service.run(quick=True) == 1
    assert lines(capsys)[0] == {"bar": "one", "value": None, "must": "measured", "holds": False}


def test_an_unknown_bar():
    assert service.run(only=("no-such",)) == 2


def test_a_lost_row_and_a_double_one_are_found(tmp_path):
    with sqlite3.connect(tmp_path / "modu.db") as ledger:
        ledger.execute("CREATE TABLE usage (id TEXT)")
        ledger.executemany("INSERT INTO usage VALUES (?)", [("a-1",), ("a-2",), ("a-2",)])
    ledger.close()
    told = Told()
    lost = {"a-3": 1.5, "a-4": 1.9, "a-5": 2.01}  # old, young, read from the buffer after the kill
    for name, at in {"a-1": 1.0, "a-2": 1.1, **lost}.items():
        told.answered(b"HTTP/1.1 200 OK\r\nx-request-id: %b\r\n\r\n{}" % name.encode(), at)
    told.answered(b"HTTP/1.1 200 OK\r\n\r\n{}", 1.95)
    told.kills = [2.0, 9.0]
    outcome = told.settle(tmp_path / "modu.db", quiet_s=0.1)
    assert (outcome.lost, outcome.young_lost, outcome.twice, outcome.missing_header) == (1, 2, 1, 1)
    assert outcome.oldest_lost_s == 0.5


@pytest.mark.parametrize("peer", EVERY, ids=lambda peer: peer.name)
def test_peers_are_pinned_with_hashes(peer):
    text = peer.lock.read_text("utf-8")
    pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
    assert text.count("--hash=sha256:") >= len(pins) > 5
    assert "://" not in "".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    if peer.name == "litellm":
        assert peer.version.startswith("1.106.")
