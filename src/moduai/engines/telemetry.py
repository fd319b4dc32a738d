"""What an engine says of its load, read from its Prometheus text (``GET /metrics``).

| | running | waiting in the engine | part of the KV cache in use |
|---|---|---|---|
| vLLM, vllm-rbln | vllm:num_requests_running | vllm:num_requests_waiting | vllm:kv_cache_usage_perc |
| vLLM of 2024 | the same | the same | vllm:gpu_cache_usage_perc |
| SGLang | sglang:num_running_reqs | sglang:num_queue_reqs | sglang:token_usage |
| llama.cpp | llamacpp:requests_processing | llamacpp:requests_deferred | llamacpp:kv_cache_usage_ratio |

SGLang tells it with --enable-metrics, llama.cpp with --metrics (newer ones without the cache).

Requests of several series of a name (data-parallel ranks) add up, parts of the cache are averaged. SGLang's
series of a single priority repeat the whole and are left out. What is not told is inferred from
what was sent.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from moduai.engines.fleet import Replica
from moduai.engines.http import FetchError, fetch

ANSWER_LIMIT = 1_048_576
MOST_REQUESTS = 1_000_000
_RUNNING = (b"vllm:num_requests_running", b"sglang:num_running_reqs", b"llamacpp:requests_processing")
_WAITING = (b"vllm:num_requests_waiting", b"sglang:num_queue_reqs", b"llamacpp:requests_deferred")
_USED = (
    b"vllm:kv_cache_usage_perc",
    b"vllm:gpu_cache_usage_perc",
    b"sglang:token_usage",
    b"llamacpp:kv_cache_usage_ratio",
)
_NAMES = b"|".join(_RUNNING + _WAITING + _USED)
_SERIES = re.compile(
    rb"(?m)^(%b)(\{[^\n]*\})?[ \t]+(\d{1,20}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})?)(?:[ \t]+\d+)?[ \t]*\r?$"
    % _NAMES
)
"""A line of the text format: name, labels, value, and perhaps a time."""
_ONE_PRIORITY = re.compile(rb'priority="[^"]')


class Load(NamedTuple):
    """-1: not told."""

    running: int = -1
    waiting: int = -1
    kv_used: int = -1
    """Per mille of the room."""


def read(text: bytes) -> Load:
    """The load that a text tells. A number that makes no sense is not told: fails open."""
    found: dict[bytes, list[float]] = {}
    for name, labels, number in _SERIES.findall(text):
        if not _ONE_PRIORITY.search(labels):
            found.setdefault(name, []).append(float(number))
    return Load(_count(found, _RUNNING), _count(found, _WAITING), _part(found))


def _count(found: dict[bytes, list[float]], names: tuple[bytes, ...]) -> int:
    total = sum(next((found[name] for name in names if name in found), [-1.0]))
    return int(total) if total <= MOST_REQUESTS else -1


def _part(found: dict[bytes, list[float]]) -> int:
    parts = next((found[name] for name in _USED if name in found), [-1.0])
    mean = math.fsum(parts) / len(parts)
    return round(1000 * mean) if 0 <= mean <= 1 else -1


async def ask(replica: Replica, timeout_s: float) -> Load | None:
    """Ask an engine for its load; None where it has no such page or cannot answer: fails open."""
    try:
        reply = await fetch(
            replica.address,
            "GET",
            "/metrics",
            key=replica.engine.key,
            timeout_s=timeout_s,
            limit=ANSWER_LIMIT,
        )
    except FetchError:
        return None
    load = read(reply.body) if reply.status == 200 else Load()
    return None if load == Load() else load
