"""Machine code for the modules that decide and relay, where it was built: the same source, faster.

`make compiled` translates the modules that ``scripts/compiled.py`` lists with mypyc and puts the result
beside this file, with the digest of every source. It is used only as a whole, and only while each of these
sources is byte for byte what it was: an edit is never hidden by old machine code. Without it, or with
``MODU_COMPILED=0``, Python runs the sources; both do the same, and the tests run on both. Fails open.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent
BUILT = PACKAGE / "_compiled"
MANIFEST = BUILT / f"{sys.implementation.cache_tag}.json"
"""Sources and their digests, modules and their files."""


class Finder:
    """Finds compiled modules before the import system looks for sources."""

    def __init__(self, files: dict[str, str]) -> None:
        self._files = files

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """How to load a module; None: not from here."""
        file = self._files.get(name)
        return spec_from_file_location(name, BUILT / file) if file is not None else None


class Built(NamedTuple):
    """What there is."""

    sources: dict[str, str]
    """Digests of the sources it was built from, by their place in the package."""
    files: dict[str, str]
    """By name of the module."""


def digest(source: Path) -> str:
    """Of a source file."""
    return hashlib.blake2b(source.read_bytes(), digest_size=16).hexdigest()


def in_use() -> bool:
    """Whether compiled modules are imported."""
    return any(isinstance(each, Finder) for each in sys.meta_path)


def read() -> Built | None:
    """What was built, if it was from these sources. Anything else is as if nothing was there: fails open."""
    try:
        built = Built(**json.loads(MANIFEST.read_bytes()))
        fresh = all(digest(PACKAGE / source) == known for source, known in built.sources.items())
        there = all((BUILT / file).is_file() for file in built.files.values())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return built if fresh and there else None


def use() -> None:
    """Import compiled modules from now on, if there are any of these sources."""
    if os.environ.get("MODU_COMPILED") != "0" and not in_use() and (built := read()) is not None:
        sys.meta_path.insert(0, Finder(built.files))
