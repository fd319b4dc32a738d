"""The systemd units are understood, and leave the service little that it could do wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moduai.settings import Gateway
from moduai.supervisor import GRACE_S, Child
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
    """The supervisor's children in turn, each with its grace: in the box with all of them, in containers
    without the engine and the dispatcher.
    """
    given = 5 + Gateway().drain_s
    workers, other, metering = 2 + GRACE_S, Child("", ()).drain_s + GRACE_S, 30 + GRACE_S
    text = (DEPLOY / "systemd" / "modu.service").read_text("utf-8")
    (timeout,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert int(timeout) >= given + workers + 3 * other + metering
    text = (DEPLOY / "compose" / "compose.yaml").read_text("utf-8")
    (timeout,) = re.findall(r"stop_grace_period: (\d+)s", text)
    assert int(timeout) >= given + workers + other + metering
    text = (DEPLOY / "helm" / "modu" / "templates" / "gateways.yaml").read_text("utf-8")
    (more,) = re.findall(r"\.Values\.drainSeconds (\d+) ", text)
    assert int(more) >= workers + other + metering
