"""A folder becomes a pack, or all that is wrong is told; nothing of a stranger's is run or followed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from benchmarks.bars.plan_faults import MUST, PLANTED, Planted, found

from moduai.gateway.policy_text import parse
from moduai.packs import files
from moduai.packs.pack import KINDS, Pack
from moduai.packs.read import PackError, examine, read, told
from moduai.packs.where import shipped
from tests.packs.conftest import change, faults


def test_a_pack_is_rows_with_look_ups(xa: Pack) -> None:
    assert xa.languages == ("ar", "en")
    assert xa.locale.currency == "XTS"
    assert xa.region["XA-S"].name["en"] == "Islands"
    assert xa.people == 2_000_000
    assert xa.claim["computers-money"].number == 40_000_000
    assert [one.id for one in xa.claims_of["teaching"]] == ["teaching-first", "teaching-second"]
    assert xa.who("sara-nur").kind == "person"
    assert xa.who("xa-council").kind == "council"
    assert {(one.language, one.name) for one in xa.documents} == {("ar", "plan.md"), ("en", "plan.md")}
    assert all(xa.rows(kind) for kind in KINDS)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_packs_that_come_with_modu_have_no_fault(name: str) -> None:
    examined = examine(shipped()[name], parse)
    assert [told(fault) for fault in (*examined.faults, *examined.notes)] == []
    assert examined.pack
    assert examined.pack.head.id == name


def test_faults_of_many_kinds_are_all_found_at_once_with_file_and_line(tmp_path: Path) -> None:
    lost, others = found(tmp_path / "xa", PLANTED)
    assert [one.name for one in lost] == []
    assert [told(one) for one in others] == []
    assert len({one.name for one in PLANTED}) == len(PLANTED) >= MUST


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.name)
def test_a_fault_alone_is_found_alone(tmp_path: Path, one: Planted) -> None:
    assert found(tmp_path / "xa", [one]) == ([], [])


def test_a_fault_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """The measure itself can fail."""
    fault = PLANTED[0]._replace(told="nothing that is told")
    lost, others = found(tmp_path / "xa", [fault])
    assert (lost, len(others)) == ([fault], 1)


def test_a_pack_with_a_fault_is_not_used(copy: Path) -> None:
    change(copy, "sites.toml", "watts = 200", "watts = -1")
    with pytest.raises(PackError, match=r"sites.toml:9: accelerator.0.watts: expected `float` >= 0") as error:
        read(copy, parse)
    assert len(error.value.faults) == 1


def test_all_faults_of_one_row_are_told(copy: Path) -> None:
    change(
        copy,
        "regions.toml",
        "population = 1_400_000\nhouseholds = 350_000",
        'population = "x"\nhousehold = -3',
    )
    assert faults(copy) == [
        "regions.toml:11: region.1.population: expected `int`, got `str`",
        "regions.toml:12: region.1.household: nothing here is called 'household'; did you mean households?",
    ]


def test_references_to_a_row_that_is_told_are_not_told_too(copy: Path) -> None:
    change(copy, "strategy/units.toml", 'kind = "accelerators"', 'kind = "accelerator"')
    assert faults(copy) == [
        "strategy/units.toml:16: unit.2.kind: there is no 'accelerator'; did you mean accelerators?"
    ]


def test_missing_files_and_tables_are_told(copy: Path) -> None:
    (copy / "rules.toml").unlink()
    (copy / "pack.toml").write_text('[pack]\nid = "xa"\n')
    told_ = faults(copy)
    assert "rules.toml: this file is missing" in told_
    assert "pack.toml: locale: [locale] is missing" in told_
    assert "pack.toml:1: pack: version is missing" in told_
    assert examine(copy, parse).pack is None


def test_tables_in_the_wrong_file_are_sent_home(copy: Path) -> None:
    with (copy / "sites.toml").open("a") as file:
        file.write('[[claim]]\nid = "x"\n')
    assert ": claim: no table here is called 'claim'; it belongs into strategy" in faults(copy)[0]


def test_links_are_not_followed(copy: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.toml"
    secret.write_text("[[item]]\n")
    (copy / "strategy" / "link.toml").symlink_to(secret)
    shutil.rmtree(copy / "locales")
    (copy / "locales").symlink_to(tmp_path, target_is_directory=True)
    assert faults(copy) == ["locales: links are not followed", "strategy/link.toml: links are not followed"]


def test_what_is_no_plain_file_is_not_opened(copy: Path) -> None:
    """A pipe would be waited for without end."""
    os.mkfifo(copy / "strategy" / "pipe.toml")
    assert faults(copy) == ["strategy/pipe.toml: it is not a plain file"]


@pytest.mark.parametrize(
    "name", ["setup.py", ".hidden", "strategy/run.sh", "documents/ar/page.html", "ofices.toml"]
)
def test_nothing_else_lies_in_a_pack(copy: Path, name: str) -> None:
    (copy / name).write_text("")
    assert [fault.partition(";")[0] for fault in faults(copy)] == [f"{name}: a pack has no such file"]


def test_files_for_its_keepers_may_lie_in_a_pack(copy: Path) -> None:
    (copy / "README.md").write_text("<b>anything</b>")
    (copy / "LICENSE").write_text("CC0")
    assert faults(copy) == []


def test_other_folders_are_refused(copy: Path) -> None:
    (copy / "code").mkdir()
    (copy / "documents" / "en" / "deep").mkdir()
    assert [fault.partition(";")[0] for fault in faults(copy)] == [
        "code: a pack has no such folder",
        "documents/en/deep: a pack has no such folder",
    ]


def test_a_large_file_and_many_files_are_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "strategy" / "large.toml").write_bytes(b"#" * (files.MOST_BYTES + 1))
    assert faults(copy) == ["strategy/large.toml: it is too large; at most 1,048,576 bytes"]
    for number in range(files.MOST_FILES):
        (copy / "strategy" / f"n{number}.toml").write_bytes(b"")
    assert any("the pack is too large" in fault for fault in faults(copy))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert faults(tmp_path / "none")[0] == ".: it cannot be read: No such file or directory"


def test_messages_of_a_language_bring_no_markup_of_their_own(copy: Path) -> None:
    file = copy / "locales" / "ar" / "messages.po"
    file.parent.mkdir(parents=True, exist_ok=True)
    head = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n\n'
    file.write_text(head + 'msgid "Ask <b>%(name)s</b>"\nmsgstr "<b>%(name)s</b> سؤال"\n', "utf-8")
    assert faults(copy) == []
    assert examine(copy, parse).pack.messages["ar"].startswith("msgid")  # type: ignore[union-attr]
    file.write_text(
        head + 'msgid "Ask"\nmsgstr "<script>x</script>"\n\nmsgid "%(n)s"\nmsgstr "%(x)s"\n', "utf-8"
    )
    assert faults(copy) == [
        "locales/ar/messages.po:4: it has markup that its message does not have",
        "locales/ar/messages.po:7: it has places for values that its message does not have",
    ]


def test_documents_are_there_in_each_language_with_their_head(copy: Path) -> None:
    (copy / "documents" / "ar" / "plan.md").unlink()
    (copy / "documents" / "en" / "more.md").write_text("---\ntitle: More\nlanguage: ar\n---\n\ntext\n")
    assert faults(copy) == [
        "documents/ar/more.md: this file is missing; other languages have it",
        "documents/ar/plan.md: this file is missing; other languages have it",
        "documents/en/more.md:1: kind: kind is missing between the two --- at its head",
        "documents/en/more.md:1: licence: licence is missing between the two --- at its head",
        "documents/en/more.md:1: language: it says 'ar' and lies in 'en'",
    ]


def test_one_file_that_cannot_be_read_does_not_hide_behind_what_follows_from_it(copy: Path) -> None:
    for file in ("sources.toml", "offices.toml", "strategy/plan.toml", "sites.toml"):
        text = (copy / file).read_text("utf-8")
        (copy / file).write_text(text + "\nx = \n", "utf-8")
        assert [fault.partition(" is not ")[2] for fault in faults(copy)] == ["TOML: Invalid value"], file
        (copy / file).write_text(text, "utf-8")
    change(copy, "offices.toml", '[[seat]]\nid = "xa-minister"', '[seat]\nid = "xa-minister"')
    assert faults(copy) == ["offices.toml:24: seat: seat is written [[seat]]"]
    (copy / "regions.toml").unlink()
    assert "regions.toml: this file is missing" in faults(copy)
    assert not any("no region" in fault for fault in faults(copy))
