"""faults: does each row of "When parts die" hold? Its tests are run, some with faults of a minute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.bars import Bench, Measured, Row
from benchmarks.faults import read
from benchmarks.harness.process import ROOT

LONG = "MODU_BENCH_FAULTS_LONG"
QUICK = ("disk, slow: each write takes seconds", "metering, killed or paused")
"""Rows of a quick run; CI runs all of them as tests."""


def faults(bench: Bench) -> Measured:
    """Rows that hold, of all; a note for each."""
    rows = [one for one in read() if not bench.quick or one.name in QUICK]
    outcomes = _run(sorted({name for one in rows for name in one.tests}), bench)
    told = {one.name: _told([outcomes.get(name, "was not run") for name in one.tests]) for one in rows}
    held = sum(word == "holds" for word in told.values())
    notes = [f"{name}: {word}" for name, word in told.items()]
    return Measured(Row("faults", held, f"= {len(rows)}", held == len(rows)), notes, broken=held < len(rows))


def _run(tests: list[str], bench: Bench) -> dict[str, str]:
    """By test: empty where it passed in all its forms, or why not."""
    report = bench.place("faults") / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", "--timeout=900", f"--junitxml={report}"]
    environ = os.environ | {LONG: "" if bench.quick else "1"}
    command = [sys.executable, "-m", "pytest", *options, *tests]
    subprocess.run(command, cwd=ROOT, env=environ, stdout=sys.stderr, check=False)
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = _named(case.get("classname", ""), case.get("name", ""))
        wrong = [child for kind in ("failure", "error", "skipped") for child in case.iter(kind)]
        found[name] = found.get(name, "") or "".join(f"{one.tag}: {one.get('message')}" for one in wrong)
    return found


def _named(module: str, test: str) -> str:
    return f"{Path(*module.split('.'))}.py::{test.partition('[')[0]}"


def _told(outcomes: list[str]) -> str:
    wrong = [why for why in outcomes if why]
    return f"NO, {wrong[0][:200]}" if wrong else "holds"
