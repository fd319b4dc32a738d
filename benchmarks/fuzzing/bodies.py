"""Bodies: what ``look`` accepts, judged by the standard library's JSON reader."""

from __future__ import annotations

import json
import random
from typing import Any

from moduai.gateway.ask import look
from moduai.gateway.endpoint import Endpoint
from moduai.gateway.errors import ApiError

SEEDS = [
    b'{"model":"m","messages":[{"role":"user","content":"\xec\x95\x88\xeb\x85\x95: \\"a\\""}]}',
    b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":false,"x":1.5}}',
    b'{ "model" : "m" , "messages" : [ ] , "stream" : true , "max_tokens" : 5, "n": 2 }\n',
    b'{"model":"a:b","prompt":"x","messages":["{\\"a\\":1}"],"x:y":{"a":1,"b:c":[1,2]},"stream":true}',
    b'{"model":"m","messages":[{"content":[{"type":"image_url","image_url":{"url":"data:,x"}}]}],"seed":-0.5e3}',
    b'{"messages":[null,true,false,1e5,"\\ud83d\\ude00"],"model":"m","temperature":0.7,"stop":["\\u003a"]}',
    b'{"model":"m","input":["a","b"],"messages":1,"dimensions":4,"stream_options":null,"stream":true}',
]  # fmt: skip
TOKENS = [
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"\n", b"null", b"true", b"1", b"-", b"0",
    b"1e999", b"9" * 40, b"9" * 4400, b"NaN", b"Infinity", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf",
    b"\x00", b"\\ud800", b"\\u003a", b"\\u0022", b'"x\\u003a":1', b'"model":"n"', b'"m\\u006fdel":"n"',
    b'"messages":[]', b'"a":{"a":1}', b'"stream":true', b'"stream":1', b'"stream_options":{}',
    b'"stream_options":{"a":1,"a":2}', b'"priority":1', b'"n":9', b'"image_url":"http://x"',
    b'"image_url":"data:,"', b"/*x*/", b"'", b"\xe2\x80\xa8", b"{}", b"[]", b"[" * 600, b'{"a":' * 300,
    b"]" * 600, b"\xc0\xaf", b"\xec\x95",
]  # fmt: skip


class Pairs(list[tuple[str, Any]]):
    """An object as it was written, duplicates and all."""


def generate(rng: random.Random) -> bytes:
    """A body, mostly near to a right one."""
    data = rng.choice(SEEDS)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        data = _mutate(rng, data)
    return data


def _mutate(rng: random.Random, data: bytes) -> bytes:  # noqa: PLR0911  (a table)
    at = rng.randrange(len(data) + 1)
    match rng.randrange(8):
        case 0:
            return data[:at] + rng.choice(TOKENS) + data[at:]
        case 1:
            return data[:at] + data[at + rng.randrange(1, 9) :]
        case 2:
            return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
        case 3:
            end = min(len(data), at + rng.randrange(1, 30))
            return data[:at] + data[at:end] * 2 + data[end:]
        case 4:  # a whole further pair, where pairs stand
            comma = data.find(b",", at)
            return data if comma < 0 else data[:comma] + b"," + rng.choice(TOKENS) + data[comma:]
        case 5:
            end = data.rfind(b"}")
            return data if end < 0 else data[:end] + b"," + rng.choice(TOKENS) + data[end:]
        case 6:
            return data.replace(rng.choice(TOKENS), rng.choice(TOKENS), 1)
        case _:
            return data[:at] + data[at:].replace(b'"', b'\\"', 1)


def check(data: bytes) -> str | None:
    """What is wrong about how ``look`` takes this body; None if nothing is."""
    try:
        ask = look(data, Endpoint.CHAT, 8, frozenset())
    except ApiError:
        return None
    pairs = read_strictly(data)
    if pairs is None:
        return "accepted, but it is no JSON object"
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        return "accepted with a name that stands twice"
    if ask.model != dict(pairs)["model"]:
        return "another model was read"
    return _check_splice(ask.body, ask.usage_wanted, pairs)


def read_strictly(data: bytes) -> Pairs | None:
    """The object's pairs; None if it is not one JSON object in UTF-8."""
    try:
        found = json.loads(data.decode(), object_pairs_hook=Pairs, parse_constant=_refuse, parse_int=_number)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, Pairs) else None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _number(text: str) -> int | str:
    """JSON bounds no number; Python's int does."""
    return int(text) if len(text) < 4000 else text


def _check_splice(body: bytes, usage_wanted: bool, pairs: Pairs) -> str | None:
    """What is sent parses as what came, plus the option where it was our wish."""
    sent = read_strictly(body)
    if sent is None or len(dict(sent)) != len(sent):
        return "what is sent is no JSON object without duplicates"
    wanted = _plain(pairs)
    if not usage_wanted:
        options = wanted.get("stream_options")
        wanted["stream_options"] = {**(options or {}), "include_usage": True}
    if _plain(sent) != wanted:
        return "what is sent is not what came plus the option"
    return None


def _plain(value: Any) -> Any:
    """Objects as dicts: of a name that stands twice, the last."""
    if isinstance(value, Pairs):
        return {name: _plain(inner) for name, inner in value}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
