"""The policy file: what its text may say, where it is wrong, and how workers follow it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from moduai import settings
from moduai.accounts.networks import network_of, opaque
from moduai.gateway import policy_file as files
from moduai.gateway.policy_file import FILE, LAST_GOOD, PREVIOUS, PolicyFile, replaced
from moduai.gateway.policy_text import MOST_BYTES, MOST_PROBLEMS, PolicyError, parse, shipped, shipped_text
from moduai.packs.read import read as read_pack
from moduai.packs.where import shipped as packs
from moduai.scheduling.policy import Assign, Limits, NodeRule, Policy, Pressure, check

SECRET = b"k" * 32
HEAD = 'name = "mine"\ndefault = "a"\n'
CLASS = '[class.a]\ntitle = { ko = "가", en = "A" }\n'
GOOD = HEAD + CLASS
RULE = "[[assign]]\nclass = 'a'\n"
ALL = (
    HEAD
    + """
locality_window_ms = 0.5
estimate_percentile = 90
limits = { person = 1, organisation = 2, total = 3 }
[pressure]
shorten_after_s = 1
shorten_to = 2
lighter_after_s = 3
lighter_mode = "auto"
refuse_after_s = 4
lighter.big = "small"
[prices]
"org/model" = 37.5
[class]
b = { title = { ko = "나", en = "B" }, weight = 0.1, guarantee = 12.5, cap = 50, share_by = "zone" }
"""
    + CLASS
    + """
