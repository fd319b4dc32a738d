"""What the gateway looks at in a body: a few fields, decoded; everything else stays raw bytes.

The body that came is the body that is sent on, byte for byte, except for fields that are spliced in
(`stream_options`) or, where names differ, replaced (`model`). A check that cannot be made refuses
(fails closed); a field whose name nobody here knows passes to the engine (fails open).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Raw

from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import ApiError
from moduai.gateway.prefix import blocks, salt
from moduai.gateway.settle import BYTES_PER_TOKEN
from moduai.scheduling.prefix import BLOCK

STREAMS_WITH_OPTIONS = (Endpoint.CHAT, Endpoint.COMPLETIONS)
Count = Annotated[int, msgspec.Meta(ge=0)]

KNOWN = frozenset(
    "model messages prompt input instructions stream stream_options max_tokens max_completion_tokens "
    "max_output_tokens temperature top_p top_k min_p n best_of stop seed logprobs top_logprobs logit_bias "
    "presence_penalty frequency_penalty repetition_penalty user tools tool_choice parallel_tool_calls "
    "functions function_call response_format suffix echo modalities audio prediction reasoning_effort "
    "reasoning store metadata service_tier verbosity encoding_format dimensions text truncation include "
    "previous_response_id conversation max_tool_calls safety_identifier prompt_cache_key".split()
)
"""Fields of OpenAI's API and harmless sampling fields: the fast path. Others are looked at one by one."""

REFUSED = frozenset(
    # order and privacy of other people's requests
    "priority cache_salt kv_transfer_params data_parallel_rank id_slot slot_id request_id rid session_params "
    # engines' internals: placement, adapters, templates, code
    "lora lora_path lora_adapters bootstrap_host bootstrap_port bootstrap_room custom_logit_processor "
    "logits_processors prompt_embeds background custom_params vllm_xargs chat_template "
    "chat_template_kwargs add_generation_prompt add_special_tokens "
    "continue_final_message mm_processor_kwargs documents cache_prompt n_keep n_cache_reuse samplers "
    # controls that squat on an engine
    "ignore_eos min_tokens prompt_logprobs use_beam_search n_predict n_cmpl n_indent t_max_predict_ms "
    "return_hidden_states".split()
)
"""Engine controls that break fairness or privacy, in vLLM's, SGLang's and llama.cpp's names."""

MOST_BYTES_PER_TOKEN = 16
"""No text averages more UTF-8 bytes a token than this (English is near 4.5, Korean near 4); a longer
body is surely too long for the context, a shorter one is for the engine to judge."""

MOST_PARTS = 250_000
"""Most colons of a body, and most commas and brackets of one that may hold addresses: reading more would
keep everyone waiting. Far above any conversation; a long text has one in a hundred letters."""

USAGE = b'"stream_options":{"include_usage":true}'


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_flag = msgspec.json.Decoder(bool | None).decode
_decode_count = msgspec.json.Decoder(Count | None).decode
_decode_options = msgspec.json.Decoder(dict[str, Any] | None).decode
_decode_parts = msgspec.json.Decoder(list[Raw]).decode
LIMITS = ("max_output_tokens", "max_tokens", "max_completion_tokens")
"""Names of the bound on an answer, of any endpoint."""


class _Shape(NamedTuple):
    """What the names of a body say, whatever their values: most bodies have one of a few shapes."""

    plain: bool
    """All names are known."""
    framing: int
    """Bytes of a body with these names without white space or repetition, less those of its values."""
    limits: tuple[str, ...]
    choices: tuple[str, ...]


_shapes: dict[tuple[str, ...], _Shape] = {}
MOST_SHAPES = 1024


def _shape(names: tuple[str, ...]) -> _Shape:
    found = _shapes.get(names)
    if found is None:
        # Braces, and for each pair two quotes, a colon and a comma. (Known names are ASCII.)
        framing = 1 + 4 * len(names) + sum(map(len, names))
        limits, choices = ([n for n in of if n in names] for of in (LIMITS, ("n", "best_of")))
        found = _Shape(KNOWN.issuperset(names), framing, tuple(limits), tuple(choices))
        if found.plain and len(_shapes) < MOST_SHAPES:  # names that nobody knows are a client's text
            _shapes[names] = found
    return found


