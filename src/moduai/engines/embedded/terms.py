"""The terms of the weights that come with Modu: shown once, and what was answered is kept.

Rule: without an acceptance on record the bundled weights are not used (fails closed).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

VERSION = 1
"""Of the summary below; a new one asks again."""

SUMMARY = """\
The model that comes with Modu is Gemma 3 270M by Google. Its weights are not under Modu's licence
but under the Gemma Terms of Use:        https://ai.google.dev/gemma/terms
and the Prohibited Use Policy:           https://ai.google.dev/gemma/prohibited_use_policy

In short, in our words (the terms themselves count):
- You may use, change and pass on the weights, for business too; what the model writes is yours.
- You may not use it for what the policy forbids, such as harm, crime, fraud, deceit or sexual abuse.
- Who passes the weights on, or offers them as a service, passes these terms and limits on as well.
- There is no warranty, and Google may end the use of those who break the terms.
"""


class Acceptance(Struct, frozen=True):
    """Who runs this service accepted the terms."""

    version: int
    accepted_at: int
    """Unix time in seconds."""
    how: str
    """asked or environment."""


def _file(home: Path) -> Path:
    return home / "weights" / "gemma-terms.json"


def acceptance(home: Path) -> Acceptance | None:
    """What was accepted, if it is this version; None otherwise, also for a record that cannot be read."""
    try:
        found = msgspec.json.decode(_file(home).read_bytes(), type=Acceptance)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.version == VERSION else None


def accept(home: Path, how: str) -> None:
    """Keep that the terms were accepted now."""
    file = _file(home)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.write_bytes(msgspec.json.encode(Acceptance(VERSION, int(time.time()), how)))
    draft.chmod(0o600)
    draft.replace(file)


def accepted(home: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terms are accepted; ``MODU_ACCEPT_TERMS=1`` accepts them without a question."""
    if acceptance(home):
        return True
    if environ.get("MODU_ACCEPT_TERMS") == "1":
        accept(home, "environment")
        return True
    return False


def ask(home: Path) -> bool:
    """Whether the terms are accepted; shows and asks if a person is there, else says how to accept."""
    if accepted(home):
        return True
    sys.stderr.write(f"\n{SUMMARY}\n")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        sys.stderr.write("To accept them without a question set MODU_ACCEPT_TERMS=1. Going on without.\n")
        return False
    sys.stderr.write("Do you accept these terms? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        sys.stderr.write("The model stays unused; `modu up` asks again next time.\n")
        return False
    accept(home, "asked")
    return True
