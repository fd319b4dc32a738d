"""``modu report``: what readers reported of answers."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import msgspec
import typer

from moduai.accounts.reports import (
    STATES,
    Report,
    ReportError,
    ReportInfo,
    handle_report,
    list_reports,
    read_report,
)
from moduai.cli.common import HomeOption, JsonOption, done, examples, fail, new_app, open_loaded, safe, table
from moduai.cli.data import read, subject_keys, utc, write
from moduai.store.keyring import KeyringError

app = new_app("See and close what readers reported of answers.")

COLUMNS = {
    "id": "id",
    "created": "when (UTC)",
    "reason": "reason",
    "model": "model",
    "state": "state",
    "note": "note",
}


@app.command("list", epilog=examples("modu report list", "modu report list --state all --json"))
def list_some(
    state: Annotated[str, typer.Option(help=f"{', '.join(STATES)} or all.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 100,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show reports without their text, newest first."""
    if state not in {*STATES, "all"}:
        fail(f"there is no state {state!r}: {', '.join(STATES)} or all", 2)
    wanted = "" if state == "all" else state
    found = read(open_loaded(home), lambda connection: list_reports(connection, wanted, limit=limit))
    empty = "No reports yet." if state == "all" else f"No {state} reports."
    table(map(_row, found), COLUMNS, json=json, empty=empty)


@app.command(epilog=examples("modu report show rep_1f2e3d4c5b6a7988"))
def show(report: str, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one report with its text. That you read it stands in the audit log."""
    loaded = open_loaded(home)
    with closing(subject_keys(loaded)) as subjects:
        found = write(
            loaded,
            lambda connection: read_report(connection, subjects, report, "cli"),
            ReportError,
            KeyringError,
        )
    done(_words(found), found, json=json)


@app.command(
    epilog=examples(
        'modu report close rep_1f2e3d4c5b6a7988 --note "model replaced"',
        "modu report close rep_1f2e3d4c5b6a7988 --dismiss",
        "modu report close rep_1f2e3d4c5b6a7988 --reopen",
    )
)
def close(
    report: str,
    note: Annotated[str, typer.Option(help="What was done, for other staff.")] = "",
    dismiss: Annotated[bool, typer.Option("--dismiss", help="There was nothing to do.")] = False,
    reopen: Annotated[bool, typer.Option("--reopen", help="Open it again.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Say that a report was handled, or that there was nothing to do."""
    if dismiss and reopen:
        fail("--dismiss and --reopen do not go together", 2)
    state = "dismissed" if dismiss else "open" if reopen else "handled"
    found = write(
        open_loaded(home),
        lambda connection: handle_report(connection, report, "cli", state, note),
        ReportError,
    )
    done(f"{found.id} is {found.state}.", _row(found), json=json)


def _words(report: Report) -> str:
    info = report.info
    lines = [
        f"{info.id}  {info.reason}, {info.state}, {utc(info.created_at)} UTC",
        f"model {info.model}, answer {info.turn}, by {info.person or 'a guest'}",
    ]
    if info.note:
        lines.append(f"note: {info.note}")
    if report.text is None:
        return "\n".join([*lines, f"\nThe text {report.unreadable}"])
    parts = (
        ("question", report.text.question),
        ("answer", report.text.answer),
        ("remark", report.text.remark),
    )
    return "\n".join([*lines, *(f"\n[{name}]\n{safe(text)}" for name, text in parts if text)])


def _row(report: ReportInfo) -> dict[str, object]:
    return {**msgspec.structs.asdict(report), "created": utc(report.created_at)}
