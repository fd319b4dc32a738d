"""What is done of a long computation, so that one that was stopped goes on from there.

Words: a *piece* is what is computed by itself: a run of flows, a cell, sizes that were tried, an engine that
was learned from. Rule: a piece follows from its name and from what it is a piece of (scenario, options), so a
file of anything else is refused (fails closed). They are taken in whatever order they were computed; one that
is damaged is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import msgspec
import numpy as np
from msgspec import Struct

from moduai import __version__
from moduai.planner.fluid import Flow
from moduai.planner.scenario.world import World

T = TypeVar("T")


class KeptError(ValueError):
    """A file is not what was kept of this computation."""


class _File(Struct, frozen=True):
    """As it is written."""

    whole: str
    pieces: dict[str, msgspec.Raw]


class Kept:
    """Pieces that are done."""

    def __init__(self, *whole: object) -> None:
        """``whole``: all that the pieces follow from, beside their names and this version of Modu."""
        encoded = msgspec.msgpack.encode(
            [__version__, *map(_plain, whole)], enc_hook=_hook, order="deterministic"
        )
        self.whole = blake2b(encoded, digest_size=16).hexdigest()
        self._pieces: dict[str, msgspec.Raw] = {}
        self._flows: dict[str, Flow] = {}
        """As they are: packed only where they have to be written."""

    def load(self, file: Path) -> None:
        """Take pieces from a file. Raises OSError and KeptError."""
        try:
            found = msgspec.msgpack.decode(file.read_bytes(), type=_File)
        except msgspec.DecodeError:
            raise KeptError(f"{file} is not what a run has kept") from None
        if found.whole != self.whole:
            raise KeptError(f"{file} was kept by a run of another scenario, or with other options")
        self._pieces = found.pieces

    def save(self, file: Path) -> None:
        """Write what is done. Raises OSError."""
        for name, flow in self._flows.items():
            self.put(name, flow.packed())
        file.write_bytes(msgspec.msgpack.encode(_File(self.whole, self._pieces)))

    def get(self, name: str, kind: type[T]) -> T | None:
        """A piece, if it is done."""
        raw = self._pieces.get(name)
        try:
            return None if raw is None else msgspec.msgpack.decode(raw, type=kind)
        except msgspec.DecodeError:
            return None

    def put(self, name: str, value: object) -> None:
        """Keep a piece."""
        self._pieces[name] = msgspec.Raw(msgspec.msgpack.encode(value))

    def piece(self, name: str, kind: type[T], compute: Callable[[], T]) -> T:
        """A piece that is done, or that is computed now."""
        found = self.get(name, kind)
        if found is None:
            found = compute()
            self.put(name, found)
        return found

    def flow(self, name: str, run: Callable[[Flow | None], Flow]) -> Flow:
        """A flow, which may be done in part: ``run`` goes on from what has begun."""
        kept, begun = self.get(name, bytes), None
        if kept is not None:
            with suppress(ValueError, KeyError, OSError, BadZipFile):
                begun = Flow.unpacked(kept)
        self._flows[name] = run(begun)
        return self._flows[name]

    def drop(self, *names: str) -> None:
        """Forget pieces that no others need any more."""
        for name in names:
            self._pieces.pop(name, None)
            self._flows.pop(name, None)


def _plain(one: object) -> object:
    """A world as what a run depends on: of its pack what is in the questions already."""
    if not isinstance(one, World):
        return one
    parts = {each.name: getattr(one, each.name) for each in fields(one) if each.name != "pack"}
    return {**parts, "budgets": sorted(one.budgets.items()), "shape": one.shape}


def _hook(one: Any) -> object:
    if isinstance(one, np.ndarray):
        return one.tobytes()
    raise TypeError(f"{type(one)} is nothing that a run depends on")
