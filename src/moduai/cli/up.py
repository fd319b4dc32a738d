"""``modu up``: make the home folder ready, then keep the service running until it is told to stop.

The process that the operator sees becomes the supervisor, so it stays small: what needs the database is
done in a process of its own that ends before the service begins (see ``prepare``).
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from moduai import __version__, log, service
from moduai.child import TakenError, own_folder, socket_path
from moduai.cli.common import HomeOption, examples, fail, new_app, open_loaded
from moduai.cli.prepare import Prepared, Start, in_child, prepare_database, prepare_home
from moduai.cli.settings import variable
from moduai.service import NotStartedError, PortTakenError
from moduai.settings import Loaded
from moduai.supervisor import ENGINE, WORKER_PAUSE_S, Child, supervise

app = new_app("Start the service on this machine.", group=False)

LOADING_S = 10.0
"""How long the welcome waits for the model and for search, so that the first question is answered."""

EXAMPLES = examples(
    "modu up                                        the model that comes with Modu, on this machine only",
    "modu up --model ~/models/answers.gguf          another model",
    "modu up --model ggml-org/gemma-3-1b-it-GGUF    one from Hugging Face, downloaded once",
    "modu up --no-engine                            only engines added by `modu engine add`",
    "modu up --host 0.0.0.0 --behind-proxy 10.0.0.2 for others, behind a proxy that ends TLS",
)


@app.command(epilog=EXAMPLES)
def up(
    model: Annotated[
        str | None,
        typer.Option(help="PATH.gguf or HF_REPO[:FILE] for the embedded engine.", metavar="MODEL"),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.", metavar="HOST")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0: any.", min=0, max=65535, metavar="PORT")
    ] = None,
    no_engine: Annotated[bool, typer.Option("--no-engine", help="Do not start the embedded engine.")] = False,
    behind_proxy: Annotated[
        list[str] | None,
        typer.Option(help="Address or network of a proxy that ends TLS in front; may be repeated."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file of the certificate, for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    home: HomeOption = None,
) -> None:
    """Start the service on this machine: a page to ask on, an OpenAI-compatible API, and a ledger.

    Ctrl-C ends what runs, then stops; once more stops at once. Run it again to see the address.
    """
    given = {
        "embedded.model": model,
        "embedded.enabled": False if no_engine else None,
        "gateway.host": host,
        "gateway.port": port,
        "gateway.behind_proxy": tuple(behind_proxy) if behind_proxy else None,
        "gateway.tls_certificate": str(tls_cert.resolve()) if tls_cert else None,
        "gateway.tls_key": str(tls_key.resolve()) if tls_key else None,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    loaded = open_loaded(home, overrides)
    try:
        _up(loaded, overrides)
    except NotStartedError as error:
        fail(str(error))


def _up(loaded: Loaded, overrides: Mapping[str, Any]) -> None:
    check_exposure(loaded)
    if found := service.running(loaded.home):
        _already(found)
        return
    prepare_home(loaded.home)
    _tell_lost_keyring(loaded.home)
    lock = service.hold(loaded.home)
    listening = _listen(loaded)
    url = service.url_of(listening, tls=bool(loaded.settings.gateway.tls_certificate))
    log.configure(loaded.settings.log, "supervisor")
    try:
        start = Start(embedded=_wants_engine(loaded), key=_engine_key(loaded.home))
        prepared = in_child(prepare_database, loaded, start)
        _show_first(loaded.settings.sign_in.public_url or url, prepared)
        children = plan(loaded, listening, prepared, start, environ_of(loaded, overrides, url))
        asyncio.run(_serve(loaded, url, listening, children, prepared))
    finally:
        listening.close()
        os.close(lock)


def _tell_lost_keyring(home: Path) -> None:
    """The service starts without its old keyring, so that people can ask; it must not do so unseen."""
    if (home / "modu.db").exists() and not (home / "keyring" / "master.key").exists():
        typer.echo(
            f"{home / 'keyring'} is lost, so a new one is made: what was sealed with the old one cannot be "
            "read, and nobody can sign in as before. Put back your copy, if there is one: `modu doctor`",
            err=True,
        )


def _show_first(url: str, prepared: Prepared) -> None:
    """At once: whatever happens later, they are not shown again."""
    if prepared.first_key:
        typer.echo(f"Your first API key, shown only now:\n  {typer.style(prepared.first_key, bold=True)}\n")
    if prepared.first_invitation:
        link = typer.style(f"{url}/join/{prepared.first_invitation}", bold=True)
        typer.echo(f"Your sign-in as administrator, good once and for a week:\n  {link}\n")


async def _serve(
    loaded: Loaded, url: str, listening: socket.socket, children: list[Child], prepared: Prepared
) -> None:
    """Keep the service running, and welcome people once it can answer them."""
    tasks = []

    def ready() -> None:
        tasks.append(asyncio.create_task(_welcome(loaded, url, prepared)))

    await supervise(loaded.home, url, listening, children, ready)


async def _not_loaded(embedded_url: str, url: str) -> set[str]:
    """What does not answer yet of the engine and of search; waits a few seconds for both."""
    deadline = time.monotonic() + LOADING_S
    while True:
        missing = await _missing(embedded_url, url)
        if not missing or time.monotonic() >= deadline:
            return missing
        await asyncio.sleep(0.1)


async def _missing(embedded_url: str, url: str) -> set[str]:
    """Whether the embedded engine has its model and the gateway knows it, and whether search is there."""
    engine = await service.probe(embedded_url, "/health", within_s=1.0) if embedded_url else None
    gateway = await service.probe(url, "/health/ready", within_s=1.0)
    degraded = gateway.degraded if gateway is not None else {"engines", "search"}
    loading = bool(embedded_url) and (engine is None or engine.status != 200 or "engines" in degraded)
    return (degraded & {"search"}) | ({"engines"} if loading else set())


def check_exposure(loaded: Loaded) -> None:
    """Others may reach the service only over TLS, ours or a proxy's. Fails closed: it does not start."""
    gateway = loaded.settings.gateway
    if bool(gateway.tls_certificate) != bool(gateway.tls_key):
        raise NotStartedError("HTTPS needs both --tls-cert and --tls-key")
    for name, file in (("--tls-cert", gateway.tls_certificate), ("--tls-key", gateway.tls_key)):
        if file and not os.access(file, os.R_OK):
            raise NotStartedError(f"{name}: {file} cannot be read")
    if not (service.is_loopback(gateway.host) or gateway.tls_certificate or gateway.behind_proxy):
        raise NotStartedError(
            f"{gateway.host} can be reached from other machines, where keys would travel in clear: "
            "give --tls-cert and --tls-key, or --behind-proxy ADDRESS of a proxy that ends TLS"
        )


