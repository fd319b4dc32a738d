"""Engines: listed with all that is known of them, added, drained, resumed, removed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from moduai.accounts.organisations import AccountError
from moduai.accounts.people import clean_line
from moduai.engines import repository
from moduai.engines.adding import Wanted, keep, offered
from moduai.engines.discovery import DiscoveryError, discover
from moduai.engines.record import Capability, Engine, Hardware, State
from moduai.engines.repository import EngineError
from moduai.gateway.errors import ApiError
from moduai.store.database import Connection
from moduai.web.api.operation import Call, Operation, Request, Text, Word, refused

EMBEDDED = "embedded"


class ModelInfo(Struct, frozen=True, kw_only=True):
    """A model of an engine."""

    name: str
    served_as: str
    """What the engine calls it."""
    capability: Capability


class EngineInfo(Struct, frozen=True, kw_only=True):
    """An engine's record. Its key is never shown, only whether there is one."""

    id: str
    name: str
    url: str
    kind: str
    state: State
    key: bool
    concurrency: int
    follows: bool
    """Whether it offers whatever models it has."""
    accelerator: str
    count: int
    watts: float
    models: list[ModelInfo]


class Engines(Struct, frozen=True):
    """All engines, by name."""

    items: list[EngineInfo]


class EnginesWanted(Request, frozen=True):
    """Which engines."""

    removed: Annotated[bool, Meta(description="The removed ones too.")] = False


class EngineNamed(Request, frozen=True):
    """One engine, by its id or name."""

    engine: Word


class EngineAdded(Request, frozen=True):
    """An engine to add. What is said here counts more than what the engine says."""

    url: Annotated[str, Meta(min_length=1, max_length=500, description="http://host:port or https://host.")]
    name: Annotated[Text, Meta(description="Name for people; empty: the host.")] = ""
    key: Annotated[str, Meta(max_length=1000, description="The engine's API key; kept sealed.")] = ""
    kind: Annotated[str, Meta(pattern="^(vllm|sglang|llamacpp|furiosa|rbln|openai)?$")] = ""
    concurrency: Annotated[int, Meta(ge=0, le=100_000, description="Requests it runs at once.")] = 0
    accelerator: Annotated[Text, Meta(description="Such as H100 SXM, RNGD or CPU.")] = ""
    count: Annotated[int, Meta(ge=1, le=100_000, description="Accelerators of the engine.")] = 1
    watts: Annotated[float, Meta(ge=0, le=1_000_000, description="Power of one busy accelerator.")] = 0.0
    models: Annotated[
        tuple[Word, ...],
        Meta(max_length=200, description="Only these, each SERVED or SERVED=NAME; none: all it has."),
    ] = ()
    context: Annotated[int, Meta(ge=0, le=1 << 30, description="Longest prompt and answer, in tokens.")] = 0
    origin: Annotated[Text, Meta(description="Who made the weights.")] = ""
    licence: Annotated[Text, Meta(description="Licence of the weights.")] = ""


async def list_all(call: Call, wanted: EnginesWanted) -> Engines:
    """Every engine with its models and what they can do."""
    async with call.read() as connection:
        found = await repository.list_engines(connection, call.services.keyring)
    return Engines([info(one) for one in found if wanted.removed or one.state != "removed"])


async def show(call: Call, wanted: EngineNamed) -> EngineInfo:
    """One engine; a removed one too."""
    async with call.read() as connection:
        return info(await _find(call, connection, wanted.engine))


async def add(call: Call, wanted: EngineAdded) -> EngineInfo:
    """Asks the engine for its models and what they can do, then sends it requests. The same address again
    changes what is known of it, and brings back one that was removed.
    """
    if not wanted.url.startswith(("http://", "https://")):
        raise ApiError("value_not_allowed", "An engine's address begins with http:// or https:// here.")
    if not wanted.key.isascii() or not wanted.key.isprintable():
        raise ApiError("value_not_allowed", "A key has only printable ASCII characters.")
    with refused("value_not_allowed", EngineError, AccountError):
        url = repository.canonical(wanted.url)
        name = clean_line(wanted.name, 100, "a name")
    with refused("engine_not_usable", DiscoveryError, EngineError):
        engine = offered(await discover(url, wanted.key), _said(wanted))
    async with call.write() as connection:
        await call.only_once(connection)
        with refused("conflict", EngineError):
            made = await keep(connection, call.services.keyring, engine, name)
        await call.record(connection, made.id)
    return info(made)


