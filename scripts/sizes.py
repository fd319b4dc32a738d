"""Write requirements/sizes.txt: what each locked package weighs, so that ``make up`` can say it first.

Run it after the locks were compiled: ``python -m scripts.sizes``. It downloads what the locks name for
this machine (other platforms' wheels are of much the same size) into a folder that it removes again.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).parent.parent / "requirements"
HEAD = "# set package version bytes: written by `python -m scripts.sizes`, read by scripts/install\n"


def main() -> None:
    """Download both locks and write the table."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        subprocess.run([*command, "-r", REQUIREMENTS / "dev.lock", "-d", folder], check=True)  # noqa: S603
        (REQUIREMENTS / "sizes.txt").write_text(table(Path(folder)), "utf-8")


def table(folder: Path) -> str:
    """The table, from the files that were downloaded."""
    files = {_name(file.name): (file.name.split("-")[1], file.stat().st_size) for file in folder.iterdir()}
    lines = [HEAD]
    for lock in ("core", "dev"):
        for name in locked(lock):
            if name in files:
                version, size = files[name]
                lines.append(f"{lock} {name} {version.removesuffix('.tar.gz')} {size}\n")
    return "".join(lines)


def locked(lock: str) -> list[str]:
    """Names in a lock, in its order, each once: some stand there for each version of Python."""
    text = (REQUIREMENTS / f"{lock}.lock").read_text("utf-8")
    return list(dict.fromkeys(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE)))


def _name(file: str) -> str:
    return re.sub(r"[-_.]+", "-", file.split("-", maxsplit=1)[0]).lower()


if __name__ == "__main__":
    main()
