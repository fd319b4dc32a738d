"""``modu usage``: what was used, by whom, on what."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Annotated, cast

import msgspec
import typer
from sqlalchemy import select

from moduai.accounts.organisations import AccountError, get_organisation
from moduai.accounts.tables import api_keys, organisations
from moduai.cli.common import HomeOption, JsonOption, examples, fail, new_app, open_loaded, table, to_json
from moduai.cli.data import moment, offset, read
from moduai.engines.tables import engines
from moduai.metering.report import BY, By, Usage, total, usage
from moduai.store.database import Connection

app = new_app("Show what was used, by whom, on what.", group=False)

COLUMNS = {
    "name": "",
    "people": "people",
    "requests": "requests",
    "failed": "not ok",
    "tokens_in": "tokens in",
    "tokens_cached": "cached",
    "tokens_out": "out",
    "uncounted": "not counted by engine",
    "wait_ms": "wait ms",
    "first_token_ms": "first token ms",
    "duration_ms": "duration ms",
    "accelerator_s": "accelerator s",
    "energy_wh": "energy Wh",
}
_NAMES = {"organisation": organisations, "key": api_keys, "engine": engines}


@app.callback(
    invoke_without_command=True,
    epilog=examples(
        "modu usage                                  by model, the last day",
        "modu usage --by organisation --since 7d",
        "modu usage --by day --since 2026-11-01 --utc-offset +09:00 --json",
        "modu usage --by source                      where token counts come from",
    ),
)
def show(
    by: Annotated[str, typer.Option(help=f"One of: {', '.join(BY)}.")] = "model",
    since: Annotated[str, typer.Option(help="How long ago (7d), or a date or time.")] = "1d",
    until: Annotated[str, typer.Option(help="The same; not included [default: now].")] = "",
    org: Annotated[str, typer.Option(help="Only of this organisation.")] = "",
    utc_offset: Annotated[str, typer.Option(help="Where days and hours begin, such as +09:00.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Sum the ledger. Rows of requests appear within a second of their end.

    Waits and durations are means. "Not counted by engine" are requests whose tokens come from our
    count of the stream's pieces or from bytes, because the engine gave no usage. "People" are those who
    asked: persons, programmes with a key, and guests.
    """
    if by not in BY:
        fail(f"--by {by}: choose one of {', '.join(BY)}", 2)
    shift = offset(utc_offset)
    start, end = moment(since), moment(until) if until else int(time.time()) + 1
    if start >= end:
        fail("--since is not before --until", 2)

    async def look(connection: Connection) -> tuple[list[dict[str, object]], dict[str, object]]:
        owner = (await get_organisation(connection, org)).id if org else ""
        bounds = (start * 1_000_000, end * 1_000_000)
        found = await usage(connection, *bounds, cast("By", by), offset_s=shift, organisation=owner)
        names = await _names(connection, by)
        rows = [_row(line, _name(line.group, by, names, shift)) for line in found]
        return rows, _row(await total(connection, *bounds, organisation=owner), "total")

    rows, everything = read(open_loaded(home), look, AccountError)
    if json:
        typer.echo(to_json({"since": start, "until": end, "by": by, "rows": rows, "total": everything}))
        return
    shown = [*rows, everything] if len(rows) > 1 else rows
    table(shown, {**COLUMNS, "name": by}, empty="Nothing was used in this time.")


async def _names(connection: Connection, by: str) -> dict[str, str]:
    if by not in _NAMES:
        return {}
    named = _NAMES[by]
    return {row.id: row.name for row in await connection.execute(select(named.c.id, named.c.name))}


def _name(group: str, by: str, names: dict[str, str], shift: int) -> str:
    if by in {"day", "hour", "minute"}:
        start = datetime.fromtimestamp(int(group) // 1_000_000, timezone(timedelta(seconds=shift)))
        return start.strftime("%Y-%m-%d" if by == "day" else "%Y-%m-%d %H:%M")
    return names.get(group, group) or "(none)"


def _row(line: Usage, name: str) -> dict[str, object]:
    return {
        "name": name,
        **msgspec.structs.asdict(line),
        "wait_ms": round(line.queue_us / 1000, 1),
        "first_token_ms": round(line.first_token_us / 1000, 1),
        "duration_ms": round(line.duration_us / 1000, 1),
        "accelerator_s": round(line.accelerator_us / 1e6, 3),
        "energy_wh": round(line.energy_mj / 3.6e6, 3),
    }
