"""Files that others may make or replace at the same time: how one gets its name, and is told apart."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from pathlib import Path
from urllib.parse import quote

RESTORING = "restoring"
"""Stands in a home folder from when a restore begins to change what is there until all of it is done."""


def place(draft: Path, file: Path) -> None:
    """Give a finished draft its name, unlike a rename never over a file that is there. The draft may stay.

    Raises FileExistsError if another was first, or another OSError.
    """
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError:  # FAT and exFAT have no links, some network drives forbid them
        _reserve_and_move(draft, file)


def _reserve_and_move(draft: Path, file: Path) -> None:
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        shutil.move(draft, file)  # a rename, or a copy where the draft is on another device
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def file_address(file: Path) -> str:
    """The file as SQLite's URI that opens but never creates it."""
    return f"file:{quote(str(file))}?mode=rw"


def identity(file: Path) -> tuple[int, int] | None:
    """Device and inode of a file: another one means that it was replaced. None: it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def read_aged(file: Path, most: int) -> tuple[bytes, int] | None:
    """A file's content, cut after ``most`` bytes, and its age in ns; None: none is there. Raises OSError."""
    try:
        with file.open("rb") as found:
            return found.read(most), max(0, time.time_ns() - os.fstat(found.fileno()).st_mtime_ns)
    except FileNotFoundError:
        return None


def write(file: Path, content: str | bytes) -> None:
    """Replace a file whole: who reads it meanwhile reads the old one or the new one. Raises OSError."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content.encode() if isinstance(content, str) else content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