class Ask:
    """One request as the lane needs it."""

    __slots__ = (
        "body", "choices", "endpoint", "fields", "has_media", "max_tokens", "model", "size", "stream",
        "tokens", "usage_wanted",
    )  # fmt: skip

    def __init__(
        self, endpoint: Endpoint, model: str, body: bytes, tokens: int, fields: dict[str, Raw]
    ) -> None:
        self.endpoint, self.model = endpoint, model
        self.body = body
        """What is sent to the engine."""
        self.size = len(body)
        """Bytes that came."""
        self.tokens = tokens
        """Estimate of the prompt's tokens."""
        self.fields = fields
        """The body's fields, raw."""
        self.stream = False
        self.choices = 1
        """Answers that are asked for."""
        self.max_tokens = 0
        """The client's own bound on an answer; 0: none."""
        self.usage_wanted = True
        """False: the usage event was our wish, and is not passed on."""
        self.has_media = False

    def blocks(self, organisation: str, key: bytes) -> tuple[int, ...]:
        """Hashes of the prompt's beginning, to find who holds it; ``key`` is for them alone."""
        prompt = self.fields[self.endpoint.text]
        if len(prompt) < BLOCK:
            return ()
        return blocks(bytes(prompt), salt(key, organisation, self.model, self.fields))

    def shorten(self, most: int) -> bool:
        """Ask for at most so many tokens of an answer; False where the endpoint knows no bound."""
        fields, names = _decode_fields(self.body), self.endpoint.limits
        bounds = {name: _decode_count(fields[name]) or most for name in names if name in fields}
        for name, bound in (bounds or dict.fromkeys(names[:1], most)).items():
            fields[name] = Raw(b"%d" % min(bound, most))
        self.body, self.max_tokens = _build(fields), most
        return bool(names)

    def lighter(self, model: str) -> Ask:
        """The same question for another model."""
        other = Ask(self.endpoint, model, rename(self.body, model), self.tokens, self.fields)
        other.size, other.stream, other.choices = self.size, self.stream, self.choices
        other.max_tokens, other.usage_wanted = self.max_tokens, self.usage_wanted
        other.has_media = self.has_media
        return other


def look(body: bytes, endpoint: Endpoint, most_choices: int, allowed: frozenset[str]) -> Ask:
    """Look at a body. Raises ApiError for what is not allowed or not understood."""
    fields, shape = _fields(body, allowed)
    if "model" not in fields or endpoint.text not in fields:
        name = "model" if "model" not in fields else endpoint.text
        raise ApiError("invalid_body", f"The body needs {name}.", param=name)
    name = "model"
    try:
        ask = Ask(endpoint, _decode_text(fields[name]), body, _tokens(fields, endpoint), fields)
        if (name := "stream") in fields:
            ask.stream = bool(_decode_flag(fields[name]))
        for name in shape.limits:
            bound = _decode_count(fields[name]) or 0
            if bound > ask.max_tokens and name in endpoint.limits:  # a lower one may be one that is not read
                ask.max_tokens = bound
        for name in shape.choices:
            ask.choices = max(ask.choices, _decode_count(fields[name]) or 1)
        options = _decode_options(fields[name]) if (name := "stream_options") in fields else None
    except msgspec.ValidationError as error:
        raise ApiError("invalid_body", f"The body does not fit: {name}: {error}.", param=name) from None
    if endpoint is Endpoint.COMPLETIONS:
        ask.choices *= _prompts(fields["prompt"])
    if ask.choices > most_choices:
        raise ApiError(
            "value_not_allowed",
            f"n and best_of, times the number of prompts, may be at most {most_choices} here.",
            param="n",
        )
    lower = body.lower()
    if lower.find(b"_url") >= 0 or lower.find(b"\\u00") >= 0:  # on bytes, `in` is much slower
        ask.has_media = _check_media(body, fields)
    if ask.stream and endpoint in STREAMS_WITH_OPTIONS:
        _ask_for_usage(ask, fields, options)
    return ask


def rename(body: bytes, model: str) -> bytes:
    """The same body for an engine that calls the model otherwise."""
    return _build({**_decode_fields(body), "model": Raw(msgspec.json.encode(model))})


def _tokens(fields: dict[str, Raw], endpoint: Endpoint) -> int:
    """Estimate of the tokens that an engine reads."""
    read = len(fields[endpoint.text])
    for name in endpoint.beside:
        if name in fields:
            read += len(fields[name])
    return read // BYTES_PER_TOKEN


