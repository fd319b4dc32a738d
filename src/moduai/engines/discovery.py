"""Finds out what an engine is and can do, by asking it: bounded in time and size, one line if it fails.

What is asked, and what it tells (the servers' own documentation is the source):

- every engine, ``GET /v1/models``: names; vLLM and SGLang add ``max_model_len``, Furiosa-LLM
  ``max_context_len``; ``owned_by`` often names the server;
- llama.cpp, ``GET /props``: slots, context of a slot, vision, chat template;
- SGLang, ``GET /get_server_info``: context, running requests, tool parser, embeddings;
- vLLM and Furiosa-LLM, ``GET /version``; vllm-rbln answers as vLLM does;
- where ``GET /openapi.json`` exists: which endpoints there are.

What cannot be known keeps its default ("not known to") and can be given by the operator.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from moduai.engines.address import Address, AddressError, parse_url
from moduai.engines.http import FetchError, Reply, fetch
from moduai.engines.record import Capability, Engine, Model

ANSWER_LIMIT = 2_097_152
MOST_MODELS = 500
LONGEST_NAME = 200
_REFUSED_KEY = (401, 403)


class DiscoveryError(RuntimeError):
    """An address that is no engine, or one that cannot be asked; the text says why in one line."""


class _Asker:
    """Asks one engine; every answer is JSON or nothing."""

    def __init__(self, address: Address, key: str, timeout_s: float) -> None:
        self._address, self._key, self._timeout_s = address, key, timeout_s

    async def reply(self, path: str, method: str = "GET", body: bytes = b"") -> Reply:
        return await fetch(
            self._address,
            method,
            path,
            key=self._key,
            body=body,
            timeout_s=self._timeout_s,
            limit=ANSWER_LIMIT,
        )

    async def json(self, path: str) -> dict[str, Any]:
        """The object at a path; empty if there is none, for what is good to know but not needed."""
        try:
            answer = await self.reply(path)
        except FetchError:
            return {}
        return _object(answer.body) if answer.status == 200 else {}

    async def has(self, path: str) -> bool:
        """Whether a POST to the path is known: an empty request is then refused, but not as unknown."""
        try:
            return (await self.reply(path, "POST", b"{}")).status in (400, 422)
        except FetchError:
            return False


class _Known(Struct, frozen=True):
    """What an engine said of itself beside its models."""

    kind: str
    concurrency: int
    capability: Capability


async def discover(url: str, key: str = "", *, timeout_s: float = 5.0) -> Engine:
    """Ask the engine at ``url`` what it is. Its id and name are empty. Raises DiscoveryError."""
    try:
        address = parse_url(url)
    except AddressError as error:
        raise DiscoveryError(str(error)) from None
    asker = _Asker(address, key, timeout_s)
    listed = await _listed(asker, url)
    known = await _known(asker, listed)
    models = tuple(_model(one, known.capability) for one in listed)
    return Engine(
        id="", name="", url=url, kind=known.kind, key=key, concurrency=known.concurrency, models=models
    )


def refreshed(known: Engine, found: Engine) -> Engine:
    """The record of an engine after a new look: its models as found, what was said of them as kept.

    The operator's word on a model stands; only a context that the engine no longer has is corrected. Where
    the operator named the models, they stay just those: none comes, and one that is away stays named.
    """
    if not known.follows:
        there = {model.upstream_name: model for model in found.models}
        kept = (_kept(model, there.get(model.upstream_name, model)) for model in known.models)
        return replace(known, models=tuple(kept))
    before = {model.upstream_name: model for model in known.models}
    models = tuple(_kept(before.get(model.upstream_name), model) for model in found.models)
    return replace(known, models=models)


def _kept(known: Model | None, found: Model) -> Model:
    if known is None:
        return found
    limit = found.capability.context
    if limit and not 0 < known.capability.context <= limit:
        return replace(known, capability=replace(known.capability, context=limit))
    return known


def _why(error: FetchError) -> str:
    if isinstance(error.__context__, ConnectionRefusedError):
        return "nothing listens there; is the server running, and is the port right?"
    return str(error)


async def _listed(asker: _Asker, url: str) -> list[dict[str, Any]]:
    try:
        answer = await asker.reply("/v1/models")
    except FetchError as error:
        raise DiscoveryError(f"{url} cannot be asked: {_why(error)}") from None
    if answer.status in _REFUSED_KEY:
        raise DiscoveryError(f"{url} refuses the key (status {answer.status}): give the right one")
    data = _object(answer.body).get("data") if answer.status == 200 else None
    if not isinstance(data, list):
        raise DiscoveryError(
            f"{url} answers, but not as an OpenAI-compatible engine does (GET /v1/models: {answer.status})"
        )
    listed = [one for one in data[:MOST_MODELS] if isinstance(one, dict) and is_name(one.get("id"))]
    if not listed:
        raise DiscoveryError(f"{url} is an engine without a model: load one first")
    return listed


def is_name(name: object) -> bool:
    """Whether a model can be called so."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


