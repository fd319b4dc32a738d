"""Reports of answers: listed, read (which the audit log remembers), handled."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from moduai.accounts import reports as repository
from moduai.accounts.reports import Report, ReportError, ReportInfo
from moduai.gateway.errors import ApiError
from moduai.web.api.operation import Call, Operation, Page, Request, Word, Words, refused

State = Literal["open", "handled", "dismissed"]


class ReportsPage(Struct, frozen=True):
    """Reports without their text, newest first."""

    items: list[ReportInfo]
    next: str
    """To be given as ``after``; empty: these were the last."""


class ReportsWanted(Page, frozen=True):
    """Which reports."""

    state: State | None = None


class ReportNamed(Request, frozen=True):
    """One report, by id."""

    report: Word


class ReportHandled(ReportNamed, frozen=True):
    """What became of a report."""

    state: State
    note: Annotated[Words, Meta(description="For staff.")] = ""


async def list_some(call: Call, wanted: ReportsWanted) -> ReportsPage:
    """Who filed it, about which answer of which model, why and what became of it; not its text."""
    async with call.read() as connection:
        found = await repository.list_reports(
            connection, wanted.state or "", before=_place(wanted.after), limit=wanted.limit
        )
    last = "{}.{}".format(*found[-1].place) if len(found) == wanted.limit else ""
    return ReportsPage(found, last)


async def read(call: Call, wanted: ReportNamed) -> Report:
    """The text that the reporter chose to show. That you read it stands in the audit log."""
    async with call.write() as connection:
        with refused("not_found", ReportError):
            return await repository.read_report(
                connection, call.services.subjects, wanted.report, call.caller.person
            )


async def handle(call: Call, wanted: ReportHandled) -> ReportInfo:
    """Handled, dismissed, or open again, with a note."""
    async with call.write() as connection:
        with refused("not_found", ReportError):
            return await repository.handle_report(
                connection, wanted.report, call.caller.person, wanted.state, wanted.note
            )


def _place(after: str) -> tuple[int, str] | None:
    at, _, report = after.partition(".")
    if not after:
        return None
    if not (at.isascii() and at.isdigit() and len(at) < 16 and report):
        raise ApiError("invalid_parameter", "`after` is not from an answer of this operation.")
    return int(at), report


OPERATIONS = (
    Operation(
        "report.list", "GET", "/api/reports", "reports", "List reports.",
        ReportsWanted, ReportsPage, list_some, "report list",
    ),
    Operation(
        "report.read", "POST", "/api/reports/{report}/read", "reports", "Read a report's text.",
        ReportNamed, Report, read, "report show",
    ),
    Operation(
        "report.handle", "POST", "/api/reports/{report}/handle", "reports", "Say what became of a report.",
        ReportHandled, ReportInfo, handle, "report close",
    ),
)  # fmt: skip
