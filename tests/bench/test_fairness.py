"""What `python -m benchmarks fairness` prints, with and without the traces, and the figure that it draws."""

import json
from xml.etree import ElementTree as ET

from benchmarks import fairness
from benchmarks.bars import fairness_figures
from benchmarks.bars.fairness_flood import _within
from benchmarks.bars.fairness_world import DATA, fair, of, play

from moduai.planner import Request, traffic
from moduai.planner.baselines import RateLimited
from moduai.planner.clock import SECOND


def rows(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


def test_a_row_for_each_bar(capsys):
    assert fairness.run(only=("share",), quick=True) == 0
    (row,) = rows(capsys)
    assert row["bar"] == "share"
    assert row["value"][1] > 0.99


def test_without_the_traces_a_bar_does_not_hold_and_says_why(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv(DATA, "")
    assert fairness.run(only=("locality",), quick=True, data=str(tmp_path)) == 0
    assert "MODU_DATA" in capsys.readouterr().out
    assert fairness.run(only=("locality",), data=str(tmp_path)) == 1
    assert rows(capsys) == [
        {"bar": "locality", "value": [None, None], "must": ">= 0.9; <= 1.5 + D", "holds": False}
    ]


def test_the_figure_is_a_picture_that_says_in_words_what_it_shows():
    load = traffic.merged(traffic.light(1, 6, count=40, rate=0.2), traffic.heavy(2, 6, 8.0))
    runs = {"ten a minute": play(RateLimited(2), load, 12), "Modu": play(fair(), load, 12)}
    picture = ET.fromstring(fairness_figures.flood_svg(runs))
    words = "".join(picture.itertext())
    assert "400 light users" in words
    assert "% refused" in words
    assert of(runs["Modu"], "heavy")


def test_a_request_is_light_when_all_that_came_before_could_be_done():
    me, other = ("c", "o", "me"), ("c", "o", "other")
    asked = [
        Request(int(at * SECOND), who, 80, 10) for at, who in ((0, me), (0.5, me), (0.6, other), (2.1, me))
    ]
    assert list(_within(asked, part=100.0)) == [asked[0], asked[2], asked[3]]