groups.student = 1.5
person_cap = 7.5
limits.person = 2
[class.a.each]
cap = 10
[class.a.organisation."203.0.113.0/24"]
weight = 20
[[assign]]
class = "a"
service_classes = ["x"]
organisations = ["o"]
[[assign]]
class = "b"
zones = ["z"]
groups = [
  "g",   # ]
]
"""
)


def problems(text: str | bytes) -> list[tuple[int, str, str]]:
    with pytest.raises(PolicyError) as told:
        parse(text)
    return [(one.line, ".".join(map(str, one.path)), one.text) for one in told.value.problems]


def test_everything_that_a_file_can_say() -> None:
    made = parse(ALL)
    assert (made.name, made.default, made.locality_window, made.estimate_quantile) == ("mine", "a", 500, 900)
    assert made.limits == Limits(1, 2, 3)
    assert made.pressure == Pressure(1, 2, 3, {"big": "small"}, "auto", 4)
    assert made.prices == {"org/model": 37_500}
    a, b = made.classes["a"], made.classes["b"]
    assert (b.weight, b.guarantee, b.cap, b.share_by, b.limits) == (100, 125, 500, "zone", made.limits)
    assert (a.weight, a.guarantee, a.cap, a.share_by) == (1000, 0, 1000, "organisation")
    assert (a.person_cap, b.person_cap) == (75, 1000)
    assert (a.groups, a.limits, a.each) == ({"student": 1500}, Limits(2, 2, 3), NodeRule(cap=100))
    assert a.organisations == {"203.0.113.0/24": NodeRule(weight=20_000)}
    one, other = made.assign
    assert one == Assign("a", frozenset({"x"}), frozenset({"o"}))
    assert other == Assign("b", zones=frozenset({"z"}), groups=frozenset({"g"}))


def test_the_shipped_policy_follows_the_plan() -> None:
    made = shipped()
    assert not check(made)
    assert parse(shipped_text().encode()) == made
    classes = made.classes
    assert max(classes, key=lambda name: classes[name].guarantee) == "resident"
    assert classes["guest"].guarantee > 0
    assert classes["batch"].guarantee == 0
    assert classes["batch"].cap < 1000
    assert classes["guest"].person_cap < 1000, "a few guests cannot hold all places"
    assert min(classes, key=lambda name: classes[name].weight) == "batch"
    student, other = (made.place("resident", "org", group) for group in ("student", ""))
    assert student.weight == 2 * other.weight
    assert made.place("standard", "org").class_name == "business"
    assert sum(rule.guarantee for rule in classes.values()) < 1000, "some is left for whoever asks"
    for rule in classes.values():
        assert rule.limits.total <= made.limits.total


def test_koreas_policy_is_the_shipped_one_with_its_own_groups(tmp_path: Path) -> None:
    found = files.read(settings.load(tmp_path, {}))
    kr = read_pack(packs()["kr"], parse)
    assert (found.source, found.text) == ("pack", kr.policy)
    resident = found.policy.classes["resident"]
    assert resident.groups == {one.id: 2000 for one in kr.groups if one.first}, (
        "those whom the plan serves first"
    )
    modu = shipped()
    classes = found.policy.classes | {"resident": replace(resident, groups=modu.classes["resident"].groups)}
    assert replace(found.policy, name=modu.name, classes=classes) == modu
    comments = [line for line in shipped_text().splitlines() if line.startswith("#")]
    assert len(set(comments) - set(kr.policy.splitlines())) <= 3, "it explains itself as the shipped one does"


def test_what_the_documents_show_is_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "operate" / "policy.md").read_text("utf-8")
    shown = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    assert len(shown) == 6
    made = parse(shipped_text() + "".join(shown))
    assert made.classes["school"].weight == 5000
    for name, rule in shipped().classes.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        cells = [cell.strip() for cell in row.split("|")[3:7]]
        parts = (rule.guarantee, rule.cap, rule.person_cap)
        written = [f"{rule.weight / 1000:g}", *(f"{each / 10:g} %" for each in parts)]
        assert cells == [words if words not in {"0 %", "100 %"} else "" for words in written]


@pytest.mark.parametrize(
    ("text", "line", "path", "told"),
    [
        ("", 0, "name", "1 to 60"),
        ("name", 1, "", "this is not TOML: Expected '='"),
        (GOOD + "[class.b\n", 5, "", "this is not TOML"),
        (GOOD + 'x = "', 5, "", "this is not TOML: Unterminated string"),
        (GOOD + "weight = 1\nweight = 2\n", 6, "", "Cannot overwrite"),
        (GOOD + "[[[", 5, "", "not TOML"),
        (GOOD + "weight = " + "9" * 5000, 5, "", "not TOML"),
        (GOOD + "weight = " + "[" * 5000, 5, "", "nested too deeply"),
        (b"# \xea\xb0\n" + GOOD.encode(), 1, "", "not UTF-8"),
        (b"# ok\n# \xff\n", 2, "", "not UTF-8"),
        ("#" * (MOST_BYTES + 1), 0, "", "too large: 262,145 bytes"),
        (GOOD + "weight = -1\n", 5, "class.a.weight", "weight is -1"),
        (GOOD + "weight = nan\n", 5, "class.a.weight", "is a number, not nan"),
        (GOOD + "weight = inf\n", 5, "class.a.weight", "is a number"),
        (GOOD + "weight = true\n", 5, "class.a.weight", "is a number, not True"),
        (GOOD + 'weight = "ten"\n', 5, "class.a.weight", "is a number, not 'ten'"),
        (HEAD + "[class.a]\ntitle = '가'\n", 4, "class.a.title", '{ ko = "…", en = "…" }, not'),
        (GOOD + "wieght = 1\n", 5, "class.a.wieght", "did you mean weight?"),
        (GOOD + "zzz = 1\n", 5, "class.a.zzz", "there are weight, guarantee"),
        (GOOD + "share_by = 'x'\n", 5, "class.a.share_by", "'organisation' or 'zone', not 'x'"),
        (GOOD + "person_cap = 0\n", 5, "class.a.person_cap", "0 %: it must be 0.1 % to 100 %"),
        (GOOD + "person_cap = '5 %'\n", 5, "class.a.person_cap", "is a number, not '5 %'"),
        (GOOD + "each.person_cap = 5\n", 5, "class.a.each.person_cap", "nothing here is called"),
        (GOOD + "limits.person = 1.5\n", 5, "class.a.limits.person", "whole number, not 1.5"),
        (GOOD + "each.guarantee = 5\n", 5, "class.a.each.guarantee", "named"),
        (GOOD + "[class.a.each]\nweigt = 1\n", 6, "class.a.each.weigt", "did you mean weight?"),
        (GOOD + "groups = 5\n", 5, "class.a.groups", "is a table, not 5"),
        (GOOD + "\n[class.b]\nguarantee = 5\n", 6, "class.b.title", "at least one language"),
        (GOOD + "guarantee=60\n" + CLASS.replace("a]", "b]") + "guarantee=41", 8, "class.b.guarantee", "101"),
        (GOOD + "[class.a.organisation.'1.2.3.0/16']\n", 5, "class.a.organisation.1.2.3.0/16", "no network"),
        (GOOD + "[class.a.organisation.'2001:db8::/48']\n", 5, "class.a.organisation.2001:db8::/48", "/56"),
        (GOOD + RULE + "organisations = ['1.2.3.4/24']\n", 7, "assign.0.organisations", "no net"),
        ("title = 1\n" + GOOD, 1, "title", "nothing here is called 'title'"),
        ("assign = 1\n" + GOOD, 1, "assign", "is written [[assign]]"),
        ("assign = [1]\n" + GOOD, 1, "assign", "is written [[assign]]"),
        (GOOD + RULE + "zones = ['z']\n[[assign]]\nclass = 'a'\n", 8, "assign.1", "nobody"),
        (GOOD + RULE + "zones = 'z'\n", 7, "assign.0.zones", "list of texts"),
        (GOOD + RULE + "zones = [\n1,\n]\n", 7, "assign.0.zones", "list of texts"),
        (GOOD + "[[assign]]\nclass = 'c'\nzones = ['z']\n", 6, "assign.0.class", "no class 'c'"),
        (GOOD.replace('"mine"', '"""a\nm"""'), 1, "name", "1 to 60"),
        (GOOD.replace("default = ", "default = 1 # "), 2, "default", "default is a text, not 1"),
        (GOOD + "[pressure]\nlighter = { a = 5 }\n", 6, "pressure.lighter.a", "is a text"),
        (GOOD + "weight = '" + "x" * 99 + "'\n", 5, "class.a.weight", "…"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(text: str | bytes, line: int, path: str, told: str) -> None:
    found = problems(text)
    assert found[0][:2] == (line, path), found
    assert told in found[0][2]


def test_all_mistakes_are_told_at_once_in_order_and_not_without_end() -> None:
    found = problems(GOOD + "cap = 'x'\nweight = -1\nnothing = 1\n")
    assert [line for line, *_ in found] == [5, 7], "values are checked once all of them could be read"
    many = GOOD + "".join(f"k{number} = 1\n" for number in range(100))
    assert len(problems(many)) == MOST_PROBLEMS
    named = GOOD + CLASS.replace("a]", "Library]") + "[[assign]]\nclass = 'library'\nzones = ['z']\n"
    assert [path for _, path, _ in problems(named)] == ["class.Library"], "a class with a mistake is there"
    with pytest.raises(PolicyError, match=r"^line 5, class.a.cap: cap is a number, not 'x'$"):
        parse(GOOD + "cap = 'x'\n")


def test_every_beginning_of_a_file_is_read_or_refused() -> None:
    for end in range(len(ALL)):
        with contextlib.suppress(PolicyError):
            assert isinstance(parse(ALL[:end]), Policy)


@pytest.fixture
def loaded(tmp_path: Path) -> settings.Loaded:
    """Of no country, with a group to choose."""
    groups = {"student": {"ko": "학생", "en": "Students"}}
    return settings.load(tmp_path, {}, {"pack.use": "none", "people.groups": groups})


def test_what_a_worker_that_starts_takes(loaded: settings.Loaded) -> None:
    home = loaded.home
    assert (files.read(loaded).source, files.read(loaded).policy) == ("shipped", shipped())
    (home / FILE).write_text(GOOD + "weight = -1\n")
    found = files.read(loaded)
    assert (found.source, found.policy) == ("shipped", shipped())
    assert [one.line for one in found.problems] == [5]
    (home / FILE).write_text(GOOD)
    made = PolicyFile(loaded, SECRET)
    assert (made.found.source, made.found.text, made.found.problems) == ("file", GOOD, ())
    assert (home / LAST_GOOD).read_text() == GOOD
    kept = (home / LAST_GOOD).stat()
    assert PolicyFile(loaded, SECRET).policy == made.policy
    assert (home / LAST_GOOD).stat() == kept, "every worker finds it kept already"
    (home / FILE).write_text(GOOD[:-5])
    again = PolicyFile(loaded, SECRET)
    assert (again.found.source, again.policy) == ("last good", made.policy), "a restart changes nothing"
    assert again.found.problems
    (home / LAST_GOOD).write_text("broken")
    assert files.read(loaded).source == "shipped"
    (home / FILE).unlink()
    (home / FILE).mkdir()
    assert "cannot be read" in files.read(loaded).problems[0].text


def test_without_a_file_the_policy_of_the_country_pack_counts(tmp_path: Path) -> None:
    pack = shutil.copytree(Path(__file__).parents[1] / "packs" / "xa", tmp_path / "xa")
    text = (pack / "policy.toml").read_text("utf-8")
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    loaded = settings.load(home, {}, {"pack.use": str(pack)})
    made = PolicyFile(loaded, SECRET)
    assert (made.found.source, made.found.text, made.policy) == ("pack", text, parse(text))
    student, other = (made.policy.place("standard", "org", group) for group in ("students", ""))
    assert (student.class_name, student.weight) == ("everyone", 2 * other.weight)
    assert made.policy.place("standard", "org", "fishers").class_name == "fishers"
    with replaced(loaded, GOOD):
        pass
    assert (files.read(loaded).source, files.previous(loaded).text) == ("file", text)
    (home / FILE).write_text("broken")
    (home / LAST_GOOD).unlink()
    assert (files.read(loaded).source, len(files.read(loaded).problems)) == ("pack", 1)
    (pack / "policy.toml").write_text("broken too")
    found = files.read(loaded)
    assert (found.source, found.policy, len(found.problems)) == ("shipped", shipped(), 2)
    (pack / "policy.toml").unlink()
    os.mkfifo(pack / "policy.toml")
    assert files.read(loaded).source == "shipped", "nobody waits for a pipe"


def test_chosen_groups_get_nothing_and_networks_are_hidden(loaded: settings.Loaded) -> None:
    more = '[[assign]]\nclass = "b"\norganisations = ["2001:db8::/56", "org_1"]\n'
    (loaded.home / FILE).write_text(ALL + more)
    policy = PolicyFile(loaded, SECRET).policy
    made = policy.classes["a"]
    assert made.groups == {}
    network = opaque(SECRET, network_of("203.0.113.7"))
    assert made.organisations == {network: NodeRule(weight=20_000)}
    campus = opaque(SECRET, network_of("2001:db8:0:ff::1"))
    assert policy.assign[-1].organisations == {campus, "org_1"}
    assert policy.place("guest", campus).class_name == "b"


def test_a_disk_that_refuses_the_last_good_one_is_no_reason_to_stop(
    loaded: settings.Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    (loaded.home / FILE).write_text(GOOD)
    (loaded.home / "run").write_text("in the way")
    assert PolicyFile(loaded, SECRET).found.source == "file"
    assert "cannot be kept" in caplog.text


class Watched:
    """A worker's policy, followed quickly."""

    def __init__(self, made: PolicyFile) -> None:
        self.file = made
        self.taken: list[str] = []

    async def until(self, taken: list[str], *, problems: int = 0) -> None:
        async with asyncio.timeout(60):
            while self.taken != taken or len(self.file.found.problems) != problems:  # noqa: ASYNC110
                await asyncio.sleep(0.002)


