"""``modu backup`` and ``modu restore``."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct
from sqlalchemy import select

from moduai import service
from moduai.accounts import audit
from moduai.accounts.invitations import revoke_open
from moduai.accounts.lost import find_lost
from moduai.accounts.sessions import end_everybodys
from moduai.cli.common import (
    HomeOption,
    JsonOption,
    count,
    done,
    examples,
    fail,
    new_app,
    open_loaded,
    size_text,
)
from moduai.engines.tables import engines
from moduai.history.forgetting import replay
from moduai.settings import Loaded
from moduai.store import migrate
from moduai.store.backup import BackupError, Manifest, Progress, Restored, backup, restore
from moduai.store.database import Database, brief
from moduai.store.keyring import Keyring, KeyringError
from moduai.store.keyring_copy import copy_keyring
from moduai.store.subjects import SubjectKeys

backup_app = new_app("Write everything but the keyring to one file.", group=False)
restore_app = new_app("Bring a backup back.", group=False)


@backup_app.command(
    epilog=examples(
        "modu backup",
        "modu backup /mnt/safe/modu.tar.gz --json",
        "modu backup --keyring /mnt/vault/modu-keyring",
    )
)
def write_backup(
    file: Annotated[
        Path | None, typer.Argument(help="File to write [default: modu-DATE.tar.gz in this folder].")
    ] = None,
    keyring: Annotated[
        Path | None, typer.Option(help="Copy the keyring, and nothing else, to this new folder.")
    ] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write the database, usage that is not loaded yet, modu.toml and policy.toml to one file.

    The service may run meanwhile. The keyring is not in it, on purpose: copy it to another safe place
    with --keyring, as often, for each person has a key of their own in it; keep the newest copy only.
    """
    loaded = open_loaded(home)
    if keyring is not None:
        _copy_keyring(loaded, file, keyring.absolute(), json=json)
        return
    target = (file or Path(time.strftime("modu-%Y%m%d-%H%M%S.tar.gz"))).absolute()
    try:
        with _shown() as progress:
            manifest = backup(loaded, target, progress)
    except BackupError as error:
        fail(str(error))
    asyncio.run(_record(loaded.database_url, "data.backup", manifest))
    done(_written(loaded, target, manifest), {"file": str(target), "manifest": manifest}, json=json)


