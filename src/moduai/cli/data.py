"""How commands reach the database: checked, in one transaction, with errors in one line."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from moduai.cli.common import fail, run
from moduai.settings import Loaded
from moduai.store import migrate
from moduai.store.database import Connection, Database, brief
from moduai.store.keyring import Keyring, KeyringError
from moduai.store.subjects import SubjectKeys

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read(loaded: Loaded, work: Work[T], *refusals: type[Exception]) -> T:
    """Do work on a read connection; ``refusals`` are errors whose text is for people."""
    return run(_do(loaded, work, refusals, write=False))


def write(loaded: Loaded, work: Work[T], *refusals: type[Exception]) -> T:
    """Do work in a write transaction, on a database that is made first if it is not there yet."""
    return run(_do(loaded, work, refusals, write=True))


def work(
    loaded: Loaded, do: Callable[[Database], Awaitable[T]], *refusals: type[Exception], make: bool = True
) -> T:
    """Do what takes several transactions, on a database that ``make`` makes first if it is not there yet."""
    return run(_on(loaded, do, refusals, make=make))


async def _do(loaded: Loaded, work: Work[T], refusals: tuple[type[Exception], ...], *, write: bool) -> T:
    async def once(db: Database) -> T:
        async with db.begin() if write else db.connect() as connection:
            return await work(connection)

    return await _on(loaded, once, refusals, make=write)


async def _on(
    loaded: Loaded,
    do: Callable[[Database], Awaitable[T]],
    refusals: tuple[type[Exception], ...],
    *,
    make: bool,
) -> T:
    db = Database(loaded.database_url)
    told: tuple[type[Exception], ...] = (*refusals, migrate.SchemaError)
    try:
        if make and await migrate.current(db) is None:
            await migrate.upgrade(loaded.database_url)
        await migrate.check(db)
        return await do(db)
    except told as error:
        fail(str(error))
    except db.errors as error:
        fail(f"the database {db.shown()} does not answer: {brief(error)}")
    finally:
        await db.dispose()


def subject_keys(loaded: Loaded) -> SubjectKeys:
    """The keys of people's text, to be closed; ends the command where they are lost."""
    try:
        return SubjectKeys.open(loaded.home, Keyring.open(loaded.home, create=False), create=False)
    except KeyringError as error:
        fail(str(error))


def duration(text: str) -> int:
    """Seconds of "90s", "15m", "12h", "7d" or "4w"; ends the command if it is none."""
    match = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if not match:
        fail(f"{text!r} is no length of time: write 90s, 15m, 12h, 7d or 4w", 2)
    return int(match[1]) * _UNITS[match[2]]


def moment(text: str) -> int:
    """Unix seconds of "7d" (that long ago), "2026-11-21" or "2026-11-21T09:00+09:00"; UTC unless said."""
    if re.fullmatch(r"\d+[smhdw]", text.strip()):
        return int(time.time()) - duration(text)
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        fail(f"{text!r} is no time: write 7d, 2026-11-21 or 2026-11-21T09:00+09:00", 2)
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def utc(seconds: int) -> str:
    """A time for people, to the minute; empty for 0."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}" if seconds else ""


def offset(text: str) -> int:
    """Seconds east of UTC of "+09:00"; ends the command if it is none."""
    if text.upper() in {"", "Z", "UTC"}:
        return 0
    match = re.fullmatch(r"([+-])(0\d|1[0-4]):?([0-5]\d)", text)
    if not match:
        fail(f"{text!r} is no difference from UTC: write +09:00", 2)
    return (int(match[2]) * 3600 + int(match[3]) * 60) * (-1 if match[1] == "-" else 1)
