"""A real git server on the loopback: git's own http-backend behind a small HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class GitServer:
    """Repositories of a folder, at ``url``."""

    folder: Path
    port: int = 0
    asked: list[str] = field(default_factory=list)
    """Paths that were asked for."""
    redirect: str = ""
    """Where every request is sent instead."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in rest)}
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        path, _, query = target.partition("?")
        self.asked.append(path)
        if self.redirect:
            writer.write(f"HTTP/1.1 302 -\r\nlocation: {self.redirect}{target}\r\n".encode())
            writer.write(b"content-length: 0\r\nconnection: close\r\n\r\n")
        else:
            writer.write(await self._git(method, path, query, headers, body))
        await writer.drain()
        writer.close()

    async def _git(self, method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> bytes:
        environ = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(body)
        head, _, content = output.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        status = next((one[8:] for one in lines if one.lower().startswith(b"status: ")), b"200 OK")
        others = [one for one in lines if not one.lower().startswith(b"status: ")]
        others += [b"content-length: %d" % len(content), b"connection: close"]
        return b"HTTP/1.1 " + status + b"\r\n" + b"\r\n".join(others) + b"\r\n\r\n" + content


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[GitServer]:
    """Serve the repositories of a folder."""
    made = GitServer(folder)
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


def git(folder: Path, *arguments: str) -> str:
    """What git says in a folder, as a fixed author."""
    who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def repository(folder: Path, files: dict[str, str]) -> Path:
    """A repository with one commit of these files."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet")
    commit(folder, files)
    return folder


def commit(folder: Path, files: dict[str, str]) -> None:
    """One more commit, with these files changed."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "a change")
