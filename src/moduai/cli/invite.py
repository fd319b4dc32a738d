"""``modu invite``: invitations, links that let one person in, once. They stand in the audit log, by "cli"."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer

from moduai import service
from moduai.accounts import audit
from moduai.accounts.invitations import HOURS, Invitation, invite, list_invitations, revoke_invitation
from moduai.accounts.organisations import AccountError
from moduai.accounts.roles import ROLES
from moduai.cli.common import HomeOption, JsonOption, done, examples, fail, new_app, open_loaded, table
from moduai.cli.data import duration, read, utc, write
from moduai.settings import Loaded
from moduai.store.database import Connection

app = new_app("Create, list and revoke invitations: links that let one person in, once.")

COLUMNS = {
    "id": "id",
    "role": "role",
    "organisation_name": "organisation",
    "note": "note",
    "state": "state",
    "created": "created (UTC)",
    "expires": "expires (UTC)",
    "used_by": "used by",
}


@app.command(
    epilog=examples(
        "modu invite create",
        "modu invite create --role admin",
        'modu invite create --role operator --org harbour --note "night shift" --expires 24h',
    )
)
def create(
    *,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = "resident",
    org: Annotated[str, typer.Option(help="Name or id of the organisation [default: the default one].")] = "",
    note: Annotated[str, typer.Option(help="Whom it is for, seen by staff.")] = "",
    expires: Annotated[str, typer.Option(help="How long it can be used.")] = f"{HOURS // 24}d",
    url: Annotated[str, typer.Option(help="Address that people reach the service at.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the link and nothing else.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Make a link that lets one person in, once, with a role. It is shown this one time."""
    loaded = open_loaded(home)
    hours = -(-duration(expires) // 3600)
    if url and not url.startswith(("http://", "https://")):
        fail(f"{url!r} is no address: write https://host", 2)

    async def make(connection: Connection) -> tuple[str, Invitation]:
        token, made = await invite(
            connection, role=role, organisation=org, note=note, made_by="cli", hours=hours
        )
        detail: dict[str, audit.Value] = {"role": role, "organisation": made.organisation, "hours": hours}
        await audit.record(connection, actor="cli", action="invite.create", target=made.id, detail=detail)
        return token, made

    token, made = write(loaded, make, AccountError)
    link = f"{url.rstrip('/') or public_url(loaded)}/join/{token}"
    if quiet and not json:
        typer.echo(link)
        return
    done(
        f"{link}\n\nIt lets one person in as {made.role} of {made.organisation_name}, once, until "
        f"{utc(made.expires_at)} UTC.\nIt is not shown again. To take it back: modu invite revoke {made.id}",
        {"link": link, **_row(made)},
        json=json,
    )


@app.command("list", epilog=examples("modu invite list", "modu invite list --all --json"))
def list_some(
    everything: Annotated[bool, typer.Option("--all", help="The used and expired ones too.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show invitations that can still be used; their links are kept nowhere."""
    now = time.time()
    found = read(open_loaded(home), lambda connection: list_invitations(connection, now, closed=everything))
    table(map(_row, found), COLUMNS, json=json, empty="None: modu invite create makes one.")


@app.command(epilog=examples("modu invite revoke inv_1f2e3d4c5b6a7988"))
def revoke(
    invitation: Annotated[str, typer.Argument(help="Its id, as in modu invite list.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take an invitation back before it is used."""

    async def take_back(connection: Connection) -> Invitation:
        gone = await revoke_invitation(connection, invitation)
        await audit.record(connection, actor="cli", action="invite.revoke", target=gone.id)
        return gone

    gone = write(open_loaded(home), take_back, AccountError)
    done(f"Took back {gone.id} ({gone.role}).", {"id": gone.id, "revoked": True}, json=json)


def public_url(loaded: Loaded) -> str:
    """The address that people reach the service at, as far as this machine knows."""
    if loaded.settings.sign_in.public_url:
        return loaded.settings.sign_in.public_url
    running = service.running(loaded.home)
    if running and running.url:
        return running.url
    gateway = loaded.settings.gateway
    return (
        f"{'https' if gateway.tls_certificate else 'http'}://{service.authority(gateway.host, gateway.port)}"
    )


def _row(invitation: Invitation) -> dict[str, object]:
    times = {"created": utc(invitation.created_at), "expires": utc(invitation.expires_at)}
    return {**msgspec.structs.asdict(invitation), "state": invitation.state(time.time()), **times}
