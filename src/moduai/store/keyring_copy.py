"""A copy of the keyring, one state of each file, while the service runs.

The keys of people change with each account that is made or deleted, so a copy is made as often as a
backup, and kept in another place than it. An older copy holds keys that were destroyed since: keep the
newest only.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from moduai.store.backup import BackupError
from moduai.store.files import file_address
from moduai.store.subjects import FILE


def copy_keyring(home: Path, folder: Path) -> list[str]:
    """Copy ``home/keyring`` to ``folder``, which must not exist yet; the names of what was copied.

    Raises BackupError: nothing was left behind.
    """
    source = home / "keyring"
    if not (source / "master.key").is_file():
        raise BackupError(f"there is no keyring in {source}")
    if folder.exists():
        raise BackupError(f"{folder} is there already: name another folder")
    draft = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    try:
        draft.mkdir(mode=0o700)
        names = sorted(file.name for file in source.iterdir() if _is_kept(file))
        for name in names:
            _copy(source / name, draft / name)
        draft.rename(folder)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"the keyring could not be copied: {error}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return names


def _is_kept(file: Path) -> bool:
    return file.is_file() and not file.name.startswith(".") and not file.name.endswith("-journal")


def _copy(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    if source.name == FILE:
        with (
            closing(sqlite3.connect(file_address(source), uri=True, timeout=10)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.backup(writing)
    else:
        target.write_bytes(source.read_bytes())
    with target.open("rb") as written:
        os.fsync(written.fileno())
