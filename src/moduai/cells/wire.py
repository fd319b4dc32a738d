"""What gateways and a dispatcher say to each other: lists of messages in MessagePack, each list with its
length before it. Times are ages or durations in ns, for machines have different clocks; ids are the
gateway's.

Rule: what is longer than `MOST_BYTES`, or cannot be understood, ends the connection (fails closed). No text
of anybody's is in it: opaque ids, numbers, and hashes of prompts' blocks.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from moduai.scheduling.types import Figure, Share

VERSION = 1
OLDEST = 1
"""The version before is understood too, so that parts can be replaced one after the other. So a message gets
new fields at its end only, with what they are where they are not told; a new kind is said to nobody who
speaks a version without it.
"""
MOST_BYTES = 64 << 20
"""Longest list of messages."""
_HEAD = 4


class WireError(ValueError):
    """What came is not what the other end would say."""


class _Message(Struct, frozen=True, array_like=True, gc=False):
    pass


# both, to know each other


class Challenge(_Message, frozen=True, tag=0):
    """The dispatcher's first word."""

    version: int
    nonce: bytes


class Hello(_Message, frozen=True, tag=1):
    """A gateway's first word; what follows until `Told` is what it has asked and what runs."""

    version: int
    gateway: str
    """Its name in this life."""
    epoch: int
    """The greatest that it has seen."""
    nonce: bytes
    proof: bytes


class Welcome(_Message, frozen=True, tag=2):
    """The dispatcher takes the gateway."""

    epoch: int
    proof: bytes


# from a gateway


class Ask(_Message, frozen=True, tag=3):
    """A request asks for a place (`scheduling.Ticket`)."""

    id: int
    pool: str
    path: tuple[str, str, str]
    app: str
    tokens_in: int
    max_out: int
    age: int
    """Since it arrived."""
    blocks: tuple[int, ...]
    avoid: tuple[str, ...]
    weight: int
    again: bool = False
    waited: bool = False
    """It has been told its place in line."""


class Runs(_Message, frozen=True, tag=4):
    """A request that was asked elsewhere runs already."""

    ask: Ask
    replica: str
    age: int
    """Since its grant."""
    tokens: int
    """That have come of its answer."""
    uncached: int = 0
    """As it was granted."""


class Told(_Message, frozen=True, tag=5):
    """Everything that this gateway has asked and runs was said."""


class Leaves(_Message, frozen=True, tag=6):
    """A request leaves the line."""

    id: int


class Came(_Message, frozen=True, tag=7):
    """So many tokens of an answer have come."""

    id: int
    tokens: int


class Over(_Message, frozen=True, tag=8):
    """A run has ended."""

    id: int
    used: tuple[int, int, int] | None
    """Prompt tokens, those that were cached, and output tokens; None: not known."""
    first: int
    ran: int


class Seen(_Message, frozen=True, tag=9):
    """A gateway saw an engine do well or fail."""

    engine: str
    ok: bool


# from the dispatcher


class Granted(_Message, frozen=True, tag=10):
    """A request may run."""

    id: int
    replica: str
    most: int
    """Shorten the answer to so many tokens; 0: do not."""
    out: int = 0
    """Estimate of the answer's tokens."""
    first: int = 0
    step: int = 0
    """Expected time to its first token, and for each further one; 0: an older dispatcher does not say."""
    uncached: int = 0
    """Prompt tokens that the engine is expected to compute; 0: not known."""


class Waits(_Message, frozen=True, tag=11):
    """Where a request stands (`scheduling.Queued`)."""

    id: int
    position: int
    wait: int
    low: int
    high: int
    step: str
    lighter: str


class Turned(_Message, frozen=True, tag=12):
    """A request was not taken (`scheduling.Refused`)."""

    id: int
    reason: str
    retry_after: int


class Open(_Message, frozen=True, tag=13):
    """The engines that take requests now, and how many run on each."""

    running: dict[str, int]
    away: tuple[str, ...]
    """Those that are known and take none."""
    degraded: bool
    """The dispatcher cannot renew its lease."""


class Figures(_Message, frozen=True, tag=14):
    """For metrics and the console."""

    waiting: dict[str, int]
    shares: list[Share]
    figures: dict[str, list[Figure]]
    expected: dict[str, int]
    """Wait in ns at the end of the line, by model."""
    cells: dict[str, int] = {}
    """Age in ns of what other cells have told."""


class Bye(_Message, frozen=True, tag=15):
    """The dispatcher is none any more: look for the next one."""


Message = (
    Challenge | Hello | Welcome | Ask | Runs | Told | Leaves | Came | Over | Seen
    | Granted | Waits | Turned | Open | Figures | Bye
)  # fmt: skip

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Message]).decode


def frame(messages: Sequence[Message]) -> bytes:
    """Messages as bytes."""
    body = _encode(messages)
    return len(body).to_bytes(_HEAD, "big") + body


class Frames:
    """Bytes as messages."""

    __slots__ = ("_kept", "most")

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._kept = bytearray()
        self.most = most
        """Longest list that is read: small until the other end is known."""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole now. Raises WireError: fails closed."""
        kept = self._kept
        kept += data
        messages: list[Message] = []
        at = 0
        while len(kept) - at >= _HEAD:
            size = int.from_bytes(kept[at : at + _HEAD], "big")
            if size > self.most:
                raise WireError(f"a list of {size} bytes")
            end = at + _HEAD + size
            if len(kept) < end:
                break
            try:
                messages += _decode(kept[at + _HEAD : end])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise WireError(str(error)) from None
            at = end
        del kept[:at]
        return messages


def proof(secret: bytes, whose: bytes, *parts: bytes) -> bytes:
    """That its maker knows the secret of the installation."""
    return hmac.digest(
        secret, b"\0".join((whose, *(len(part).to_bytes(4, "big") + part for part in parts))), "sha256"
    )


def proves(given: bytes, secret: bytes, whose: bytes, *parts: bytes) -> bool:
    """Whether a proof is good, in constant time. Fails closed."""
    return hmac.compare_digest(given, proof(secret, whose, *parts))
