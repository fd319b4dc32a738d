"""What ``modu up`` does before the service begins: folders, keyring, schema, first key and administrator's
invitation, engine's record.

It runs in a forked process, so the memory that the database's library takes is given back when it ends
and the supervisor stays small.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec
from msgspec import Struct

from moduai.service import NotStartedError
from moduai.settings import Loaded
from moduai.store.files import RESTORING

if TYPE_CHECKING:
    from moduai.engines.record import Engine
    from moduai.store.database import Connection
    from moduai.store.keyring import Keyring

FOLDERS = ("run", "usage", "turns", "weights", "keyring", "knowledge")


class Start(Struct, frozen=True):
    """What was decided about this start."""

    embedded: bool
    """Start the embedded engine."""
    key: str
    """The embedded engine's key. It stays the same, so that its record need not be written at each start."""


class Prepared(Struct, frozen=True):
    """What was found and made."""

    first_key: str = ""
    """The first API key in clear; empty except on the first run."""
    first_invitation: str = ""
    """Token of the first administrator's invitation; empty except on the first run."""
    engines: int = 0
    embedded_url: str = ""
    """Where the embedded engine is to listen; empty: it is not started."""
    model: str = ""
    """A model that can be asked."""
    why_no_engine: str = ""
    """Why the embedded engine cannot run; empty if it can, or is not wanted."""


class Failed(Struct, frozen=True):
    """Why it could not be done."""

    why: str


