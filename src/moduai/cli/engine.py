"""``modu engine``: put engines behind the gateway, look at them, drain them, take them away."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from msgspec.structs import replace

from moduai.accounts.audit import record
from moduai.cli import data
from moduai.cli.common import HomeOption, JsonOption, done, examples, fail, new_app, open_loaded, run, table
from moduai.engines import repository
from moduai.engines.adding import Wanted, keep, offered
from moduai.engines.discovery import DiscoveryError, discover
from moduai.engines.record import Capability, Engine, Hardware, State
from moduai.engines.repository import EngineError
from moduai.store.database import Connection
from moduai.store.keyring import Keyring, KeyringError

app = new_app("Add, list, show, drain, resume and remove engines, and change their keys.")

T = TypeVar("T")
Work = Callable[[Connection, Keyring], Awaitable[T]]
NamedArgument = Annotated[str, typer.Argument(metavar="ENGINE", help="Its name, id or URL.")]


@app.command(
    epilog=examples(
        "modu engine add http://10.0.0.5:8000",
        'modu engine add http://10.0.0.5:8000 --accelerator "H100 SXM" --count 8 --watts 700',
        "modu engine add http://10.0.0.6:8000 --accelerator RNGD --watts 180 --concurrency 16",
        "modu engine add https://api.example.com --key-env EXAMPLE_KEY --model small-1 --context 32768",
        "modu engine add http://10.0.0.7:8000 --model Qwen/Qwen3-8B=qwen --model Qwen/Qwen3-0.6B",
    )
)
def add(
    url: Annotated[str, typer.Argument(help="http://host:port, https://host or unix:///path.")],
    *,
    name: Annotated[str, typer.Option(help="Name for people; default: the host.")] = "",
    key: Annotated[str, typer.Option(help="The engine's API key; - asks for it, unseen.")] = "",
    key_env: Annotated[str, typer.Option(help="Environment variable that holds the key.")] = "",
    kind: Annotated[str, typer.Option(help="vllm, sglang, llamacpp, furiosa, rbln or openai.")] = "",
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this model; may be repeated. SERVED=NAME offers it under another name.",
            metavar="SERVED[=NAME]",
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=0, help="Requests it runs at once.")] = 0,
    context: Annotated[int, typer.Option(min=0, help="Longest prompt and answer, in tokens.")] = 0,
    accelerator: Annotated[str, typer.Option(help='Such as "H100 SXM", RNGD or CPU.')] = "",
    count: Annotated[int, typer.Option(min=1, help="Accelerators of the engine.")] = 1,
    watts: Annotated[float, typer.Option(min=0, help="Power of one busy accelerator.")] = 0.0,
    origin: Annotated[str, typer.Option(help="Who made the weights.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "",
    tools: Annotated[bool | None, typer.Option("--tools/--no-tools")] = None,
    json_schema: Annotated[bool | None, typer.Option("--json-schema/--no-json-schema")] = None,
    vision: Annotated[bool | None, typer.Option("--vision/--no-vision")] = None,
    embeddings: Annotated[bool | None, typer.Option("--embeddings/--no-embeddings")] = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Add an engine: asks it for its models and what they can do, then sends it requests.

    What is given here counts more than what the engine says. Without --model all its models are offered,
    also those that come later. Adding the same URL again changes it; a removed engine comes back.
    """
    said = {
        "context": context or None,
        "origin": origin or None,
        "licence": licence or None,
        "tools": tools,
        "json_schema": json_schema,
        "vision": vision,
        "embeddings": embeddings,
    }
    changes = {field: value for field, value in said.items() if value is not None}
    wanted = Wanted(
        name=name,
        kind=kind,
        concurrency=concurrency,
        hardware=Hardware(kind=accelerator, count=count, watts=watts),
        models=tuple(model or ()),
        capability=changes,
    )
    found = _offered(_ask(_canonical(url), _key(key, key_env)), wanted)
    engine = _use(home, lambda connection, keyring: _write(connection, keyring, found, name), write=True)
    models = ", ".join(one.name for one in engine.models[:5]) + (", …" if len(engine.models) > 5 else "")
    done(f"{engine.name} ({engine.kind}) serves: {models}", _shown(engine), json=json)


