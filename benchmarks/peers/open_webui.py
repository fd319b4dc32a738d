"""Open WebUI as it comes in its wheel, before the fake engine, with somebody who is signed in.

It is installed without what only models on the machine itself need (``open-webui.without``): it imports
that late, or not at all. Nothing of it is changed, and its branding stays.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from benchmarks.harness import process
from benchmarks.harness.engine import MODEL
from benchmarks.harness.nginx import Target
from benchmarks.harness.process import StartError
from benchmarks.peers import OPEN_WEBUI, installed

START_S = 180.0
SETTINGS = {
    "ANONYMIZED_TELEMETRY": "false",
    "BYPASS_MODEL_ACCESS_CONTROL": "true",
    "DO_NOT_TRACK": "true",
    "ENABLE_OLLAMA_API": "false",
    "GLOBAL_LOG_LEVEL": "ERROR",
    "OFFLINE_MODE": "true",
    "RAG_EMBEDDING_ENGINE": "openai",  # else it loads an embedding model, which needs torch
    "SCARF_NO_ANALYTICS": "true",
}
SOMEBODY = {"name": "Hana", "email": "hana@example.org", "password": "Benchmark-1-password"}


class Running(NamedTuple):
    """Open WebUI and who is signed in."""

    target: Target
    token: str

    @property
    def script(self) -> str:
        """Its page finds the session in the browser's local storage."""
        return f"localStorage.setItem('token', {msgspec.json.encode(self.token).decode()});"

    @property
    def cookies(self) -> dict[str, str]:
        """What its sign-in sets."""
        return {"token": self.token}


@contextlib.contextmanager
def running_open_webui(folder: Path, engine: str, *, on: set[int]) -> Iterator[Running]:
    """Open WebUI with one worker. Raises StartError with the reason."""
    if not installed(OPEN_WEBUI):
        raise StartError(f"it is not installed: run `python -m benchmarks peers install {OPEN_WEBUI.name}`")
    port, log, data = process.free_port(), folder / "open-webui.log", folder / "open-webui"
    data.mkdir(mode=0o700)
    environ = {
        **SETTINGS,
        "DATA_DIR": str(data),
        "HOME": str(data),
        "OPENAI_API_BASE_URLS": f"{engine}/v1",
        "OPENAI_API_KEYS": "unused",
        "PATH": f"{OPEN_WEBUI.folder / 'bin'}:{os.environ['PATH']}",
        "WEBUI_SECRET_KEY": os.urandom(16).hex(),
    }
    program: list[str | Path] = [OPEN_WEBUI.folder / "bin" / "open-webui", "serve"]
    program += ["--host", "127.0.0.1", "--port", str(port)]
    with process.started(program, on=on, log=log, environ=environ) as running:
        process.wait_until_open(port, running, log, within_s=START_S)
        url = f"http://127.0.0.1:{port}"
        token: str = _ask(url, "POST", "/api/v1/auths/signup", SOMEBODY)["token"]
        _wait_for_model(url, token)
        yield Running(Target("open-webui", url, token, tuple(process.tree(running.pid))), token)


def _wait_for_model(url: str, token: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        listed = _ask(url, "GET", "/api/models", token=token)["data"]
        if any(each["id"] == MODEL for each in listed):
            return
        time.sleep(0.25)
    raise StartError(f"{url} does not list the engine's model")


def _ask(url: str, method: str, path: str, body: Any = None, token: str = "") -> Any:
    """One small request of its API. Raises StartError, OSError."""
    fields = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as line:
        line.request(method, path, msgspec.json.encode(body) if body is not None else None, fields)
        answer = line.getresponse()
        said = answer.read()
    if answer.status != 200:
        raise StartError(f"{path}: {answer.status} {said[:200]!r}")
    return msgspec.json.decode(said)
