"""Engines in the database. Every write announces "engines", so that gateways hear of it at once.

Keys are sealed before they are written (see ``engines.row``).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec
from sqlalchemy import or_, select

from moduai.engines.address import AddressError, parse_url
from moduai.engines.record import Engine, Model, State
from moduai.engines.row import from_row, to_row
from moduai.engines.tables import engines
from moduai.store.database import Connection, insert
from moduai.store.feed import announce
from moduai.store.keyring import Keyring

TOPIC = "engines"


class EngineError(ValueError):
    """An engine that is unknown, ambiguous or already there; the text says what to do."""


def new_id() -> str:
    """An opaque id."""
    return f"eng_{secrets.token_hex(8)}"


async def add_engine(connection: Connection, keyring: Keyring, engine: Engine) -> None:
    """Write an engine; one with the same id is replaced, which is also how a removed one comes back."""
    row = to_row(keyring, engine) | {"created_at": int(time.time())}
    write = insert(connection, engines).values(row)
    changed = {name: write.excluded[name] for name in row if name not in ("id", "created_at")}
    await connection.execute(write.on_conflict_do_update(index_elements=["id"], set_=changed))
    await announce(connection, TOPIC)


async def set_models(connection: Connection, engine_id: str, models: tuple[Model, ...]) -> None:
    """Replace the models only, so that a look at an engine cannot undo what an operator did meanwhile."""
    values = {"models": msgspec.to_builtins(models), "updated_at": int(time.time())}
    done = await connection.execute(engines.update().where(engines.c.id == engine_id).values(values))
    _must_have_changed(done.rowcount, engine_id)
    await announce(connection, TOPIC)


async def set_state(connection: Connection, engine_id: str, state: State) -> None:
    """Make it active, draining or removed. Raises EngineError if it is not there."""
    values = {"state": state, "updated_at": int(time.time())}
    done = await connection.execute(engines.update().where(engines.c.id == engine_id).values(values))
    _must_have_changed(done.rowcount, engine_id)
    await announce(connection, TOPIC)


async def remove(connection: Connection, engine_id: str) -> None:
    """Take it out of service for good. Its row stays, because usage rows name it."""
    await set_state(connection, engine_id, "removed")


async def list_engines(connection: Connection, keyring: Keyring, names: Sequence[str] = ()) -> list[Engine]:
    """All of them, removed ones too, by name; of ``names`` those that fit one of these patterns. Raises
    KeyringError if a key cannot be unsealed.
    """
    rows = await connection.execute(select(engines).order_by(engines.c.name, engines.c.id))
    return [
        from_row(keyring, dict(row))
        for row in rows.mappings()
        if not names or any(fnmatchcase(row["name"], pattern) for pattern in names)
    ]


async def find_engine(
    connection: Connection, keyring: Keyring, named: str, *, removed: bool = False
) -> Engine:
    """One engine by id, name or URL. Removed ones count only with ``removed``. Raises EngineError."""
    url = canonical(named) if "://" in named else named
    match = or_(engines.c.id == named, engines.c.name == named, engines.c.url == url)
    query = select(engines).where(match)
    if not removed:
        query = query.where(engines.c.state != "removed")
    rows = (await connection.execute(query.order_by(engines.c.updated_at.desc()))).mappings().all()
    if not rows:
        raise EngineError(f"there is no engine {named!r}: see modu engine list")
    if len(rows) > 1 and not removed:
        ids = ", ".join(row["id"] for row in rows)
        raise EngineError(f"{named!r} names several engines: use one of the ids {ids}")
    return from_row(keyring, dict(rows[0]))


def canonical(url: str) -> str:
    """The address as it is kept: without ``/v1`` and a slash at its end. Raises EngineError."""
    try:
        address = parse_url(url)
    except AddressError as error:
        raise EngineError(str(error)) from None
    if address.path:
        return f"unix://{address.path}"
    return f"{'https' if address.tls else 'http'}://{address.authority}{address.prefix}"


def _must_have_changed(count: int, engine_id: str) -> None:
    if not count:
        raise EngineError(f"there is no engine {engine_id!r}: see modu engine list")
