"""The embedded engine's record: what it is, said plainly."""

from __future__ import annotations

import os

from moduai.engines.record import Capability, Engine, Hardware, Model
from moduai.settings import Embedded

from .weights import Weights

ENGINE_ID = "eng_embedded"


def record(settings: Embedded, weights: Weights, url: str, key: str) -> Engine:
    """The record of the embedded engine at ``url`` (unix:///…)."""
    return Engine(
        id=ENGINE_ID,
        name="embedded",
        url=url,
        kind="embedded",
        key=key,
        concurrency=settings.slots,
        hardware=Hardware(kind="CPU", count=1, watts=settings.watts),
        models=(
            Model(name=weights.name, upstream_name=weights.name, capability=_capability(settings, weights)),
        ),
    )


def threads(settings: Embedded) -> int:
    """Threads of the child: as set, or half the cores so that the gateway has room."""
    return settings.threads or max(1, (os.cpu_count() or 1) // 2)


def context(settings: Embedded, weights: Weights) -> int:
    """Context of one slot in tokens: as set, but not more than the model was trained for."""
    return min(settings.context, weights.facts.context or settings.context)


def _capability(settings: Embedded, weights: Weights) -> Capability:
    facts = weights.facts
    return Capability(
        context=context(settings, weights),
        chat=not facts.pooling,
        completions=not facts.pooling,
        embeddings=facts.pooling,
        tools=facts.tools,
        json_schema=not facts.pooling,
        origin=weights.origin,
        licence=weights.licence,
        description=weights.description,
    )
