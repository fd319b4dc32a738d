"""A git repository, read by the git program.

Rule: the newest commit of its default branch is cloned, bare and shallow, into a folder that is deleted
again; files are read from its objects, so nothing in it is ever checked out, followed or run. The host's
addresses are checked as the outbound guard checks them, and git connects to those: a second answer of the
name server changes nothing. Redirects, proxies, credentials and configuration of the machine are off. Time
and size are bounded. Fails closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from moduai.knowledge.errors import SourceError
from moduai.knowledge.readers import LIMITS
from moduai.outbound import Network, OutboundError, addresses

CLONE_S = 900.0
"""Longest time of a clone."""
CLONE_BYTES = 2 << 30
"""Largest file that git may write: the pack."""
CLONE_CPU_S = 600
OUTPUT_BYTES = 1 << 28
"""Longest list of files."""
_BOUNDED = (
    "import os, resource, sys;"
    f"resource.setrlimit(resource.RLIMIT_FSIZE, ({CLONE_BYTES},) * 2);"
    f"resource.setrlimit(resource.RLIMIT_CPU, ({CLONE_CPU_S},) * 2);"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Runs a program that may write no larger file and take no more time of the processor."""
_SAFE = (
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "http.followRedirects=false",
    "http.proxy=",
    "credential.helper=",
    "core.hooksPath=/dev/null",
    "core.bigFileThreshold=32m",
    "fetch.recurseSubmodules=false",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
)


SITES = frozenset({"github.com", "gitlab.com"})
"""Where the addresses of repositories and of their files are known."""


class Blob(NamedTuple):
    """One regular file of the commit."""

    object: str
    size: int


class Clone:
    """A clone, until it is closed."""

    def __init__(self, folder: Path, source: str, commit: str, blobs: dict[str, Blob]) -> None:
        self.folder = folder
        self.commit = commit
        self._source = source
        self._blobs = blobs
        self._lock = threading.Lock()
        self._reader = subprocess.Popen(
            ["git", "cat-file", "--batch"],  # noqa: S607  the machine's own git
            cwd=folder,
            env=_environ(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def paths(self) -> Iterator[str]:
        """The paths of all regular files."""
        return iter(self._blobs)

    def address(self, path: str) -> str:
        """Where people can read a file, at the known sites; elsewhere the repository's address."""
        split = urlsplit(self._source)
        if split.hostname in SITES:
            base = self._source.rstrip("/").removesuffix(".git")
            return f"{base}/blob/{self.commit}/{quote(path, errors='surrogateescape')}"
        return self._source

    def reader(self, path: str) -> Callable[[], bytes]:
        """What reads a file; raises SourceError."""
        return lambda: self._read(self._blobs[path])

    def _read(self, blob: Blob) -> bytes:
        if blob.size > LIMITS.bytes:
            raise SourceError("too_large", f"it is larger than {LIMITS.bytes >> 20} MB")
        with self._lock:
            asked, answer = self._reader.stdin, self._reader.stdout
            assert asked  # noqa: S101  (for the type checker)
            assert answer  # noqa: S101
            try:
                asked.write(f"{blob.object}\n".encode())
                asked.flush()
                head = answer.readline().split()
                data = answer.read(blob.size + 1)
            except OSError:
                raise SourceError("git", "git ended while it was asked for a file") from None
        if len(head) != 3 or len(data) != blob.size + 1:
            raise SourceError("git", "git does not give this file")
        return data[:-1]

    def close(self) -> None:
        """End git."""
        self._reader.kill()
        self._reader.wait()
        for pipe in (self._reader.stdin, self._reader.stdout):
            if pipe:
                pipe.close()


@asynccontextmanager
async def cloned(source: str, private: Iterable[Network] = ()) -> AsyncIterator[Clone]:
    """Clone it, and delete the clone at the end. Raises SourceError."""
    pins = await _pins(source, private)
    with tempfile.TemporaryDirectory(prefix="modu-git-") as name:
        folder = Path(name)
        await _run(folder, "init", "--bare", "--quiet", "--template=", ".")
        options = ["--depth=1", "--no-tags", "--no-write-fetch-head", "--quiet", "--no-auto-gc"]
        await _run(folder, *pins, "fetch", *options, source, "+HEAD:refs/heads/read")
        commit = (await _run(folder, "rev-parse", "read^{commit}")).decode().strip()
        blobs = _blobs(await _run(folder, "ls-tree", "-r", "-z", "-l", "--full-tree", commit))
        clone = Clone(folder, source, commit, blobs)
        try:
            yield clone
        finally:
            clone.close()


async def _pins(source: str, private: Iterable[Network]) -> list[str]:
    """What makes git connect to the addresses that were checked, and to no others."""
    split = urlsplit(source)
    try:
        host, port = split.hostname or "", split.port or (443, 80)[split.scheme == "http"]
        found = await addresses(host, port, tuple(private))
    except (ValueError, OutboundError) as error:
        raise SourceError("fetch", f"{source} is not reached: {error}") from None
    listed = ",".join(f"[{one}]" if one.version == 6 else str(one) for one in found)
    return ["-c", f"http.curloptResolve={host}:{port}:{listed}"]


async def _run(folder: Path, *arguments: str) -> bytes:
    """What git says. Raises SourceError with its last line where it fails or takes too long."""
    safe = [part for setting in _SAFE for part in ("-c", setting)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _BOUNDED, "git", *safe, *arguments),
        cwd=folder,
        env=_environ(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(CLONE_S):
            output, errors = await process.communicate()
    except TimeoutError:
        raise SourceError("too_slow", f"git took longer than {CLONE_S:.0f} s") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)  # git, and what it started
            await process.wait()
    if process.returncode:
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        raise SourceError("git", f"git {arguments[-1]} failed: {''.join(last) or process.returncode}")
    if len(output) > OUTPUT_BYTES:
        raise SourceError("too_many", "the repository has too many files")
    return output


def _environ(folder: Path) -> dict[str, str]:
    """Nothing of the machine's configuration, no questions, no proxies; certificates as elsewhere."""
    kept = {
        name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE", "LD_LIBRARY_PATH") if name in os.environ
    }
    return (
        kept
        | {
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "false",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "LC_ALL": "C",
        }
        | ({"GIT_SSL_CAINFO": kept["SSL_CERT_FILE"]} if "SSL_CERT_FILE" in kept else {})
    )


def _blobs(listing: bytes) -> dict[str, Blob]:
    """Regular files by path, of ``ls-tree -z -l``; links and submodules are left out."""
    found = {}
    for line in listing.split(b"\0"):
        about, _, path = line.partition(b"\t")
        words = about.split()
        if len(words) == 4 and words[0] in (b"100644", b"100755"):
            found[path.decode("utf-8", "surrogateescape")] = Blob(words[2].decode(), int(words[3]))
    return found