def plan(
    loaded: Loaded, listening: socket.socket, prepared: Prepared, start: Start, environ: Mapping[str, str]
) -> list[Child]:
    """The processes of the service; they stop in the reverse order, so usage is loaded last.

    The metering process starts when the service is ready: usage waits in its files until then. So does
    search, which takes a moment and is not needed for the first answer.
    """
    python = (sys.executable, "-m")
    children = [Child("metering", (*python, "moduai.metering"), environ, drain_s=30.0, when_ready=True)]
    if loaded.settings.knowledge.enabled:
        search = Child("search", (*python, "moduai.knowledge"), environ, needed=False, when_ready=True)
        children.append(search)
    if prepared.embedded_url:
        from_start = {"MODU_ENGINE_URL": prepared.embedded_url, "MODU_ENGINE_KEY": start.key}
        command = (*python, "moduai.engines.embedded")
        children.append(Child(ENGINE, command, {**environ, **from_start}, needed=False))
    if loaded.shared_line and loaded.settings.cells.dispatch:
        dispatcher = Child("dispatcher", (*python, "moduai.cells"), environ, longest_pause_s=WORKER_PAUSE_S)
        children.append(dispatcher)
    return [*children, *_workers(loaded, listening, environ)]


def _workers(loaded: Loaded, listening: socket.socket, environ: Mapping[str, str]) -> list[Child]:
    """The gateway's workers, all at the one address; each also answers for itself at a socket of its own."""
    gateway, handle = loaded.settings.gateway, listening.fileno()
    own = [socket_path(loaded.home, f"worker-{number}") for number in range(1, gateway.workers + 1)]
    try:
        own_folder(own[0])
    except (TakenError, OSError) as error:
        raise NotStartedError(f"no folder for the workers' sockets: {error}") from None
    return [
        Child(
            path.stem.replace("-", " ") if len(own) > 1 else "worker",
            (sys.executable, "-m", "moduai.app"),
            {**environ, "MODU_LISTEN_FD": str(handle), "MODU_OWN_SOCKET": str(path)},
            (handle,),
            drain_s=gateway.leave_s + gateway.drain_s + 2,
            longest_pause_s=WORKER_PAUSE_S,
            live=f"unix://{path}",
        )
        for path in own
    ]


