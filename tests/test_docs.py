"""The documents say what the code does, and point at what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec
import pytest
from benchmarks import faults
from benchmarks.bars.cells_faults import QUICK
from scripts.reference import PAGES

from moduai import __version__, settings
from moduai.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_follows_from_the_code_is_up_to_date(page):
    assert (ROOT / "docs" / page).read_text("utf-8") == PAGES[page](), "run `make reference`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_point_at_something(document):
    text = re.sub(r"```.*?```", "", document.read_text("utf-8"), flags=re.DOTALL)
    broken = [
        target
        for target in re.findall(r"\]\(([^)\s#]+)", text)
        if not re.match(r"[a-z]+:", target) and not (document.parent / target).exists()
    ]
    assert not broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_commands_and_settings_that_are_named_exist(document):
    text = document.read_text("utf-8")
    named = set(re.findall(r"(?:^|`|\$ )modu ([a-z]+)", text, flags=re.MULTILINE))
    assert named <= COMMANDS.keys() | {"command"}
    variables = set(re.findall(r"MODU_([A-Z]+__[A-Z_]+)", text))
    known = {name.upper().replace(".", "__") for name, _ in settings.catalogue()}
    assert variables <= known


FAULTS = faults.read()


@pytest.mark.parametrize("fault", FAULTS, ids=[one.name for one in FAULTS])
def test_each_row_of_what_dies_names_tests_that_there_are(fault):
    assert fault.tests
    for name in fault.tests:
        file, _, test = name.partition("::")
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        assert test in {getattr(node, "name", "") for node in tree.body}
    assert all(msgspec.structs.astuple(fault)), "every cell is filled in"


def test_a_quick_run_has_rows_that_there_are():
    assert set(QUICK) <= {one.name for one in FAULTS}


def test_the_changelog_names_this_version():
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_every_document_is_reachable_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in seen or document.suffix != ".md":
            continue
        seen.add(document)
        targets = re.findall(r"\]\(([^)\s#:]+)", document.read_text("utf-8"))
        waiting += [(document.parent / target).resolve() for target in targets]
    assert {str(path.relative_to(ROOT)) for path in set(DOCUMENTS) - seen} == set()


def test_the_sizes_that_are_told_are_of_what_is_locked():
    sizes = [
        line.split() for line in (ROOT / "requirements" / "sizes.txt").read_text("utf-8").splitlines()[1:]
    ]
    for lock in ("core", "dev"):
        text = (ROOT / "requirements" / f"{lock}.lock").read_text("utf-8")
        locked = set(re.findall(r"^([a-z0-9.-]+)==([^\s;]+)", text, flags=re.MULTILINE))
        told = {(name, version) for kind, name, version, _ in sizes if kind == lock}
        assert told <= locked, "run `python -m scripts.sizes`"
        assert len(told) > 0.9 * len(locked)