async def _known(asker: _Asker, listed: list[dict[str, Any]]) -> _Known:
    props, info, version, openapi = await asyncio.gather(
        asker.json("/props"),
        asker.json("/get_server_info"),
        asker.json("/version"),
        asker.json("/openapi.json"),
    )
    owner = str(listed[0].get("owned_by", "")).lower()
    if "total_slots" in props:
        known = _llamacpp(props, listed)
    elif owner == "sglang" or "max_running_requests" in info:
        known = _sglang(info)
    elif _is_furiosa(owner, listed[0], version):
        known = _Known("furiosa", 32, Capability(json_schema=True))
    elif owner == "vllm":
        known = _Known("vllm", 32, Capability(json_schema=True))
    else:
        known = _Known("openai", 32, Capability())
    capability = _by_paths(known.capability, openapi.get("paths"))
    if known.kind != "openai":  # a cloud is not to be asked what it might charge or count
        capability = replace(capability, responses=await asker.has("/v1/responses"))
    return replace(known, capability=capability)


def _is_furiosa(owner: str, model: dict[str, Any], version: dict[str, Any]) -> bool:
    return "furiosa" in owner or "artifact_id" in model or any("furiosa" in key.lower() for key in version)


def _llamacpp(props: dict[str, Any], listed: list[dict[str, Any]]) -> _Known:
    defaults, modalities = _dict(props, "default_generation_settings"), _dict(props, "modalities")
    template = props.get("chat_template")
    tools = isinstance(template, str) and "tools" in template
    listing = listed[0].get("capabilities")
    embeds = isinstance(listing, list) and "embedding" in listing
    return _Known(
        "llamacpp",
        _number(props, "total_slots") or 1,
        Capability(
            context=_number(defaults, "n_ctx"),
            chat=not embeds,
            completions=not embeds,
            embeddings=embeds,
            tools=tools,
            json_schema=not embeds,
            vision=modalities.get("vision") is True,
        ),
    )


def _sglang(info: dict[str, Any]) -> _Known:
    embeds = info.get("is_embedding") is True
    return _Known(
        "sglang",
        _number(info, "max_running_requests") or 32,
        Capability(
            context=_number(info, "context_length"),
            chat=not embeds,
            completions=not embeds,
            embeddings=embeds,
            tools=bool(info.get("tool_call_parser")),
            json_schema=not embeds,
        ),
    )


def _by_paths(capability: Capability, paths: object) -> Capability:
    """An engine whose own listing has embeddings but no chat serves embeddings only."""
    if isinstance(paths, dict) and "/v1/embeddings" in paths and "/v1/chat/completions" not in paths:
        return replace(capability, chat=False, completions=False, embeddings=True, json_schema=False)
    return capability


def _model(listed: dict[str, Any], capability: Capability) -> Model:
    context = _number(listed, "max_model_len") or _number(listed, "max_context_len") or capability.context
    name = listed["id"]
    return Model(name=name, upstream_name=name, capability=replace(capability, context=context))


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _dict(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _number(data: dict[str, Any], name: str) -> int:
    """A sensible positive number, else 0 (bool is no number here)."""
    value = data.get(name)
    return value if type(value) is int and 0 < value <= 100_000_000 else 0
