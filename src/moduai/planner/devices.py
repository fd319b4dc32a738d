"""Kinds of accelerators: what their data sheets say, and what is assumed of them.

``data/devices.toml`` holds those that are known; a scenario brings more in the same words. Each number of a
kind is published by its maker (``source``), unless ``other`` says of it something else.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec
from msgspec import Struct

from moduai.planner.basis import Basis, Figure


class Known(Struct, frozen=True, forbid_unknown_fields=True):
    """How a number is known."""

    basis: Basis
    source: str


class Device(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of accelerator."""

    name: str
    tflops: float
    """Dense, at 16 bits."""
    tflops8: float = 0.0
    """Dense, at 8 bits; 0: no faster than at 16."""
    memory_gb: float
    bandwidth_tbs: float
    """Of its memory, TB/s."""
    watts: float
    link_gbs: float = 0.0
    """To the others of its node, each way, GB/s; 0: they do not work on one model together."""
    node: int = 8
    """How many stand in one node."""
    static_shapes: bool = False
    """A model is compiled for a number of devices, a batch and a length: capacity comes in these steps."""
    basis: Basis = Basis.PUBLISHED
    source: str
    other: dict[str, Known] = {}
    """Numbers that are known in another way, by field."""

    @property
    def maker(self) -> str:
        """The first word of its name."""
        return self.name.split(maxsplit=1)[0]

    def figure(self, field: str) -> Figure:
        """One of its numbers with its basis. Raises AttributeError for no such field."""
        known = self.other.get(field) or Known(self.basis, self.source)
        return Figure(float(getattr(self, field)), known.basis, known.source)

    def flops(self, bits: int) -> float:
        """Operations a second, dense, at this precision: below 8 bits they are done at 16."""
        return 1e12 * (self.tflops8 or self.tflops if bits == 8 else self.tflops)


@cache
def devices() -> dict[str, Device]:
    """The kinds that are known, by key."""
    text = resources.files("moduai.planner").joinpath("data/devices.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Device])