@pytest.fixture
async def watched(loaded: settings.Loaded, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(files, "LOOK_S", 0.005)
    made = Watched(PolicyFile(loaded, SECRET))
    task = asyncio.create_task(made.file.watch(lambda policy: made.taken.append(policy.name)))
    yield made
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def named(name: str) -> str:
    return GOOD.replace('"mine"', f'"{name}"')


async def test_a_worker_follows_the_file_and_keeps_what_is_good(
    loaded: settings.Loaded, watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    file = loaded.home / FILE
    file.write_text(named("one"))
    await watched.until(["one"])
    file.write_text(named("two") + "weight = -1\n")
    await watched.until(["one"], problems=1)
    assert watched.file.policy.name == "one"
    assert "line 5, class.a.weight" in str([record.__dict__.get("why") for record in caplog.records])
    file.write_text(named("two"))
    await watched.until(["one", "two"])
    file.write_text(named("two") + "# the same in other words\n")
    await asyncio.sleep(0.03)
    file.unlink()
    await watched.until(["one", "two"], problems=1)
    assert "gone" in watched.file.found.problems[0].text
    assert watched.file.policy.name == "two"
    file.write_text(named("three"))
    await watched.until(["one", "two", "three"])
    assert {record.levelno for record in caplog.records} <= {logging.INFO, logging.ERROR}


async def test_what_is_being_written_is_left_alone(loaded: settings.Loaded, watched: Watched) -> None:
    file = loaded.home / FILE
    with file.open("w") as out:
        for letter in named("slow"):
            out.write(letter)
            out.flush()
            assert not watched.file.look()
    await watched.until(["slow"])
    assert not watched.file.found.problems


def test_a_policy_is_replaced_whole_and_taken_back_if_it_cannot_be_recorded(loaded: settings.Loaded) -> None:
    home = loaded.home
    with pytest.raises(PolicyError, match="no policy before"):
        files.previous(loaded)
    with pytest.raises(PolicyError), replaced(loaded, "broken"):
        pass
    seen = []
    with contextlib.suppress(RuntimeError), replaced(loaded, named("one")):
        seen.append(files.read(loaded).policy.name)
        raise RuntimeError
    assert seen == ["one"]
    assert [path.name for path in home.iterdir()] == ["run"]
    with replaced(loaded, named("one")):
        pass
    assert files.previous(loaded).text == shipped_text()
    with replaced(loaded, named("two")):
        pass
    assert (files.read(loaded).policy.name, files.previous(loaded).policy.name) == ("two", "one")
    with pytest.raises(RuntimeError), replaced(loaded, named("three")):
        raise RuntimeError
    assert (files.read(loaded).policy.name, files.previous(loaded).policy.name) == ("two", "one")
    for name in (FILE, PREVIOUS, LAST_GOOD):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert not list(home.rglob(".*")), "no drafts are left"


def test_from_a_broken_file_one_goes_back_to_what_counts(loaded: settings.Loaded) -> None:
    home = loaded.home
    for name in ("one", "two"):
        with replaced(loaded, named(name)):
            pass
    (home / FILE).write_text(named("three")[:-3])
    assert (files.read(loaded).source, files.read(loaded).policy.name) == ("last good", "two")
    back = files.previous(loaded)
    assert back.policy.name == "two"
    with replaced(loaded, back.text):
        pass
    assert (files.read(loaded).problems, files.previous(loaded).policy.name) == ((), "one")


def readers(loaded: settings.Loaded) -> Iterator[str]:
    """What anybody sees of the file while it is replaced many times."""
    for number in range(50):
        with replaced(loaded, named(f"n{number}") + "#" * 5000):
            yield (loaded.home / FILE).read_text()


def test_nobody_ever_sees_a_half_of_it(loaded: settings.Loaded) -> None:
    assert all(parse(text).name.startswith("n") for text in readers(loaded))
    assert [path.name for path in (loaded.home / "run").iterdir()] == ["policy.toml"]
