"""Keeping house, beside the loading of usage: hours are summed up, days made ahead, and what its time has
passed is deleted.

Rule: every table that grows with use has its line in ``KEPT``; a test holds them to each other. Work is done
in small steps between two rounds of loading, and what fails is tried again (fails open: nothing is lost by
a table that is larger for a while). What is deleted for its age is deleted by a time that is never ahead.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from moduai.accounts.invitations import purge_invitations
from moduai.accounts.quotas import PURGED as BOOKS_PURGED
from moduai.accounts.quotas import purge_books
from moduai.accounts.reports import purge_reports
from moduai.accounts.sessions import purge_sessions
from moduai.history.conversations import PURGED, purge
from moduai.metering.days import make_ahead
from moduai.metering.hours import sum_up
from moduai.metering.retention import close_days, drop_hours, drop_rows
from moduai.settings import Settings
from moduai.store.database import Database, brief

KEPT: Final = {
    "usage": "`ledger.keep_days`; days go as a whole on PostgreSQL",
    "usage_hours": "`ledger.keep_hours_days`, and never before their rows",
    "open_hours": "until the hour is summed up",
    "kept_from": "one row",
    "segments": "until the segment is loaded",
    "changes": "one row a topic",
    "turns": "`history.retention_days`, or until their person deletes them",
    "conversations": "as their turns; deleted ones a day longer, as a bare row",
    "reports": "`history.report_days` after they were handled, or as long as their person's account",
    "sessions": "until they end (`people.session_days`)",
    "invitations": "30 days after they were used or ended",
    "people": "until the account is deleted",
    "identities": "as their person",
    "looks": "as the account of the person whose text was looked at: it is told to them",
    "deletions": "for ever: a restored backup has them replayed",
    "audit": "for ever: a chain with a gap proves nothing",
    "audit_roots": "for ever",
    "organisations": "until staff delete them",
    "api_keys": "for ever when revoked, without the key: the ledger names them",
    "quotas": "until staff clear them, or the person's account is deleted",
    "quota_books": "40 days after the day or month began",
    "engines": "until staff remove them",
    "switches": "one row a switch",
    "collections": "until staff remove them",
    "documents": "a bare row when removed, so that its numbers are never used again",
    "document_versions": "as their document: answers cite them",
    "proposals": "for ever: the plan's record",
}
"""Each table, and how long its rows are kept."""
HOURS_S: Final = 30.0
"""How often it is looked whether an hour can be summed up, or its sums deleted."""
DELETE_S: Final = 3600.0
AGAIN_S: Final = 10.0
"""How long what failed is left alone."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    every: float
    """Seconds."""
    step: Callable[[float], Awaitable[bool]]
    """Does a part of what is to do at a time in Unix seconds; whether there is more."""
    due: float = float("-inf")


class Keeper:
    """All that is to keep. ``step`` is called between two rounds of loading."""

    def __init__(self, db: Database, settings: Settings, sure: Callable[[], float] = time.time) -> None:
        """``sure`` gives the Unix time that deleting goes by (``pulse.Heart``)."""
        self._db = db
        self._sure = sure
        self._settings = settings
        self._failing = False
        self._jobs = (
            _Job(DELETE_S, self._make_days),
            _Job(HOURS_S, self._sum_up),
            _Job(DELETE_S, self._close_days),
            _Job(DELETE_S, self._delete_usage),
            _Job(HOURS_S, self._delete_sums),
            _Job(DELETE_S, self._delete_of_people),
        )

    async def step(self) -> None:
        """Do a part of what is due. Never raises for the database."""
        for job in self._jobs:
            if job.due > time.monotonic():
                continue
            try:
                more = await job.step(time.time())
            except self._db.errors as error:
                if not self._failing:
                    log.warning("the ledger is not kept in order", extra={"why": brief(error)})
                self._failing = True
                job.due = time.monotonic() + AGAIN_S
                return
            job.due = time.monotonic() + (0 if more else job.every)
        self._failing = False

    async def _make_days(self, now: float) -> bool:
        await make_ahead(self._db, now)
        return False

    async def _sum_up(self, now: float) -> bool:
        return await sum_up(self._db, now)

    async def _close_days(self, _now: float) -> bool:
        await close_days(self._db, self._settings.ledger.keep_days, self._sure())
        return False

    async def _delete_usage(self, _now: float) -> bool:
        return await drop_rows(self._db)

    async def _delete_sums(self, _now: float) -> bool:
        await drop_hours(self._db, self._settings.ledger.keep_hours_days, self._sure())
        return False

    async def _delete_of_people(self, _now: float) -> bool:
        history, now = self._settings.history, self._sure()
        async with self._db.begin() as connection:
            turns = await purge(connection, now, history.retention_days)
            sessions = await purge_sessions(connection, now)
            await purge_invitations(connection, now)
            await purge_reports(connection, now, history.report_days)
            books = await purge_books(connection, now)
        if turns or sessions:
            log.info("what its time has passed was deleted", extra={"turns": turns, "sessions": sessions})
        return turns == PURGED or books == BOOKS_PURGED
