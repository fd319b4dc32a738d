"""``modu pack`` and ``modu strategy`` as people type them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from moduai import settings
from moduai.cli import doctor, pack, prepare, strategy
from moduai.service import NotStartedError

INVENTED = Path(__file__).parents[1] / "packs" / "xa"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own; ``--home`` is not everywhere, ``MODU_HOME`` is."""
    monkeypatch.setenv("MODU_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(INVENTED, tmp_path / "broken"))
    (folder / "sites.toml").write_text("[[price]]\nid = 'x\x1b[31m'\n")
    return folder


def run(app: Any, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def ran(app: Any, *arguments: object) -> str:
    result = run(app, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def said(app: Any, *arguments: object) -> Any:
    return msgspec.json.decode(ran(app, *arguments, "--json"))


def test_packs_are_listed_with_the_one_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [(one["id"], one["used"]) for one in said(pack.app, "list")] == [("kr", True)]
    monkeypatch.setenv("MODU_PACK__USE", str(INVENTED))
    assert [(one["id"], one["used"]) for one in said(pack.app, "list")] == [("kr", False), ("xa", True)]
    assert "Republic of Zanbar" in ran(pack.app, "list")


def test_a_pack_is_shown() -> None:
    shown = said(pack.app, "show", INVENTED)
    assert (shown["id"], shown["locale"]["currency"], shown["counts"]["claim"]) == ("xa", "XTS", 11)
    assert "looked until 2026-06-30" in ran(pack.app, "show", INVENTED)
    assert [one["code"] for one in said(pack.app, "show", INVENTED, "--kind", "region")] == [
        "XA",
        "XA-N",
        "XA-S",
    ]
    shown = ran(pack.app, "show", INVENTED, "--kind", "region")
    assert "Islands" in shown
    assert "{" not in shown
    assert run(pack.app, "show", "--kind", "nothing").exit_code == 2


def test_check_tells_every_fault_with_its_line_and_no_terminal_codes(broken: Path) -> None:
    assert "is valid: 11 claims" in ran(pack.app, "check", INVENTED)
    assert said(pack.app, "check", INVENTED) == {"valid": True, "faults": [], "notes": []}
    result = run(pack.app, "check", broken)
    assert result.exit_code == 1
    assert "sites.toml:2: this is not TOML" in result.stderr
    assert "\x1b" not in result.output
    result = run(pack.app, "check", broken, "--json")
    assert result.exit_code == 1
    assert msgspec.json.decode(result.stdout)["faults"][0]["line"] == 2


def test_check_of_what_is_not_there() -> None:
    result = run(pack.app, "check", "nowhere")
    assert result.exit_code == 1
    assert "there is no such folder; Modu has the packs kr" in result.stderr


def test_use_says_what_to_set_and_that_works(home: Path, broken: Path) -> None:
    told = ran(pack.app, "use", INVENTED)
    lines = told.split("\n\n")[1]
    assert f"MODU_PACK__USE={INVENTED}" in told
    home.mkdir()
    (home / "modu.toml").write_text(lines, "utf-8")
    assert settings.load(home, {}).settings.pack.use == str(INVENTED)
    assert ran(pack.app, "use", INVENTED) == "Republic of Zanbar (xa) is in use.\n"
    assert said(pack.app, "use", "kr")["value"] == "kr"
    assert run(pack.app, "use", broken).exit_code == 1


def test_a_new_pack_is_written_once_with_gaps_that_check_lists(tmp_path: Path) -> None:
    folder = tmp_path / "xb"
    options = ("--country", "XB", "--language", "ar", "--currency", "XTS")
    answer = said(pack.app, "new", "xb", folder, *options)
    assert len(answer["files"]) == 7
    result = run(pack.app, "check", folder, "--json")
    assert (result.exit_code, len(msgspec.json.decode(result.stdout)["faults"])) == (1, answer["gaps"])
    assert "is not empty" in run(pack.app, "new", "xb", folder, *options).stderr
    assert run(pack.app, "new", "xb", tmp_path / "xc", "--country", "xb", *options[2:]).exit_code == 2


async def test_the_doctor_and_the_start_look_at_an_operators_pack(home: Path, broken: Path) -> None:
    good = settings.load(home, {}, {"pack.use": str(INVENTED)})
    bad = settings.load(home, {}, {"pack.use": str(broken)})
    assert [(one.check, one.state) for one in await doctor.pack(good)] == [("pack", "ok")]
    (finding,) = await doctor.pack(bad)
    assert (finding.state, "sites.toml:2" in finding.told) == ("problem", True)
    prepare.check_pack(good)
    with pytest.raises(
        NotStartedError, match=r"broken cannot be used: first sites\.toml:2: this is not TOML"
    ):
        prepare.check_pack(bad)


def plan(*arguments: object) -> Any:
    return said(strategy.app, *arguments, "--pack", INVENTED)


def test_items_are_listed_as_of_a_day() -> None:
    assert [one["id"] for one in plan("list")] == ["everyone", "computers", "teaching", "archive", "too-dear"]
    assert [one["id"] for one in plan("list", "--as-of", "2025-05-31", "--kind", "pledge")] == ["computers"]
    assert plan("list", "--pillar", "money", "--language", "ar")[0]["title"] == "الثمن مرتفع"
    assert "A thousand devices" in ran(strategy.app, "list", "--pack", INVENTED)


def test_an_item_is_shown_with_its_claims_and_what_is_missing() -> None:
    shown = plan("show", "computers")
    assert shown["waits_for"] == ["teaching", "archive"]
    assert [one["claim"]["id"] for one in shown["entry"]["claims"]][-1] == "computers-bought"
    text = ran(strategy.app, "show", "computers", "--pack", INVENTED)
    assert "measure    missing" in text
    assert "conflicts  computers-headline and computers-money" in text
    assert "at least 1,000" in text
    assert (
        "changed    2026-02-01 owner Ministry of Knowledge, waits for teaching, archive [xa-gazette]" in text
    )


def test_gaps_are_listed() -> None:
    assert [one["id"] for one in plan("gaps")] == ["everyone", "computers", "teaching", "archive"]
    assert [one["id"] for one in plan("gaps", "--gap", "prerequisite")] == ["archive"]


def test_pledges_are_compared() -> None:
    assert [one["who"] for one in plan("compare", "xa-ministry")] == ["xa-ministry"]
    text = ran(strategy.app, "compare", "--pack", INVENTED)
    assert "40,000,000 dinbar" in text
    assert "at least 1,000 devices" in text


def test_prices_are_told_with_ranges_and_what_was_pledged() -> None:
    text = ran(strategy.app, "price", "computers-count", "--pack", INVENTED)
    assert "is more than the 40,000,000 of computers-money: 1.25 times." in text
    assert "Rounded to three digits" in text
    figures = {one["name"]: one for one in plan("price", "--accelerators", 1000, "--private", 0.5)["figures"]}
    assert figures["state"]["middle"] == 25e6
    assert {one["name"] for one in plan("price", "--money", 1e6)["figures"]} >= {"accelerators", "power"}


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("show", "nothing"), 2, "there is no item 'nothing' on 2026-06-30"),
        (("list", "--as-of", "yesterday"), 2, "'yesterday' is no day"),
        (("list", "--kind", "x"), 2, "there is no kind 'x'; there are goal"),
        (("compare", "nobody"), 2, "no pledge of nobody stands"),
        (("price",), 2, "name a claim"),
        (("price", "computers-count", "--money", "5"), 2, "name a claim"),
        (("price", "archive-open"), 1, "has no number"),
    ],
)
def test_wrong_calls_are_told(words: tuple[str, ...], status: int, told: str) -> None:
    result = run(strategy.app, *words, "--pack", INVENTED)
    assert (result.exit_code, told in result.stderr) == (status, True), result.output
