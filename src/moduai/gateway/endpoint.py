"""The addresses of the hot lane, and what the bodies that go there have."""

from __future__ import annotations

from enum import Enum

_LIMITS: dict[str, tuple[str, ...]] = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "completions": ("max_tokens",),
    "embeddings": (),
    "responses": ("max_output_tokens",),
}


class Endpoint(Enum):
    """An address of the lane, with the word that the ledger uses for it."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"

    def __init__(self, word: str) -> None:
        self.word = word
        self.path = "/v1/chat/completions" if word == "chat" else f"/v1/{word}"
        self.text = {"chat": "messages", "completions": "prompt"}.get(word, "input")
        """The field that holds what is asked."""
        self.beside = {"chat": ("tools",), "responses": ("tools", "instructions")}.get(word, ())
        """The fields that an engine makes the prompt of, too."""
        self.limits = _LIMITS[word]
        """The fields that bound an answer; of those that stand, engines differ in which one counts."""
