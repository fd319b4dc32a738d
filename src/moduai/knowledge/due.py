"""When a collection is read again by itself.

Rule: what stands at an address is read again so long after it was tried last as ``knowledge.update_hours``
says, a tenth more or less by its id, so that not all are read at once; one that failed in an eighth of it.
Folders and files are read when somebody wants it: only who puts something there knows when it is whole.
"""

from __future__ import annotations

import zlib

from moduai.knowledge.store import Collection

AFAR = frozenset({"web", "git", "api"})
SPREAD = 0.1
FAILED = 1 / 8


def due_at(one: Collection, update_hours: float) -> int:
    """In Unix seconds; 0: not by itself, or it is being read."""
    if one.kind not in AFAR or not update_hours or one.state not in {"ready", "failed"}:
        return 0
    wait = update_hours * 3600 * (FAILED if one.state == "failed" else 1)
    place = zlib.crc32(one.id.encode()) / 0xFFFFFFFF
    return int(one.tried_at + wait * (1 + SPREAD * (2 * place - 1)))