@app.command(
    "key", epilog=examples("modu engine key lab-1 --key-env NEW_KEY", "modu engine key lab-1 --key -")
)
def change_key(
    engine: NamedArgument,
    *,
    key: Annotated[str, typer.Option(help="The engine's new API key; - asks for it, unseen.")] = "",
    key_env: Annotated[str, typer.Option(help="Environment variable that holds the key.")] = "",
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Give an engine another key, once the engine takes it. All else that is known of it stays."""
    if not key and not key_env:
        fail("give the new key: --key-env NAME, or --key - to be asked for it", 2)
    found = _use(home, lambda connection, keyring: repository.find_engine(connection, keyring, engine))
    if found.kind == "embedded":
        fail("the key of the embedded engine is made anew by itself")
    new = _key(key, key_env)
    _ask(found.url, new)

    async def work(connection: Connection, keyring: Keyring) -> Engine:
        now = replace(await repository.find_engine(connection, keyring, found.id), key=new)
        await repository.add_engine(connection, keyring, now)
        await record(connection, actor="cli", action="engine.key", target=now.id)
        return now

    changed = _use(home, work, write=True)
    done(f"{changed.name} is asked with the new key from now on", _shown(changed), json=json)


@app.command("list", epilog=examples("modu engine list", "modu engine list --all --json"))
def list_(
    every: Annotated[bool, typer.Option("--all", help="Removed engines too.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """List the engines."""
    found = _use(home, repository.list_engines)
    rows = [_shown(one) for one in found if every or one.state != "removed"]
    columns = ["name", "state", "kind", "url", "concurrency", "accelerator", "models"]
    if not json:
        rows = [row | {"models": [one["name"] for one in row["models"]]} for row in rows]
    table(rows, columns, json=json, empty="No engine yet: modu engine add URL")


@app.command(epilog=examples("modu engine show embedded", "modu engine show http://10.0.0.5:8000 --json"))
def show(engine: NamedArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Show all that is known of one engine. Its key is never shown."""
    shown = _shown(
        _use(home, lambda connection, keyring: repository.find_engine(connection, keyring, engine))
    )
    if json:
        done("", shown, json=True)
        return
    models = shown.pop("models")
    table([{"what": name, "value": value} for name, value in shown.items()], ["what", "value"])
    for one in models:
        typer.echo("")
        table([{"model": what, one["name"]: value} for what, value in one.items()], ["model", one["name"]])


@app.command(epilog=examples("modu engine drain lab-1"))
def drain(engine: NamedArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Let an engine end what it runs and send it nothing new."""
    found = _set(home, engine, "draining")
    done(f"{found.name} is draining; undo: modu engine resume {found.name}", _shown(found), json=json)


@app.command(epilog=examples("modu engine resume lab-1"))
def resume(engine: NamedArgument, home: HomeOption = None, json: JsonOption = False) -> None:
    """Send requests again to an engine that was drained or removed."""
    found = _set(home, engine, "active")
    done(f"{found.name} takes requests again", _shown(found), json=json)


@app.command(epilog=examples("modu engine remove lab-1", "modu engine remove lab-1 --yes"))
def remove(
    engine: NamedArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Take an engine out of service. What it served stays in the ledger."""
    found = _use(home, lambda connection, keyring: repository.find_engine(connection, keyring, engine))
    if found.kind == "embedded":
        fail("the embedded engine comes with the service: start it with `modu up --no-engine`, or drain it")
    if not yes:
        if not sys.stdin.isatty():
            fail(f"give --yes to remove {found.name} without a question", 2)
        if not typer.confirm(f"Remove {found.name} ({found.url})?", err=True):
            fail("nothing was removed")
    found = _set(home, found.id, "removed")
    done(f"{found.name} is removed; undo: modu engine resume {found.name}", _shown(found), json=json)


_ACTIONS: dict[State, str] = {
    "draining": "engine.drain",
    "active": "engine.resume",
    "removed": "engine.remove",
}


def _canonical(url: str) -> str:
    try:
        return repository.canonical(url)
    except EngineError as error:
        fail(str(error), 2)


def _key(given: str, variable: str) -> str:
    if given and variable:
        fail("give --key or --key-env, not both", 2)
    if variable:
        if not os.environ.get(variable):
            fail(f"the environment variable {variable} is empty or not set", 2)
        given = os.environ[variable]
    elif given == "-":
        given = _hidden() if sys.stdin.isatty() else sys.stdin.readline()
    given = given.strip()
    if not given.isascii() or not given.isprintable():
        fail("a key has only printable ASCII characters", 2)
    return given


def _hidden() -> str:
    return str(typer.prompt("Key of the engine", hide_input=True, err=True))


def _ask(url: str, key: str) -> Engine:
    """The engine's record; asks for a key if the engine wants one and a person is there."""
    try:
        return run(discover(url, key))
    except DiscoveryError as error:
        if "refuses the key" not in str(error) or key or not sys.stdin.isatty():
            fail(str(error))
    try:
        return run(discover(url, _hidden().strip()))
    except DiscoveryError as error:
        fail(str(error))


def _offered(found: Engine, wanted: Wanted) -> Engine:
    try:
        return offered(found, wanted)
    except EngineError as error:
        fail(str(error), 2)


async def _write(connection: Connection, keyring: Keyring, found: Engine, name: str) -> Engine:
    engine = await keep(connection, keyring, found, name)
    await record(connection, actor="cli", action="engine.add", target=engine.id)
    return engine


def _set(home: Path | None, named: str, state: State) -> Engine:
    async def work(connection: Connection, keyring: Keyring) -> Engine:
        again = state == "active"
        found = await repository.find_engine(connection, keyring, named, removed=again)
        await repository.set_state(connection, found.id, state)
        await record(connection, actor="cli", action=_ACTIONS[state], target=found.id)
        return replace(found, state=state)

    return _use(home, work, write=True)


def _shown(engine: Engine) -> dict[str, Any]:
    """A record as people and scripts see it: whether there is a key, never which."""
    hardware = engine.hardware
    return {
        "id": engine.id,
        "name": engine.name,
        "url": engine.url,
        "kind": engine.kind,
        "state": engine.state,
        "key": bool(engine.key),
        "concurrency": engine.concurrency,
        "follows": engine.follows,
        "accelerator": f"{hardware.count} × {hardware.kind}" if hardware.kind else "",
        "watts": hardware.watts,
        "models": [
            {"name": model.name, "served_as": model.upstream_name}
            | {field: getattr(model.capability, field) for field in Capability.__struct_fields__}
            for model in engine.models
        ],
    }


def _use(home: Path | None, work: Work[T], *, write: bool = False) -> T:
    """Do the work on the database; what can go wrong ends the command with one line."""
    loaded = open_loaded(home)

    async def keyed(connection: Connection) -> T:
        return await work(connection, Keyring.open(loaded.home))

    return (data.write if write else data.read)(
        loaded, keyed, EngineError, KeyringError, msgspec.ValidationError
    )
