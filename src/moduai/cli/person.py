"""``modu person``: people with an account. What is done here stands in the audit log, by "cli"."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from moduai.accounts import audit
from moduai.accounts.keys import list_keys
from moduai.accounts.organisations import AccountError, get_organisation, list_organisations
from moduai.accounts.people import Person, change_person, create_person, find_people, get_person
from moduai.accounts.roles import ROLES
from moduai.accounts.sessions import end_all, list_sessions
from moduai.accounts.sign_in import identities_of, make_credential, set_password
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    confirm,
    count,
    done,
    examples,
    fail,
    new_app,
    open_loaded,
    table,
)
from moduai.cli.data import read, utc, write
from moduai.settings import Loaded
from moduai.store.database import Connection
from moduai.store.keyring import Keyring, KeyringError
from moduai.store.subjects import SubjectKeys

app = new_app("List, show, add, change and delete people with an account.")

IdArgument = Annotated[str, typer.Argument(metavar="PERSON", help="The person's id, as in modu person list.")]
LoginOption = Annotated[str, typer.Option(help="Name to sign in with; the password is asked for, unseen.")]
StdinOption = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
REFUSALS = (AccountError, KeyringError)

COLUMNS = {
    "id": "id",
    "name": "name",
    "address": "address",
    "role": "role",
    "organisation": "organisation",
    "state": "state",
    "region": "region",
    "created": "created (UTC)",
    "seen": "last seen",
}


@app.command(
    "list",
    epilog=examples("modu person list", "modu person list ada", "modu person list --role admin --json"),
)
def list_some(
    text: Annotated[str, typer.Argument(help="Part of a name or address, or how an id begins.")] = "",
    *,
    role: Annotated[str, typer.Option(help=f"Only of this role: {', '.join(ROLES)}.")] = "",
    org: Annotated[str, typer.Option(help="Only of this organisation.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most to show.")] = 100,
    after: Annotated[str, typer.Option(help="Go on after this id.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show people, by id. Names are sealed: where their keys are lost, they are left out."""
    loaded = open_loaded(home)

    async def look(connection: Connection, subjects: SubjectKeys) -> list[dict[str, object]]:
        owner = (await get_organisation(connection, org)).id if org else ""
        found = await find_people(
            connection,
            subjects,
            text,
            role=role,
            organisation=owner,
            limit=limit,
            after=after,
            most=sys.maxsize,
        )
        names = await _organisations(connection)
        return [_row(person, names) for person in found]

    with _keys(loaded, needed=False) as (_, subjects):
        rows = read(loaded, lambda connection: look(connection, subjects), *REFUSALS)
    table(rows, COLUMNS, json=json, empty="Nobody: modu invite create lets people in.")


