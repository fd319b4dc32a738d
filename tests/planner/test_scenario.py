"""Scenarios: what is wrong is told with its line, why, and what would be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import moduai.planner
from moduai.planner.scenario import ScenarioError, read, shipped
from tests.planner.given import GIVEN, TEXT, faults, pack, world


def line(text: str) -> int:
    return TEXT[: TEXT.index(text)].count("\n") + 1


WRONG = [
    (("questions_a_day = 40\n", "question_a_day = 40\n"), "did you mean questions_a_day?"),
    (("questions_a_day = 40\n", "questions_a_week = 280\n"), "write questions_a_day = 40"),
    (("questions_a_day = 40\n", "questions_a_day = -40\n"), "cannot be below nothing"),
    (("questions_a_day = 40\n", 'questions_a_day = "40 a day"\n'), "write the number alone"),
    (("most = [0.2, 0.5, 0.8]", "most = 50"), "50 % is 0.5"),
    (("most = [0.2, 0.5, 0.8]", "most = [0.8, 0.5, 0.2]"), "[low, middle, high], in this order"),
    (("pue = 1.2", "pue = 120"), "130 % is 1.3"),
    (("pue = 1.2", "power_kw = 500"), "write power_mw = 0.5"),
    (("0.1, 0.2, 0.2, 0.2, 0.1", "0.1, 0.2, 0.2, 0.2, 0.3"), "add up to 1.2, not to 1"),
    (("sites = { hall = 1 }", "sites = { hall = 100 }"), "a part of one"),
    (("sites = { hall = 1 }", "sites = { hall = 0.5 }"), "the parts add up to 0.5, not to 1"),
    (("sites = { hall = 1 }", "sites = { hal = 1 }"), "did you mean hall?"),
    (('accelerator = "h100"', 'accelerator = "h10"'), "did you mean h100?"),
    (('service_class = "resident"\nof', 'service_class = "residents"\nof'), "did you mean resident?"),
    (('of = "everyone"', 'of = "nobody"'), "there are everyone"),
    (('curve = "day"', 'curve = "night"'), "there is no curve 'night'"),
    (('kind = "batch"', 'kind = "bulk"'), "there are people, agents, batch"),
    (("count = 2\n", 'claim = "x"\n'), "the pack has no claim 'x'"),
    (("tick_minutes = 15", "tick_minutes = 7"), "7"),
    (("draws = 4", 'draws = 4\npolicy = "../policy.toml"'), "no name of a file beside"),
    (("draws = 4", 'draws = 4\nextends = "kr-5000"'), "did you mean kr-50000?"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_told_with_its_line_and_what_would_be_right(tmp_path, change, said):
    found = faults(tmp_path, change)
    first = line(change[0])
    places = [f"small.toml:{first + more}:" for more in range(change[1].strip("\n").count("\n") + 1)]
    assert any(said in one and one.startswith(tuple(places)) for one in found), found


def test_a_model_that_fits_nowhere_says_where_it_would(tmp_path):
    found = faults(tmp_path, ('"llama-3.1-8b"', '"kimi-k2.5"'), ("count = 2", "count = 2\ndevices = 1"))
    assert any("it fits on" in one and "models.kimi-k2.5" in one for one in found), found


def test_a_model_that_nobody_runs_is_told(tmp_path):
    found = faults(tmp_path, ('models = { "llama-3.1-8b" = 1 }', 'models = { "qwen3-8b" = 1 }'))
    assert sum("no fleet runs 'llama-3.1-8b'; there are qwen3-8b" in one for one in found) == 3


def test_all_faults_are_told_at_once(tmp_path):
    found = faults(tmp_path, ("count = 2\n", "count = -2\n"), ("pue = 1.2", "pew = 1.2"))
    assert len(found) == 2


def test_events_must_lie_within_the_run_and_name_what_they_need(tmp_path):
    more = '[[event]]\nid = "a"\nkind = "site-lost"\nbegins = 2027-03-05T00:00:00\n'
    found = faults(tmp_path, more=more)
    assert any("is outside the run" in one for one in found)
    assert any("needs 'site'" in one for one in found)


TRACES = [
    (b"", 1, "the first line names the columns"),
    (b"at_s,tokens_in,tokens_out\n", 0, "the trace is empty"),
    (b"at_s,tokens_in,tokens_out\n5,10,10\n4,10,10\n", 3, "out of order: 4 s comes after 5 s"),
    (b"at_s,tokens_in,tokens_out\n5,0,10\n", 2, "at least one token in"),
    (b"at_s,tokens_in,tokens_out\n5,x,10\n", 2, "it needs three numbers"),
    (b"\xff", 0, "no CSV in UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "at", "said"), TRACES, ids=[said for *_, said in TRACES])
def test_a_trace_is_checked_line_by_line(tmp_path, data, at, said):
    (tmp_path / "trace.csv").write_bytes(data)
    found = faults(tmp_path, ("patience_s = 120", 'patience_s = 120\ntrace = "trace.csv"'))
    assert [one for one in found if one.startswith(f"trace.csv:{at}:") and said in one], found


def test_a_scenario_that_extends_another_changes_rows_field_by_field(tmp_path):
    world(tmp_path)
    own = '[scenario]\nextends = "small.toml"\n[[fleet]]\nid = "gpus"\ncount = 6\n'
    (tmp_path / "more.toml").write_text(own)
    more = read(tmp_path / "more.toml", GIVEN)
    assert [pool.count for pool in more.pools] == [6]
    assert more.pools[0].accelerator == "h100"
    (tmp_path / "more.toml").write_text(own.replace("count = 6", "cout = 6"))
    with pytest.raises(ScenarioError, match=r"more.toml:5: fleet.0.cout: .*did you mean count"):
        read(tmp_path / "more.toml", GIVEN)
    (tmp_path / "small.toml").write_text(TEXT.replace("count = 50", "count = -50"))
    (tmp_path / "more.toml").write_text(own)
    with pytest.raises(ScenarioError, match=rf"small.toml:{line('count = 50')}: demand.1.count"):
        read(tmp_path / "more.toml", GIVEN)


def test_scenarios_that_extend_in_a_circle_end(tmp_path):
    (tmp_path / "a.toml").write_text('[scenario]\nextends = "a.toml"\n')
    with pytest.raises(ScenarioError, match="circle"):
        read(tmp_path / "a.toml", GIVEN)


def test_every_shipped_scenario_is_valid_and_says_what_it_rests_on():
    for name in shipped():
        made = read(name, GIVEN)
        assert made.head.name.keys() >= {"ko", "en"}
        assert made.head.about.keys() >= {"ko", "en"}
        assert all(one.source for one in made.rests if one.what.startswith("price"))
        assert all(one.source for one in made.rests if one.what.endswith(("questions", "uses it"))) or (
            name == "university"  # it names nobody's
        )


def test_koreas_scenarios_are_run_by_its_own_policy():
    made = read("kr-start", GIVEN)
    weights = {one.id: (one.policy_group, one.weight) for one in made.demands if one.policy_group}
    assert weights == {
        "pupils": ("students", 2000),
        "older-people": ("older-people", 2000),
        "people-with-disabilities": ("people-with-disabilities", 2000),
    }
    assert made.policy.name == "AI for all"


def test_koreas_figures_are_those_of_its_pack():
    kr = pack("kr")
    for name, claims in {
        "kr-start": ("d-gpus-in-country", "later-gpu-2025-count"),
        "kr-50000": ("d-gpus-50000",),
        "kr-200000": ("d-gpus-200000",),
        "kr-200000-npu": ("d-gpus-200000",),
        "kr-1000000": ("c-kim-dong-yeon-gpus",),
    }.items():
        made = read(name, GIVEN)
        assert sum(pool.count for pool in made.pools) == pytest.approx(
            sum(kr.claim[claim].number for claim in claims), rel=1e-3
        )
        assert sum(region.population for region in made.regions) == pytest.approx(kr.people, rel=1e-3)
    npus = [pool for pool in read("kr-200000-npu", GIVEN).pools if pool.accelerator in {"rebel-quad", "rngd"}]
    assert sum(pool.count for pool in npus) == pytest.approx(200_000 / 3, rel=1e-3)


def test_another_country_s_pack_does_as_well(tmp_path):
    text = (
        '[scenario]\nname = { en = "Zanbar" }\nextends = "_everyone"\npack = "xa"\n'
        '[[fleet]]\nid = "f"\naccelerator = "h100"\nclaim = "computers-bought"\nsites = { sea-hall = 1 }\n'
        'models = { "gpt-oss-120b" = 1 }\n'
    )
    (tmp_path / "zanbar.toml").write_text(text)
    made = read(tmp_path / "zanbar.toml", GIVEN)
    assert made.currency == "XTS"
    assert [region.id for region in made.regions] == ["XA-N", "XA-S"]
    assert sum(pool.count for pool in made.pools) == pack("xa").claim["computers-bought"].number


def test_the_scenario_in_the_documents_is_valid(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "planner.md").read_text("utf-8")
    (tmp_path / "mine.toml").write_text(re.search(r"```toml\n(.*?)```", text, re.DOTALL)[1])
    made = read(tmp_path / "mine.toml", GIVEN)
    assert sum(pool.count for pool in made.pools) == pytest.approx(50_000)


def test_the_code_knows_no_country():
    for file in Path(moduai.planner.__path__[0]).rglob("*.py"):
        assert "KR-" not in file.read_text("utf-8"), file
