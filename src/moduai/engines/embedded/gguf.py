"""Reads what a GGUF file says of itself, bounded: never more than its head, never trusting a length.

Source of the layout: the GGUF specification of the ggml project (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from msgspec import Struct

MOST_FIELDS = 4096
MOST_ITEMS = 4_000_000
LONGEST_KEPT = 65_536
"""Longest text that is kept; longer ones (templates) are cut."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_QUANTISATIONS = {
    0: "32-bit", 1: "16-bit", 2: "4-bit", 3: "4-bit", 7: "8-bit", 8: "5-bit", 9: "5-bit", 10: "2-bit",
    11: "3-bit", 12: "3-bit", 13: "3-bit", 14: "4-bit", 15: "4-bit", 16: "5-bit", 17: "5-bit", 18: "6-bit",
    32: "16-bit",
}  # fmt: skip


class GgufError(ValueError):
    """Not a GGUF file that can be used; the text says why."""


class Facts(Struct, frozen=True, kw_only=True):
    """What the file says."""

    name: str = ""
    architecture: str = ""
    author: str = ""
    licence: str = ""
    context: int = 0
    """Longest context it was trained for, in tokens; 0: not said."""
    has_template: bool = False
    tools: bool = False
    """True if its template speaks of tools."""
    pooling: bool = False
    """True for models that give embeddings."""
    precision: str = ""


def read(file: Path) -> Facts:
    """The facts of a file. Raises GgufError for what is no GGUF file, is cut off or lies about lengths."""
    try:
        with file.open("rb") as source, mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data:
            fields = _fields(data)
    except (OSError, ValueError) as error:
        if isinstance(error, GgufError):
            raise
        raise GgufError(f"{file} cannot be read: {error}") from None
    except struct.error:
        raise GgufError(f"{file} ends too early: download it again") from None
    return _facts(fields)


def _facts(fields: dict[str, Any]) -> Facts:
    architecture = _text(fields, "general.architecture")
    context = fields.get(f"{architecture}.context_length", 0)
    template = _text(fields, "tokenizer.chat_template")
    return Facts(
        name=_text(fields, "general.name"),
        architecture=architecture,
        author=_text(fields, "general.organization") or _text(fields, "general.author"),
        licence=_text(fields, "general.license"),
        context=context if isinstance(context, int) else 0,
        has_template=bool(template),
        tools="tools" in template,
        pooling=bool(fields.get(f"{architecture}.pooling_type")),
        precision=_QUANTISATIONS.get(fields.get("general.file_type", -1), ""),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _fields(data: mmap.mmap) -> dict[str, Any]:
    if data[:4] != b"GGUF":
        raise GgufError("it is not a GGUF file (its first four bytes are not GGUF)")
    (version,) = struct.unpack_from("<I", data, 4)
    if version not in (2, 3):
        raise GgufError(f"it is GGUF of version {version}; versions 2 and 3 are known")
    (count,) = struct.unpack_from("<Q", data, 16)
    if count > MOST_FIELDS:
        raise GgufError(f"it says it has {count} fields: it is damaged")
    fields: dict[str, Any] = {}
    at = 24
    for _ in range(count):
        name, at = _string(data, at)
        (kind,) = struct.unpack_from("<I", data, at)
        fields[name], at = _value(data, at + 4, kind)
    return fields


def _value(data: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:
    if kind == _STRING:
        return _string(data, at)
    if kind == _ARRAY:
        return None, _skip_array(data, at)
    code = _SCALARS.get(kind)
    if code is None:
        raise GgufError(f"it has a field of unknown type {kind}: it is damaged or too new")
    (value,) = struct.unpack_from(f"<{code}", data, at)
    return value, at + struct.calcsize(code)


def _string(data: mmap.mmap, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise GgufError("it is cut off or damaged: download it again")
    return data[at + 8 : min(end, at + 8 + LONGEST_KEPT)].decode("utf-8", "replace"), end


def _skip_array(data: mmap.mmap, at: int) -> int:
    kind, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if count > MOST_ITEMS:
        raise GgufError(f"it says it has a list of {count} items: it is damaged")
    if kind in _SCALARS:
        at += count * struct.calcsize(_SCALARS[kind])
    elif kind == _STRING:
        length_of = struct.Struct("<Q").unpack_from
        for _ in range(count):
            at += 8 + length_of(data, at)[0]
    else:
        raise GgufError(f"it has a list of unknown type {kind}: it is damaged or too new")
    if at > len(data):
        raise GgufError("it is cut off or damaged: download it again")
    return at
