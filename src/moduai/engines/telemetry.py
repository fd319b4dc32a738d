"""What an engine says of its load, read from its Prometheus text (``GET /metrics``).

| | running | waiting in the engine | part of the KV cache in use |
|---|---|---|---|
| vLLM, vllm-rbln | vllm:num_requests_running | vllm:num_requests_waiting | vllm:kv_cache_usage_perc |
| vLLM of 2024 | the same | the same | vllm:gpu_cache_usage_perc |
| SGLang | sglang:num_running_reqs | sglang:num_queue_reqs | sglang:token_usage |
| llama.cpp | llamacpp:requests_processing | llamacpp:requests_deferred | llamacpp:kv_cache_usage_ratio |

SGLang tells it with --enable-metrics, llama.cpp with --metrics (newer ones without the cache).

The room of the KV cache, in tokens, is ``kv_cache_size_tokens`` of vllm:cache_config_info, or where vLLM is
older ``block_size`` x ``num_gpu_blocks``; of SGLang sglang:max_total_num_tokens. llama.cpp has none to tell:
each of its slots has a context of its own, so a free slot has room.

Requests of several series of a name (data-parallel ranks) add up, parts of the cache are averaged, rooms
of data-parallel ranks add up (its tensor-parallel ranks hold parts of the same tokens). SGLang's
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
LEAST_ROOM, MOST_ROOM = 1024, 1 << 40
"""In tokens: what is less is no KV cache (a model without attention), what is more is nonsense."""
_RUNNING = (b"vllm:num_requests_running", b"sglang:num_running_reqs", b"llamacpp:requests_processing")
_WAITING = (b"vllm:num_requests_waiting", b"sglang:num_queue_reqs", b"llamacpp:requests_deferred")
_USED = (
    b"vllm:kv_cache_usage_perc",
    b"vllm:gpu_cache_usage_perc",
    b"sglang:token_usage",
    b"llamacpp:kv_cache_usage_ratio",
)
_CONFIG, _TOKENS = b"vllm:cache_config_info", b"sglang:max_total_num_tokens"
_NAMES = b"|".join((*_RUNNING, *_WAITING, *_USED, _CONFIG, _TOKENS))
_SERIES = re.compile(
    rb"(?m)^(%b)(\{[^\n]*\})?[ \t]+(\d{1,20}(?:\.\d{0,20})?(?:[eE][+-]?\d{1,3})?)(?:[ \t]+\d+)?[ \t]*\r?$"
    % _NAMES
)
"""A line of the text format: name, labels, value, and perhaps a time."""
_LABEL = re.compile(rb'(\w+)="([^"]*)"')
_ONE_PRIORITY = re.compile(rb'priority="[^"]')


class Load(NamedTuple):
    """-1: not told."""

    running: int = -1
    waiting: int = -1
    kv_used: int = -1
    """Per mille of the room."""
    room: int = -1
    """Tokens that the KV cache holds."""


def read(text: bytes) -> Load:
    """The load that a text tells. A number that makes no sense is not told: fails open."""
    found: dict[bytes, list[float]] = {}
    rooms: dict[bytes, float] = {}
    for name, labels, number in _SERIES.findall(text):
        if name in {_CONFIG, _TOKENS}:
            label: dict[bytes, bytes] = dict(_LABEL.findall(labels))
            rank = label.get(b"engine" if name == _CONFIG else b"dp_rank", b"")
            rooms[rank] = _configured(label) if name == _CONFIG else float(number)
        elif not _ONE_PRIORITY.search(labels):
            found.setdefault(name, []).append(float(number))
    room = sum(rooms.values())
    return Load(
        _count(found, _RUNNING),
        _count(found, _WAITING),
        _part(found),
        int(room) if LEAST_ROOM <= room <= MOST_ROOM else -1,
    )


def _configured(label: dict[bytes, bytes]) -> float:
    """Tokens that vLLM's cache holds; 0: not told."""
    blocks = _number(label, b"block_size") * _number(label, b"num_gpu_blocks")
    return _number(label, b"kv_cache_size_tokens") or blocks


def _number(label: dict[bytes, bytes], name: bytes) -> float:
    text = label.get(name, b"")
    return float(text) if text.isdigit() else 0.0


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
