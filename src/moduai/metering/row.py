"""The usage row: what one request used, in integers, without a word of what was asked or answered."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Outcome = Literal["ok", "cancelled", "failed", "refused", "timeout"]
"""ok: the engine ended its answer; cancelled: the client left; failed: the engine or we did;
refused: never sent to an engine (line full, drained); timeout: waited or ran too long."""

Step = Literal["", "queued", "shortened", "lighter"]
"""Soft before hard: it ran at once, it waited, its answer was cut short, another model answered."""


class UsageRow(Struct, frozen=True, gc=False):
    """One request. Times in microseconds unless said; ``id`` makes loading idempotent.

    The lane gives all fields by position: with so many, keywords cost ten times as much.
    """

    id: str
    """Unique: the worker's boot id, a counter, and what nobody can guess."""
    at: int
    """When the request arrived, Unix time in microseconds."""
    subject: str
    organisation: str = ""
    key: str = ""
    service_class: str = ""
    region: str = ""
    zone: str = ""
    group: str = ""
    endpoint: str = ""
    """chat, completions, embeddings or responses."""
    model: str = ""
    engine: str = ""
    """Id of the engine that ran it; empty if none did."""
    stream: bool = False
    tokens_in: int = 0
    tokens_cached: int = 0
    """Part of tokens_in that the engine had in its prefix cache."""
    tokens_out: int = 0
    tokens_source: Literal["engine", "counted", "estimated"] = "engine"
    """engine: its usage field; counted: pieces of the stream; estimated: from bytes."""
    queue_us: int = 0
    first_token_us: int = 0
    """From arrival to the first byte of the answer's body; 0: none came."""
    duration_us: int = 0
    accelerator_us: int = 0
    """Accelerator-microseconds: the engine's accelerators times the equal share of its busy time."""
    energy_mj: int = 0
    """Millijoules: accelerator time times watts times the site's PUE; 0: not known."""
    status: int = 200
    """HTTP status sent to the client; 499 when the client left before one was sent."""
    outcome: Outcome = "ok"
    error: str = ""
    """Stable error code, empty for none."""
    step: Step = ""
    """How far the pressure went with it."""
