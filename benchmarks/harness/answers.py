"""Bodies of the fake engine's answers, in OpenAI's shapes.

The text is Korean and English, so that characters of several bytes are on every path. Answers hold
what was asked for: n choices, a tool call where tools are offered, JSON where a format is asked for,
log-probabilities. Nothing here is a model.
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
from msgspec import Struct

from benchmarks.harness.behaviour import Behaviour

PIECES = (
    "모두의 ",
    "AI",
    "는 ",
    "누구나 ",
    "쓸 수 ",
    "있는 ",
    "공공 ",
    "서비스",
    "입니다. ",
    "It ",
    "is ",
    "for ",
    "all",
    ". ",
)
LETTERS = 3
"""Letters a token, of a text that is given."""
CREATED = 1_760_000_000
FINGERPRINT = "fp_fake"
DONE = b"data: [DONE]\n\n"
DIMENSIONS = 8

encode = msgspec.json.Encoder().encode


class StreamOptions(Struct):
    """The part of ``stream_options`` that is needed."""

    include_usage: bool = False


class Asked(Struct):
    """The fields of a request's body that change the answer."""

    model: str = ""
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    response_format: dict[str, Any] | None = None
    logprobs: bool | int | None = None
    input: Any = None
    encoding_format: str | None = None
    x_fake: Behaviour | None = None

    @property
    def plain(self) -> bool:
        """The common request, whose answer can be built once and kept."""
        return self.n in {None, 1} and not self.tools and not self.response_format and not self.logprobs

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def length(self, behaviour: Behaviour) -> tuple[int, str]:
        """Chunks of the answer, and its finish_reason."""
        most = self.max_completion_tokens or self.max_tokens or behaviour.chunks
        return (most, "length") if most < behaviour.chunks else (behaviour.chunks, "stop")

    @property
    def calls_tool(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"


decode_asked = msgspec.json.Decoder(Asked).decode


def pieces(count: int, text: str = "") -> list[str]:
    """An answer of ``count`` tokens: of this text, or of canned words."""
    if not text:
        return [PIECES[i % len(PIECES)] for i in range(count)]
    letters = text * (count * LETTERS // len(text) + 1)
    return [letters[i * LETTERS : (i + 1) * LETTERS] for i in range(count)]


def usage(behaviour: Behaviour, tokens_out: int) -> dict[str, Any]:
    """A usage field."""
    return {
        "prompt_tokens": behaviour.tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": behaviour.tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": behaviour.tokens_cached},
    }


def error(status: int, message: str, kind: str, code: str | None = None) -> tuple[int, bytes]:
    """Status and body of an error in OpenAI's shape."""
    return status, encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


def models(names: tuple[str, ...]) -> bytes:
    """The list of models, with vLLM's context field."""
    cards = [
        {"id": n, "object": "model", "created": CREATED, "owned_by": "fake", "max_model_len": 8192}
        for n in names
    ]
    return encode({"object": "list", "data": cards})


# --- JSON answers -------------------------------------------------------------------------------


def chat(asked: Asked, behaviour: Behaviour, content: str | None = None) -> bytes:
    """A chat completion; ``content`` replaces the canned text."""
    count, finish = asked.length(behaviour)
    text = content if content is not None else _content(asked, behaviour, count)
    if asked.calls_tool:
        message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [tool_call(asked)]}
        finish = "tool_calls"
    else:
        message = {"role": "assistant", "content": text}
    logprobs = {"content": [logprob(p) for p in pieces(count)]} if wants_logprobs(asked) else None
    choices = [
        {"index": i, "message": message, "logprobs": logprobs, "finish_reason": finish}
        for i in range(asked.n or 1)
    ]
    return _object("chat.completion", asked, behaviour, choices, count)


def completion(asked: Asked, behaviour: Behaviour) -> bytes:
    """A text completion."""
    count, finish = asked.length(behaviour)
    text = "".join(pieces(count))
    choices = [
        {"index": i, "text": text, "logprobs": None, "finish_reason": finish} for i in range(asked.n or 1)
    ]
    return _object("text_completion", asked, behaviour, choices, count)


def _object(kind: str, asked: Asked, behaviour: Behaviour, choices: list[Any], count: int) -> bytes:
    answer: dict[str, Any] = {
        "id": "chatcmpl-fake",
        "object": kind,
        "created": CREATED,
        "model": asked.model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }
    if behaviour.fault != "no_usage":
        answer["usage"] = usage(behaviour, count * (asked.n or 1))
    return encode(answer)


def embeddings(asked: Asked, behaviour: Behaviour) -> bytes:
    """One small vector for each input, as numbers or as base64 of little-endian floats."""
    given = asked.input
    count = len(given) if isinstance(given, list) and not _is_tokens(given) else 1
    vector = [((i * 7) % 13 - 6) / 8 for i in range(DIMENSIONS)]
    value: Any = vector
    if asked.encoding_format == "base64":
        value = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
    data = [{"object": "embedding", "index": i, "embedding": value} for i in range(count)]
    answer: dict[str, Any] = {"object": "list", "data": data, "model": asked.model}
    if behaviour.fault != "no_usage":
        tokens = behaviour.tokens_in * count
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode(answer)


def _is_tokens(given: list[Any]) -> bool:
    return bool(given) and all(isinstance(item, int) for item in given)


