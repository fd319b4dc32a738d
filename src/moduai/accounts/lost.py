"""What a lost or strange keyring loses: whose names, conversations and reports cannot be read."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path

from msgspec import Struct
from sqlalchemy import func, select

from moduai.accounts.tables import people
from moduai.store.database import Connection
from moduai.store.keyring import Keyring, KeyringError
from moduai.store.subjects import SubjectKeys

LOOKED_AT = 2000
"""People who are looked at, by id: ids are random, so these stand for all."""


class Lost(Struct, frozen=True, kw_only=True):
    """How many of those that were looked at cannot be read, and why."""

    people: int
    """All who have an account."""
    looked_at: int = 0
    lost: int = 0
    why: str = ""

    def told(self) -> str:
        """The loss in one line; empty if there is none."""
        if not self.lost:
            return ""
        whose = f"{self.lost:,} of {self.looked_at:,} people looked at"
        return f"{whose} cannot be read (names, conversations, reports): {self.why}"


async def find_lost(connection: Connection, home: Path) -> Lost:
    """Look whether what is sealed for people can be unsealed with the home folder's keyring, as it is."""
    total = await connection.scalar(select(func.count()).select_from(people)) or 0
    query = select(people.c.id, people.c.sealed_profile).order_by(people.c.id).limit(LOOKED_AT)
    sealed = {row.id: bytes(row.sealed_profile) for row in await connection.execute(query)}
    lost, why = await asyncio.to_thread(_unreadable, home, sealed) if sealed else (0, "")
    return Lost(people=total, looked_at=len(sealed), lost=lost, why=why)


def _unreadable(home: Path, sealed: dict[str, bytes]) -> tuple[int, str]:
    try:
        with closing(SubjectKeys.open(home, Keyring.open(home, create=False), create=False)) as subjects:
            lost = sum(not subjects.readable(subject, text) for subject, text in sealed.items())
    except KeyringError as error:
        return len(sealed), str(error)
    return lost, "their keys are not in keyring/subjects.db, or keyring/master.key is another"