def environ_of(loaded: Loaded, overrides: Mapping[str, Any], url: str) -> dict[str, str]:
    """What the children need to read the same settings as we did."""
    port = url.rpartition(":")[2]
    cells = loaded.settings.cells  # what the children are planned by stays as it was, also for `modu reload`
    planned = {
        "gateway.workers": loaded.settings.gateway.workers,
        "cells.lease": cells.lease,
        "cells.dispatch": cells.dispatch,
    }
    named = {**planned, **overrides, "gateway.port": port}
    return {"MODU_HOME": str(loaded.home)} | {
        variable(name): ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in named.items()
    }


def _listen(loaded: Loaded) -> socket.socket:
    gateway = loaded.settings.gateway
    try:
        return service.listen(gateway.host, gateway.port)
    except PortTakenError as error:
        question = f"Port {error.port} is taken. Take {error.free} instead?"
        if not (
            sys.stdin.isatty() and sys.stderr.isatty() and typer.confirm(question, default=True, err=True)
        ):
            raise
        return service.listen(gateway.host, error.free)


def _already(found: service.Service) -> None:
    """Tell where the service that runs already is; fail if it does not answer."""
    if not found.url:
        raise NotStartedError("the service is starting; its address comes in a moment")
    answer = asyncio.run(service.probe(found.url, "/health/live", within_s=5.0))
    if answer is None:
        raise NotStartedError(
            f"the service (process {found.pid}) runs but does not answer at {found.url}: `modu doctor`"
        )
    typer.echo(f"Modu runs already: {found.url}")


def _engine_key(home: Path) -> str:
    """The embedded engine's key: derived from the keyring, so that nothing more has to be kept."""
    from moduai.store.keyring import Keyring, KeyringError  # noqa: PLC0415

    try:
        return Keyring.open(home).secret("embedded engine").hex()
    except KeyringError as error:
        raise NotStartedError(str(error)) from None


def _wants_engine(loaded: Loaded) -> bool:
    """Whether to start the embedded engine. Shows the weights' terms once, where those weights are meant."""
    from moduai.engines.embedded.terms import ask  # noqa: PLC0415

    embedded = loaded.settings.embedded
    return embedded.enabled and (bool(embedded.model) or ask(loaded.home))


async def _welcome(loaded: Loaded, url: str, prepared: Prepared) -> None:
    missing = await _not_loaded(prepared.embedded_url, url)
    bold = typer.style
    lines = [
        bold(f"Modu {__version__} is ready.", bold=True),
        f"  page    {bold(url, fg='cyan', underline=True)}",
        f"  API     {url}/v1",
        f"  data    {loaded.home}",
    ]
    if prepared.why_no_engine:
        lines.append(f"  engine  {prepared.why_no_engine}")
    elif "engines" in missing:
        lines.append("  engine  its model is still loading; questions are refused until then")
    elif not prepared.engines:
        lines.append("  engine  no engine yet: modu engine add URL")
    if "search" in missing:
        lines.append("  search  public documents are still being indexed; what is indexed can be found")
    if prepared.first_key and prepared.model:
        lines += ["", "Try it:", _curl(url, prepared)]
    with suppress(BrokenPipeError):  # nobody reads; the service goes on
        typer.echo("\n".join([*lines, "", "Ctrl-C stops it."]))


def _curl(url: str, prepared: Prepared) -> str:
    body = f'{{"model": "{prepared.model}", "messages": [{{"role": "user", "content": "안녕하세요?"}}]}}'
    return (
        f"  curl {url}/v1/chat/completions \\\n"
        f"    -H 'Authorization: Bearer {prepared.first_key}' \\\n"
        f"    -H 'Content-Type: application/json' \\\n    -d '{body}'"
    )