@restore_app.command(
    epilog=examples("modu restore modu-20261121.tar.gz", "modu restore --home /srv/modu FILE")
)
def read_backup(
    file: Annotated[Path, typer.Argument(help="A file that `modu backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is in the home folder; it is kept aside.")
    ] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a backup back into an empty home folder, while no service runs on it.

    Put back the folder "keyring" too, or what is sealed cannot be read: people's names and conversations,
    and the keys of engines.
    """
    loaded = open_loaded(home)
    if not file.is_file():
        fail(f"there is no file {file}", 2)
    try:
        lock = service.hold(loaded.home)
    except service.NotStartedError as error:
        fail(f"{error}: stop it first")
    try:
        with _shown() as progress:
            restored = restore(loaded, file, force=force, progress=progress)
        after = asyncio.run(_finish(loaded, restored))
    except (BackupError, migrate.SchemaError) as error:
        fail(str(error))
    finally:
        os.close(lock)
    if after.unreadable:
        typer.echo(f"modu: {after.unreadable}", err=True)
    told = {"manifest": restored.manifest, "replaced": restored.replaced, **msgspec.structs.asdict(after)}
    done(_brought_back(loaded, restored, after), told, json=json)


def _copy_keyring(loaded: Loaded, file: Path | None, folder: Path, *, json: bool) -> None:
    if file is not None:
        fail("give FILE or --keyring, not both: they belong in two places", 2)
    try:
        names = copy_keyring(loaded.home, folder)
    except BackupError as error:
        fail(str(error))
    told = "Keep it apart from backups, and destroy older copies: they hold keys of people deleted since."
    done(
        f"Copied {', '.join(names)} to {folder}.\n{told}", {"folder": str(folder), "files": names}, json=json
    )


async def _record(url: str, action: str, manifest: Manifest) -> None:
    """An entry in the audit log. A backup must be possible of a database that is broken or of an older
    version: where nothing can be recorded it fails open.
    """
    db = Database(url)
    failures: tuple[type[Exception], ...] = (migrate.SchemaError, *db.errors)
    try:
        await migrate.check(db)
        async with db.begin() as connection:
            await audit.record(connection, actor="cli", action=action, detail={"made_at": manifest.created})
    except failures as error:
        typer.echo(f"modu: this is not in the audit log: {brief(error)}", err=True)
    finally:
        await db.dispose()


class _After(Struct, frozen=True):
    """What was done to a database that was brought back."""

    unreadable: str = ""
    """What is sealed and cannot be read, in one line."""
    forgotten: int = 0
    """Accounts that had been deleted since the backup."""
    signed_out: int = 0
    """Sessions that were ended."""
    invitations: int = 0
    """Invitations that were taken back."""


async def _finish(loaded: Loaded, restored: Restored) -> _After:
    """Bring the schema to head, delete again the accounts that were deleted since the backup, and close what
    was closed since: nobody can tell which sessions were ended and which invitations used, so all are.
    """
    if not (url := restored.url):
        return _After()
    await migrate.upgrade(url)
    await _record(url, "data.restore", restored.manifest)
    db = Database(url)
    try:
        forgotten = await _forget(loaded.home, db)
        async with db.begin() as connection:
            closed = await end_everybodys(connection), await revoke_open(connection)
        async with db.connect() as connection:
            query = select(engines.c.name, engines.c.sealed_key)
            query = query.where(engines.c.kind != "embedded")  # it gets a new key at each start
            sealed = (await connection.execute(query.where(engines.c.sealed_key.is_not(None)))).all()
            lost = await find_lost(connection, loaded.home)
    finally:
        await db.dispose()
    unreadable = _unreadable(loaded.home, {row.name: bytes(row.sealed_key) for row in sealed})
    return _After("; ".join(filter(None, (unreadable, lost.told()))), forgotten, *closed)


async def _forget(home: Path, db: Database) -> int:
    """Replay deletions. Without the keyring that is left to the start that has it (fails open until then:
    nothing can be unsealed either).
    """
    try:
        subjects = SubjectKeys.open(home, Keyring.open(home, create=False), create=False)
        try:
            return await replay(db, subjects)
        finally:
            subjects.close()
    except KeyringError:
        return 0


def _unreadable(home: Path, sealed: dict[str, bytes]) -> str:
    """Why keys of engines cannot be unsealed, in one line; empty if they can."""
    if not sealed:
        return ""
    try:
        keyring = Keyring.open(home, create=False)
    except KeyringError as error:
        lost, why = sorted(sealed), str(error)
    else:
        lost = sorted(name for name, secret in sealed.items() if not keyring.fits(secret))
        why = "the keyring here is not the one they were sealed with: put back your copy of it"
    return f"the keys of these engines cannot be read: {', '.join(lost)}; {why}" if lost else ""


def _written(loaded: Loaded, file: Path, manifest: Manifest) -> str:
    segments = sum(name.startswith("usage/") for name in manifest.files)
    waiting = f"; {count(segments, 'segment')} of usage that was not loaded yet" if segments else ""
    lines = [f"Wrote {file} ({size_text(file.stat().st_size)}{waiting})."]
    lines.append("The keyring is not in it: modu backup --keyring FOLDER copies it to another place.")
    return "\n".join(lines)


def _brought_back(loaded: Loaded, restored: Restored, after: _After) -> str:
    made = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(restored.manifest.created))
    lines = [f"Restored the backup of {made} to {loaded.home}."]
    if restored.replaced:
        lines.append(f"What was there is kept in {restored.replaced}; move it back to undo.")
    if restored.schema:
        lines.append(f"Tables that were there are kept in the schema {restored.schema} of the database.")
    if after.forgotten:
        lines.append(f"{count(after.forgotten, 'account')} that had been deleted since then: deleted again.")
    if after.signed_out or after.invitations:
        sessions, invitations = count(after.signed_out, "session"), count(after.invitations, "invitation")
        lines.append(f"Ended {sessions} and took back {invitations}, as they may have been since then.")
    lines.append("API keys, roles and blocks are as they were: what was revoked or blocked since, is not.")
    return "\n".join([*lines, "Start the service with modu up."])


@contextmanager
def _shown() -> Iterator[Progress]:
    """A bar on the terminal; nothing where standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console  # noqa: PLC0415  (0.1 s, only where it is seen)
    from rich.progress import Progress as Bar  # noqa: PLC0415

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda what, so_far, total: bar.update(task, description=what, completed=so_far, total=total)
