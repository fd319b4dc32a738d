"""``modu policy`` as operators type it, on a home folder of their own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from moduai import settings
from moduai.accounts.audit import list_entries
from moduai.accounts.keys import load_principals
from moduai.accounts.people import create_person
from moduai.cli import audit, doctor, key, org, policy
from moduai.gateway import policy_file
from moduai.packs.where import POLICY, shipped
from moduai.store import migrate
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.subjects import SubjectKeys

IN_FORCE = (shipped()["kr"] / POLICY).read_text("utf-8")
"""What counts without a file: the policy of the country pack."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two residents, one of them a student, and two keys of an organisation."""
    home = tmp_path / "home"
    asyncio.run(_people(home))
    ran(home, org.app, "create", "서울 연구소")
    for name in ("standard", "research"):
        ran(home, key.app, "create", name, "--org", "서울 연구소", "--class", name)
    return home


async def _people(home: Path) -> None:
    loaded = settings.load(home, {})
    subjects = SubjectKeys.open(home, Keyring.open(home, create=True), create=True)
    await migrate.upgrade(loaded.database_url)
    database = Database(loaded.database_url)
    async with database.begin() as connection:
        for group in ("", "students"):
            await create_person(connection, subjects, name="Someone", group=group)
    subjects.close()
    await database.dispose()


def run(home: Path, app: Any, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, [*arguments, "--home", str(home)], input=typed)


def ran(home: Path, app: Any, *arguments: str, typed: str = "") -> str:
    result = run(home, app, *arguments, typed=typed)
    assert result.exit_code == 0, result.output
    return result.stdout


def said(home: Path, *arguments: str) -> Any:
    return msgspec.json.decode(ran(home, policy.app, *arguments, "--json"))


def organisation(home: Path) -> str:
    found = msgspec.json.decode(ran(home, org.app, "list", "--json"))
    return next(one["id"] for one in found if one["name"] != "default")


def changed(home: Path, *pairs: tuple[str, str], more: str = "") -> str:
    """A file with a changed copy of the policy in force."""
    text = IN_FORCE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    file = home.parent / "mine.toml"
    file.write_text(text + more, "utf-8")
    return str(file)


def test_what_is_in_force_is_shown_with_whom_it_has(home: Path) -> None:
    shown = ran(home, policy.app, "show")
    assert "Public duty" in shown
    assert "the country pack's" in shown
    found = {one["name"]: one for one in said(home, "show")["classes"]}
    assert (found["resident"]["people"], found["resident"]["keys"]) == (2, 0)
    assert (found["research"]["keys"], found["business"]["keys"]) == (1, 1)
    assert found["resident"]["part"] == 40
    assert found["batch"]["part"] == 0.4
    assert ran(home, policy.app, "show", "--text") == IN_FORCE
    file = changed(home, ('name = "AI for all"', 'name = "Mine"'))
    assert "Mine (" in ran(home, policy.app, "show", file)
    assert said(home, "show", "--default")["policy"]["name"] == "AI for all"


def test_a_home_without_a_database_has_a_policy(tmp_path: Path) -> None:
    assert said(tmp_path, "show")["classes"][0]["people"] == 0
    assert not (tmp_path / "modu.db").exists()


def test_check_tells_lines_and_remarks(home: Path) -> None:
    bad = changed(home, ("weight = 10\n", "weight = -10\n"))
    line = IN_FORCE.split("\n").index("weight = 10") + 1
    result = run(home, policy.app, "check", bad)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"line {line}, class.resident.weight: weight is -10" in result.stderr
    result = run(home, policy.app, "check", bad, "--json")
    assert (result.exit_code, msgspec.json.decode(result.stdout)["problems"][0]["line"]) == (1, line)
    (home / "modu.toml").write_text('[people.groups.students]\nko = "학생"\nen = "Students"\n')
    odd = changed(home, more='[[assign]]\nclass = "batch"\norganisations = ["org_gone"]\n')
    result = run(home, policy.app, "check", odd)
    assert (result.exit_code, result.stdout) == (0, f"{odd} is valid: 6 classes.\n")
    assert "choose the group 'students'" in result.stderr
    assert "no organisation org_gone" in result.stderr
    assert len(said(home, "check", odd)["remarks"]) == 2
    changed(home, ("weight = 10\n", "weight = -10\n"))
    result = run(home, policy.app, "diff", bad)
    assert (result.exit_code, f"line {line}" in result.stderr) == (1, True)
    assert run(home, policy.app, "check", "nowhere.toml").exit_code == 1


