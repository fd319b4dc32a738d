"""Fills a disk for real under a writer, makes room again, and checks that every row is there once.

Arguments: a folder, and "limit" if the caller set a limit on the size of files (then no disk is made).
Exit status 0 and "ok", or "ok, without a disk" where neither root nor a mount is to be had.
"""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from moduai.metering.row import UsageRow
from moduai.metering.segment import SegmentWriter
from moduai.settings import Ledger

ROWS = 1000


def mount(folder: Path) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def main(folder: Path, *, limited: bool) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    mounted = not limited and mount(folder)
    if not limited and not mounted:
        limited = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        check(folder / "usage", folder, limited=limited)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    sys.stdout.write("ok\n" if mounted else "ok, without a disk\n")


def check(usage: Path, folder: Path, *, limited: bool) -> None:
    ballast = folder / "ballast"
    if not limited:
        ballast.write_bytes(bytes(48 * 1024))
    writer = SegmentWriter(usage, Ledger(buffer_rows=ROWS), "w0")
    for number in range(ROWS):
        writer.add(UsageRow(id=f"r{number}", at=number, subject="s"))
        if number % 10 == 9:
            writer.flush()
    assert writer.failing, "the disk was not full"
    assert 0 < writer.rows_waiting < ROWS
    writer.flush()
    for number in range(ROWS, 2 * ROWS):
        if writer.full:
            break
        writer.add(UsageRow(id=f"r{number}", at=number, subject="s"))
    assert writer.full
    total = number
    if limited:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=4m", str(folder)], check=True)
    writer.flush()
    assert not writer.failing
    assert writer.rows_waiting == 0
    writer.close()
    lines = b"".join(file.read_bytes() for file in sorted(usage.iterdir())).splitlines()
    found = [msgspec.json.decode(line, type=UsageRow).id for line in lines]
    assert found == [f"r{number}" for number in range(total)], f"{len(found)} of {total}"


main(Path(sys.argv[1]), limited=sys.argv[2:] == ["limit"])
