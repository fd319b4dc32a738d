"""What a child process sees to itself: its place behind the gateway, and a socket that is its own alone.

The engine in the box and the search process are such children: too large to live in the gateway, and to be
lost without harm. Rule: they are the first to go where the system runs out of memory, and never outlive
the supervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from moduai import log as logs
from moduai.settings import Loaded, SettingsError, load

_LONGEST_SOCKET = 100
"""Bytes of a socket's path that every system takes (Linux 107, macOS 103)."""
_PR_SET_PDEATHSIG = 1


class TakenError(RuntimeError):
    """The place is another process's; the text says which."""


def socket_path(home: Path, name: str) -> Path:
    """Where the child ``name`` listens: in ``home/run``, or for a very long home in a folder of ours in
    /tmp.
    """
    path = home / "run" / f"{name}.sock"
    if len(bytes(path)) <= _LONGEST_SOCKET:
        return path
    digest = hashlib.sha256(bytes(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"modu-{digest}" / f"{name}.sock"


def own_folder(path: Path) -> None:
    """Make the folder of a socket, for our own user only. Raises TakenError or OSError: fails closed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise TakenError(f"{path.parent} belongs to someone else")


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a socket or folder alone: by a lock beside it, which outlives no process. Raises TakenError or
    OSError: fails closed.
    """
    own_folder(path)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise TakenError(f"another process serves {path}") from None
    finally:
        os.close(handle)


def stay_behind(memory_mb: int) -> None:
    """Bound what this process allocates (files that are mapped do not count), leave no core file, for it
    would hold people's questions, and go first where memory is short.
    """
    os.umask(0o077)
    limit = memory_mb * 1_048_576
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already, or none exists here
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    end_with_parent(signal.SIGTERM)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("500", "ascii")


def run(name: str, serve: Callable[[Loaded], Coroutine[Any, Any, None]]) -> int:
    """Read the settings, log under a name, and serve; the exit status."""
    try:
        loaded = load()
    except SettingsError as error:
        sys.stderr.write(f"modu: {error}\n")
        return os.EX_CONFIG
    logs.configure(loaded.settings.log, name)
    import uvloop  # noqa: PLC0415  (memory: not every child needs it)

    uvloop.run(serve(loaded))
    return 0


def end_with_parent(by: signal.Signals) -> None:
    """Have the kernel end this process when the one that started it has ended, however it went. Fails open
    where the system has no such thing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
