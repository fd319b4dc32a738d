"""``modu plan`` as people type it."""

from __future__ import annotations

import html.parser
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from moduai.cli import plan, plan_sampled, strategy
from moduai.planner import fluid
from moduai.planner.handed import CannotHandOverError, handed
from moduai.planner.kept import Kept
from moduai.planner.report.words import korean
from moduai.planner.scenario import read
from tests.planner.conftest import machine_code  # noqa: F401  a fixture
from tests.planner.given import GIVEN, TEXT, pack


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "small.toml"
    file.write_text(TEXT.replace("tick_minutes = 15", "tick_minutes = 60"))
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(plan.app, [str(one) for one in arguments])


def said(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


def test_scenarios_are_listed() -> None:
    names = {one["name"]: one["accelerators"] for one in said("list")}
    assert names["kr-50000"] == 50_000
    assert "_kr" not in names
    assert "초기 5만 장" in run("list", "--language", "ko").stdout


def test_faults_are_told_with_their_lines(small: Path) -> None:
    assert "is valid: 3 demands, 1 pools" in run("check", small).stdout
    small.write_text(
        TEXT.replace("count = 2\n", "count = -2\x1b[31m\n").replace("\x1b[31m", "") + "[[flet]]\n"
    )
    result = run("check", small)
    assert result.exit_code == 1
    assert "small.toml:" in result.stderr
    assert "did you mean fleet?" in result.stderr
    assert [one["line"] > 1 for one in msgspec.json.decode(run("check", small, "--json").stdout)["faults"]]
    assert run("run", small).exit_code == 1
    assert "it cannot be read" in run("check", "nowhere.toml").stderr


def test_a_run_tells_waits_energy_and_money(small: Path) -> None:
    shown = run("run", small).stdout
    for text in ("Residents", "XA-N", "goal kept: resident", "hall: at most", "of the budget", "Basis"):
        assert text in shown, shown
    found = said("run", small)
    assert {one["basis"] for one in found["rests"]} <= {"measured", "fitted", "published", "assumed"}
    assert found["missing"] < 1e-9


def test_what_ifs_change_what_they_say(small: Path) -> None:
    plain = said("run", small, "--draws", 0)
    used = plain["used"]["llama-3.1-8b"]
    assert said("run", small, "--launch", 2, "--draws", 0)["used"]["llama-3.1-8b"] == pytest.approx(2 * used)
    assert said("run", small, "--faster", "h100=2", "--draws", 0)["used"]["llama-3.1-8b"] == pytest.approx(
        used / 2
    )
    assert said("run", small, "--fleet", 3, "--draws", 0)["accelerators"] == 6
    lost = said("run", small, "--lose", "hall", "--draws", 0)
    assert lost["classes"][0]["served"]["middle"] == 0
    policy = small.with_name("policy.toml")
    policy.write_text('name = "p"\ndefault = "x"\n[class.x]\ntitle = { en = "X" }\n')
    result = run("run", small, "--policy", policy)
    assert result.exit_code == 1
    assert "there is no service_class 'resident'; there are x" in result.stderr
    assert run("run", small, "--faster", "h100=fast").exit_code == 2
    assert "did you mean hall?" in run("run", small, "--lose", "hal").stderr
    policy.write_text("")
    assert run("run", small, "--policy", policy).exit_code == 1
    for nonsense in (
        ("--launch", "nan"),
        ("--fleet", "inf"),
        ("--faster", "h100="),
        ("--faster", "h100=nan"),
    ):
        assert run("run", small, *nonsense).exit_code == 2, nonsense


def test_an_interrupt_keeps_what_is_done_and_says_how_to_go_on(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = said("run", small, "--draws", 0)
    step = fluid._Step.tick

    def stop(self: Any, flow: Any, tick: int, asked: Any) -> None:
        if tick == 10:
            raise KeyboardInterrupt
        step(self, flow, tick, asked)

    monkeypatch.setattr(fluid._Step, "tick", stop)
    monkeypatch.setattr(sys, "argv", ["modu", "plan", "run", "small.toml", "--draws", "0"])
    stopped = run("run", "small.toml", "--draws", 0, "--json")
    assert stopped.exit_code == 1
    assert msgspec.json.decode(stopped.stdout)["days"] == pytest.approx(10 / 24)
    go_on = re.search(r"Go on: modu plan (.*)", stopped.stderr)
    assert go_on
    monkeypatch.setattr(fluid._Step, "tick", step)
    rest = said(*go_on[1].split())
    assert rest["classes"] == whole["classes"]
    kept = "modu-plan-small.kept"
    assert "other options" in run("run", "small.toml", "--days", 2, "--go-on", kept).stderr
    assert "other options" in run("run", "small.toml", "--launch", 2, "--go-on", kept).stderr
    for broken in (b"", Path(kept).read_bytes()[:-100], b"[scenario]"):
        Path("broken").write_bytes(broken)
        assert "is not what a run has kept" in run("run", "small.toml", "--go-on", "broken").stderr


def test_what_cannot_be_kept_here_is_kept_elsewhere(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Kept.save

    def save(self: Kept, file: Path) -> None:
        if not file.is_absolute():
            raise PermissionError(13, "Permission denied")
        real(self, file)

    monkeypatch.setattr(Kept, "save", save)
    monkeypatch.setattr(tempfile, "tempdir", str(small.parent))
    monkeypatch.setattr(sys, "argv", ["modu", "plan", "run", "small.toml"])
    with stop_at(monkeypatch, 30):  # in the drawn runs: a day has 24 steps
        stopped = run("run", "small.toml")
    assert stopped.exit_code == 1
    go_on = stopped.stderr.partition("Go on: modu plan ")[2].split()
    assert go_on[-1].startswith(str(small.parent))
    assert said(*go_on) == said("run", "small.toml")


@contextmanager
def stop_at(monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[None]:
    """Ctrl-C after so many ticks of whatever is run."""
    real, ticks = fluid._Step.tick, iter(range(count))

    def tick(self: Any, flow: Any, tick: int, asked: Any) -> None:
        if next(ticks, None) is None:
            raise KeyboardInterrupt
        real(self, flow, tick, asked)

    with monkeypatch.context() as patch:
        patch.setattr(fluid._Step, "tick", tick)
        yield


@pytest.mark.parametrize(
    ("words", "ticks"),
    [
        (["size", "small.toml"], 40),
        (["size", "small.toml", "--by-kind"], 400),
        (["compare", "small.toml", "other.toml"], 60),
    ],
)
def test_searches_and_comparisons_go_on_from_where_they_were_stopped(
    small: Path, words: list[str], ticks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.with_name("other.toml").write_text(small.read_text().replace("count = 2\n", "count = 3\n"))
    whole = said(*words)
    monkeypatch.setattr(sys, "argv", ["modu", "plan", *words])
    with stop_at(monkeypatch, ticks):
        stopped = run(*words)
    assert stopped.exit_code == 1
    go_on = stopped.stderr.partition("Go on: modu plan ")[2].split()
    with stop_at(monkeypatch, 10_000):
        assert said(*go_on) == whole


def test_the_fewest_are_searched(small: Path) -> None:
    shown = run("size", small).stdout
    assert "accelerators keep the goals" in shown
    found = said("size", small)
    assert found["fewest"] == sum(found["fleets"].values()) == found["drawn"]["middle"]
    assert found["drawn"]["low"] <= found["drawn"]["middle"]
    assert "Nine of ten runs with drawn figures need from" in shown
    assert found["known"]["basis"]["waits"] == "assumed"
    mixed = said("size", small, "--by-kind")
    assert [0 <= one["held"] <= 1 and one["searched"] for one in mixed["kinds"]] == [True]
    small.write_text(small.read_text().split("[[goal]]", maxsplit=1)[0])
    assert "nothing to keep" in run("size", small).stderr


def test_scenarios_are_put_side_by_side(small: Path) -> None:
    shown = run("compare", small, small, "--launch", 20).stdout
    assert re.search(r"Residents: p99 s +[0-9.]+ \([0-9.]+ – [0-9.]+\)", shown), shown
    assert said("compare", small)[str(small)]["accelerators"] == 2


def test_ticks_are_written_as_parquet(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run("run", small, "--parquet", "ticks.parquet", "--draws", 0).exit_code == 0
    read = parquet.read_table("ticks.parquet")
    assert read.num_rows == 24 * 3
    assert read.schema.metadata[b"scenario"] == b"small"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("run", small, "--parquet", "more.parquet", "--draws", 0)
    assert result.exit_code == 1
    assert "Parquet needs pyarrow: pip install" in result.stderr


class Outline(html.parser.HTMLParser):
    """What stands in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.ids: list[str] = []
        self.refers: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        named = dict(attrs)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.refers += (named.get("aria-labelledby") or "").split()
        self.loads += [value for name, value in attrs if name in {"src", "href"} and value]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_report_stands_alone_and_every_figure_has_its_table(small: Path, language: str) -> None:
    small.write_text(small.read_text().replace("Small", "A <b>small</b> one"))
    assert run("run", small, "--report", "report.html", "--language", language).exit_code == 0
    text = Path("report.html").read_text("utf-8")
    page = Outline()
    page.feed(text)
    assert page.loads == []
    assert "script" not in page.count
    assert page.count["svg"] == page.count["figure"] == 6
    assert page.count["table"] >= page.count["figure"]
    assert set(page.refers) <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert "A &lt;b&gt;small&lt;/b&gt; one" in text
    assert "prefers-color-scheme:dark" in text
    assert "@media print" in text
    for basis in ("assumed", "fitted", "published"):
        assert (korean()[basis] if language == "ko" else basis) in text


def test_claims_of_accelerators_become_scenarios_that_run(tmp_path: Path) -> None:
    for name in ("kr", "xa"):
        country = pack(name)
        claims = [one for one in country.claims if country.unit.get(one.unit or "") and one.number]
        for one in claims:
            file = tmp_path / f"{one.id}.toml"
            if country.unit[one.unit or ""].kind != "accelerators":
                with pytest.raises(CannotHandOverError, match="not a number of accelerators"):
                    handed(country, name, one)
                continue
            file.write_text(handed(country, name, one))
            made = read(file, GIVEN)
            assert sum(pool.count for pool in made.pools) == pytest.approx(one.number)


def test_the_strategy_hands_over_and_writes_over_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    arguments = ["price", "--accelerators", "5000", "--scenario", str(file)]
    first = CliRunner().invoke(strategy.app, arguments)
    assert first.exit_code == 0
    assert f"modu plan run {file}" in first.stderr
    assert sum(pool.count for pool in read(file, GIVEN).pools) == 5000
    again = CliRunner().invoke(strategy.app, arguments)
    assert again.exit_code == 1
    assert "File exists" in again.stderr
    money = ["price", "--money", "1e12", "--scenario", str(tmp_path / "other.toml")]
    assert CliRunner().invoke(strategy.app, money).exit_code == 2


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of each cell."""
    monkeypatch.setattr(plan_sampled.sampled, "WARM", 20)
    monkeypatch.setattr(plan_sampled.sampled, "WINDOW", 60)


@pytest.mark.usefixtures("machine_code")
def test_a_sample_is_told_beside_the_fluid(small: Path, short: None) -> None:
    options = ("run", small, "--sampled", "--cells", 4, "--processes", 1, "--draws", 0)
    shown = run(*options)
    assert shown.exit_code == 0, shown.output
    for text in ("4 of 4 cells", "95% intervals", "busiest hour", "fluid", "hash"):
        assert text in shown.stdout
    found = said(*options)
    assert found["fluid"]["missing"] < 1e-9
    assert found["sampled"]["digest"] in shown.stdout
    assert found["sampled"]["nation"]["answers_s"]["fluid"]["middle"] > 0
    assert found["sampled"]["known"]["basis"]["engines"] == "fitted"


@pytest.mark.usefixtures("machine_code")
def test_a_report_and_a_table_carry_the_sample(small: Path, short: None) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    options = ("--sampled", "--cells", 4, "--processes", 1, "--report", "r.html", "--parquet", "t.parquet")
    assert run("run", small, *options, "--language", "ko").exit_code == 0
    page = Outline()
    text = Path("r.html").read_text("utf-8")
    page.feed(text)
    assert page.count["figure"] == 7
    assert korean()["A sample, request by request"] in text
    table = parquet.read_table("t.sample.parquet").to_pylist()
    whole = [one for one in table if one["level"] == -1 and one["figure"] == "answers_s"]
    assert whole[0]["fluid_low"] <= whole[0]["fluid_middle"] <= whole[0]["fluid_high"]
    assert {one["service_class"] for one in table} == {"", "resident", "business", "batch"}


@pytest.mark.usefixtures("machine_code")
def test_one_cell_is_run_with_its_bounds_and_beside_the_fluid(small: Path, short: None) -> None:
    options = ("cell", small, "--accelerators", 1, "--minutes", 1, "--processes", 1)
    shown = run(*options)
    assert shown.exit_code == 0, shown.output
    for text in ("1 replicas of llama-3.1-8b on 1 h100", "slower and faster", "fluid", "Basis", "hash"):
        assert text in shown.stdout
    found = said(*options)
    assert found["digest"] in shown.stdout
    assert found["accelerators"] == found["replicas"] == 1
    assert found["at"].startswith("2027-03-02T")
    answers = found["part"]["answers_s"]
    assert answers["sampled"]["middle"] == pytest.approx(answers["fluid"]["middle"], rel=0.3)
    quiet = said(*options, "--at", "2027-03-02T03:00")
    assert quiet["part"]["answers_s"]["fluid"]["middle"] < answers["fluid"]["middle"]
    assert "is not within the run" in run(*options, "--at", "2027-03-05").stderr
    assert "there are llama-3.1-8b on h100" in run(*options, "--kind", "b200").stderr
    assert run(*options, "--at", "noon").exit_code == 2


@pytest.mark.usefixtures("machine_code")
def test_cells_that_were_done_are_kept_and_gone_on_from(
    small: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", str(small), "--sampled", "--cells", "4", "--processes", "1", "--draws", "0"]
    whole = said(*words)["sampled"]["digest"]
    real, done = plan_sampled.sampled.run, []

    def stop(task: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(task)
        return real(task)

    monkeypatch.setattr(plan_sampled.sampled, "run", stop)
    monkeypatch.setattr(sys, "argv", ["modu", "plan", *words])
    stopped = run(*words)
    assert stopped.exit_code == 1
    assert "Stopped after 3 of 4 cells" in stopped.stderr
    assert stopped.stderr.strip().endswith("--go-on modu-plan-small.kept")
    monkeypatch.setattr(plan_sampled.sampled, "run", real)
    assert said(*words, "--go-on", "modu-plan-small.kept")["sampled"]["digest"] == whole
    other = run("run", small, "--sampled", "--cells", "5", "--go-on", "modu-plan-small.kept")
    assert "of another scenario, or with other options" in other.stderr
    assert "is not what a run has kept" in run(*words, "--go-on", str(small)).stderr
