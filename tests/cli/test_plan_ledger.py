"""``modu plan calibrate``, ``replay`` and ``watch`` as people type them, on a ledger of their own."""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from sqlalchemy import insert
from typer.testing import CliRunner

from moduai import settings
from moduai.cli import plan
from moduai.engines.repository import add_engine
from moduai.metering.row import UsageRow
from moduai.metering.tables import usage
from moduai.planner.calibrate import to_toml
from moduai.planner.kept import Kept
from moduai.planner.steptime import shipped
from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from tests.planner.conftest import machine_code  # noqa: F401
from tests.planner.given import TEXT
from tests.planner.test_ledger import ENGINE, SECOND, made

pytestmark = pytest.mark.usefixtures("machine_code")

DATE = "2023-11-14"
"""The day of the rows."""
POINTS = """\
model,device,engine,tp,batch,tokens_in,tokens_out,tpot_ms
llama-3.1-8b,h100,vllm,1,1,500,200,7.1
llama-3.1-8b,h100,vllm,1,16,500,200,8.4
llama-3.1-8b,h200,vllm,1,1,500,200,5.3
llama-3.1-8b,h200,vllm,1,16,500,200,6.4
qwen3-32b,h100,sglang,2,8,500,200,14.9
qwen3-32b,h200,sglang,2,8,500,200,11.2
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(plan.app, [str(one) for one in arguments])


def said(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODU_HOME", str(tmp_path))
    asyncio.run(_fill(tmp_path, made(120, 2.0, factors=(1.6, 1.6, 1.6))))
    return tmp_path


async def _fill(home: Path, rows: Sequence[UsageRow], *, again: bool = False) -> None:
    loaded = settings.load(home)
    if not again:
        await migrate.upgrade(loaded.database_url)
    database = Database(loaded.database_url)
    try:
        async with database.begin() as connection:
            if not again:
                await add_engine(connection, Keyring.open(home), ENGINE)
            await connection.execute(insert(usage), [msgspec.structs.asdict(row) for row in rows])
    finally:
        await database.dispose()


def test_points_and_ledger_are_fitted_and_a_run_takes_the_fit(home: Path) -> None:
    (home / "points.csv").write_text(POINTS)
    shown = run("calibrate", "points.csv", "--ledger", "--since", DATE, "--out", "fit.toml")
    assert shown.exit_code == 0, shown.output
    for text in ("6 points", "an accelerator", "rebel-quad", "± 60%", "lab", "1 × h100"):
        assert text in shown.stdout, shown.stdout
    (home / "small.toml").write_text(TEXT)
    plain, own = (
        said("run", "small.toml", "--draws", 0, *more)["pools"][0] for more in ((), ("--fit", "fit.toml"))
    )
    assert own["requests_s"] < plain["requests_s"]
    assert own["basis"] == "fitted"
    learned = said("calibrate", "points.csv", "--ledger", "--since", DATE)["ledger"][0]
    assert own["error"] == pytest.approx(learned["after"]["p90"], abs=1e-3)
    twice = run("calibrate", "points.csv", "--out", "fit.toml")
    assert twice.exit_code == 1
    assert "File exists" in twice.stderr


def test_what_is_wrong_with_points_is_told_with_its_line(home: Path) -> None:
    file = home / "points.csv"
    file.write_text(
        POINTS.replace("qwen3-32b,h100", "qwen-32b,h100").replace("h200,vllm,1,16", "h200,vllm,1,-16")
    )
    told = run("calibrate", file)
    assert told.exit_code == 1
    assert "points.csv:5: batch, tokens_in, tokens_out, tpot_ms are above 0" in told.stderr
    assert "points.csv:6: there is no model 'qwen-32b'; did you mean qwen3-32b?" in told.stderr
    file.write_text(POINTS.replace("vllm,1,16", "vllm,0.5,16", 1))
    assert (
        "points.csv:3: tp, batch, tokens_in, tokens_out, tpot_ms are numbers, tp a whole"
        in run("calibrate", file).stderr
    )
    file.write_text(POINTS.replace("vllm,1,16", "vllm,-1,16", 1))
    assert "points.csv:3: a replica has 1 to 1024 devices" in run("calibrate", file).stderr
    file.write_text("\n".join(POINTS.splitlines()[:2]) + "\nllama-3.1-8b,h100\n")
    assert "points.csv:3: " in run("calibrate", file).stderr
    file.write_text("model,device\n")
    assert "points.csv:1: columns are missing: engine, tp" in run("calibrate", file).stderr
    file.write_text(POINTS.splitlines()[0] + "\n")
    assert "there is no point in it" in run("calibrate", file).stderr
    file.unlink()
    assert "there is no CSV file in it" in run("calibrate", home).stderr
    assert "No such file" in run("calibrate", file).stderr
    assert run("calibrate").exit_code == 2
    (home / "fit.toml").write_text("points = 3")
    (home / "small.toml").write_text(TEXT)
    assert "is no fit that" in run("run", "small.toml", "--fit", "fit.toml").stderr
    fit = to_toml(shipped())
    for old, new in (
        ('"weights" =', '"weight" ='),
        ('"weights" = 1.', '"weights" = -1.'),
        ('"h100"', '"h10"'),
        ("[errors]\n", '[errors]\n"other" = [0.1, -0.1]\n'),
    ):
        assert old in fit
        (home / "fit.toml").write_text(fit.replace(old, new, 1))
        assert "is no fit that" in run("run", "small.toml", "--fit", "fit.toml").stderr


def test_learning_and_replaying_go_on_from_where_they_were_stopped(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "points.csv").write_text(POINTS)
    for name, words in (
        ("calibrate", ["calibrate", "points.csv", "--ledger", "--since", DATE]),
        ("replay", ["replay", "--since", DATE, "--fleet", "2"]),
    ):
        whole = said(*words)
        monkeypatch.setattr(sys, "argv", ["modu", "plan", *words])
        real, times = Kept.put, iter(range(3))

        def stop(self: Kept, key: str, value: object, real: Any = real, times: Any = times) -> None:
            real(self, key, value)
            if next(times, None) is None:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Kept, "put", stop)
            stopped = run(*words)
        assert stopped.exit_code == 1
        assert f"modu plan {name}" in stopped.stderr
        go_on = shlex.split(stopped.stderr.partition("Go on: modu plan ")[2])
        assert "--until" in go_on
        assert said(*go_on) == whole


def test_the_ledger_is_asked_again_under_another_fleet_and_says_what_it_does_not_hold(home: Path) -> None:
    plain = run("replay", "--since", DATE)
    assert plain.exit_code == 0, plain.output
    assert "recorded" in plain.stdout
    assert "changed" not in plain.stdout
    assert "which texts begin alike" in plain.stderr
    found = said("replay", "--since", DATE, "--fleet", 3, "--faster", 2)
    (model,) = found["models"]
    assert (model["again"]["value"], model["changed"]["value"]) == (1, 3)
    assert sum(one["again"]["asked"] for one in model["classes"]) == 120
    (home / "mine.toml").write_text('name = "p"\ndefault = "x"\n[class.x]\ntitle = { en = "X" }\n')
    assert "changed" in run("replay", "--since", DATE, "--policy", "mine.toml").stdout
    (home / "mine.toml").write_text("default = 3\n")
    assert run("replay", "--since", DATE, "--policy", "mine.toml").exit_code == 1
    other = said("replay", "--since", DATE, "--kind", "b200")["models"][0]["changed"]
    assert other["basis"] == "assumed"
    assert other["error"] > 0
    assert "did you mean b200?" in run("replay", "--since", DATE, "--kind", "b20").stderr
    assert "the ledger has no row in this time" in run("replay", "--since", "1h").stderr
    assert run("replay", "--since", "1h", "--until", "2h").exit_code == 2


def test_the_last_hour_is_held_against_the_plan_and_what_leaves_the_band_is_said(home: Path) -> None:
    text = (
        TEXT.replace("tick_minutes = 15", "tick_minutes = 60")
        .replace("hours = [", "#")
        .replace("weekend", "#")
    )
    (home / "small.toml").write_text(
        text.replace("[[curve]]", "").replace('id = "day"\n', "").replace('curve = "day"\n', "")
    )
    quiet = run("watch", "small.toml")
    assert quiet.exit_code == 1
    assert "resident questions below" in quiet.stdout
    expected = {(one["what"], one["of"]): one for one in _watched()["lines"]}
    middle = round(expected["questions", "resident"]["middle"])
    now = time.time_ns() // 1000
    rows = [
        UsageRow(
            id=f"now-{number}", at=now - number * 1000 - SECOND, subject=f"p{number}", engine=ENGINE.id,
            service_class="resident", endpoint="chat", model="chat", stream=True, tokens_in=200,
            tokens_out=100, queue_us=90 * SECOND, first_token_us=91 * SECOND, duration_us=92 * SECOND,
        )
        for number in range(middle)
    ]  # fmt: skip
    asyncio.run(_fill(home, rows, again=True))
    watched = {(one["what"], one["of"]): one for one in _watched()["lines"]}
    assert watched["questions", "resident"]["where"] == "within"
    assert watched["wait", "resident"]["where"] == "above"
    assert ("use", "llama-3.1-8b") in watched
    assert run("watch", "small.toml", "--window", "2d").exit_code == 2
    assert run("watch", "small.toml", "--every", "1s").exit_code == 2
    assert run("watch", "small.toml", "--as-of", "yesterday").exit_code == 2


def test_a_watch_ends_with_a_word(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "small.toml").write_text(TEXT.replace("tick_minutes = 15", "tick_minutes = 60"))

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", stop)
    stopped = run("watch", "small.toml", "--every", "5m")
    assert stopped.exit_code == 1
    assert "seen is measured: the ledger of this installation" in stopped.stdout
    assert stopped.stderr.endswith("Stopped. Go on: the same command again.\n")


def _watched() -> Any:
    day = datetime.now(UTC).date().isoformat()
    return msgspec.json.decode(run("watch", "small.toml", "--as-of", day, "--json").stdout)
