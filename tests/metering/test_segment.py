from __future__ import annotations

import errno
import fcntl
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moduai.metering.row import UsageRow
from moduai.metering.segment import SegmentWriter
from moduai.settings import Ledger


def row(number: int, **fields: object) -> UsageRow:
    return UsageRow(**{"id": f"r{number}", "at": number, "subject": "sub_1", **fields})  # type: ignore[arg-type]


def written(folder: Path) -> list[str]:
    lines = b"".join(file.read_bytes() for file in sorted(folder.glob("*.jsonl"))).splitlines()
    return [msgspec.json.decode(line, type=UsageRow).id for line in lines]


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[SegmentWriter]:
    made = SegmentWriter(tmp_path / "usage", Ledger(segment_bytes=2000, buffer_rows=100), "w0")
    yield made
    made.close()


def test_rows_are_written_in_order_and_files_rotate(writer: SegmentWriter, tmp_path: Path) -> None:
    for number in range(60):
        writer.add(row(number))
        if number % 3 == 0:
            assert writer.rows_waiting == (1 if number == 0 else 3)
            writer.flush()
    writer.flush()
    assert writer.rows_waiting == 0
    assert written(tmp_path / "usage") == [f"r{number}" for number in range(60)]
    assert len(list((tmp_path / "usage").iterdir())) > 2


def test_nothing_is_opened_without_a_row(writer: SegmentWriter, tmp_path: Path) -> None:
    writer.flush()
    assert not (tmp_path / "usage").exists()


def test_files_are_private_and_locked(writer: SegmentWriter, tmp_path: Path) -> None:
    writer.add(row(1))
    writer.flush()
    (file,) = (tmp_path / "usage").iterdir()
    assert (tmp_path / "usage").stat().st_mode & 0o777 == 0o700
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_two_writers_of_one_name_do_not_meet(tmp_path: Path) -> None:
    writers = [SegmentWriter(tmp_path, Ledger(), "w0") for _ in range(2)]
    for number, each in enumerate(writers):
        each.add(row(number))
        each.close()
    assert sorted(written(tmp_path)) == ["r0", "r1"]


def test_a_deleted_segment_is_followed_by_a_new_one(writer: SegmentWriter, tmp_path: Path) -> None:
    writer.add(row(1))
    writer.flush()
    (file,) = (tmp_path / "usage").iterdir()
    file.unlink()
    (tmp_path / "usage").rmdir()
    writer.add(row(2))
    writer.flush()
    assert written(tmp_path / "usage") == ["r2"]


def test_text_that_is_not_unicode_is_repaired(writer: SegmentWriter, tmp_path: Path) -> None:
    writer.add(row(1, model="\ud800bad"))
    writer.add(row(2))
    writer.flush()
    assert written(tmp_path / "usage") == ["r1", "r2"]


@settings(max_examples=50)
@given(answers=st.lists(st.one_of(st.integers(min_value=1, max_value=400), st.just(-1)), max_size=30))
def test_short_writes_and_errors_lose_and_repeat_nothing(
    answers: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """``answers``: bytes that each write takes, or -1 for "no space left"."""
    folder = tmp_path_factory.mktemp("usage")
    real, left = os.write, list(answers)

    def write(handle: int, data: bytes) -> int:
        answer = left.pop(0) if left else len(data)
        if answer < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:answer])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", write)
        writer = SegmentWriter(folder, Ledger(segment_bytes=700), "w0")
        for number in range(40):
            writer.add(row(number))
            if number % 4 == 3:
                writer.flush()
        while writer.rows_waiting:
            writer.flush()
        writer.close()
    assert not writer.failing
    assert written(folder) == [f"r{number}" for number in range(40)]


def test_a_full_disk_keeps_rows_and_then_refuses(tmp_path: Path) -> None:
    """A real one: a small tmpfs where this process may mount, otherwise a limit on the file's size."""
    program = Path(__file__).with_name("full_disk.py")
    result = subprocess.run(
        [sys.executable, str(program), str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ok")


def test_the_file_size_limit_is_met(tmp_path: Path) -> None:
    """The other way to a disk that is full in the middle of a line."""
    program = Path(__file__).with_name("full_disk.py")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))

    result = subprocess.run(
        [sys.executable, str(program), str(tmp_path), "limit"],
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("ok")
