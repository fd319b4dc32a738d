"""The files of a pack's folder, within limits.

Rule: the folder is a stranger's. Only names that a pack has are read, only plain files, nothing through a
link, nothing beyond the limits; whatever else lies there is a fault, hidden files too (fails closed).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from moduai.lined import near
from moduai.packs.pack import KINDS, STRATEGY, Fault
from moduai.packs.where import POLICY

MOST_FILES = 600
MOST_BYTES = 1_048_576
"""Of one file."""
MOST_BYTES_TOGETHER = 16 * MOST_BYTES
SCENARIOS: Final = "scenarios"
"""The folder of what the planner may run; the planner checks it."""
TABLES: Final = tuple(dict.fromkeys(kind.file for kind in KINDS.values() if kind.file != STRATEGY))
"""Files of tables outside the strategy."""

_LANGUAGE = r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?(?:-[A-Z]{2})?"
_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
_FOLDERS = re.compile(rf"{STRATEGY}|{SCENARIOS}|documents|locales|(?:documents|locales)/{_LANGUAGE}")
_FILES = re.compile(
    rf"{STRATEGY}/{_NAME}\.toml|{SCENARIOS}/_?{_NAME}\.toml|documents/{_LANGUAGE}/{_NAME}\.md|locales/{_LANGUAGE}/messages\.po"
)
_UNREAD: Final = ("README.md", "LICENSE")
"""For those who keep the pack."""
_KNOWN: Final = (*TABLES, POLICY, *_UNREAD)


def contents(folder: Path) -> tuple[dict[str, bytes], list[Fault]]:
    """What the files hold, by their names in the folder, and what is wrong. Fails closed."""
    found: dict[str, bytes] = {}
    faults: list[Fault] = []
    together = 0
    for number, (name, path, strange) in enumerate(_walk(folder)):
        data, wrong = (b"", strange) if strange else _read(path)
        together += len(data)
        if together > MOST_BYTES_TOGETHER or number >= MOST_FILES:
            most = f"at most {MOST_FILES} files and {MOST_BYTES_TOGETHER:,} bytes"
            return {}, [Fault(name, 0, (), f"the pack is too large; {most}")]
        if wrong:
            faults.append(Fault(name, 0, (), wrong))
        else:
            found[name] = data
    return found, faults


def _walk(folder: Path, inside: str = "") -> Iterator[tuple[str, Path, str]]:
    """Files in the order of their names, and what is wrong with them by their kind or name."""
    try:
        with os.scandir(folder) as entries:
            each = sorted(islice(entries, MOST_FILES + 1), key=lambda one: one.name)
    except OSError as error:
        yield inside or ".", folder, f"it cannot be read: {error.strerror}"
        return
    for entry in each:
        name = inside + entry.name
        if entry.is_symlink():
            yield name, folder, "links are not followed"
        elif entry.is_dir():
            if _FOLDERS.fullmatch(name):
                yield from _walk(folder / entry.name, f"{name}/")
            else:
                yield (
                    name,
                    folder,
                    "a pack has no such folder; there are strategy, scenarios, documents, locales",
                )
        elif name in _KNOWN or _FILES.fullmatch(name):
            if name not in _UNREAD:
                yield name, folder / entry.name, ""
        else:
            yield name, folder, f"a pack has no such file; {near(name, list(_KNOWN))}"


def _read(path: Path) -> tuple[bytes, str]:
    """What a plain file holds, or why not. It is the file that was opened that is looked at."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return b"", "it is not a plain file"
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        return b"", f"it cannot be read: {error.strerror}"
    if len(data) > MOST_BYTES:
        return b"", f"it is too large; at most {MOST_BYTES:,} bytes"
    return data, ""