@app.command(epilog=examples("modu person show sub_1f2e3d4c5b6a798800112233"))
def show(person: IdArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show one person: how they sign in, how many sessions and keys they have; never their text."""
    loaded = open_loaded(home)

    async def look(connection: Connection, subjects: SubjectKeys) -> dict[str, object]:
        found = await get_person(connection, subjects, person)
        signs_in = [one.issuer for one in await identities_of(connection, person)]
        sessions = len(await list_sessions(connection, person, time.time()))
        keys = [key.id for key in await list_keys(connection, subject=person)]
        more = {"signs_in_by": signs_in, "sessions": sessions, "keys": keys}
        return {**_row(found, await _organisations(connection)), **more}

    with _keys(loaded, needed=False) as (_, subjects):
        row = read(loaded, lambda connection: look(connection, subjects), *REFUSALS)
    heads = {**COLUMNS, "group": "group", "language": "language", "history": "history kept"}
    table([row], {**heads, "signs_in_by": "signs in by", "sessions": "sessions", "keys": "keys"}, json=json)


@app.command(
    epilog=examples(
        'modu person add "Ada Example" --login ada',
        "modu person add Kim --role operator --org harbour --login kim --password-stdin < password.txt",
    )
)
def add(
    name: Annotated[str, typer.Argument(help="The person's name, or any other they chose.")] = "",
    *,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")] = "resident",
    org: Annotated[str, typer.Option(help="Name or id of the organisation [default: the default one].")] = "",
    address: Annotated[str, typer.Option(help="E-mail address.")] = "",
    region: Annotated[str, typer.Option(help="Coarse region.")] = "",
    group: Annotated[str, typer.Option(help="Coarse group of people.")] = "",
    language: Annotated[str, typer.Option(help="ko or en.")] = "",
    login: LoginOption = "",
    password_stdin: StdinOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Add a person. Without --login they cannot sign in yet: an invitation is often what is meant."""
    loaded = open_loaded(home)
    password = _password(from_stdin=password_stdin) if login else ""

    async def make(connection: Connection, keyring: Keyring, subjects: SubjectKeys) -> Person:
        credential = await make_credential(keyring, login, password) if login else None
        made = await create_person(
            connection,
            subjects,
            name=name,
            address=address,
            role=role,
            organisation=org,
            region=region,
            group=group,
            language=language,
            history=loaded.settings.history.default,
        )
        if credential:
            await set_password(connection, keyring, made.id, credential)
        detail: dict[str, audit.Value] = {"role": role, "organisation": made.organisation}
        await audit.record(connection, actor="cli", action="person.add", target=made.id, detail=detail)
        return made

    with _keys(loaded) as keys:
        made = write(loaded, lambda connection: make(connection, *keys), *REFUSALS)
    done(f"{made.id}  {made.name} ({made.role})", made, json=json)


@app.command(epilog=examples("modu person role sub_1f2e3d4c5b6a798800112233 operator"))
def role(
    person: IdArgument,
    role: Annotated[str, typer.Argument(help=f"One of {', '.join(ROLES)}.")],
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give a person another role. They are signed out, so that it holds everywhere at once."""
    made = _change(home, person, "role", role)
    done(f"{made.id} is {made.role} now.", made, json=json)


@app.command(
    epilog=examples(
        "modu person change sub_1f2e3d4c5b6a798800112233 --org harbour --region XA-1",
        'modu person change sub_1f2e3d4c5b6a798800112233 --name "Ada Example" --group ""',
    )
)
def change(
    person: IdArgument,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    address: Annotated[str | None, typer.Option(help="Another e-mail address.")] = None,
    org: Annotated[str | None, typer.Option(help="Name or id of another organisation.")] = None,
    region: Annotated[str | None, typer.Option(help='Coarse region; "" clears it.')] = None,
    group: Annotated[str | None, typer.Option(help='Coarse group of people; "" clears it.')] = None,
    language: Annotated[str | None, typer.Option(help='ko or en; "": as the browser asks.')] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Change what is known of a person; only what is named here."""
    given = {"organisation": org, "region": region, "group": group, "language": language}
    places = {field: value for field, value in given.items() if value is not None}
    sealed = {field: value for field, value in (("name", name), ("address", address)) if value is not None}
    if not (places or sealed):
        fail("say what to change, see modu person change --help", 2)
    loaded = open_loaded(home)

    async def do(connection: Connection, subjects: SubjectKeys) -> Person:
        made = await change_person(connection, subjects, person, **places, **sealed)
        told: dict[str, audit.Value] = {field: getattr(made, field) for field in places}
        detail = {**told, "sealed": sorted(sealed)} if sealed else told  # which, never what
        await audit.record(connection, actor="cli", action="person.change", target=person, detail=detail)
        return made

    with _keys(loaded, needed=bool(sealed)) as (_, subjects):
        made = write(loaded, lambda connection: do(connection, subjects), *REFUSALS)
    done(f"Changed {made.id}.", made, json=json)


@app.command(epilog=examples("modu person signout sub_1f2e3d4c5b6a798800112233"))
def signout(person: IdArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """End every session of a person; they may sign in again."""

    async def end(connection: Connection, subjects: SubjectKeys) -> int:
        found = await get_person(connection, subjects, person)
        ended = await end_all(connection, found.id)
        detail: dict[str, audit.Value] = {"sessions": ended}
        await audit.record(connection, actor="cli", action="person.signout", target=person, detail=detail)
        return ended

    loaded = open_loaded(home)
    with _keys(loaded, needed=False) as (_, subjects):
        ended = write(loaded, lambda connection: end(connection, subjects), *REFUSALS)
    done(f"Ended {count(ended, 'session')} of {person}.", {"id": person, "sessions": ended}, json=json)


@app.command(epilog=examples("modu person block sub_1f2e3d4c5b6a798800112233"))
def block(person: IdArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Sign a person out everywhere and refuse them and their keys until they are unblocked."""
    made = _change(home, person, "state", "blocked")
    done(f"{made.id} is blocked. To undo it: modu person unblock {made.id}", made, json=json)


@app.command(epilog=examples("modu person unblock sub_1f2e3d4c5b6a798800112233"))
def unblock(person: IdArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Let a blocked person sign in again; their keys are good again too."""
    made = _change(home, person, "state", "active")
    done(f"{made.id} may sign in again.", made, json=json)


@app.command(
    epilog=examples(
        "modu person password sub_1f2e3d4c5b6a798800112233 gildong",
        "modu person password sub_1f2e3d4c5b6a798800112233 gildong --password-stdin < password.txt",
    )
)
def password(
    person: IdArgument,
    login: Annotated[str, typer.Argument(help="Name to sign in with.")],
    password_stdin: StdinOption = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give a person a login and a password, instead of those they had, and sign them out everywhere."""
    loaded = open_loaded(home)
    given = _password(from_stdin=password_stdin)

    async def change(connection: Connection, keyring: Keyring, subjects: SubjectKeys) -> Person:
        found = await get_person(connection, subjects, person)
        credential = await make_credential(keyring, login, given)
        await set_password(connection, keyring, person, credential)
        await end_all(connection, person)
        await audit.record(connection, actor="cli", action="person.password", target=person)
        return found

    with _keys(loaded) as keys:
        made = write(loaded, lambda connection: change(connection, *keys), *REFUSALS)
    done(f"{made.id} signs in as {login!r} now.", made, json=json)


@app.command(epilog=examples("modu person delete sub_1f2e3d4c5b6a798800112233 --yes"))
def delete(
    person: IdArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Delete an account and all that is kept of it, for good: its key is destroyed, so backups of it cannot
    be read either.
    """
    from moduai.history.forgetting import delete_account  # noqa: PLC0415  (only this command needs it)

    loaded = open_loaded(home)

    async def forget(connection: Connection, subjects: SubjectKeys) -> None:
        await audit.record(connection, actor="cli", action="person.delete", target=person)
        await delete_account(connection, subjects, person, time.time())  # last: a key is destroyed for good

    with _keys(loaded) as (_, subjects):
        found = read(loaded, lambda connection: get_person(connection, subjects, person), *REFUSALS)
        if not yes:
            _confirm(found)
        write(loaded, lambda connection: forget(connection, subjects), *REFUSALS)
    done(f"Deleted {person} and all that was kept of it.", {"id": person, "deleted": True}, json=json)


@contextmanager
def _keys(loaded: Loaded, *, needed: bool = True) -> Iterator[tuple[Keyring, SubjectKeys]]:
    """The keyring and the subjects' keys. Where they are lost the command ends with one line, or, if they
    are not needed, goes on without names after a line on standard error.
    """
    there = loaded.path("modu.db").exists()
    try:
        keyring = Keyring.open(loaded.home, create=needed and not there)  # a lost one is not replaced here
        subjects = SubjectKeys.open(loaded.home, keyring, create=needed)
    except KeyringError as error:
        if needed:
            fail(str(error))
        if there:
            typer.echo(f"modu: names cannot be read: {error}", err=True)
        keyring = Keyring(bytes(32))
        subjects = SubjectKeys(loaded.path("keyring", "none"), keyring)
    with closing(subjects):
        yield keyring, subjects


def _change(home: Path | None, person: str, field: str, value: str) -> Person:
    """Change what is not sealed: it works without the keyring, so anybody can be blocked at any time."""

    async def change(connection: Connection, subjects: SubjectKeys) -> Person:
        had = await get_person(connection, subjects, person)
        made = await change_person(connection, subjects, person, **{field: value})
        detail: dict[str, audit.Value] = {"from": getattr(had, field), field: value}
        await audit.record(connection, actor="cli", action="person.change", target=person, detail=detail)
        return made

    loaded = open_loaded(home)
    with _keys(loaded, needed=False) as (_, subjects):
        return write(loaded, lambda connection: change(connection, subjects), *REFUSALS)


async def _organisations(connection: Connection) -> dict[str, str]:
    return {one.id: one.name for one in await list_organisations(connection)}


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline(10_000).rstrip("\r\n")
    try:
        given: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    except typer.Abort:
        fail("no password was given; --password-stdin reads it from standard input")
    return given


def _confirm(person: Person) -> None:
    question = f"Delete {person.id} ({person.name or 'no name'}) with everything kept?"
    confirm(question, "nothing was deleted; --yes does it without asking")


def _row(person: Person, organisations: dict[str, str]) -> dict[str, object]:
    return {
        **msgspec.structs.asdict(person),
        "organisation": organisations.get(person.organisation, person.organisation),
        "created": utc(person.created_at),
        "seen": utc(person.seen_on)[:10] or "never",
    }
