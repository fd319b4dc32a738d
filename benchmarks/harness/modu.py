"""Modu itself as a target: a home folder with a key and the fake engine, and its real processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.harness import process
from benchmarks.harness.engine import MODEL
from benchmarks.harness.nginx import Target
from benchmarks.harness.process import StartError
from moduai.accounts.keys import create_key
from moduai.engines.record import Capability, Engine, Model
from moduai.engines.repository import add_engine
from moduai.settings import load
from moduai.store.database import Database
from moduai.store.keyring import Keyring
from moduai.store.migrate import upgrade

READY_S = 30.0


class Home:
    """A home folder that is ready: schema, one key, engines."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key

    def environ(self, **settings: str) -> dict[str, str]:
        """The environment of its processes; ``settings`` as in ``gateway__port="0"``."""
        named = {f"MODU_{name.upper()}": value for name, value in settings.items()}
        path = {name: value for name, value in os.environ.items() if name == "PYTHONPATH"}
        return {"MODU_HOME": str(self.folder), "MODU_ACCEPT_TERMS": "1", **path, **named}


def prepare(
    folder: Path, engines: Sequence[str] = (), *, models: Sequence[str] = (MODEL,), concurrency: int = 256
) -> Home:
    """Make a home folder with a key and these engines' addresses."""
    return asyncio.run(aprepare(folder, engines, models=models, concurrency=concurrency))


async def aprepare(
    folder: Path, engines: Sequence[str] = (), *, models: Sequence[str] = (MODEL,), concurrency: int = 256
) -> Home:
    """The same, inside a loop."""
    for name in ("", "run", "usage", "keyring"):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
    url = load(folder, {}).database_url
    await upgrade(url)
    keyring = Keyring.open(folder, create=True)
    can = Capability(context=8192, embeddings=True, responses=True, tools=True, json_schema=True)
    listed = tuple(Model(name=name, upstream_name=name, capability=can) for name in models)
    db = Database(url)
    try:
        async with db.begin() as connection:
            key, _ = await create_key(connection, name="benchmark")
            for number, address in enumerate(engines):
                engine = Engine(
                    id=f"eng_fake{number}",
                    name=f"fake-{number}",
                    url=address,
                    concurrency=concurrency,
                    models=listed,
                )
                await add_engine(connection, keyring, engine)
    finally:
        await db.dispose()
    return Home(folder, key)


@contextlib.contextmanager
def running_modu(
    home: Home, log: Path, *, on: set[int], beside: set[int], settings: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """The gateway worker on the CPUs ``on``, the metering process ``beside``. ``pids`` are the worker's,
    then the metering process's. Raises StartError.
    """
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    with listening, contextlib.ExitStack() as stack:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        without = {"embedded__enabled": "false", "knowledge__enabled": "false", "log__level": "warning"}
        environ = home.environ(**{**without, **(settings or {})})
        metering = [sys.executable, "-m", "moduai.metering"]
        loader = stack.enter_context(process.started(metering, on=beside, log=log, environ=environ))
        environ["MODU_LISTEN_FD"] = str(listening.fileno())
        worker = stack.enter_context(
            process.started(
                [sys.executable, "-m", "moduai.app"],
                on=on,
                log=log,
                environ=environ,
                pass_fds=(listening.fileno(),),
            )
        )
        wait_until_answered(url, "/v1/models", home.key, worker, log)
        yield Target("modu", url, home.key, (worker.pid, loader.pid))


@contextlib.contextmanager
def up(
    home: Home, log: Path, *, on: set[int], settings: Mapping[str, str] | None = None, engine: bool = False
) -> Iterator[process.Started]:
    """``modu up`` with its supervisor, and the embedded engine if asked; it may not be ready yet."""
    command = [sys.executable, "-m", "moduai.cli", "up", "--port", "0", *([] if engine else ["--no-engine"])]
    with process.started(command, on=on, log=log, environ=home.environ(**(settings or {}))) as supervisor:
        yield supervisor


def wait_for_status(folder: Path, supervisor: process.Started, log: Path, within_s: float = READY_S) -> str:
    """The address in ``run/service.json``, once it is there."""
    status = folder / "run" / "service.json"
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and supervisor.poll() is None:
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            url: str = msgspec.json.decode(status.read_bytes())["url"]
            if url:
                return url
        time.sleep(0.005)
    raise StartError(f"`modu up` is not ready: {process.tail(log)}")


def get(url: str, path: str, key: str = "", within_s: float = 5.0) -> tuple[int, bytes]:
    """Status and body of a small GET. Raises OSError."""
    host, _, port = url.removeprefix("http://").partition(":")
    bearer = f"authorization: Bearer {key}\r\n" if key else ""
    with socket.create_connection((host, int(port)), within_s) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\n{bearer}connection: close\r\n\r\n".encode()
        )
        got = b""
        while part := connection.recv(65536):
            got += part
    head, _, body = got.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 "):
        raise OSError(f"{url}{path} answers {got[:100]!r}")
    return int(head[9:12]), body


def wait_until_answered(
    url: str, path: str, key: str, running: process.Started, log: Path, within_s: float = READY_S
) -> None:
    """Until an authorised GET is answered with 200. Raises StartError with the end of the log."""
    deadline = time.monotonic() + within_s
    last = ""
    while time.monotonic() < deadline and running.poll() is None:
        try:
            status, body = get(url, path, key, within_s=2.0)
        except OSError as error:
            last = str(error)
        else:
            if status == 200 and MODEL.encode() in body:
                return
            last = f"{status} {body[:100]!r}"
        time.sleep(0.02)
    raise StartError(f"{path} of {url}: {last}; {process.tail(log)}")


def wait_for_model(url: str, key: str, within_s: float = 90.0) -> str:
    """The name of the first model that is served, once there is one. Raises StartError."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            listed = msgspec.json.decode(get(url, "/v1/models", key)[1]).get("data", [])
            if listed:
                name: str = listed[0]["id"]
                return name
        time.sleep(0.1)
    raise StartError(f"{url} serves no model")