def test_a_name_that_fits_nobody_gets_a_remark(home: Path) -> None:
    """Ids, networks, people of no organisation and, where zones share, zones may all be meant."""
    file = changed(
        home,
        ("[class.guest]\n", '[class.guest]\norganisation."203.0.113.0/24".weight = 2\n'),
        ("[class.research]\n", '[class.research]\nshare_by = "zone"\norganisation.edu-city.weight = 2\n'),
        ("[class.business]\n", '[class.business]\norganisation."서울 연구소".weight = 2\n'),
        more=f"""
        [[assign]]
        class = "research"
        organisations = ["{organisation(home)}", "203.0.113.0/24", "", "City School"]
        """,
    )
    assert said(home, "check", file)["remarks"] == [
        f"there is no organisation {name} here, so it fits nobody: use the id, see modu org list"
        for name in ("City School", "서울 연구소")
    ]


def test_without_a_file_there_is_nothing_wrong(home: Path) -> None:
    assert "the country pack's is in force. It is valid: 6 classes." in ran(home, policy.app, "check")
    assert said(home, "check")["valid"]
    assert "nothing to compare" in ran(home, policy.app, "diff")
    assert said(home, "diff")["effects"] == []


def test_the_footer_says_how_to_see_all_of_this_one(home: Path) -> None:
    assert ran(home, policy.app, "show").endswith("modu policy show --text\n")
    assert ran(home, policy.app, "show", "--default").endswith("modu policy show --default --text\n")
    file = changed(home)
    assert ran(home, policy.app, "show", file).endswith(f"modu policy show {file} --text\n")


def parts(home: Path, file: str) -> dict[str, float]:
    return {one["name"]: one["part"] for one in said(home, "show", file)["classes"]}


def test_a_class_keeps_its_guarantee_and_its_cap_in_a_full_service(home: Path) -> None:
    """The others share the rest by their weights."""
    little = parts(home, changed(home, ("weight = 10\n", "weight = 1\n")))
    assert (little["resident"], little["guest"]) == (40, 12)
    most = parts(home, changed(home, ("weight = 10\n", "weight = 900\n"), ("guarantee = 40", "cap = 70")))
    assert most == {
        "resident": 55, "guest": 10, "public-duty": 20, "research": 10, "business": 5, "batch": 0.0
    }  # fmt: skip
    capped = parts(home, changed(home, ("weight = 10\n", "weight = 900\ncap = 41\n")))
    assert capped["resident"] == 41
    file = home.parent / "small.toml"
    title = 'title = { ko = "가", en = "A" }'
    for rules, found in (
        (("cap = 30", "cap = 20"), {"a": 30, "b": 20}),
        (("guarantee = 60", "guarantee = 40\nweight = 9"), {"a": 60, "b": 40}),
        (("weight = 3", ""), {"a": 75, "b": 25}),
    ):
        text = "".join(f"[class.{name}]\n{title}\n{rule}\n" for name, rule in zip("ab", rules, strict=True))
        file.write_text(f'name = "small"\ndefault = "a"\n{text}', "utf-8")
        assert parts(home, str(file)) == found


def test_rules_of_assignment_say_who_moves(home: Path) -> None:
    rule = '[[assign]]\nclass = "batch"\nservice_classes = ["{}"]\n'
    told = ran(home, policy.app, "diff", changed(home, more=rule.format("research")))
    assert "Everyone" not in told
    assert "From research to batch: 0 people, 1 key, 1 organisation\n" in told
    assert "Rules of assignment: 0 people, 1 key, 1 organisation\n  they changed: all who" in told
    told = ran(home, policy.app, "diff", changed(home, more=rule.format("nobody")))
    assert told == (
        "Rules of assignment: 0 people, 0 keys, 0 organisations\n"
        "  they changed: of those who are known now nobody moves\n"
    )