def _prompts(prompt: Raw) -> int:
    """How many prompts are answered one by one: a list of texts or of lists of tokens is as many requests.
    Raises ApiError.
    """
    text = bytes(prompt)
    if text[:1] != b"[" or text[1:64].lstrip()[:1].isdigit():
        return 1  # a text or the tokens of one
    if text.count(b",") > MOST_PARTS:
        raise ApiError("value_not_allowed", "The prompt has more parts than can be looked at.")
    return max(1, len(_decode_parts(text)))


def _fields(body: bytes, allowed: frozenset[str]) -> tuple[dict[str, Raw], _Shape]:
    try:
        if not body.isascii():
            body.decode()
        if len(body) > MOST_PARTS and body.count(b":") > MOST_PARTS:
            raise ApiError("value_not_allowed", "The body has more parts than can be looked at.")
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError("invalid_json", f"The body is not a JSON object in UTF-8: {error}.") from None
    shape = _shape(tuple(fields))
    # Where these are all the bytes that were sent, there is no room for a name that came twice.
    if not shape.plain or len(body) != shape.framing + sum(map(len, fields.values())):
        _check_pairs(body, fields)
    if not shape.plain:
        _check_names(fields, allowed)
    return fields, shape


def _check_pairs(body: bytes, fields: dict[str, Raw]) -> None:
    """Names must be unique: by counting where that is enough. Raises ApiError. Fails closed.

    Every pair of the object has one colon of its own. All colons, less those inside the values and names
    that were kept, is the number of pairs: more pairs than names means that a name came twice. A name
    with a colon, plain or escaped, makes the count unsure.
    """
    pairs = body.count(b":") - b"".join(fields.values()).count(b":")
    if pairs != len(fields) or any(":" in name for name in fields):
        _check_unique(body)


def _check_unique(body: bytes) -> None:
    """Names must be unique; all is read, for names that hold colons themselves. Fails closed."""
    try:
        pairs = json.loads(body, object_pairs_hook=list, parse_int=str)
    except (ValueError, RecursionError) as error:
        raise ApiError("invalid_json", f"The body cannot be read: {error}.") from None
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ApiError("duplicate_field")


def _check_names(fields: dict[str, Raw], allowed: frozenset[str]) -> None:
    for name in fields.keys() - KNOWN - allowed:
        folded = name.casefold()
        if folded in REFUSED or folded.startswith("chat_template"):
            raise ApiError(
                "field_not_allowed", f"The field {name[:64]!r} is not allowed here.", param=name[:64]
            )
        if folded in KNOWN or folded in allowed or not name.isprintable():
            raise ApiError(
                "field_not_allowed", f"Write the field {name[:64]!r} as documented.", param=name[:64]
            )


def _check_media(body: bytes, fields: dict[str, Raw]) -> bool:
    """Refuse addresses that an engine would fetch (server-side request forgery). Fails closed."""
    if sum(map(body.count, (b",", b"{", b"["))) > 2 * MOST_PARTS:
        raise ApiError("value_not_allowed", "The body has more parts than can be looked at for addresses.")
    found = False
    for name in ("messages", "input", "prompt", "tools"):
        if name in fields:
            try:
                found |= _walk_media(msgspec.json.decode(fields[name]))
            except (msgspec.DecodeError, RecursionError) as error:
                raise ApiError("invalid_json", f"{name} cannot be read: {error}.") from None
    return found


def _walk_media(value: Any) -> bool:
    found, rest = False, [value]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += value
        elif isinstance(value, dict):
            for name, inner in value.items():
                if not name.casefold().endswith("_url"):
                    rest.append(inner)
                    continue
                address = inner.get("url") if isinstance(inner, dict) else inner
                if not (isinstance(address, str) and address[:5].lower() == "data:"):
                    raise ApiError("image_url_not_allowed", param=name)
                found = True
    return found


def _ask_for_usage(ask: Ask, fields: dict[str, Raw], options: dict[str, Any] | None) -> None:
    if options is not None and options.get("include_usage") is True:
        return
    ask.usage_wanted = False
    if "stream_options" in fields:
        changed = msgspec.json.encode({**(options or {}), "include_usage": True})
        ask.body = _build({**fields, "stream_options": Raw(changed)})
    else:
        end = ask.body.rindex(b"}")
        ask.body = ask.body[:end] + b"," + USAGE + b"}"


def _build(fields: dict[str, Raw]) -> bytes:
    """A body of these fields."""
    parts = (msgspec.json.encode(field) + b":" + bytes(raw) for field, raw in fields.items())
    return b"{" + b",".join(parts) + b"}"
