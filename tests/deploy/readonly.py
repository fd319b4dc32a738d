"""Run a command as a container with a read-only file system would: ``python readonly.py WRITABLE COMMAND…``.

Started in a mount namespace of its own (`unshare --mount --user --map-root-user`): every file system becomes
read-only but the one folder, and the shared memory that every runtime gives; the command has no capability.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

MOUNT_SETATTR = 442
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MS_BIND, MS_REC, MS_PRIVATE, RDONLY = 4096, 16384, 1 << 18, 1
LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _set(path: str, on: int, off: int, flags: int) -> None:
    attributes = struct.pack("QQQQ", on, off, 0, 0)
    _checked(LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, attributes, len(attributes)))


def main() -> None:
    """Never returns."""
    writable, *command = sys.argv[1:]
    _checked(LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None))
    _checked(LIBC.mount(writable.encode(), writable.encode(), None, MS_BIND, None))
    _set("/", RDONLY, 0, AT_RECURSIVE)
    _set(writable, 0, RDONLY, 0)
    _checked(LIBC.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, None))
    without = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    os.execvp("setpriv", ["setpriv", *without, *command])


if __name__ == "__main__":
    main()
