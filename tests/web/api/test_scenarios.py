"""The planner for staff: real runs in a process of their own; what is refused is told beside the form."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from moduai.gateway.errors import ApiError
from moduai.gateway.policy_text import shipped_text
from moduai.planner.what_if import WhatIf
from moduai.web import scenario_runs
from moduai.web.api.scenarios import _choice
from moduai.web.scenario_child import _alone, _policy, answer
from moduai.web.scenario_runs import Asked, Runs, files
from tests.planner.given import TEXT
from tests.web.office import Office

PAGE = "/console/scenarios"


async def test_a_scenario_is_run_with_changes_beside_the_same_without(desk: Office) -> None:
    async with desk.client("officer") as client:
        empty = (await client.get(PAGE)).text
        assert '<option value="kr-50000">The early 50,000</option>' in empty
        assert "<svg" not in empty.partition("<main")[2]
        page = await client.get(f"{PAGE}?scenario=university&days=1&fleet=2&lose=&kind=")
        assert page.status_code == 200
        assert '<td class="right">8</td><td class="right"><strong>16</strong></td>' in page.text
        assert page.text.count('role="img" aria-labelledby=') >= 4
        assert "<style" not in page.text
        assert " style=" not in page.text
        told = (await client.get("/api/scenarios/university?days=1&fleet=2")).json()
        assert told["accelerators"] == 16
        assert told["report"] == ""
        wrong = await client.get(f"{PAGE}?scenario=university&days=99")
        assert wrong.status_code == 400
        assert 'value="kr-50000"' in wrong.text
    async with desk.client("officer", language="ko") as client:
        page = await client.get(f"{PAGE}?scenario=university&days=1&fleet=2")
        assert "대기" in page.text


async def test_what_is_too_much_is_refused_with_the_way_to_do_it(desk: Office) -> None:
    async with desk.client("operator") as client:
        refused = await client.get("/api/scenarios/kr-road")
        assert refused.status_code == 422
        assert "modu plan run" in refused.json()["error"]["message"]
        for query in ("days=9", "fleet=-1", "fleet=nan", "launch=1e9", "policy=mine", "faster=0"):
            assert (await client.get(f"/api/scenarios/university?{query}")).status_code == 400
        assert (await client.get("/api/scenarios/..%2f..%2fx")).status_code == 404
        assert (
            (await client.get("/api/scenarios/universty"))
            .json()["error"]["message"]
            .endswith("did you mean university?")
        )
    async with desk.client("steward") as client:
        assert (await client.get("/api/scenarios")).status_code == 200
    async with desk.client("resident") as client:
        assert (await client.get("/api/scenarios")).status_code == 403
        assert (await client.get(PAGE)).status_code == 404


def test_a_child_tells_what_is_wrong_and_what_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(TEXT)

    def said(what_if: WhatIf) -> tuple[str, str]:
        found = answer(Asked(home=str(tmp_path), file=str(tmp_path / "small.toml"), what_if=what_if))
        return found.error, found.text

    assert said(WhatIf(lose=("hal",), draws=0))[0] == "value_not_allowed"
    assert "did you mean hall?" in said(WhatIf(lose=("hal",)))[1]
    assert said(WhatIf(days=400))[0] == "planner_too_much"
    assert said(WhatIf(draws=0)) == ("", "")


async def test_one_runs_at_a_time_few_wait_and_what_was_run_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, gate = 0, 0, asyncio.Event()
    ran: list[bytes] = []

    async def child(asked: bytes) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        ran.append(asked)
        return scenario_runs.Said()

    monkeypatch.setattr(scenario_runs, "_child", child)
    runs = Runs()
    asked = [Asked(home="h", file="f", what_if=WhatIf(launch=float(number))) for number in range(3)]
    tasks = [asyncio.create_task(runs.ask(one)) for one in asked]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as busy:
        await runs.ask(Asked(home="h", file="g"))
    assert busy.value.code == "planner_busy"
    gate.set()
    await asyncio.gather(*tasks)
    await runs.ask(asked[0])
    assert (most, len(ran)) == (1, 3)


async def test_a_child_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(scenario_runs, "TURN_S", 0)
    monkeypatch.setattr(scenario_runs, "WALL_S", 0)
    monkeypatch.setattr(scenario_runs, "SLACK_S", 0.0)
    with pytest.raises(ApiError) as late:
        await Runs().ask(Asked(home=str(tmp_path), file="x.toml"))
    assert late.value.code == "planner_too_much"


async def test_a_child_that_waits_for_another_or_fails_says_so_and_blames_no_days(
    tmp_path: Path,
) -> None:
    with _alone(tmp_path, 0) as first, _alone(tmp_path, 0) as second:
        assert (first, second) == (True, False)
    with _alone(tmp_path, 0) as again:
        assert again
    (tmp_path / "run" / "scenario.lock").unlink()
    (tmp_path / "run" / "scenario.lock").mkdir()
    with pytest.raises(ApiError) as failed:
        await Runs().ask(Asked(home=str(tmp_path), file="x.toml"))
    assert failed.value.code == "internal_error"


def test_the_live_policy_gives_nothing_to_groups_that_people_choose(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(
        TEXT.replace('id = "people"', 'id = "people"\npolicy_group = "student"')
    )
    policy = shipped_text()
    asked = Asked(home=str(tmp_path), file=str(tmp_path / "small.toml"), policy=policy)
    given, others = (_policy(one, policy) for one in (asked, replace(asked, chosen=("student",))))
    assert given.classes["resident"].groups.get("student")
    assert "student" not in others.classes["resident"].groups


def test_files_that_are_none_of_ours_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "packs" / "mine" / "scenarios"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.toml")
    (folder / "twice.toml").write_text("[[scenario]]\nname = { en = 'No' }\n")
    known = files(tmp_path, "packs/mine")
    assert "pipe" not in known
    assert _choice(("twice", known["twice"])).title == {}
