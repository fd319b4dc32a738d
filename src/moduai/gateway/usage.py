"""Reading what an engine says it used, out of a JSON answer or the last events of a stream."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from moduai.scheduling import Used

BELIEVABLE = 1 << 40
"""No request has this many tokens: such a usage is not taken."""


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    """Usage in the names of chat and completions, and in those of responses."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


class _Timings(Struct):
    cache_n: int | None = None


class _Response(Struct):
    usage: _Usage | None = None


class _Answer(Struct):
    usage: _Usage | None = None
    choices: list[Raw] | None = None
    response: _Response | None = None
    """Events of /v1/responses wrap the whole response."""
    timings: _Timings | None = None
    """llama.cpp's own figures; they count the prompt tokens taken from its cache."""


NOT_READ = (msgspec.DecodeError, RecursionError)
"""What reading an answer raises when it is not understood (nested too deeply included)."""


class Usage(Used, frozen=True):
    """Tokens of one answer."""

    source: Literal["engine", "counted", "estimated"] = "engine"
    """Where the figures come from."""


class _Whole(Struct):
    usage: _Usage | None = None
    timings: _Timings | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_whole = msgspec.json.Decoder(_Whole).decode


class Read(Struct, frozen=True):
    """What one JSON document of an answer held."""

    usage: Usage | None
    only_usage: bool
    """True for the event that carries usage and nothing else (``"choices": []``)."""


def read_whole(document: bytes) -> Usage | None:
    """Read a JSON answer. Raises msgspec.DecodeError if it is not understood."""
    answer = _decode_whole(document)
    return _tokens(answer.usage, answer.timings)


def read(document: bytes) -> Read:
    """Read the data of one event. Raises msgspec.DecodeError if it is not understood."""
    answer = _decode(document)
    usage = answer.usage or (answer.response.usage if answer.response else None)
    return Read(_tokens(usage, answer.timings), usage is not None and answer.choices == [])


def _tokens(usage: _Usage | None, timings: _Timings | None) -> Usage | None:
    if usage is None:
        return None
    tokens_in = usage.prompt_tokens or usage.input_tokens or 0
    tokens_out = usage.completion_tokens or usage.output_tokens or 0
    if not (0 <= tokens_in < BELIEVABLE and 0 <= tokens_out < BELIEVABLE):
        return None
    details = usage.prompt_tokens_details or usage.input_tokens_details
    cached = details.cached_tokens if details is not None else None
    if cached is None and timings is not None:
        cached = timings.cache_n
    return Usage(tokens_in, max(0, min(tokens_in, cached)) if cached else 0, tokens_out)
