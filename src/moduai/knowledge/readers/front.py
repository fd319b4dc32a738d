"""Front matter: the lines between two ``---`` at the head of a Markdown file.

Read are keys of the first level with a value, quoted or not, over several lines or as a list; what lies deeper
is passed over. This is the part of YAML that such files use; anchors, tags and types are not read, so a few
bytes can never become many. What is not understood is left out, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

Fields = dict[str, tuple[str, ...]]
"""A field's values; most have one."""

_FRONT = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_KEY = re.compile(
    r"""(?P<quote>["']?)(?P<key>[^\s"':#\-][^"':]*?)(?P=quote)[ \t]*:(?:[ \t]+(?P<value>.*))?$"""
)
_DATE = re.compile(r"(\d{4})[-./년]\s*(\d{1,2})[-./월]\s*(\d{1,2})|(\d{4})(\d{2})(\d{2})")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "\\": "\\", "/": "/"}


def split(text: str) -> tuple[Fields, str]:
    """The fields and the rest; no fields where the text has none."""
    if not text.startswith("---"):
        return {}, text
    front = _FRONT.match(text)
    if front is None:
        return {}, text
    fields = {key: values for key, values in _fields(front[1]) if values}
    return (fields, text[front.end() :]) if fields else ({}, text)


def day(value: str) -> date | None:
    """A date as files write it: 2026-03-17, 2026. 3. 17., 20260317, 2026년 3월 17일."""
    found = _DATE.match(value.strip())
    if found is None:
        return None
    year, month, number = (int(part) for part in found.groups() if part)
    try:
        return date(year, month, number)
    except ValueError:
        return None


def _fields(front: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    key, lines = "", list[str]()
    for line in front.split("\n"):
        found = _KEY.match(line) if line[:1] not in {" ", "\t", "-", "#", ""} else None
        if found:
            yield key, _values(lines)
            key, lines = found["key"], [found["value"] or ""]
        elif key:
            lines.append(line)
    yield key, _values(lines)


def _values(lines: list[str]) -> tuple[str, ...]:
    if not lines:
        return ()
    first = lines[0].strip()
    if first.startswith("[") and first.endswith("]"):
        return tuple(filter(None, (_scalar(part) for part in first[1:-1].split(","))))
    rest = [line.strip() for line in lines[1:] if line.strip()]
    if not first and any(line.startswith("- ") for line in rest):
        entries = (line.lstrip()[2:] for line in lines[1:] if re.match(r" {0,2}- ", line))
        return tuple(filter(None, (_scalar(entry) for entry in entries if not _KEY.match(entry))))
    if first[:1] in {"|", ">"}:
        return ("\n".join(rest) if first[0] == "|" else " ".join(rest),)
    if not first and any(_KEY.match(line) for line in rest):
        return ()
    value = _scalar(" ".join([first, *rest]))
    return (value,) if value else ()


def _scalar(value: str) -> str:
    value = value.strip()
    if value[:1] == "'" and value[-1:] == "'" and len(value) > 1:
        return value[1:-1].replace("''", "'")
    if value[:1] == '"' and value[-1:] == '"' and len(value) > 1:
        return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), value[1:-1])
    value = re.sub(r"(?:^|\s)#.*", "", value).strip()
    return "" if value in {"null", "~", "{}"} else value