def response(asked: Asked, behaviour: Behaviour) -> bytes:
    """An answer of the Responses API."""
    return encode(_response(asked, behaviour, "".join(pieces(behaviour.chunks))))


def _response(asked: Asked, behaviour: Behaviour, text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": CREATED,
        "status": "completed",
        "model": asked.model,
        "output": [message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": behaviour.tokens_in,
            "input_tokens_details": {"cached_tokens": behaviour.tokens_cached},
            "output_tokens": behaviour.chunks,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": behaviour.tokens_in + behaviour.chunks,
        },
    }


def _content(asked: Asked, behaviour: Behaviour, count: int) -> str:
    if asked.response_format and "json" in asked.response_format.get("type", ""):
        return '{"answer": "' + "".join(pieces(count)).strip() + '"}'
    return "".join(pieces(count, behaviour.text))


def tool_call(asked: Asked) -> dict[str, Any]:
    """A call of the first tool that was offered, with empty arguments filled by a constant."""
    name = asked.tools[0]["function"]["name"] if asked.tools else "none"
    function = {"name": name, "arguments": '{"city": "서울"}'}
    return {"id": "call_fake", "type": "function", "function": function}


def wants_logprobs(asked: Asked) -> bool:
    """Chat asks with true, completions with a number."""
    return bool(asked.logprobs)


def logprob(piece: str) -> dict[str, Any]:
    """One token's log-probability, in the shape of chat answers."""
    return {"token": piece, "logprob": -0.25, "bytes": list(piece.encode()), "top_logprobs": []}


# --- streams ------------------------------------------------------------------------------------


def chat_events(asked: Asked, behaviour: Behaviour) -> list[bytes]:
    """The events of a chat stream, without [DONE]."""
    count, finish = asked.length(behaviour)
    deltas: list[tuple[dict[str, Any], Any]] = [({"role": "assistant", "content": ""}, None)]
    if asked.calls_tool:
        call = tool_call(asked)
        arguments = call["function"].pop("arguments")
        opening = {"index": 0, **call, "function": {**call["function"], "arguments": ""}}
        deltas.append(({"tool_calls": [opening]}, None))
        deltas += [
            ({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}, None)
            for part in (arguments[:5], arguments[5:])
        ]
        finish = "tool_calls"
    else:
        logs = wants_logprobs(asked)
        written = asked.response_format is None
        texts = pieces(count, behaviour.text) if written else _parts(_content(asked, behaviour, count))
        deltas += [({"content": p}, {"content": [logprob(p)]} if logs else None) for p in texts]
    events = [
        _chunk(asked, [_delta(index, delta, logprobs, None)])
        for delta, logprobs in deltas
        for index in range(asked.n or 1)
    ]
    events += [_chunk(asked, [_delta(index, {}, None, finish)]) for index in range(asked.n or 1)]
    return events + _usage_event(asked, behaviour, count, "chat.completion.chunk")


def completion_events(asked: Asked, behaviour: Behaviour) -> list[bytes]:
    """The events of a text completion's stream."""
    count, finish = asked.length(behaviour)
    rows = [(text, None) for text in pieces(count)] + [("", finish)]
    events = [
        _chunk(asked, [{"index": 0, "text": t, "logprobs": None, "finish_reason": f}], "text_completion")
        for t, f in rows
    ]
    return events + _usage_event(asked, behaviour, count, "text_completion")


def response_events(asked: Asked, behaviour: Behaviour) -> list[bytes]:
    """The events of a Responses stream: created, text deltas, completed."""
    empty = {**_response(asked, behaviour, ""), "status": "in_progress", "output": [], "usage": None}
    whole = _response(asked, behaviour, "".join(pieces(behaviour.chunks)))
    place = {"item_id": "msg_fake", "output_index": 0, "content_index": 0}
    bodies: list[dict[str, Any]] = [{"type": "response.created", "response": empty}]
    bodies += [
        {"type": "response.output_text.delta", **place, "delta": p, "logprobs": []}
        for p in pieces(behaviour.chunks)
    ]
    bodies.append({"type": "response.completed", "response": whole})
    return [
        b"event: %s\ndata: %s\n\n" % (body["type"].encode(), encode({**body, "sequence_number": number}))
        for number, body in enumerate(bodies)
    ]


def chat_event(asked: Asked, content: str) -> bytes:
    """One event that holds a whole answer."""
    return _chunk(asked, [_delta(0, {"content": content}, None, "stop")])


def _parts(text: str, size: int = 6) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def _delta(index: int, delta: dict[str, Any], logprobs: Any, finish: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}


def _chunk(
    asked: Asked,
    choices: list[Any],
    kind: str = "chat.completion.chunk",
    used: dict[str, Any] | None = None,
) -> bytes:
    body = {
        "id": "chatcmpl-fake",
        "object": kind,
        "created": CREATED,
        "model": asked.model,
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }
    if used is not None:
        body["usage"] = used
    return b"data: " + encode(body) + b"\n\n"


def _usage_event(asked: Asked, behaviour: Behaviour, count: int, kind: str) -> list[bytes]:
    if not asked.wants_usage or behaviour.fault == "no_usage":
        return []
    return [_chunk(asked, [], kind, usage(behaviour, count * (asked.n or 1)))]
