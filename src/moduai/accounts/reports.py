"""Reports: a reader says that an answer was wrong, harmful or against someone's rights; staff look at it.

Words: the *text* of a report is what its reporter chose to show (question, answer, remark), sealed with
the reporter's own key, a guest's with a key of the report; a report is *open* until staff have *handled*
or *dismissed* it.

Rule: who reads a report's text stands in the audit log, and its reporter sees it. A lost or destroyed key
leaves the report, with its text told as unreadable.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from sqlalchemy import delete, func, select, tuple_, update

from moduai.accounts import audit
from moduai.accounts.tables import audit as audit_entries
from moduai.accounts.tables import organisations, people, reports
from moduai.store.database import Connection
from moduai.store.keyring import KeyringError

if TYPE_CHECKING:
    from moduai.store.subjects import SubjectKeys

REASONS = ("wrong", "harmful", "private", "rights", "other")
STATES = ("open", "handled", "dismissed")
MOST_TEXT = 100_000
"""Characters kept of a question and of an answer; the rest is cut off, with a mark."""
MOST_REMARK = 2_000
MOST_NOTE = 500
HOURLY_PERSON = 20
"""Reports that one person may file in an hour."""
HOURLY_GUESTS = 120
"""Reports that all guests together may file in an hour."""
CUT = " […]"


class ReportError(ValueError):
    """A report is unknown or not valid, or there are too many; the text says what to do."""


class ReportText(Struct, frozen=True, kw_only=True):
    """What the reporter showed."""

    question: str = ""
    answer: str = ""
    remark: str = ""


class ReportInfo(Struct, frozen=True, kw_only=True):
    """A report without its text. Times are Unix seconds; 0: never."""

    id: str
    person: str
    """Who filed it; empty for a guest."""
    turn: str
    model: str
    reason: str
    state: str
    handled_by: str
    note: str
    """What staff noted."""
    created_at: int
    handled_at: int

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the list: for ``list_reports(before=…)``."""
        return self.created_at, self.id


class Report(Struct, frozen=True, kw_only=True):
    """A report with its text."""

    info: ReportInfo
    text: ReportText | None
    """None if its key is lost or destroyed."""
    unreadable: str = ""
    """Why there is no text."""


class OwnReport(Struct, frozen=True):
    """A report as who filed it may have it. ``text`` is None if its key is lost."""

    id: str
    turn: str
    model: str
    reason: str
    state: str
    created_at: int
    text: ReportText | None


class Reading(Struct, frozen=True, kw_only=True):
    """Staff read the text of a person's report: what that person is told of it. Times are Unix seconds."""

    report: str
    role: str
    """The reader's role now; "cli" for who may use the machine's command line, empty if no longer here."""
    organisation: str
    """Name of the reader's organisation."""
    reported_at: int
    at: int


async def file_report(
    connection: Connection,
    subjects: SubjectKeys,
    *,
    person: str,
    turn: str,
    model: str,
    reason: str,
    text: ReportText,
) -> str:
    """Keep a report and return its id. Raises ReportError; too many in an hour fail closed."""
    if reason not in REASONS:
        raise ReportError(f"there is no reason {reason[:40]!r}: {', '.join(REASONS)}")
    if len(text.remark) > MOST_REMARK:
        raise ReportError(f"a remark has at most {MOST_REMARK:,} characters")
    if not (_is_word(turn, 64) and _is_word(model, 256)):
        raise ReportError("a report names its answer and its model by their ids")
    now = int(time.time())
    await _check_pace(connection, person, now)
    made = f"rep_{secrets.token_hex(8)}"
    kept = ReportText(question=_cut(text.question), answer=_cut(text.answer), remark=_cut(text.remark))
    values = {
        "id": made,
        "person": person,
        "turn": turn,
        "model": model,
        "reason": reason,
        "state": "open",
        "handled_by": "",
        "note": "",
        "sealed": subjects.seal(person or made, f"report {made}", msgspec.json.encode(kept)),
        "created_at": now,
        "handled_at": 0,
    }
    await connection.execute(reports.insert().values(values))
    return made


async def list_reports(
    connection: Connection,
    state: str = "",
    *,
    person: str = "",
    before: tuple[int, str] | None = None,
    limit: int = 100,
) -> list[ReportInfo]:
    """Reports without their text, newest first; of one state or person if named."""
    query = select(*_INFO)
    if state:
        query = query.where(reports.c.state == state)
    if person:
        query = query.where(reports.c.person == person)
    order = (reports.c.created_at, reports.c.id)
    if before:
        query = query.where(tuple_(*order) < before)
    rows = await connection.execute(query.order_by(*(column.desc() for column in order)).limit(limit))
    return [ReportInfo(**row._mapping) for row in rows]


