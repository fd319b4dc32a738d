"""How the fake engine behaves: its pace, its answer's size, and the one fault it shows."""

from __future__ import annotations

import contextlib
import http.client
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

Fault = Literal[
    "",
    "refuse",  # 503 with an OpenAI error
    "busy",  # 429 with Retry-After
    "bad_request",  # 400 with an OpenAI error
    "unauthorised",  # 401
    "server_error",  # 500, a body that is not JSON
    "slow_head",  # the whole answer comes after head_s
    "hang",  # takes the request, never answers
    "die",  # closes before a head
    "half_head",  # closes in the middle of the head
    "hang_mid",  # silence after `after` chunks, or after half of a JSON body
    "die_mid",  # closes at the same place
    "error_mid",  # an error event at the same place, then the end without [DONE]
    "no_done",  # all chunks and a clean end, without [DONE]
    "garbage_http",  # bytes that are not HTTP
    "garbage_json",  # a proper head, a body or events that are not JSON
    "half_character",  # an answer with the first byte of a character and not the rest
    "split_character",  # right bytes, with borders of chunks inside characters
    "wrong_length",  # Content-Length promises more than is sent, then closes
    "no_usage",  # a right answer without a usage field
    "huge",  # an answer of huge_bytes
    "huge_head",  # a head of huge_bytes
    "echo",  # the content is JSON of what was received: method, path, headers, body
]


class Behaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to answer. A request may carry its own as the field ``x_fake``."""

    fault: Fault = ""
    chunks: int = 16
    """Pieces of text in an answer; each counts as one token."""
    pace_s: float = 0.0
    """Time between two chunks of a stream."""
    after: int = 3
    """Chunks before a fault in the middle."""
    head_s: float = 0.5
    """Delay of slow_head."""
    retry_after: int = 7
    huge_bytes: int = 100_000_000
    chunked: bool = False
    """Send JSON answers with chunked framing instead of Content-Length."""
    close: bool = False
    """Close the connection after each answer."""
    text: str = ""
    """What is written, again and again, three letters a chunk; empty: canned words."""
    tokens_in: int = 12
    tokens_cached: int = 4


def behave(url: str, behaviour: Behaviour) -> None:
    """How an engine in another process answers from now on. Raises OSError."""
    _control(url, "PUT", "behaviour", msgspec.json.encode(behaviour))


def firsts(url: str) -> list[float]:
    """When the first token of each stream was written, Unix time. Raises OSError."""
    return msgspec.json.decode(_control(url, "GET", "firsts"), type=list[float])


def _control(url: str, method: str, what: str, body: bytes | None = None) -> bytes:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as line:
        line.request(method, f"/control/{what}", body)
        answer = line.getresponse()
        said = answer.read()
    if answer.status != 200:
        raise OSError(f"{url}/control/{what} answers {answer.status}")
    return said
