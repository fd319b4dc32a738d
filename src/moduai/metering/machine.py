"""The machine's id in the names of its segments: machines that share a database know their own by it."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from moduai.store.files import place


def machine_id(home: Path) -> str:
    """12 hexadecimal digits in ``home/run/machine-id``, made on first use. Raises OSError.

    It is in no backup, so a home folder that is restored on another machine gets another one. One that is
    damaged is made anew: offsets of the old one then stay, which costs a few rows and no usage.
    """
    file = home / "run" / "machine-id"
    if not (known := _read(file)):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f".{secrets.token_hex(8)}.new")
        draft.touch(mode=0o600)
        try:
            draft.write_text(f"{secrets.token_hex(6)}\n", "ascii")
            file.unlink(missing_ok=True)  # there only if damaged
            place(draft, file)
        except FileExistsError:
            pass  # another process was first
        finally:
            draft.unlink(missing_ok=True)
        known = _read(file)
    return known


def _read(file: Path) -> str:
    try:
        text = file.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return ""
    return text if re.fullmatch("[0-9a-f]{12}", text) else ""
