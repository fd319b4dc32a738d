"""Discovery against the real llama.cpp, and against small servers that answer as others do."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec.structs import replace

from moduai.engines.discovery import DiscoveryError, discover, refreshed
from moduai.engines.record import Capability, Engine, Model
from tests.engines.conftest import KEY, http, serving


def models(*listed: object) -> bytes:
    return http(json.dumps({"object": "list", "data": list(listed)}).encode())


def told(**answer: object) -> bytes:
    return http(json.dumps(answer).encode())


async def test_llamacpp_tells_slots_and_context(embedded):
    found = await discover(embedded.url, KEY)
    assert (found.kind, found.concurrency) == ("llamacpp", 2)
    (model,) = found.models
    assert (model.name, model.capability.context) == ("gemma-3-270m", 1024)
    assert model.capability.json_schema
    assert not model.capability.vision


async def test_a_wrong_key_is_said_so(embedded):
    with pytest.raises(DiscoveryError, match="refuses the key"):
        await discover(embedded.url, "wrong")


VLLM = {"id": "Qwen/Qwen3-8B", "object": "model", "owned_by": "vllm", "max_model_len": 40960, "root": "x"}


async def test_vllm():
    routes = {
        "GET /v1/models": models(VLLM, VLLM | {"id": "lora-1", "parent": "Qwen/Qwen3-8B"}),
        "GET /version": told(version="0.11.0"),
        "POST /v1/responses": http(b"{}", "400 Bad Request"),
    }
    async with serving(routes) as url:
        found = await discover(url)
    assert found.kind == "vllm"
    assert [model.name for model in found.models] == ["Qwen/Qwen3-8B", "lora-1"]
    can = found.models[0].capability
    assert (can.context, can.json_schema, can.responses, can.tools) == (40960, True, True, False)


async def test_sglang():
    routes = {
        "GET /v1/models": models({"id": "m", "owned_by": "sglang", "max_model_len": 32768}),
        "GET /get_server_info": told(
            max_running_requests=96, context_length=32768, tool_call_parser="qwen25", is_embedding=False
        ),
    }
    async with serving(routes) as url:
        found = await discover(url)
    assert (found.kind, found.concurrency) == ("sglang", 96)
    assert found.models[0].capability.tools
    assert not found.models[0].capability.responses


async def test_furiosa():
    listed = {"id": "EMPTY", "owned_by": "furiosa-ai", "artifact_id": "a", "max_context_len": 32768}
    async with serving({"GET /v1/models": models(listed)}) as url:
        found = await discover(url)
    assert found.kind == "furiosa"
    assert found.models[0].capability.context == 32768


async def test_an_engine_of_embeddings_only():
    routes = {
        "GET /v1/models": models(VLLM | {"id": "e5"}),
        "GET /openapi.json": told(paths={"/v1/embeddings": {}, "/v1/models": {}}),
    }
    async with serving(routes) as url:
        can = (await discover(url)).models[0].capability
    assert (can.embeddings, can.chat, can.completions) == (True, False, False)


async def test_anything_else_is_asked_for_no_more_than_it_must():
    seen: list[str] = []
    async with serving({"GET /v1/models": models({"id": "big", "owned_by": "someone"})}, seen=seen) as url:
        found = await discover(url, "sk-secret")
    assert found.kind == "openai"
    assert not any(head.startswith("POST") for head in seen)
    assert "Authorization: Bearer sk-secret" in seen[0]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (http(b"<html>hello</html>"), "not as an OpenAI-compatible engine"),
        (http(b"{}", "404 Not Found"), "GET /v1/models: 404"),
        (http(b'{"data": 5}'), "not as an OpenAI-compatible engine"),
        (http(b"[" * 100_000), "not as an OpenAI-compatible engine"),
        (http(b'{"data": "\xff"}'), "not as an OpenAI-compatible engine"),
        (http(b'{"data": []}'), "without a model"),
        (http(b'{"data": [{"id": 5}, 7, {"id": ""}, {"id": "a\\nb"}]}'), "without a model"),
        (http(b"x" * 3_000_000), "larger than"),
        (http(b"{}", "403 Forbidden"), "refuses the key"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n{}", "cannot be asked"),
    ],
)
async def test_what_is_no_engine_is_one_clear_line(raw, says):
    async with serving({}, raw=raw) as url:
        with pytest.raises(DiscoveryError, match=says) as error:
            await discover(url)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("10.0.0.5:8000", "write http"),
        ("http://user:pass@host", "--key"),
        ("http://127.0.0.1:1", "nothing listens there"),
        ("unix:///no/such.sock", "No such file"),
        ("http://no-such-host.invalid", "cannot be asked"),
    ],
)
async def test_a_wrong_address_is_one_clear_line(url, says):
    with pytest.raises(DiscoveryError, match=says) as error:
        await discover(url)
    assert "\n" not in str(error.value)


async def test_a_server_without_tls_behind_https():
    async with serving({}) as url:
        with pytest.raises(DiscoveryError, match="TLS failed"):
            await discover(url.replace("http://", "https://"))


async def test_a_server_that_says_nothing_is_left():
    async with serving({}, raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") as url:
        with pytest.raises(DiscoveryError):
            await discover(url, timeout_s=0.3)


async def test_a_server_that_never_answers_is_left():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            pass
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        with pytest.raises(DiscoveryError, match="no answer within"):
            await discover(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.3)
        await asyncio.sleep(0.01)


def engine(*models: Model) -> Engine:
    return Engine(id="e", name="n", url="http://h", models=models)


def model(name: str, **can: object) -> Model:
    return Model(name=name, upstream_name=name, capability=Capability(**can))


def test_a_new_look_keeps_what_the_operator_said():
    known = engine(model("a", context=1000, tools=True), model("gone"))
    found = engine(model("a", context=4000), model("new", context=10))
    assert refreshed(known, found).models == (
        model("a", context=1000, tools=True),
        model("new", context=10),
    )


def test_a_new_look_corrects_a_context_that_is_too_large_or_not_known():
    for before in (0, 8000):
        known = engine(model("a", context=before, vision=True))
        assert refreshed(known, engine(model("a", context=4000))).models == (
            model("a", context=4000, vision=True),
        )


def test_a_new_look_adds_nothing_where_the_operator_named_the_models():
    renamed = Model(name="small", upstream_name="a", capability=Capability(context=9000))
    known = replace(engine(renamed, model("away", context=10)), follows=False)
    found = engine(model("a", context=4000), model("new", context=10))
    corrected = replace(renamed, capability=Capability(context=4000))
    assert refreshed(known, found).models == (corrected, model("away", context=10))
