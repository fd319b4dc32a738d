"""Degraded modes: one list, and all that goes by it."""

from __future__ import annotations

import gettext
import os
from pathlib import Path

import pytest

from moduai import app, settings
from moduai.gateway import degraded, machine
from moduai.gateway.metrics import exposition, figures
from moduai.metering import pulse
from moduai.web.console import words

NAMES = [mode.name for mode in degraded.MODES]


def test_names_are_there_once() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("mode", degraded.MODES, ids=NAMES)
def test_the_console_says_the_same_in_each_language(mode: degraded.Mode) -> None:
    assert words.degraded(gettext.NullTranslations(), mode.name) == mode.what
    locales = Path(words.__file__).parents[1] / "locales"
    text = (locales / "ko/LC_MESSAGES/messages.po").read_text("utf-8")
    joined = text.replace('"\n"', "")
    assert f'msgid "{mode.what}"' in joined
    assert f'msgid "{mode.what}"\nmsgstr ""\n\n' not in joined


async def test_a_worker_decides_all_and_its_metrics_tell_them(tmp_path: Path) -> None:
    worker = app.Worker(settings.load(tmp_path / "home", {}))
    assert worker.modes().keys() == set(degraded.MODES)
    named = worker.degraded()
    assert {"database", "engines"} <= set(named), "nothing is known yet"
    told = exposition({"1": figures(worker.lane, degraded=named)}).decode().splitlines()
    for name in NAMES:
        assert f'modu_degraded{{mode="{name}"}} {int(name in named)}' in told
    await worker.database.dispose()


def test_a_metering_process_that_says_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(pulse, "boot_s", lambda: now[0])
    loaded = settings.load(tmp_path, {}, {"ledger.late_s": 5.0})
    (tmp_path / "run").mkdir()
    eye = machine.Machine(loaded)
    now[0] += 6
    eye.look()
    assert eye.modes[degraded.METERING], "it has never said anything"
    heart = pulse.Heart(tmp_path)
    heart.beat(now[0], loaded=True)
    eye.look()
    assert not any(eye.modes.values())
    now[0] += 7
    heart.beat(now[0], loaded=False)  # it lives, and the database is away
    eye.look()
    assert (eye.behind_s, eye.modes[degraded.METERING]) == (7, True)


def test_a_disk_is_nearly_full_by_its_own_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk(total: int, free: int) -> bool:
        found = os.statvfs_result((4096, 4096, total, free, free, 1, 1, 1, 0, 255))
        monkeypatch.setattr(os, "statvfs", lambda _folder: found)
        eye = machine.Machine(settings.load(tmp_path, {}))
        eye.look()
        return eye.modes[degraded.DISK]

    assert disk(10**9, 65_000)
    assert not disk(10**9, 66_000)
    assert disk(1000, 49)
    assert not disk(1000, 51)
