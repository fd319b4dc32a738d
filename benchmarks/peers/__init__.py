"""Other programs, measured in the same run: the gateways LiteLLM, sglang-router and vllm-router, Starlette on
uvicorn as a yardstick for pages, and Open WebUI.

Words: a *peer* is installed into its own environment in the cache folder, from a lock with hashes, as
wheels only. Rule: a peer that does not install, start or answer is reported with the reason; it is
never left out silently. LiteLLM is held below 1.107.0, a release known to have been compromised.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import process
from benchmarks.harness.load import Load, ask_once
from benchmarks.harness.nginx import Target
from benchmarks.harness.process import StartError

HERE = Path(__file__).resolve().parent
KEY = "sk-benchmark-key"
START_S = 60.0
INSTALL_S = 900.0


class Peer(NamedTuple):
    """One peer: its name (also of its lock) and, of a gateway, what starts it before an engine."""

    name: str
    program: str = ""
    arguments: tuple[str, ...] = ()
    key: str = ""

    @property
    def folder(self) -> Path:
        return cache() / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def lock(self) -> Path:
        return HERE / f"{self.name}.lock"

    @property
    def version(self) -> str:
        """The pinned version, from the lock."""
        start = f"{self.name}=="
        lines = self.lock.read_text("utf-8").splitlines()
        return next(line for line in lines if line.startswith(start)).removeprefix(start).split()[0]


ROUTER = ("--host", "127.0.0.1", "--port", "{port}", "--worker-urls", "{engine}", "--policy", "round_robin")
PEERS = (
    Peer(
        "litellm",
        "litellm",
        ("--config", "{config}", "--host", "127.0.0.1", "--port", "{port}", "--num_workers", "1"),
        KEY,
    ),
    Peer("sglang-router", "python -m sglang_router.launch_router", ROUTER),
    Peer("vllm-router", "vllm-router", ROUTER),
)
"""The gateways."""
STARLETTE = Peer("starlette")
OPEN_WEBUI = Peer("open-webui")
EVERY = (*PEERS, STARLETTE, OPEN_WEBUI)
"""All that can be installed."""
LITELLM = """\
model_list:
  - model_name: fake-model
    litellm_params:
      model: openai/fake-model
      api_base: {engine}/v1
      api_key: unused
general_settings:
  master_key: {key}
litellm_settings:
  telemetry: false
  set_verbose: false
"""
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches a table from the network at its start
    "LITELLM_LOG": "ERROR",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}


def cache() -> Path:
    """Where peers are installed."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "moduai" / "peers"


def install(peer: Peer) -> str:
    """Install one peer from its lock; gives the reason of a failure, or an empty text."""
    done = peer.folder / "installed"
    wanted = peer.lock.read_text("utf-8")
    if done.exists() and done.read_text("utf-8") == wanted:
        return ""
    shutil.rmtree(peer.folder, ignore_errors=True)
    peer.folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(peer.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    steps = (
        [sys.executable, "-m", "venv", str(peer.folder)],
        [*pip, "--require-hashes", "--only-binary", ":all:", "--no-deps", "-r", str(peer.lock)],
    )
    for step in steps:
        try:
            ran = subprocess.run(step, capture_output=True, text=True, check=False, timeout=INSTALL_S)
        except subprocess.TimeoutExpired:
            return f"{peer.name} was not installed within {INSTALL_S:.0f} s"
        if ran.returncode:
            return f"{peer.name} does not install: {' '.join(ran.stderr.split())[-300:]}"
    done.write_text(wanted, "utf-8")
    return ""


def installed(peer: Peer) -> bool:
    """Whether the environment is there, from the present lock."""
    done = peer.folder / "installed"
    return done.exists() and done.read_text("utf-8") == peer.lock.read_text("utf-8")


@contextlib.contextmanager
def running_peer(peer: Peer, folder: Path, engine: str, *, on: set[int]) -> Iterator[Target]:
    """A peer in front of an engine. Raises StartError with the reason."""
    if not installed(peer):
        raise StartError(f"{peer.name} is not installed: run `python -m benchmarks peers install`")
    port, log = process.free_port(), folder / f"{peer.name}.log"
    config = folder / "litellm.yaml"
    config.write_text(LITELLM.format(engine=engine, key=KEY), "utf-8")
    words = {"port": str(port), "engine": engine, "config": str(config)}
    program, *fixed = peer.program.split()
    arguments: list[str | Path] = [
        peer.folder / "bin" / program,
        *fixed,
        *(argument.format(**words) for argument in peer.arguments),
    ]
    environ = {**QUIET, "PATH": f"{peer.folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder)}
    with process.started(arguments, on=on, log=log, environ=environ) as running:
        url = f"http://127.0.0.1:{port}"
        _wait(url, peer.key, running, log)
        yield Target(peer.name, url, peer.key, tuple(process.tree(running.pid)))


def _wait(url: str, key: str, running: process.Started, log: Path) -> None:
    """Until a question is answered."""
    deadline = time.monotonic() + START_S
    last = "nothing was answered"
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise StartError(f"ended with {running.returncode}: {process.tail(log)}")
        try:
            ask_once(Load(url=url, key=key))
        except OSError as error:
            last = str(error)
            time.sleep(0.25)
        else:
            return
    raise StartError(f"no answer within {START_S:.0f} s ({last}): {process.tail(log)}")