def prepare_home(home: Path) -> None:
    """Make the home folder and those in it, for our user only. Raises NotStartedError, also where a restore
    was cut off: the database and the files may be of two times (fails closed).
    """
    if (home / RESTORING).exists():
        raise NotStartedError(f"a restore into {home} was cut off: do it again, `modu restore --force FILE`")
    try:
        for folder in (home, *(home / name for name in FOLDERS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
    except OSError as error:
        raise NotStartedError(
            f"{error.filename} cannot be made or is not ours ({error.strerror}): name another with --home"
        ) from None


def in_child(work: Callable[[Loaded, Start], Prepared], loaded: Loaded, start: Start) -> Prepared:
    """Do the work in a forked process and return what it returned. Raises NotStartedError.

    Safe because this process has a single thread and no event loop yet.
    """
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reader)
        _answer(writer, work, loaded, start)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    if status == 0:
        return msgspec.json.decode(told, type=Prepared)
    if told:
        raise NotStartedError(msgspec.json.decode(told, type=Failed).why)
    raise NotStartedError("the database could not be made ready; the lines above say why")


def _answer(writer: int, work: Callable[[Loaded, Start], Prepared], loaded: Loaded, start: Start) -> NoReturn:
    answer: Struct = Failed("the database could not be made ready; the lines above say why")
    status = 1
    try:
        answer = work(loaded, start)
        status = 0
    except NotStartedError as error:
        answer = Failed(str(error))
    finally:  # whatever happened, this process must not go on as a second `modu up`
        if (unexpected := sys.exception()) is not None:
            traceback.print_exception(unexpected)
        os.write(writer, msgspec.json.encode(answer))
        os._exit(status)


def prepare_database(loaded: Loaded, start: Start) -> Prepared:
    """Bring the schema to head, make the first key and invitation, and record the embedded engine or remove
    its record.
    """
    from moduai.store.keyring import Keyring, KeyringError  # noqa: PLC0415  only the forked process pays

    check_pack(loaded)
    try:
        return _prepared(loaded, start, Keyring.open(loaded.home))
    except KeyringError as error:
        raise NotStartedError(str(error)) from None


def check_pack(loaded: Loaded) -> None:
    """A country pack of the operator's own has no faults; those that come with Modu were checked. Raises
    NotStartedError. Fails closed.
    """
    from moduai.packs.choose import chosen  # noqa: PLC0415
    from moduai.packs.read import PackError, told  # noqa: PLC0415
    from moduai.packs.where import shipped  # noqa: PLC0415

    if loaded.settings.pack.use in shipped():
        return
    from moduai.gateway.policy_text import parse  # noqa: PLC0415

    try:
        chosen(loaded, parse)
    except PackError as error:
        first = f"first {told(error.faults[0])}; `modu pack check` says all"
        raise NotStartedError(f"the pack {loaded.settings.pack.use} cannot be used: {first}") from None


def _prepared(loaded: Loaded, start: Start, keyring: Keyring) -> Prepared:
    from moduai.cli.steady import steady  # noqa: PLC0415
    from moduai.engines.embedded import ENGINE_ID  # noqa: PLC0415

    embedded, why = _embedded(loaded, start)
    engines, first_key, invitation = steady(loaded, keyring, ENGINE_ID, embedded), "", ""
    if engines is None:
        engines, first_key, invitation = asyncio.run(_prepare(loaded, keyring, embedded))
    active = [one for one in engines if one.state == "active"]
    models = [model.name for engine in active for model in engine.models if model.capability.chat]
    embedded_url, model = embedded.url if embedded else "", next(iter(models), "")
    return Prepared(first_key, invitation, len(active), embedded_url, model, why)


async def _prepare(
    loaded: Loaded, keyring: Keyring, embedded: Engine | None
) -> tuple[list[Engine], str, str]:
    """Make and write what is missing; the engines then, and the first key and invitation if just made."""
    from moduai.engines.repository import list_engines  # noqa: PLC0415
    from moduai.store.database import Database, brief  # noqa: PLC0415
    from moduai.store.migrate import SchemaError, upgrade  # noqa: PLC0415

    db = Database(loaded.database_url)
    try:
        await upgrade(loaded.database_url)
        async with db.begin() as connection:
            first_key = await _first_key(connection)
            await _record(connection, keyring, embedded)
            invitation = await _first_invitation(connection)
            return await list_engines(connection, keyring), first_key, invitation
    except SchemaError as error:
        raise NotStartedError(str(error)) from None
    except db.errors as error:
        raise NotStartedError(f"the database {db.shown()} cannot be used: {brief(error)}") from None
    finally:
        await db.dispose()


def _embedded(loaded: Loaded, start: Start) -> tuple[Engine | None, str]:
    """The embedded engine's record for this start, or None and why there is none."""
    from moduai.child import socket_path  # noqa: PLC0415
    from moduai.engines.embedded import WeightsError, record, resolve  # noqa: PLC0415

    if not start.embedded:
        return None, ""
    settings = loaded.settings.embedded
    try:
        weights = resolve(loaded.home, settings.model, _say)
    except WeightsError as error:
        return None, str(error)
    if weights is None:
        return None, ""
    return record(settings, weights, f"unix://{socket_path(loaded.home, 'engine')}", start.key), ""


async def _record(connection: Connection, keyring: Keyring, embedded: Engine | None) -> None:
    """Let the gateway learn of the embedded engine by the feed, or that it is gone."""
    from moduai.engines.embedded import ENGINE_ID  # noqa: PLC0415
    from moduai.engines.repository import add_engine, list_engines, remove  # noqa: PLC0415

    if embedded is not None:
        await add_engine(connection, keyring, embedded)
    elif any(
        one.id == ENGINE_ID and one.state != "removed" for one in await list_engines(connection, keyring)
    ):
        await remove(connection, ENGINE_ID)


async def _first_key(connection: Connection) -> str:
    """A key for the default organisation where there is none of any kind yet; otherwise empty."""
    from moduai.accounts import audit  # noqa: PLC0415
    from moduai.accounts.keys import create_key, list_keys  # noqa: PLC0415

    if await list_keys(connection, revoked=True):
        return ""
    clear, made = await create_key(connection, name="first key")
    await audit.record(connection, actor="system", action="key.create", target=made.id)
    return clear


async def _first_invitation(connection: Connection) -> str:
    """A token that lets the first administrator in, where nobody was ever invited; otherwise empty."""
    from sqlalchemy import exists, select  # noqa: PLC0415

    from moduai.accounts import audit  # noqa: PLC0415
    from moduai.accounts.invitations import invite  # noqa: PLC0415
    from moduai.accounts.roles import ADMIN  # noqa: PLC0415
    from moduai.accounts.tables import deletions, invitations, people  # noqa: PLC0415

    for table in (people, invitations, deletions):
        if await connection.scalar(select(exists(select(table)))):
            return ""
    token, made = await invite(connection, role=ADMIN, note="first administrator", made_by="system")
    await audit.record(
        connection, actor="system", action="invite.create", target=made.id, detail={"role": ADMIN}
    )
    return token


def _say(told: str) -> None:
    sys.stderr.write(f"{told}\n")
