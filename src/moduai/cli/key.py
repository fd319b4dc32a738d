"""``modu key``: API keys."""

from __future__ import annotations

import re
import time
from typing import Annotated

import msgspec
import typer
from sqlalchemy import select

from moduai.accounts import audit
from moduai.accounts.keys import KeyInfo, create_key, find_key, list_keys, revoke_key
from moduai.accounts.organisations import AccountError
from moduai.accounts.tables import people
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    confirm,
    done,
    examples,
    new_app,
    open_loaded,
    table,
)
from moduai.cli.data import duration, moment, read, utc, write
from moduai.gateway import policy_file
from moduai.store.database import Connection

app = new_app("Create, list and revoke API keys.")

COLUMNS = {
    "id": "id",
    "prefix": "key begins",
    "name": "name",
    "organisation": "organisation",
    "service_class": "class",
    "scopes": "scopes",
    "state": "state",
    "created": "created (UTC)",
    "expires": "expires (UTC)",
}


@app.command(
    epilog=examples(
        'modu key create "data team"',
        "modu key create ci --org harbour --expires 90d",
        "modu key create counter --org city --class public-duty",
        "modu key create dashboard --manage sub_1f2e3d4c5b6a798800112233",
        "KEY=$(modu key create ci --quiet)",
    )
)
def create(
    name: str,
    *,
    org: Annotated[str, typer.Option(help="Name or id of the owner [default: the default one].")] = "",
    expires: Annotated[str, typer.Option(help="How long it lasts (90d) or until when (2027-01-31).")] = "",
    service_class: Annotated[
        str, typer.Option("--class", help="Class of service: its share when many wait, see modu policy show.")
    ] = "standard",
    group: Annotated[str, typer.Option(help="Coarse group of people, kept with usage.")] = "",
    region: Annotated[str, typer.Option(help="Coarse region [default: the owner's].")] = "",
    zone: Annotated[str, typer.Option(help="Special zone [default: the owner's].")] = "",
    manage: Annotated[
        str,
        typer.Option(metavar="PERSON", help="It may also call the operations at /api as this person, by id."),
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the key and nothing else.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a key and show it, this one time: only its digest is kept."""
    ends = _end(expires)
    loaded = open_loaded(home)

    async def make(connection: Connection) -> tuple[str, KeyInfo]:
        if manage and not await connection.scalar(select(people.c.id).where(people.c.id == manage)):
            raise AccountError(f"there is no person {manage!r}: see modu person list")
        clear, info = await create_key(
            connection,
            name=name,
            organisation=org,
            expires_at=ends,
            service_class=service_class,
            classes=policy_file.read(loaded).policy.classes,
            group=group,
            region=region,
            zone=zone,
            subject=manage,
            scopes=("inference", "manage") if manage else ("inference",),
        )
        await audit.record(connection, actor="cli", action="key.create", target=info.id)
        return clear, info

    clear, info = write(loaded, make, AccountError)
    if quiet and not json:
        typer.echo(clear)
        return
    until = f", until {utc(ends)} UTC" if ends else ""
    done(
        f"{clear}\n\nThis is {info.name!r} of {info.organisation} ({info.id}{until}).\n"
        f"Keep it now: it is not shown again. To refuse it later: modu key revoke {info.id}",
        {"key": clear, **_row(info)},
        json=json,
    )


@app.command("list", epilog=examples("modu key list", "modu key list --org harbour --all --json"))
def list_some(
    org: Annotated[str, typer.Option(help="Only of this organisation.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="The revoked ones too.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show keys; of each only how it begins."""
    keys = read(
        open_loaded(home),
        lambda connection: list_keys(connection, organisation=org, revoked=everything),
        AccountError,
    )
    table(map(_row, keys), COLUMNS, json=json, empty="No keys yet: modu key create NAME makes one.")


@app.command(epilog=examples("modu key revoke key_1f2e3d4c5b6a7988", "modu key revoke modu-AbCdEfG --yes"))
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or how it begins (12 characters).")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Refuse a key from now on. This cannot be undone: a new key would have to be made."""
    loaded = open_loaded(home)
    found = read(loaded, lambda connection: find_key(connection, key), AccountError)
    if found.revoked_at:
        done(f"{found.id} was revoked before, at {utc(found.revoked_at)} UTC.", _row(found), json=json)
        return
    if not yes:
        _confirm(found)

    async def refuse(connection: Connection) -> KeyInfo:
        gone = await revoke_key(connection, found.id)
        await audit.record(connection, actor="cli", action="key.revoke", target=gone.id)
        return gone

    gone = write(loaded, refuse, AccountError)
    done(f"Revoked {gone.id} ({gone.name}).", _row(gone), json=json)


def _confirm(key: KeyInfo) -> None:
    question = f"Revoke {key.prefix}… ({key.name!r} of {key.organisation})?"
    confirm(question, "nothing was revoked; --yes does it without asking")


def _end(text: str) -> int:
    if not text:
        return 0
    if re.fullmatch(r"\d+[smhdw]", text):
        return int(time.time()) + duration(text)
    return moment(text)


def _row(key: KeyInfo) -> dict[str, object]:
    times = {"created": utc(key.created_at), "expires": utc(key.expires_at) or "never"}
    return {**msgspec.structs.asdict(key), "state": key.state(time.time()), **times}
