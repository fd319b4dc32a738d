"""Open models: what of their shape sets their speed and their memory.

``data/models.toml`` holds well-known ones; a scenario brings more in the same words. The numbers are those of
a model's published configuration.

Words: a *layer* keeps keys and values of each token of the context (``kv`` bytes); a *windowed* layer only
of the last ``window``; a layer with *latent* attention keeps one vector that every device holds whole, not
heads that devices share. A *mixture* model has ``experts`` in each of ``expert_layers``, of which a token
meets ``top``.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec
from msgspec import Struct

from moduai.planner.basis import Basis, Figure

Precision = Literal["bf16", "fp8", "int8", "fp4", "int4"]
BITS: dict[Precision, float] = {"bf16": 16, "fp8": 8, "int8": 8, "fp4": 4.25, "int4": 4.5}
"""Of one weight; with four bits go the scales of their groups."""

LONG = 1024
"""A window of so many tokens is longer than most requests: its layers count as if there were none."""


class Model(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model."""

    name: str
    parameters_b: float
    """All of them, in 10^9."""
    active_b: float = 0.0
    """Of these, what one token uses; 0: all."""
    layers: int
    hidden: int
    kv_heads: int = 0
    head: int = 0
    """Size of one head."""
    latent: int = 0
    """Size of the latent vector instead of heads."""
    window: int = 0
    windowed: int = 0
    """Layers that look back by ``window`` only."""
    without: int = 0
    """Layers that keep nothing of each token (a state of fixed size instead)."""
    experts: int = 0
    top: int = 0
    expert_hidden: int = 0
    expert_layers: int = 0
    precision: Precision = "bf16"
    """Of its weights, as it is served."""
    dense_precision: Precision | None = None
    """Of all weights but the experts', where it is another."""
    kv_bits: int = 16
    korean: bool = False
    basis: Basis = Basis.PUBLISHED
    source: str

    @property
    def parameters(self) -> float:
        """All of them."""
        return self.parameters_b * 1e9

    @property
    def active(self) -> float:
        """Parameters that one token uses."""
        return (self.active_b or self.parameters_b) * 1e9

    @property
    def expert_parameters(self) -> float:
        """Of all experts; the others, that all tokens share, are the rest."""
        return 3.0 * self.hidden * self.expert_hidden * self.experts * self.expert_layers

    @property
    def weights(self) -> float:
        """Bytes of all weights."""
        return self.dense_weights + self.expert_weights

    @property
    def dense_weights(self) -> float:
        """Bytes of the weights that each token uses."""
        bits = BITS[self.dense_precision or self.precision]
        return (self.parameters - self.expert_parameters) * bits / 8

    @property
    def expert_weights(self) -> float:
        """Bytes of the experts' weights."""
        return self.expert_parameters * BITS[self.precision] / 8

    @property
    def compute_bits(self) -> int:
        """At which precision it is computed: weights of four bits are unpacked to 16."""
        return 8 if BITS[self.precision] == 8 else 16

    @property
    def kv(self) -> float:
        """Bytes that one more token of the context takes in all layers, once short windows are full."""
        short = self.windowed if self.window < LONG else 0
        return (self.layers - self.without - short) * self.kv_layer

    @property
    def kv_windows(self) -> float:
        """Bytes that a sequence takes in layers with a short window, however long it is."""
        return self.windowed * self.window * self.kv_layer if self.window < LONG else 0.0

    @property
    def kv_layer(self) -> float:
        """Bytes of one token in one layer."""
        return (self.latent or 2 * self.kv_heads * self.head) * self.kv_bits / 8

    def kv_copies(self, tp: int) -> float:
        """How often the context is kept when ``tp`` devices share it: a head is not divided."""
        return tp if self.latent else max(1.0, tp / self.kv_heads)

    def touched(self, tokens: float) -> float:
        """Part of the experts that a step of so many tokens reads, if each token chooses evenly."""
        return 1.0 - (1.0 - self.top / self.experts) ** tokens if self.experts else 0.0

    def figure(self, field: str) -> Figure:
        """One of its numbers with its basis. Raises AttributeError for no such field."""
        return Figure(float(getattr(self, field)), self.basis, self.source)


@cache
def models() -> dict[str, Model]:
    """The models that are known, by key."""
    text = resources.files("moduai.planner").joinpath("data/models.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Model])
