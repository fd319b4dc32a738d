"""What `deploy/compose` starts, as processes on this machine: the settings are read from its file.

Each gateway is a whole `modu up` with a home folder of its own (supervisor, worker, metering, search); the
keyring is one folder for all. Only addresses are others than in the file, for all share one machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from benchmarks.harness import modu, process
from benchmarks.harness.cell import epoch_in
from benchmarks.harness.process import ROOT, Started

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text("utf-8"))
OURS = {name: one for name, one in COMPOSE["services"].items() if "MODU_DATABASE__URL" in str(one)}
"""The services that run Modu."""
MODU = [sys.executable, "-m", "moduai.cli"]


def environment(service: str) -> dict[str, str]:
    """What the file gives a service."""
    return {name: str(value) for name, value in OURS[service]["environment"].items()}


class Site:
    """The services, by name. One that the file does not have is started as the one it is ``like``."""

    def __init__(self, folder: Path, shared: dict[str, str], stack: ExitStack) -> None:
        """``shared``: settings of all in place of the file's."""
        self.folder, self._shared = folder, shared
        self.running: dict[str, Started] = {}
        self._ports: dict[str, int] = {}
        (folder / "keyring").mkdir(mode=0o700)
        stack.callback(self._stop)

    def start(self, name: str, like: str = "") -> None:
        """Start a service, or start it again on its home folder and at its address."""
        home, like = self.home(name), like or name
        if name not in self._ports:
            self._ports[name] = process.free_port()
            home.mkdir()
            (home / "keyring").symlink_to(self.folder / "keyring")
        said = OURS[like].get("entrypoint", ["modu", "up"])
        command = [sys.executable, *said[1:]] if said[0] == "python" else [*MODU, *said[1:]]
        self.running[name] = process.start(
            command, on=set(), log=self.log(name), environ=self.environ(name, like)
        )

    def environ(self, name: str, like: str = "") -> dict[str, str]:
        """The environment of a service, and of commands on its home folder."""
        given, port = environment(like or name), self._ports[name]
        here = {"MODU_HOME": str(self.home(name)), "MODU_GATEWAY__BEHIND_PROXY": ""}
        here["MODU_GATEWAY__PORT"] = str(port)
        if "MODU_CELLS__LISTEN" in given:
            here |= dict.fromkeys(("MODU_CELLS__LISTEN", "MODU_CELLS__ADDRESS"), f"127.0.0.1:{port}")
        return {**given, **self._shared, **here, "PYTHONPATH": str(ROOT / "src")}

    def home(self, name: str) -> Path:
        """Its home folder."""
        return self.folder / name

    def log(self, name: str) -> Path:
        """What it writes."""
        return self.folder / f"{name}.log"

    def said(self, name: str) -> str:
        """What it wrote."""
        return self.log(name).read_text("utf-8", "replace")

    def url(self, name: str) -> str:
        """Its address, once it answers. Raises StartError."""
        return modu.wait_for_status(self.home(name), self.running[name], self.log(name), within_s=120)

    def kill(self, name: str) -> None:
        """End it with all below it as a machine ends that loses its power."""
        below = process.tree(self.running[name].pid)
        for pid in below:
            os.kill(pid, 9)
        self.running[name].wait()

    def leader(self) -> str:
        """The dispatcher that took over last, of those that live; empty where none has."""
        alive = [name for name, one in self.running.items() if "dispatcher" in name and one.poll() is None]
        epochs = {name: epoch_in(self.said(name)) for name in alive}
        best = max(epochs, key=lambda name: epochs[name], default="")
        return best if epochs.get(best) else ""

    def command(self, name: str, *words: str) -> str:
        """Run `modu …` on a gateway's home folder; what it prints."""
        environ = {**os.environ, **self.environ(name)}
        done = subprocess.run([*MODU, *words], env=environ, check=True, capture_output=True, text=True)
        return done.stdout

    def _stop(self) -> None:
        """The gateways at once, for each drains; then the rest."""
        for one in self.running.values():
            if one.poll() is None:
                one.terminate()
        for one in self.running.values():
            process.stop(one, within_s=60)