async def count_reports(connection: Connection, state: str = "open") -> int:
    """How many there are of a state."""
    count = select(func.count()).select_from(reports).where(reports.c.state == state)
    return await connection.scalar(count) or 0


async def read_report(connection: Connection, subjects: SubjectKeys, id: str, staff: str) -> Report:  # noqa: A002
    """One report with its text, for staff; the caller's write transaction records who read it, and the text
    may be shown only once that is committed. Raises ReportError. Fails closed.
    """
    found = await _find(connection, id)
    await audit.record(
        connection, actor=staff, action="report.read", target=id, detail={"person": found.person}
    )
    return _unsealed(subjects, found)


async def own_reports(connection: Connection, subjects: SubjectKeys, person: str) -> list[OwnReport]:
    """What a person reported, newest first, for that person; who handled it and notes are staff's."""
    query = select(reports).where(reports.c.person == person).order_by(reports.c.created_at.desc())
    found = [_unsealed(subjects, row) for row in await connection.execute(query)]
    return [
        OwnReport(
            each.info.id,
            each.info.turn,
            each.info.model,
            each.info.reason,
            each.info.state,
            each.info.created_at,
            each.text,
        )
        for each in found
    ]


async def readings_of(connection: Connection, person: str, limit: int = 200) -> list[Reading]:
    """Who read what this person reported, newest first, for that person: from the audit log, as long as the
    report is kept.
    """
    log = audit_entries
    staff = log.outerjoin(people, log.c.actor == people.c.id)
    staff = staff.outerjoin(organisations, people.c.organisation == organisations.c.id)
    query = select(
        log.c.at, log.c.actor, log.c.target, reports.c.created_at, people.c.role, organisations.c.name
    )
    query = query.select_from(staff.join(reports, reports.c.id == log.c.target))
    query = query.where(reports.c.person == person, log.c.action == "report.read")
    return [
        Reading(
            report=row.target,
            role="cli" if row.actor == "cli" else row.role or "",
            organisation=row.name or "",
            reported_at=row.created_at,
            at=row.at // 1_000_000,
        )
        for row in await connection.execute(query.order_by(log.c.at.desc()).limit(limit))
    ]


async def handle_report(
    connection: Connection,
    id: str,  # noqa: A002
    staff: str,
    state: str,
    note: str = "",
) -> ReportInfo:
    """Set a report's state, with a note of at most ``MOST_NOTE`` characters. Raises ReportError."""
    if state not in STATES:
        raise ReportError(f"there is no state {state[:40]!r}: {', '.join(STATES)}")
    if len(note) > MOST_NOTE or not note.replace("\n", "").isprintable():
        raise ReportError(f"a note has at most {MOST_NOTE} printable characters")
    found = await _find(connection, id)
    values = {
        "state": state,
        "note": note,
        "handled_by": "" if state == "open" else staff,
        "handled_at": 0 if state == "open" else int(time.time()),
    }
    await connection.execute(update(reports).where(reports.c.id == id).values(values))
    detail: dict[str, audit.Value] = {"from": found.state, "to": state}
    await audit.record(connection, actor=staff, action="report.handle", target=id, detail=detail)
    kept = {name: getattr(found, name) for name in ReportInfo.__struct_fields__}
    return ReportInfo(**{**kept, **values})


async def purge_reports(connection: Connection, now: float, keep_days: int) -> int:
    """Delete those that were handled longer ago than ``keep_days`` (0: none); how many."""
    over = reports.c.handled_at.between(1, int(now) - keep_days * 86_400)
    return (await connection.execute(delete(reports).where(over))).rowcount if keep_days else 0


_INFO = [column for column in reports.c if column.name != "sealed"]


def _unsealed(subjects: SubjectKeys, row: Any) -> Report:
    info = ReportInfo(**{name: getattr(row, name) for name in ReportInfo.__struct_fields__})
    try:
        clear = subjects.unseal(row.person or row.id, f"report {row.id}", bytes(row.sealed))
        return Report(info=info, text=msgspec.json.decode(clear, type=ReportText))
    except KeyringError as error:
        return Report(info=info, text=None, unreadable=str(error))


async def _find(connection: Connection, id: str) -> Any:  # noqa: A002
    row = (await connection.execute(select(reports).where(reports.c.id == id))).first()
    if row is None:
        raise ReportError(f"there is no report {id[:64]!r}: see modu report list")
    return row


async def _check_pace(connection: Connection, person: str, now: int) -> None:
    """A flood of reports would hide the others. Fails closed."""
    query = select(func.count()).select_from(reports)
    query = query.where(reports.c.person == person, reports.c.created_at > now - 3600)
    if (await connection.scalar(query) or 0) >= (HOURLY_PERSON if person else HOURLY_GUESTS):
        raise ReportError("there were very many reports just now: please send it again in an hour")


def _cut(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be kept
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + CUT


def _is_word(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isprintable()
