"""The load of engines, from texts of the shape that each of them writes."""

from __future__ import annotations

import pytest

from moduai.engines.fleet import Replica
from moduai.engines.record import Engine
from moduai.engines.telemetry import ANSWER_LIMIT, Load, ask, read
from moduai.settings import Upstream
from tests.engines.conftest import http, serving

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="org/model-8b"} 5.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="org/model-8b"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="org/model-8b",reason="capacity"} 2.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="org/model-8b"} 0.3412
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="org/model-8b"} 90210.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001",model_name="org/model-8b"} 0.0
# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",cache_dtype="auto",engine="0",gpu_memory_utilization="0.9",\
num_cpu_blocks="None",num_gpu_blocks="27861",num_gpu_blocks_override="None",sliding_window="None"} 1.0
""".replace(b"\\\n", b"")
OLD_VLLM = b"""\
vllm:num_requests_running{model_name="m"} 1.0
vllm:num_requests_swapped{model_name="m"} 0.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:gpu_cache_usage_perc{model_name="m"} 7.5e-02
"""
TWO_RANKS = b"""\
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting{engine="1",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.2
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.4
vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="1000"} 1.0
vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="900"} 1.0
"""
HYBRID_VLLM = b"""\
vllm:num_requests_running{engine="0",model_name="m"} 0.0
vllm:cache_config_info{block_size="528",engine="0",kv_cache_size_tokens="190080",num_gpu_blocks="720"} 1.0
"""
SGLANG = b"""\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m",tp_rank="0",pp_rank="0",priority=""} 12.0
sglang:num_running_reqs{model_name="m",tp_rank="0",pp_rank="0",priority="1"} 12.0
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="m",tp_rank="0",pp_rank="0",priority=""} 7.0
sglang:token_usage{model_name="m",tp_rank="0",pp_rank="0"} 0.55
sglang:cache_hit_rate{model_name="m",tp_rank="0",pp_rank="0"} 0.8
# TYPE sglang:max_total_num_tokens gauge
sglang:max_total_num_tokens{engine_type="unified",model_name="m",tp_rank="0",pp_rank="0"} 441253.0
"""
SGLANG_RANKS = b"""\
sglang:max_total_num_tokens{dp_rank="0",model_name="m",tp_rank="0"} 1.2e+05
sglang:max_total_num_tokens{dp_rank="0",model_name="m",tp_rank="1"} 1.2e+05
sglang:max_total_num_tokens{dp_rank="1",model_name="m",tp_rank="2"} 1.2e+05
"""
LLAMACPP = b"""\
# HELP llamacpp:requests_processing Number of requests processing.
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 2
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 46
llamacpp:n_busy_slots_per_decode 1.9
"""


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (VLLM, Load(5, 2, 341, 445_776)),
        (OLD_VLLM, Load(1, 0, 75)),
        (TWO_RANKS, Load(7, 1, 300, 30_400)),
        (HYBRID_VLLM, Load(0, -1, -1, 190_080)),
        (SGLANG, Load(12, 7, 550, 441_253)),
        (SGLANG_RANKS, Load(room=240_000)),
        (LLAMACPP, Load(2, 46, -1)),
        (LLAMACPP + b"llamacpp:kv_cache_usage_ratio 1\r\n", Load(2, 46, 1000)),
        (b"llamacpp:requests_processing 2 1790000000000\n", Load(2)),
    ],
)
def test_each_engine_tells_its_load(text: bytes, load: Load) -> None:
    assert read(text) == load


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>not found</html>",
        b"llamacpp:requests_processing NaN",
        b"llamacpp:requests_processing -3",
        b"llamacpp:requests_processing 1e99",
        b"llamacpp:requests_processing 1.2.3",
        b"llamacpp:requests_processing",
        b"# llamacpp:requests_processing 3",
        b"xllamacpp:requests_processing 3",
        b"vllm:kv_cache_usage_perc 55.0",
        b"vllm:kv_cache_usage_perc 1e400",
        b"vllm:num_requests_running_extra 3",
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1.0',
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="-1"} 1.0',
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="1"} 1.0',
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="%s"} 1.0' % (b"9" * 400),
        b"vllm:cache_config_info 1.0",
        b"sglang:max_total_num_tokens 0.0",
        b"sglang:max_total_num_tokens 1e15",
        b"\xff\xfe" * 100,
    ],
)
def test_what_makes_no_sense_is_not_told(text: bytes) -> None:
    assert read(text) == Load()


def asked(url: str) -> Replica:
    return Replica(Engine(id="e1", name="lab", url=url, kind="vllm"), Upstream())


async def test_an_engine_is_asked_over_http() -> None:
    seen: list[str] = []
    async with serving({"GET /metrics": http(VLLM)}, seen=seen) as url:
        assert await ask(asked(url), 5) == Load(5, 2, 341, 445_776)
    assert seen[0].startswith("GET /metrics")


@pytest.mark.parametrize(
    "answer", [http(b"", "404 Not Found"), http(b"{}"), http(b"x" * (ANSWER_LIMIT + 1)), b"?"]
)
async def test_an_engine_that_does_not_tell_is_no_trouble(answer: bytes) -> None:
    async with serving({"GET /metrics": answer}) as url:
        assert await ask(asked(url), 5) is None
    assert await ask(asked(url), 5) is None
