"""The pulse: a clock that jumps deletes nothing, and one that stays so is believed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from moduai.metering import pulse
from moduai.metering.pulse import DAY_S, Heart

START = 1_790_000_000.0


class Clocks:
    """Both clocks of a machine."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / "run").mkdir()
        self.home, self._patch, self.boot, self.wall = home, monkeypatch, 500.0, START
        monkeypatch.setattr(pulse, "boot_s", lambda: self.boot)
        monkeypatch.setattr(time, "time", lambda: self.wall)

    def go(self, seconds: float, heart: Heart) -> None:
        """Time goes on, and the process with it."""
        self.boot += seconds
        self.wall += seconds
        heart.beat(self.boot, loaded=True)

    def restart(self, off_s: float, name: str) -> Heart:
        """The machine was off."""
        self._patch.setattr(pulse, "_BOOT_ID", name)
        self.boot, self.wall = 20.0, self.wall + off_s
        return Heart(self.home)


@pytest.fixture
def clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    return Clocks(tmp_path, monkeypatch)


@pytest.mark.parametrize("jump", [DAY_S, -3600.0, 400 * DAY_S])
def test_a_jump_is_seen_and_believed_after_a_day(clocks: Clocks, jump: float) -> None:
    heart = Heart(clocks.home)
    clocks.go(10, heart)
    clocks.wall += jump
    clocks.go(10, heart)
    found = pulse.read(clocks.home)
    assert found
    assert found.moved_s() == pytest.approx(jump)
    assert heart.sure() == START + 20 + min(jump, 0)
    heart = Heart(clocks.home)  # the process began anew, and knows it still
    clocks.go(DAY_S, heart)
    assert heart.sure() == clocks.wall


def test_a_clock_that_is_set_right_again_is_believed_at_once(clocks: Clocks) -> None:
    heart = Heart(clocks.home)
    clocks.wall += DAY_S
    clocks.go(10, heart)
    clocks.wall -= DAY_S
    clocks.go(10, heart)
    found = pulse.read(clocks.home)
    assert found
    assert found.moved_s() == 0
    assert heart.sure() == clocks.wall == START + 20


@pytest.mark.parametrize("off_s", [30.0, 10 * DAY_S, -5000.0])
def test_a_machine_that_was_off(clocks: Clocks, off_s: float) -> None:
    clocks.go(2, Heart(clocks.home))
    heart = clocks.restart(off_s, "another")
    found = pulse.read(clocks.home)
    assert found
    assert found.behind_s() is None, "of before nothing is known"
    believed = off_s == 30.0
    assert heart.sure() == (clocks.wall if believed else min(clocks.wall, START + 2))
    clocks.go(2, heart)
    clocks.go(DAY_S, heart)
    assert heart.sure() == clocks.wall


def test_a_file_that_cannot_be_read_or_written_is_no_fault(clocks: Clocks) -> None:
    (clocks.home / pulse.FILE).write_text("{")
    assert pulse.read(clocks.home) is None
    heart = Heart(clocks.home)
    (clocks.home / pulse.FILE).unlink()
    (clocks.home / "run").rmdir()
    clocks.go(2, heart)
    assert heart.sure() == clocks.wall
