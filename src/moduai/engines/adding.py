"""Putting an engine behind the gateway: what is offered of what it has, and under which name it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from moduai.engines import repository
from moduai.engines.discovery import LONGEST_NAME, is_name
from moduai.engines.record import Engine, Hardware, Model
from moduai.engines.repository import EngineError
from moduai.store.database import Connection
from moduai.store.keyring import Keyring

NPUS = {"rngd": "furiosa", "atom": "rbln", "rebel": "rbln"}
"""First letters of an accelerator's name to the kind of server it implies where HTTP cannot tell."""


class Wanted(Struct, frozen=True, kw_only=True):
    """What the operator says of an engine: it counts more than what the engine says."""

    name: str = ""
    """Name for people; empty: the host's."""
    kind: str = ""
    concurrency: int = 0
    hardware: Hardware = Hardware()
    models: tuple[str, ...] = ()
    """Only these, each ``SERVED`` or ``SERVED=NAME``; none: all, also those that come later."""
    capability: Mapping[str, Any] = {}
    """Fields of ``Capability``."""


def offered(found: Engine, wanted: Wanted) -> Engine:
    """The engine as it is to be offered, of what was found there. Raises EngineError."""
    return replace(
        found,
        kind=wanted.kind or _kind(found.kind, wanted.hardware.kind),
        concurrency=wanted.concurrency or found.concurrency,
        hardware=wanted.hardware,
        models=_models(found, wanted.models, wanted.capability),
        follows=not wanted.models,
    )


async def keep(connection: Connection, keyring: Keyring, found: Engine, name: str) -> Engine:
    """Write an engine; one that is or was there under this URL keeps its id and, unless another is given,
    its name. Raises EngineError.
    """
    known = await repository.list_engines(connection, keyring)
    same = next((one for one in known if one.url == found.url), None)
    name = name or (same.name if same else "") or _host(found.url)
    if any(one.name == name and one.url != found.url and one.state != "removed" for one in known):
        raise EngineError(f"there is already an engine {name!r}: choose another --name")
    engine = replace(found, id=same.id if same else repository.new_id(), name=name, state="active")
    await repository.add_engine(connection, keyring, engine)
    return engine


def _kind(found: str, accelerator: str) -> str:
    for start, kind in NPUS.items():
        if accelerator.lower().startswith(start):
            return kind
    return found


def _models(found: Engine, named: Iterable[str], changes: Mapping[str, Any]) -> tuple[Model, ...]:
    """The models to offer: all, or those that were named, under the names that were given to them."""
    there = {model.upstream_name: model for model in found.models}
    offers: dict[str, Model] = {}
    for served, name in [_served(there, one) for one in named] or [(name, name) for name in there]:
        if offers.setdefault(name, replace(there[served], name=name)).upstream_name != served:
            raise EngineError(f"two models cannot both be offered as {name!r}")
    return tuple(replace(model, capability=replace(model.capability, **changes)) for model in offers.values())


def _served(there: Mapping[str, Model], given: str) -> tuple[str, str]:
    """What the engine calls it and what we do, of ``SERVED`` or ``SERVED=NAME``."""
    served, _, name = (given, "", given) if given in there else given.rpartition("=")
    if served not in there:
        raise EngineError(
            f"the engine has no model {served or given!r}; it has: {', '.join(sorted(there)[:20])}"
        )
    if not is_name(name):
        raise EngineError(f"a model's name has 1 to {LONGEST_NAME} printable characters, not {name[:300]!r}")
    return served, name


def _host(url: str) -> str:
    return Path(url).stem if url.startswith("unix:") else url.split("://", 1)[1].split("/", 1)[0]
