"""``modu bundle``: all that an installation needs, in one folder, for a site without a network.

Rule: what was locked is what is carried. Packages come by the digests of the locks; those that are no wheels
yet become some here, for that takes a network. Every file of the folder stands in ``SHA256SUMS``; the
installer begins with that list, and installs what it names, whatever lies beside it (fails closed).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import moduai
from moduai import __version__
from moduai.cli.common import JsonOption, done, examples, fail, new_app, size_text

app = new_app("Gather all that an installation without a network needs.", group=False)

SOURCE = Path(moduai.__file__).parents[2]
LOCKS = ("core", "cells")
INSTALL = """\
#!/bin/sh
# Installs Modu {version} from this folder alone: sh install.sh /opt/modu
# For {platform} and Python {python} (PYTHON names another path of it). Nothing is asked of a network.
set -eu
to=${{1:?say where to, such as /opt/modu}}
cd "$(dirname "$0")"
sha256sum --check --strict --quiet SHA256SUMS
listed=$(cut -c 67- SHA256SUMS | grep '^wheels/.*[.]whl$')
"${{PYTHON:-python{python}}}" -m venv "$to"
"$to/bin/python" -m pip --isolated --disable-pip-version-check install --quiet --no-index --no-deps $listed
echo "Installed: $to/bin/modu up"
"""


class BundleError(RuntimeError):
    """The bundle cannot be made; the text says why."""


@app.command(
    epilog=examples(
        "modu bundle /media/usb/modu",
        "modu bundle /media/usb/modu --weights ~/models/answers.gguf",
    )
)
def bundle(
    folder: Annotated[Path, typer.Argument(help="New folder for it.")],
    weights: Annotated[
        list[Path] | None, typer.Option(help="GGUF file to carry too; may be repeated.", exists=True)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write wheels by the locks, Modu itself, weights, checksums and an installer into a new folder.

    Run it in a checkout of the source, on a machine with a network, of the same system and Python as the one
    it is for. There: sh install.sh /opt/modu. The weights that come with Modu are among the wheels.
    """
    locks = [SOURCE / "requirements" / f"{name}.lock" for name in LOCKS]
    try:
        digest = make(folder, locks, weights or [])
    except BundleError as error:
        fail(str(error))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    told = {"folder": str(folder), "bytes": size, "sha256": digest}
    done(
        f"{folder}: {size_text(size)}. Carry the digest of its SHA256SUMS apart, and compare it there:\n"
        f"  {digest}",
        told,
        json=json,
    )


def make(folder: Path, locks: Sequence[Path], weights: Sequence[Path]) -> str:
    """Make the bundle; returns the SHA-256 of its list. It is whole, or not there. Raises BundleError."""
    if not all(lock.exists() for lock in locks):
        raise BundleError("the locks are not here: run it in a checkout of Modu's source")
    if folder.exists():
        raise BundleError(f"{folder} is there already: name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as name:
        draft = Path(name) / "bundle"
        (draft / "weights").mkdir(parents=True)
        for lock in locks:
            _wheels(draft, "--require-hashes", "--requirement", lock)
        _wheels(draft, "--no-build-isolation", "--no-index", SOURCE)
        for file in weights:
            shutil.copyfile(file, draft / "weights" / file.name)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        text = INSTALL.format(version=__version__, python=python, platform=sysconfig.get_platform())
        (draft / "install.sh").write_text(text, "utf-8")
        listed = "".join(
            f"{_digest(file)}  {file.relative_to(draft)}\n"
            for file in sorted(draft.rglob("*"))
            if file.is_file()
        )
        (draft / "SHA256SUMS").write_text(listed, "utf-8")
        draft.rename(folder)
    return hashlib.sha256(listed.encode()).hexdigest()


def _wheels(draft: Path, *which: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "wheel", "--quiet"]
    command += ["--no-deps", "--wheel-dir", str(draft / "wheels"), *map(str, which)]
    ended = subprocess.run(command, check=False)  # noqa: S603  our own words
    if ended.returncode:
        raise BundleError("pip could not gather the packages: the lines above say why")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
