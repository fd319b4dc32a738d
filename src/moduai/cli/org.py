"""``modu org``: organisations, the owners of keys."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from moduai.accounts import audit
from moduai.accounts.organisations import (
    AccountError,
    Organisation,
    create_organisation,
    get_organisation,
    list_organisations,
)
from moduai.cli.common import HomeOption, JsonOption, done, examples, new_app, open_loaded, table
from moduai.cli.data import read, utc, write
from moduai.store.database import Connection

app = new_app("Create and list organisations, the owners of keys.")

COLUMNS = {"id": "id", "name": "name", "region": "region", "zone": "zone", "created": "created (UTC)"}


@app.command(epilog=examples('modu org create "City Library"', "modu org create harbour --region XA-1"))
def create(
    name: str,
    region: Annotated[str, typer.Option(help="Coarse region, kept with usage.")] = "",
    zone: Annotated[str, typer.Option(help="Special zone, kept with usage.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Add an organisation."""

    async def make(connection: Connection) -> Organisation:
        made = await create_organisation(connection, name, region=region, zone=zone)
        await audit.record(connection, actor="cli", action="org.create", target=made.id)
        return made

    made = write(open_loaded(home), make, AccountError)
    done(f"{made.id}  {made.name}", made, json=json)


@app.command("list", epilog=examples("modu org list", "modu org list --json"))
def list_all(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show all organisations."""
    table([_row(found) for found in read(open_loaded(home), list_organisations)], COLUMNS, json=json)


@app.command(epilog=examples("modu org show busan"))
def show(name_or_id: str, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one organisation."""
    found = read(open_loaded(home), lambda connection: get_organisation(connection, name_or_id), AccountError)
    table([_row(found)], COLUMNS, json=json)


def _row(organisation: Organisation) -> dict[str, object]:
    return {**msgspec.structs.asdict(organisation), "created": utc(organisation.created_at)}
