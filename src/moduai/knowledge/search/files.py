"""Whether the files of an index on disk are as they were written.

Each file of tantivy ends with a footer: the checksum of what stands before it, as JSON, the length of that
and a magic number. Whatever cannot be read as such is damaged (fails closed).
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

_FOOTER = struct.Struct("<II")
_MAGIC = 1337


def damage(folder: Path) -> str:
    """The first file of an index that is gone, or not as it was written; empty where all are whole. Each file
    of tantivy ends with the checksum of what stands before.
    """
    wrong = ""
    for _ in range(3):  # a segment that was merged meanwhile is no damage
        try:
            segments = json.loads((folder / "meta.json").read_bytes())["segments"]
            names = [name for each in segments for name in _files(each)]
        except (OSError, ValueError, LookupError, TypeError):
            return "meta.json"
        wrong = next((name for name in names if not _whole(folder / name)), "")
        if not wrong:
            break
    return wrong


def _files(segment: dict[str, Any]) -> list[str]:
    name = segment["segment_id"].replace("-", "")
    gone = segment["deletes"]
    named = [f"{name}.{each}" for each in ("fast", "fieldnorm", "idx", "pos", "store", "term")]
    return named + ([f"{name}.{gone['opstamp']}.del"] if gone else [])


def _whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-_FOOTER.size, os.SEEK_END)
            length, magic = _FOOTER.unpack(file.read())
            end = file.seek(-_FOOTER.size - length, os.SEEK_END)
            crc = json.loads(file.read(length))["crc"]
            file.seek(0)
            found = 0
            while end:
                part = file.read(min(end, 1 << 20))
                found, end = zlib.crc32(part, found), end - len(part)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return bool(magic == _MAGIC and crc == found)
