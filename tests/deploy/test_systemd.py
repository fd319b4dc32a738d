"""The systemd units are understood, and leave the service little that it could do wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.front import DEPLOY, program

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MOST_EXPOSED = 20
"""Tenths of systemd's measure from 0 to 10; without a sandbox it is 96."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_understood_and_locked_up(unit: Path, tmp_path: Path) -> None:
    analyze, here = program("systemd-analyze"), tmp_path / unit.name
    text = unit.read_text("utf-8")
    for command in set(re.findall(r"^Exec\w+=(/opt/modu/bin/\w+)", text, re.MULTILINE)):
        text = text.replace(command, shutil.which("true") or "/bin/true")
    assert "/opt/" not in text
    here.write_text(text, "utf-8")
    said = subprocess.run([analyze, "verify", str(here)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    most = f"--threshold={MOST_EXPOSED}"
    said = subprocess.run(
        [analyze, "security", "--offline=yes", most, str(here)], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout


def test_a_stop_may_take_as_long_as_draining_does() -> None:
    """The supervisor's children in turn: workers, search, metering, each with its grace."""
    text = (DEPLOY / "systemd" / "modu.service").read_text("utf-8")
    timeout = int(re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)[0])
    leave, drain, metering, others = 5, 30 + 2, 30, 3 * 5
    assert timeout >= leave + drain + metering + others
