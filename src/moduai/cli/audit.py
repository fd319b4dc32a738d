"""``modu audit``: what staff and the service did, and whether the log of it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from moduai.accounts.audit import Entry, list_entries, record
from moduai.accounts.audit_roots import PURPOSE, TOPIC, Published, Root, published
from moduai.accounts.audit_verify import Verdict, verify
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    count,
    done,
    examples,
    fail,
    new_app,
    open_loaded,
    table,
    to_json,
)
from moduai.cli.data import moment, read, utc, write
from moduai.settings import Loaded
from moduai.store.database import Connection
from moduai.store.feed import announce
from moduai.store.keyring import KeyringError
from moduai.store.signing import SigningKeys

app = new_app("See what staff did, and check that the log of it is whole.")

COLUMNS = {"when": "when (UTC)", "actor": "who", "action": "what", "target": "to what", "detail": "more"}
ROOTS = {"day": "day (UTC)", "entries": "entries", "root": "root", "key": "signed with"}


@app.command(
    "list",
    epilog=examples(
        "modu audit list",
        "modu audit list --action key --since 7d",
        "modu audit list --target sub_1a2b --json",
    ),
)
def list_some(
    actor: Annotated[str, typer.Option(help='Only by this person, "cli" or "system".')] = "",
    action: Annotated[str, typer.Option(help="Only this, or all that begins so: key.revoke, or key.")] = "",
    target: Annotated[str, typer.Option(help="Only what was done to this id.")] = "",
    since: Annotated[str, typer.Option(help="Only after this: 7d, 2026-11-21.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show entries, newest first."""
    begin = moment(since) * 1_000_000 if since else 0
    entries = read(
        open_loaded(home),
        lambda connection: list_entries(
            connection, actor=actor, action=action, target=target, since=begin, limit=limit
        ),
    )
    table(map(_row, entries), COLUMNS, json=json)


@app.command("verify", epilog=examples("modu audit verify", "modu audit verify --published roots.json"))
def verify_all(
    copy: Annotated[
        Path | None, typer.Option("--published", help="A kept copy of /audit/roots.json to check against.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Check every entry, chain, root and signature. The exit status is 1 if anything is wrong."""
    loaded = open_loaded(home)
    kept = _read_copy(copy) if copy else None
    signing = _signing(loaded)
    verdict = read(loaded, lambda connection: verify(connection, signing, kept))
    if json:
        typer.echo(to_json({"ok": verdict.ok, **msgspec.to_builtins(verdict)}))
    else:
        _tell(verdict)
    if not verdict.ok:
        raise typer.Exit(1)


@app.command(epilog=examples("modu audit roots", "modu audit roots --json > roots.json"))
def roots(home: HomeOption = None, json: JsonOption = False) -> None:
    """Show the signed root of each day; with --json all that is needed to publish and check them."""
    loaded = open_loaded(home)
    found = read(loaded, lambda connection: published(connection, loaded.home, limit=0))
    if json:
        typer.echo(to_json(found))
    else:
        table(map(_root_row, found.roots), ROOTS, empty="No root yet: the service signs one after each day.")


@app.command(epilog=examples("modu audit rotate"))
def rotate(home: HomeOption = None, json: JsonOption = False) -> None:
    """Sign the roots of coming days with a new key, and destroy the private half of the old one.

    What the old one signed stays valid: its public half is published with the new one. Before the first
    root there is no key to change.
    """
    loaded = open_loaded(home)
    signing = _signing(loaded)
    if signing is None or not signing.public(PURPOSE):
        fail("there is no key yet: the first root, after the first day, is signed with a new one")

    async def work(connection: Connection) -> str:
        key = signing.rotate(PURPOSE)
        await record(connection, actor="cli", action="audit.rotate", target=key)
        await announce(connection, TOPIC)
        return key

    key = write(loaded, work, KeyringError)
    done(f"Roots are signed with {key} from now on: keep a copy of the keyring", {"key": key}, json=json)


def _signing(loaded: Loaded) -> SigningKeys | None:
    """None where they cannot be read: the verdict says what cannot be checked then."""
    try:
        return SigningKeys.open(loaded.home, create=False)
    except KeyringError:
        return None


def _read_copy(file: Path) -> Published:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Published)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        fail(f"{file} is no copy of /audit/roots.json")


def _tell(verdict: Verdict) -> None:
    for problem in verdict.problems:
        typer.echo(f"✗ {problem}")
    for note in verdict.notes:
        typer.echo(f"· {note}")
    until = f", the last of {verdict.sealed_until}" if verdict.sealed_until else ""
    seen = (
        f"{verdict.entries:,} {'entry' if verdict.entries == 1 else 'entries'} in "
        f"{count(len(verdict.chains), 'chain')}, {count(verdict.roots, 'root')}{until}"
    )
    if verdict.ok:
        typer.echo(f"✓ the audit log is whole: {seen}")
    else:
        typer.echo(f"✗ the audit log is not whole: {count(len(verdict.problems), 'problem')} in {seen}")


def _row(entry: Entry) -> dict[str, object]:
    fields = msgspec.structs.asdict(entry)
    return {
        **fields,
        "previous": entry.previous.hex(),
        "hash": entry.hash.hex(),
        "when": utc(entry.at // 1_000_000),
    }


def _root_row(root: Root) -> dict[str, object]:
    return {**msgspec.to_builtins(root), "entries": sum(head.number for head in root.heads.values())}