def _said(wanted: EngineAdded) -> Wanted:
    said = {"context": wanted.context, "origin": wanted.origin, "licence": wanted.licence}
    return Wanted(
        kind=wanted.kind,
        concurrency=wanted.concurrency,
        hardware=Hardware(kind=wanted.accelerator, count=wanted.count, watts=wanted.watts),
        models=wanted.models,
        capability={field: value for field, value in said.items() if value},
    )


async def drain(call: Call, wanted: EngineNamed) -> EngineInfo:
    """It ends what it runs and gets nothing new. Undo: resume."""
    return await _set(call, wanted.engine, "draining")


async def resume(call: Call, wanted: EngineNamed) -> EngineInfo:
    """It gets requests again, after it was drained or removed."""
    return await _set(call, wanted.engine, "active")


async def remove(call: Call, wanted: EngineNamed) -> EngineInfo:
    """Takes it out of service; what it served stays in the ledger. Undo: resume."""
    return await _set(call, wanted.engine, "removed")


async def _set(call: Call, named: str, state: State) -> EngineInfo:
    async with call.write() as connection:
        found = await _find(call, connection, named)
        if state == "removed" and found.kind == EMBEDDED:
            raise ApiError("conflict", "The embedded engine comes with the service: drain it instead.")
        if state == "draining" and found.state == "removed":
            raise ApiError("conflict", "The engine is removed: there is nothing to drain.")
        await repository.set_state(connection, found.id, state)
        await call.record(connection, found.id)
    return info(msgspec.structs.replace(found, state=state))


async def _find(call: Call, connection: Connection, named: str) -> Engine:
    """One engine by id, or by the name of one that is there."""
    with refused("not_found", EngineError):
        removed = named.startswith("eng_")
        return await repository.find_engine(connection, call.services.keyring, named, removed=removed)


def info(engine: Engine) -> EngineInfo:
    """A record as people and programmes see it."""
    hardware = engine.hardware
    return EngineInfo(
        id=engine.id,
        name=engine.name,
        url=engine.url,
        kind=engine.kind,
        state=engine.state,
        key=bool(engine.key),
        concurrency=engine.concurrency,
        follows=engine.follows,
        accelerator=hardware.kind,
        count=hardware.count,
        watts=hardware.watts,
        models=[
            ModelInfo(name=one.name, served_as=one.upstream_name, capability=one.capability)
            for one in engine.models
        ],
    )


OPERATIONS = (
    Operation(
        "engine.list", "GET", "/api/engines", "engines", "List the engines.",
        EnginesWanted, Engines, list_all, "engine list",
    ),
    Operation(
        "engine.add", "POST", "/api/engines", "engines", "Add an engine.",
        EngineAdded, EngineInfo, add, "engine add", status=201,
    ),
    Operation(
        "engine.show", "GET", "/api/engines/{engine}", "engines", "Show an engine.",
        EngineNamed, EngineInfo, show, "engine show",
    ),
    Operation(
        "engine.drain", "POST", "/api/engines/{engine}/drain", "engines", "Drain an engine.",
        EngineNamed, EngineInfo, drain, "engine drain",
    ),
    Operation(
        "engine.resume", "POST", "/api/engines/{engine}/resume", "engines", "Send it requests again.",
        EngineNamed, EngineInfo, resume, "engine resume",
    ),
    Operation(
        "engine.remove", "DELETE", "/api/engines/{engine}", "engines", "Remove an engine.",
        EngineNamed, EngineInfo, remove, "engine remove",
    ),
)  # fmt: skip
