"""The lease that the settings ask for."""

from __future__ import annotations

from moduai.cells.lease import FileLease, Lease, RedisLease
from moduai.settings import Loaded


def open_lease(loaded: Loaded) -> Lease:
    """A key in the store that ``cells.lease`` names; without one a lock in the home folder."""
    cells = loaded.settings.cells
    if cells.lease:
        return RedisLease(cells.lease, cells.name, cells.term_s)
    return FileLease(loaded.home, cells.name)