def test_diff_says_what_would_change_for_whom(home: Path) -> None:
    lab = organisation(home)
    file = changed(
        home,
        ("weight = 10\n", "weight = 4\n"),
        ("\nstudents = 2\n", "\nstudents = 3\nfarmers = 1.5\n"),
        ("guarantee = 5\n", ""),
        ("person_cap = 5\n", ""),
        ("person = 64\n", "person = 32\n"),
        ("locality_window_ms = 200", "locality_window_ms = 100"),
        ('# [pressure.lighter]\n# "large-model" = "small-model"', '[pressure.lighter]\nbig = "small"'),
        ('# [prices]\n# "large-model" = 37.5', "[prices]\nbig = 37.5"),
        more=f"""
        [class.school]
        title = {{ ko = "학교", en = "Schools" }}
        person_cap = 10
        [class.research.organisation.{lab}]
        weight = 3
        [class.research.each]
        cap = 50
        [[assign]]
        class = "school"
        organisations = ["{lab}"]
        service_classes = ["standard"]
        """,
    )
    told = ran(home, policy.app, "diff", file)
    for words in (
        "Residents (resident): 2 people, 0 keys, 1 organisation\n",
        "  weight 10 → 4\n",
        "  part of a full service, while all classes want more: 7.9 % → 7.5 %\n",
        "  each person of the group students: weight 2 → 3\n",
        "  each person of the group farmers: weight 1 → 1.5\n",
        "Research (research): 0 people, 1 key, 1 organisation\n",
        f"  서울 연구소 ({lab}): weight 1 → 3\n",
        "  each organisation that is not named: cap 100 % → 50 %\n",
        "Businesses (business): 0 people, 0 keys, 0 organisations\n",
        "  guarantee 5 % → 0 %\n",
        "  cap of each person 5 % → 100 %\n",
        "guarantee 0 %, cap 100 %, of one person 10 %\n",
        "Schools (school): 0 people, 1 key, 1 organisation\n  a new class: weight 1 (3.7 % of a full",
        "From business to school: 0 people, 1 key, 1 organisation\n  they change their class\n",
        "Everyone: 2 people, 2 keys, 2 organisations\n",
        "Rules of assignment: 0 people, 1 key, 1 organisation\n",
        "  most requests of one person that wait 64 → 32\n",
        "  what a prompt in an engine's cache may cost others 200 ms → 100 ms\n",
        "  lighter model than big: none → small\n",
        "  what a token of big costs: measured → 37.5 µs",
    ):
        assert words in told, (words, told)
    effects = {one["who"]: one for one in said(home, "diff", file)["effects"]}
    assert effects["Everyone"]["keys"] == 2
    assert not (home / "policy.toml").exists(), "nothing is changed"
    assert ran(home, policy.app, "diff", "--default") == "It would change nothing.\n"


def test_a_class_that_is_gone(home: Path) -> None:
    start, end = IN_FORCE.index("[class.research]"), IN_FORCE.index("[class.business]")
    file = changed(home, (IN_FORCE[start:end], ""), ('en = "Guests"', 'en = "Visitors"'))
    told = ran(home, policy.app, "diff", file)
    assert "Research (research): 0 people, 1 key, 1 organisation\n  the class is gone" in told
    assert "From research to business" in told
    assert "title (en): Guests → Visitors" in told


