"""A table's values to a typed row, field by field, so that every fault of a row is told at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from moduai.lined import near
from moduai.packs.schema import Words

Row = TypeVar("Row", bound=Struct)

_PATTERNS = {
    "^[a-z0-9][a-z0-9.-]{0,63}$": "an id: small letters, digits, '-' and '.'",
    "^([a-z0-9][a-z0-9.-]{0,63})?$": "an id, or nothing",
    "^[A-Z]{2}(-[A-Z0-9]{1,3})?$": "a code of ISO 3166-2, such as XA-1",
    "^[A-Z]{3}$": "three capital letters",
    "^[A-Z]{2}$": "two capital letters",
    "^https?://[^ ]{4,400}$": "a web address",
}
_REGEX = re.compile(r"Expected `str` matching regex '(.*)'")
_ENUM = re.compile(r"Invalid enum value '(.*?)'", re.DOTALL)


class Wrong(NamedTuple):
    """What is wrong with a field (empty: the whole row)."""

    field: str
    text: str


def row(kind: type[Row], raw: Mapping[str, Any]) -> tuple[Row | None, list[Wrong]]:
    """The row, and its faults. None where a field that must be there is missing or wrong; any other field
    that is wrong has its default, so that the rest can still be checked.
    """
    fields, wrong = hints(kind), [*_unknown(kind, raw)]
    values = {}
    for name, hint in fields.items():
        if name not in raw:
            if name in needed(kind):
                wrong.append(Wrong("", f"{name} is missing"))
            continue
        try:
            values[name] = msgspec.convert(raw[name], hint)
        except msgspec.ValidationError as error:
            wrong.append(Wrong(name, _told(str(error), hint)))
    return (kind(**values) if needed(kind) <= values.keys() else None), wrong


@cache
def hints(kind: type[Struct]) -> Mapping[str, Any]:
    """Field to its type."""
    return get_type_hints(kind, include_extras=True)


@cache
def needed(kind: type[Struct]) -> frozenset[str]:
    """Fields that must be there."""
    return frozenset(field.name for field in msgspec.structs.fields(kind) if field.required)


@cache
def worded(kind: type[Struct]) -> tuple[str, ...]:
    """Fields that are one text in each language."""
    return tuple(name for name, hint in hints(kind).items() if hint in (Words, Words | None))


def _unknown(kind: type[Struct], raw: Mapping[str, Any]) -> Iterator[Wrong]:
    known = list(hints(kind))
    for name in raw:
        if name not in known:
            yield Wrong(name, f"nothing here is called {name[:64]!r}; {near(name, known)}")


def _told(said: str, hint: Any) -> str:
    """In the words of msgspec, with what would be right."""
    if found := _REGEX.search(said):
        return said.replace(found[0], f"expected {_PATTERNS.get(found[1], found[1])}")
    if found := _ENUM.search(said):
        return f"there is no {found[1][:64]!r}; {near(found[1], list(_choices(hint)))}"
    return said.replace("Expected", "expected").replace(" - at `$", " at `")


def _choices(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        yield from (one.value for one in hint)
    else:
        for inner in get_args(hint):
            yield from _choices(inner)
