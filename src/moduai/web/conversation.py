"""The conversation on a page: its turns, how they travel, and what of them fits an engine.

A resident's are kept on the server where that is wished (``kept``). Of everybody else nothing is: a page
with JavaScript sends its earlier turns along; a page without carries them in a hidden field that is
compressed, signed for whom it was made and bounded in size.
"""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, Struct

from moduai.web.guests import decode, encode, sign

QUESTION_CHARS = 8_000
"""Longest question."""
TURNS = 100
"""Most earlier turns that are looked at."""
CARRIED_BYTES = 49_152
"""Longest hidden field; older turns are left out first."""
UNPACKED_BYTES = 131_072
"""Most that a hidden field may hold before compression: it is all rendered again."""
ANSWER_TOKENS = 1_024
"""Longest answer on the page, in tokens."""
CONTEXT_TOKENS = 8_192
"""Context assumed where an engine does not say."""


class Turn(Struct, frozen=True):
    """One question and its answer, as Markdown; the answer may be empty or cut short."""

    question: Annotated[str, Meta(max_length=QUESTION_CHARS)]
    answer: Annotated[str, Meta(max_length=200_000)] = ""
    model: Annotated[str, Meta(max_length=200)] = ""
    id: Annotated[str, Meta(max_length=64)] = ""
    """The request's id, by which an answer is reported."""


class Said(Protocol):
    """One question and its answer, carried or recorded."""

    @property
    def id(self) -> str:
        """Its id; empty where none is known."""

    @property
    def question(self) -> str:
        """As it was asked."""

    @property
    def answer(self) -> str:
        """As Markdown; empty if there was none."""

    @property
    def model(self) -> str:
        """Who answered."""


class Asked(Struct, frozen=True):
    """What a page with JavaScript posts."""

    token: Annotated[str, Meta(max_length=100)]
    question: str
    model: Annotated[str, Meta(max_length=200)] = ""
    public: bool = False
    """Whether to answer from public documents."""
    turns: Annotated[tuple[Turn, ...], Meta(max_length=TURNS)] = ()
    """Earlier turns, of a page whose turns are not kept; read by the model and by nobody else."""
    conversation: Annotated[str, Meta(max_length=100)] = ""
    parent: Annotated[str, Meta(max_length=100)] | None = None
    """The turn that the question follows; "": none, it is a first one. None: the newest."""


def pack(turns: Sequence[Turn], secret: bytes, owner: bytes) -> str:
    """Turns as a hidden field's value; the oldest are left out until it is small enough."""
    for first in range(len(turns)):
        plain = msgspec.json.encode(turns[first:])
        raw = zlib.compress(plain)
        field = encode(sign(secret, "conversation", owner, raw) + raw)
        if len(field) <= CARRIED_BYTES and len(plain) <= UNPACKED_BYTES:
            return field
    return ""


def unpack(field: str, secret: bytes, owner: bytes) -> tuple[Turn, ...]:
    """Turns of a hidden field; none if it was changed, is somebody else's or too large (fails closed)."""
    raw = decode(field) if len(field) <= CARRIED_BYTES else None
    if raw is None or not hmac.compare_digest(raw[:32], sign(secret, "conversation", owner, raw[32:])):
        return ()
    unpacked = zlib.decompressobj().decompress(raw[32:], UNPACKED_BYTES)
    try:
        return msgspec.json.decode(unpacked, type=tuple[Turn, ...])
    except msgspec.DecodeError:
        return ()


def request_body(
    turns: Sequence[Said], question: str, model: str, context: int
) -> tuple[dict[str, Any], bool]:
    """The chat request, and whether older turns had to be left out to fit the model's context."""
    kept = _fitting(turns, question, context or CONTEXT_TOKENS)
    messages = []
    for turn in kept:
        messages.append({"role": "user", "content": turn.question})
        messages.append({"role": "assistant", "content": turn.answer})
    messages.append({"role": "user", "content": question})
    body = {"model": model, "messages": messages, "stream": True, "max_tokens": ANSWER_TOKENS}
    return body, len(kept) < sum(1 for turn in turns if turn.answer)


def _fitting(turns: Sequence[Said], question: str, context: int) -> list[Said]:
    """The newest answered turns whose estimated tokens leave room for the answer."""
    room = context - min(ANSWER_TOKENS, context // 2) - _tokens(question)
    kept: list[Said] = []
    for turn in reversed([turn for turn in turns if turn.answer]):
        room -= _tokens(turn.question) + _tokens(turn.answer)
        if room < 0:
            break
        kept.append(turn)
    return kept[::-1]


def _tokens(text: str) -> int:
    """A careful estimate: three bytes of UTF-8 (a Hangul syllable) a token, and the role's few."""
    return len(text.encode()) // 3 + 8