def test_apply_asks_writes_and_can_be_undone(home: Path) -> None:
    file = changed(home, ("weight = 10\n", "weight = 5\n"))
    refused = run(home, policy.app, "apply", file, typed="n\n")
    assert (refused.exit_code, (home / "policy.toml").exists()) == (1, False)
    assert "weight 10 → 5" in refused.stdout
    assert "[y/N]:\nmodu: nothing was changed" in refused.stderr
    assert run(home, policy.app, "apply", file).exit_code == 1, "no answer is no"
    assert "modu policy undo" in ran(home, policy.app, "apply", file, typed="y\n")
    assert policy_file.read(settings.load(home, {})).policy.classes["resident"].weight == 5000
    assert "in force already" in ran(home, policy.app, "apply", file, "--yes")
    undone = said(home, "undo", "--yes")
    assert policy_file.read(settings.load(home, {})).text == IN_FORCE
    assert undone["effects"][0]["what"][0] == "weight 5 → 10"
    again = said(home, "undo", "--yes")
    assert again["digest"] == undone["before"]
    assert policy_file.read(settings.load(home, {})).policy.classes["resident"].weight == 5000
    entries = [one for one in entries_of(home) if one.action.startswith("policy.")]
    assert [one.action for one in entries] == ["policy.undo", "policy.undo", "policy.apply"]
    assert entries[0].target == again["digest"]
    detail = msgspec.json.decode(entries[0].detail)
    assert detail == {"before": undone["digest"], "changes": 1, "classes": ["resident"]}
    assert run(home, audit.app, "verify").exit_code == 0


def entries_of(home: Path) -> Any:
    async def go() -> Any:
        database = Database(settings.load(home, {}).database_url)
        async with database.connect() as connection:
            found = await list_entries(connection, limit=100)
        await database.dispose()
        return found

    return asyncio.run(go())


def test_apply_is_told_exactly_what(home: Path) -> None:
    assert run(home, policy.app, "apply").exit_code == 2
    assert run(home, policy.app, "apply", "x.toml", "--default").exit_code == 2
    assert run(home, policy.app, "apply", "x.toml").exit_code == 1
    assert run(home, policy.app, "undo", "--yes").exit_code == 1, "there is none before it"
    comment = changed(home, more="# only a remark\n")
    assert "nothing but the text" in ran(home, policy.app, "apply", comment, "--yes")
    ran(home, policy.app, "apply", "--default", "--yes")
    assert policy_file.read(settings.load(home, {})).text == IN_FORCE


def test_what_cannot_be_written_or_recorded_does_not_happen(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = changed(home, ("weight = 10\n", "weight = 5\n"))

    async def fails(*_: object, **__: object) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(policy.change, "record", fails)
        result = run(home, policy.app, "apply", file, "--yes")
    assert (result.exit_code, "no room" in result.stderr) == (1, True)
    assert policy_file.read(settings.load(home, {})).source == "pack"
    (home / "run").rmdir()
    (home / "run").write_text("in the way")
    result = run(home, policy.app, "apply", file, "--yes")
    assert (result.exit_code, "the policy cannot be written" in result.stderr) == (1, True)
    assert policy_file.read(settings.load(home, {})).source == "pack"
    assert not [one for one in entries_of(home) if one.action == "policy.apply"]


def test_a_broken_file_is_shown_and_undone(home: Path) -> None:
    ran(home, policy.app, "apply", changed(home, ("weight = 10\n", "weight = 5\n")), "--yes")
    good = (home / "policy.toml").read_text()
    (home / "policy.toml").write_text(good[: good.index("[class.business]")])
    result = run(home, policy.app, "show")
    assert "policy.toml cannot be used: line 17, default: the default class 'business'" in result.stderr
    assert "the last good one" in result.stdout
    assert run(home, policy.app, "check").exit_code == 1
    found = asyncio.run(doctor.policy(settings.load(home, {})))
    assert (found[0].state, "line 17" in found[0].told) == ("problem", True)
    ran(home, policy.app, "undo", "--yes")
    assert (home / "policy.toml").read_text() == good
    assert asyncio.run(doctor.policy(settings.load(home, {})))[0].state == "ok"


def test_a_key_of_a_new_class(home: Path) -> None:
    assert run(home, key.app, "create", "s", "--class", "school").exit_code == 1
    more = '[class.school]\ntitle = { ko = "학교", en = "Schools" }\n'
    ran(home, policy.app, "apply", changed(home, more=more), "--yes")
    ran(home, key.app, "create", "s", "--class", "school")
    assert {one["name"]: one["keys"] for one in said(home, "show")["classes"]}["school"] == 1

    async def classes() -> set[str]:
        database = Database(settings.load(home, {}).database_url)
        async with database.connect() as connection:
            found = {principal.service_class for _, principal in await load_principals(connection)}
        await database.dispose()
        return found

    assert asyncio.run(classes()) == {"standard", "research", "school"}
