"""nginx as the yardstick: one worker, tuned by the committed ``benchmarks/nginx.conf.in``."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import process

TEMPLATE = Path(__file__).resolve().parent.parent / "nginx.conf.in"
KEY = "modu-benchmark-key"


class Target(NamedTuple):
    """A running server that can be measured."""

    name: str
    url: str
    key: str
    pids: tuple[int, ...]
    """The processes whose CPU counts."""
    model: str = "fake-model"
    asks: bytes = b""
    """What it is asked, where that is not the chat question."""


def binary() -> str | None:
    """The path of nginx, or None where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def version() -> str:
    """Such as ``nginx/1.22.1``."""
    done = subprocess.run([binary() or "nginx", "-v"], capture_output=True, check=False, text=True)
    return done.stderr.strip().removeprefix("nginx version: ")


def configuration(folder: Path, port: int, engine: str, key: str) -> str:
    """The filled-in configuration."""
    text = TEMPLATE.read_text("utf-8")
    values = {"FOLDER": str(folder), "PORT": str(port), "ENGINE": engine, "KEY": key}
    for word, value in values.items():
        text = text.replace(f"@{word}@", value)
    return text


@contextlib.contextmanager
def running_nginx(folder: Path, engine_url: str, *, on: set[int], key: str = KEY) -> Iterator[Target]:
    """Nginx in front of an engine. Raises StartError where it is missing or does not start."""
    found = binary()
    if found is None:
        raise process.StartError("nginx is not installed; on Debian: apt install nginx-light")
    port = process.free_port()
    config, log = folder / "nginx.conf", folder / "nginx.log"
    config.write_text(configuration(folder, port, engine_url.removeprefix("http://"), key), "utf-8")
    arguments = [found, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(config)]
    with process.started(arguments, on=on, log=log) as running:
        wait_for_port(port, running, log)
        workers = tuple(process.tree(running.pid)[1:])
        yield Target("nginx", f"http://127.0.0.1:{port}", key, workers)


def wait_for_port(port: int, running: subprocess.Popen[bytes], log: Path, within_s: float = 10.0) -> None:
    """Until something listens. Raises StartError with the end of the log."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and running.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise process.StartError(f"nothing listens on port {port}: {process.tail(log)}")
