"""What is known of an engine: its address, its models, what they can do and what they run on.

Words: an *engine* is one OpenAI-compatible server; a *model* is a name it serves; one model on two
engines is one model with two *replicas*. Records are data: they are kept in the database, shown by
``modu engine show`` and given to the gateway by the change feed.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

State = Literal["active", "draining", "removed"]
"""active: takes requests; draining: ends what it runs, takes nothing new; removed: kept for the ledger."""


class Capability(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one model on one engine can do. False or 0 means "not known to"."""

    context: int = 0
    """Longest prompt and answer together, in tokens; 0: not known."""
    chat: bool = True
    completions: bool = True
    embeddings: bool = False
    responses: bool = False
    tools: bool = False
    json_schema: bool = False
    vision: bool = False
    origin: str = ""
    """Who made the weights, in plain words, such as "Google (Gemma 3 270M)"."""
    licence: str = ""
    description: str = ""
    """What the model is and is not good for, in plain words."""


class Model(Struct, frozen=True, kw_only=True):
    """A model as people name it, and as its engine names it."""

    name: str
    upstream_name: str
    capability: Capability = Capability()


class Hardware(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine runs on; the ledger's accelerator-seconds and energy come from it."""

    kind: str = ""
    """Accelerator kind such as "H100 SXM", "RNGD" or "CPU"."""
    count: int = 1
    watts: float = 0.0
    """Power of one busy accelerator in watts; 0: not known, no energy is estimated."""


class Engine(Struct, frozen=True, kw_only=True):
    """One engine. ``key`` is in clear only in memory; the database holds it sealed."""

    id: str
    name: str
    url: str
    """http://host:port, https://host, or unix:///path of a socket; without the /v1."""
    kind: str = "openai"
    """vllm, sglang, llamacpp, furiosa, rbln, embedded or openai (anything else)."""
    key: str = ""
    state: State = "active"
    concurrency: int = 32
    """Requests that it runs at once; more wait in our line, not in the engine."""
    hardware: Hardware = Hardware()
    models: tuple[Model, ...] = ()
    follows: bool = True
    """True: offers whatever models the engine has; False: only those named when it was added."""
