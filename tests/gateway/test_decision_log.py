"""The decision log on disk: bounded, whole or ended, and replayed by the command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from moduai import settings
from moduai.app import Worker
from moduai.cli import policy as command
from moduai.gateway.decision_log import SUFFIX, DecisionLog, segments
from moduai.scheduling import FairQueue, ReplicaSpec
from moduai.scheduling.journal import Journal
from moduai.scheduling.policy import PLAIN
from moduai.settings import Loaded


def loaded(home: Path, **changes: Any) -> Loaded:
    values = {f"line.{name}": value for name, value in {"journal": "decisions", **changes}.items()}
    return settings.load(home, {}, {**values, "ledger.segment_bytes": 1000, "ledger.buffer_rows": 400})


def decided(log: DecisionLog, times: int = 100) -> list[Path]:
    """The files, after some decisions."""
    log.line.set_replica("r", ReplicaSpec(frozenset({"m"}), 1), is_open=True, now=0)
    for number in range(times):
        log.line.tick(number)
        if not number % 20:
            log.flush()
    log.close()
    return sorted(log._folder.glob(f"*{SUFFIX}"))


def replayed(file: Path, *options: str) -> Result:
    return CliRunner().invoke(command.app, ["replay", str(file), *options])


def test_a_log_in_segments_is_replayed_whole(tmp_path: Path) -> None:
    files = decided(DecisionLog(loaded(tmp_path), "w", PLAIN))
    assert len(files) > 1
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    decided(DecisionLog(loaded(tmp_path), "w", PLAIN), 5)
    assert segments(files[1]) == files
    result = replayed(files[-1])
    assert (result.exit_code, result.stdout[:25]) == (0, "All agree: 101 decisions,")
    told = msgspec.json.decode(replayed(files[0], "--json").stdout)
    assert told["agrees"]
    assert told["segments"] == len(files)


def test_a_log_that_differs_is_told(tmp_path: Path) -> None:
    files = decided(DecisionLog(loaded(tmp_path), "w", PLAIN), 5)
    (file,) = files
    text = file.read_bytes()
    file.write_bytes(text.replace(b'["tick",2]\n', b""))
    result = replayed(file)
    assert (result.exit_code, "differ after the first 0" in result.stderr) == (1, True)
    result = replayed(file, "--json")
    assert (result.exit_code, msgspec.json.decode(result.stdout)["agrees"]) == (1, False)
    file.write_bytes(text.split(b'["hash"')[0])
    assert "no hash" in replayed(file).stderr
    file.write_bytes(b"odd\n")
    assert "line 1 cannot be replayed" in replayed(file).stderr
    other = replayed(tmp_path / "none")
    assert (other.exit_code, "none" in other.stderr) == (1, True)


def test_a_log_ends_at_its_size_without_a_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog(loaded(tmp_path), "w", PLAIN)
    log._left = 3000
    files = decided(log, 600)
    assert sum(file.stat().st_size for file in files) < 4000
    assert caplog.text.count("ends here") == 1
    assert replayed(files[0]).exit_code in (0, 1)
    assert b"tick" in files[-1].read_bytes()


def test_a_log_ends_where_the_disk_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "decisions").touch()
    log = DecisionLog(loaded(tmp_path), "w", PLAIN)
    for number in range(1000):
        log.line.tick(number)
        log.flush()
    assert log.failing
    assert log.rows_waiting == 400
    assert caplog.text.count("ends here") == 1


def test_old_logs_go_when_a_worker_starts(tmp_path: Path) -> None:
    folder = tmp_path / "decisions"
    folder.mkdir()
    for age, name in enumerate("abc"):
        file = folder / f"{name}{SUFFIX}"
        file.write_bytes(bytes(400_000))
        os.utime(file, (age, age))
    DecisionLog(loaded(tmp_path, journal_mb=1), "w", PLAIN)
    assert sorted(file.name[0] for file in folder.iterdir()) == ["b", "c"]


def test_old_logs_that_cannot_go_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "decisions"
    odd = folder / f"a{SUFFIX}"
    (odd / "b").mkdir(parents=True)
    os.utime(odd, (0, 0))
    (folder / f"b{SUFFIX}").write_bytes(bytes(2 << 20))
    (folder / f"b{SUFFIX}").chmod(0o600)
    DecisionLog(loaded(tmp_path, journal_mb=1), "w", PLAIN)
    assert "cannot be removed" in caplog.text
    assert odd.exists()


async def test_a_worker_keeps_a_log_only_if_it_is_told_to(tmp_path: Path) -> None:
    for name, kind in (("decisions", Journal), ("", FairQueue)):
        worker = Worker(settings.load(tmp_path, {}, {"line.journal": name}))
        assert type(worker.lane.line) is kind
        await worker.stop()
    (file,) = (tmp_path / "decisions").iterdir()
    assert replayed(file).exit_code == 0
