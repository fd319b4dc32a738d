"""Real processes: started on a chosen CPU, ended by their own id, and what they used (Linux).

Words: the *target* is what is measured and has the first CPU for itself; the *load side* (generator
and fake engine) has the second. Rule: every process that is started here is ended here, with its
children, by process id. Units: seconds, bytes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
STOP_S = 10.0
ROOT = Path(__file__).resolve().parents[2]
KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME")
"""What a process gets of our own environment: a measured program has no business with the rest."""

Started = subprocess.Popen[bytes]


class StartError(RuntimeError):
    """A process did not start; the text says what it wrote last."""


def cpus() -> tuple[set[int], set[int]]:
    """CPUs of the target and of the load side. On a machine with one CPU both share it."""
    mine = sorted(os.sched_getaffinity(0))
    return ({mine[0]}, {mine[1]}) if len(mine) > 1 else ({mine[0]}, {mine[0]})


def cpu_s(pid: int) -> float:
    """User and system time of one process with all its threads, and of its children that have ended.

    0 for a process that is gone.
    """
    return sum(cpu_parts_s(pid))


def cpu_parts_s(pid: int) -> tuple[float, float]:
    """The same in two: its own time, and that of its children that have ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    user, system, child_user, child_system = (int(each) for each in text.rpartition(")")[2].split()[11:15])
    return (user + system) * TICK, (child_user + child_system) * TICK


def running_s(pid: int) -> float:
    """Time on a CPU of a process with all threads that it has or had, in nanosecond steps: for short windows.

    0 for a process that is gone. It is the clock that clock_getcpuclockid(3) names, which Python does not.
    """
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def tree(pid: int) -> list[int]:
    """A process and all below it, parents first."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def tree_cpu_s(pid: int) -> float:
    """CPU of a whole tree, with what has already ended in it."""
    return sum(cpu_s(each) for each in tree(pid))


def pss(pid: int) -> int:
    """Proportional set size: its own pages and its share of shared ones."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no Pss of process {pid}")


def command(pid: int) -> str:
    """The command line of a process; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def free_port() -> int:
    """A port on loopback that was free a moment ago, for programs that cannot take port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    arguments: Sequence[str | Path],
    *,
    on: set[int],
    log: Path,
    environ: Mapping[str, str] | None = None,
    first_line: bool = False,
    pass_fds: Sequence[int] = (),
) -> Started:
    """Start a process on the CPUs ``on`` (none named: on any). What it writes goes to ``log``; its
    standard output stays a pipe if ``first_line``. The caller ends it with :func:`stop`.
    """
    with log.open("ab") as sink:
        return subprocess.Popen(
            [str(each) for each in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if first_line else sink,
            stderr=sink,
            env={**{name: os.environ[name] for name in KEPT if name in os.environ}, **(environ or {})},
            cwd=ROOT,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            preexec_fn=(lambda: os.sched_setaffinity(0, on)) if on else None,  # noqa: PLW1509 - no threads yet
        )


def first_line(process: Started, log: Path, within_s: float = 20.0) -> str:
    """The first line a process prints. Raises StartError if it prints none in time."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], within_s)
    line = process.stdout.readline().decode().strip() if ready else ""
    if not line:
        raise StartError(f"{process.args!r} did not start: {tail(log)}")
    return line


def wait_until_open(port: int, process: Started, log: Path, within_s: float = 20.0) -> None:
    """Until something listens on a port of loopback. Raises StartError with the end of the log."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.05)
    raise StartError(f"nothing listens: {tail(log)}")


def tail(log: Path, size: int = 600) -> str:
    """The end of a log, on one line."""
    return " ".join(log.read_text("utf-8", "replace")[-size:].split()) if log.exists() else ""


def stop(process: Started, within_s: float = STOP_S) -> None:
    """End a process and its children: asked first, killed after ``within_s``."""
    below = tree(process.pid)[1:] if process.poll() is None else []
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within_s)
    if process.poll() is None:
        process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    for child in below:
        _end_orphan(child)


def _end_orphan(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)


@contextlib.contextmanager
def started(
    arguments: Sequence[str | Path],
    *,
    on: set[int],
    log: Path,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[Started]:
    """A process for the length of a block."""
    process = start(arguments, on=on, log=log, environ=environ, pass_fds=pass_fds)
    try:
        yield process
    finally:
        stop(process)


@contextlib.contextmanager
def engine_process(log: Path, *options: str, on: set[int]) -> Iterator[str]:
    """A fake engine in its own process; gives its address."""
    arguments = [sys.executable, "-m", "benchmarks.harness.engine", "--port", "0", *options]
    process = start(arguments, on=on, log=log, first_line=True)
    try:
        yield first_line(process, log)
    finally:
        stop(process)
