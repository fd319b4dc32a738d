"""An engine's record as a row of the database, and back; its key is sealed in the row.

Keys are sealed for the engine's id, so that one cannot be put in another's place.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from moduai.engines.record import Engine, Hardware, Model
from moduai.store.keyring import Keyring


def to_row(keyring: Keyring, engine: Engine) -> dict[str, Any]:
    """The columns of an engine, but for ``created_at``."""
    return {
        "id": engine.id,
        "name": engine.name,
        "url": engine.url,
        "kind": engine.kind,
        "sealed_key": keyring.seal(_purpose(engine.id), engine.key.encode()) if engine.key else None,
        "state": engine.state,
        "concurrency": engine.concurrency,
        "hardware": msgspec.to_builtins(engine.hardware),
        "models": msgspec.to_builtins(engine.models),
        "follows": engine.follows,
        "updated_at": int(time.time()),
    }


def from_row(keyring: Keyring, row: dict[str, Any]) -> Engine:
    """The engine of a row. Raises KeyringError if its key cannot be unsealed, msgspec.ValidationError."""
    sealed = row["sealed_key"]
    return Engine(
        id=row["id"],
        name=row["name"],
        url=row["url"],
        kind=row["kind"],
        key=keyring.unseal(_purpose(row["id"]), sealed).decode() if sealed else "",
        state=row["state"],
        concurrency=row["concurrency"],
        hardware=msgspec.convert(row["hardware"], Hardware),
        models=msgspec.convert(row["models"], tuple[Model, ...]),
        follows=bool(row["follows"]),
    )


def _purpose(engine_id: str) -> str:
    return f"engine key {engine_id}"
