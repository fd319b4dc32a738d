"""What makes a base model answer: a template with a few answered questions, and how it is sampled.

A model whose file has a chat template keeps its own template, its own end of turn and the engine's
usual sampling. A base model (no template) gets ``chat.jinja``: it writes on in the pattern of the
examples, and stops where it would begin the next question.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

STOPS = ("\n###", "\n\n", "###", "<start_of_image>")
"""Where an answer of the template ends. The engine uses them when a request brings no ``stop``."""

LONGEST_ANSWER = 256
"""Tokens of an answer of a base model when a request brings no ``max_tokens``."""


class Sampling(Struct, frozen=True):
    """Defaults of the engine, for what a request leaves open. Chosen by eye on some 30 questions."""

    temp: float = 0.2
    top_k: int = 20
    dry_multiplier: float = 0.8
    """DRY keeps it from going round in circles; a repetition penalty also punishes the stop marks."""
    dry_allowed_length: int = 3


def base_template() -> str:
    """The chat template for base models."""
    return Path(__file__).with_name("chat.jinja").read_text("utf-8")
