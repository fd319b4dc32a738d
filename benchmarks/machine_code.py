"""Whether the sources are measured or the machine code made of them (docs/decisions/0073)."""

from __future__ import annotations

import os
import subprocess
import sys


def choose(*, source: bool) -> None:
    """Measure machine code, built first where it is not and a compiler is there, or the sources; and say so.
    What this process has imported already stays what it is: bars of speed run in processes of their own.
    """
    if source or os.environ.get("MODU_COMPILED") == "0":
        os.environ["MODU_COMPILED"] = "0"
        print("measured: the sources", file=sys.stderr)
        return
    built = subprocess.run([sys.executable, "-m", "scripts.compiled"], stdout=sys.stderr, check=False)
    print(
        "measured: the sources, for they cannot be compiled here"
        if built.returncode
        else "measured: machine code",
        file=sys.stderr,
    )
