"""Programmes and other rows of data: JSON lines, one document a line, one JSON array of them, or in a file
of JSON a single object, which is its only document.

Known fields become facts (title, address, ministry, dates), ``text`` the text; every other field with words
in it is a line of its own, ``지원대상: …``. A line that is no JSON object refuses the file: half a
collection read without a word would be worse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from moduai.knowledge.readers import front
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.readers.outline import Outline, clean, one_line
from moduai.knowledge.readers.text import address, decoded, language
from moduai.knowledge.types import Facts, Parsed, ReadError

_ID = ("id", "서비스ID", "서비스아이디")
_TITLE = ("title", "name", "제목", "서비스명", "사업명")
_TEXT = ("text", "content", "body", "본문", "내용")
_ADDRESS = ("address", "url", "source", "상세조회URL", "출처")
_LICENCE = ("licence", "license", "라이선스")
_MINISTRY = ("ministry", "소관기관명", "소관기관", "소관부처")
_FROM, _UNTIL = ("in_force_from", "시행일자"), ("in_force_until",)
_USED = {*_ID, *_TITLE, *_TEXT, *_ADDRESS, *_LICENCE, *_FROM, *_UNTIL, "kind", "language"}
_SECTION = 200
"""Characters from which a field has a heading of its own."""


def looks_like_it(text: str) -> bool:
    """Whether the first line is a JSON object, or an array of them begins."""
    return bool(re.match(r"\s*(?:\[\s*)?\{\s*\"", text))


def read_all(data: bytes, limits: Limits = LIMITS, *, whole: bool = False) -> list[tuple[str, Parsed]]:
    """Key and document of each line; ids are the keys, numbers of lines where there is none. ``whole``: one
    object may take several lines, and then it needs no key.
    """
    documents: dict[str, Parsed] = {}
    size = 0
    text = decoded(data, limits)
    if whole and isinstance(fields := _value(text), dict):
        return [("", _document(fields, _said(fields, _ID), limits))]
    for number, fields in _objects(text):
        key = one_line(_said(fields, _ID)) or str(number)
        if key in documents:
            raise ReadError("broken", f"Line {number}: the id {key[:100]!r} stands twice.")
        documents[key] = parsed = _document(fields, key, limits)
        size += len(parsed.passages)
        if size > limits.passages:
            raise ReadError("too_large", f"The documents have more than {limits.passages:,} passages.")
    if not documents:
        raise ReadError("empty", "No document was found in the file.")
    return list(documents.items())


def _value(text: str) -> object:
    """What JSON says; None where it is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _objects(text: str) -> Iterator[tuple[int, Mapping[str, object]]]:
    whole = text.lstrip().startswith("[")
    lines = (
        [(1, text)] if whole else [(at, line) for at, line in enumerate(text.split("\n"), 1) if line.strip()]
    )
    for at, line in lines:
        value = _value(line)
        if value is None:
            raise ReadError("broken", f"Line {at} is not JSON.")
        for number, entry in enumerate(value, 1) if whole and isinstance(value, list) else [(at, value)]:
            if not isinstance(entry, dict):
                raise ReadError("broken", f"Line {number} is not an object of JSON.")
            yield number, entry


def _document(fields: Mapping[str, object], key: str, limits: Limits) -> Parsed:
    title = _said(fields, _TITLE) or (key if not key.isdigit() else "")
    text = clean(_said(fields, _TEXT)).strip()
    outline = Outline(limits)
    outline.title(title)
    first, _, rest = text.partition("\n")
    outline.add(rest if title and first.strip() == title else text)
    for name, value in fields.items():
        words = str(value) if name not in _USED and isinstance(value, str | int | float) else ""
        if len(words) >= _SECTION:
            outline.heading(2, name)
            outline.add(words)
        elif words.strip():
            outline.add(f"{name}: {words.strip()}")
    facts = Facts(
        title=title,
        kind="data" if fields.get("kind") == "data" else "programme",
        language=_said(fields, ("language",)) or language(text or title),
        address=address(_said(fields, _ADDRESS)),
        licence=_said(fields, _LICENCE),
        ministry=_said(fields, _MINISTRY),
        number=_said(fields, _ID),
        in_force_from=front.day(_said(fields, _FROM)),
        in_force_until=front.day(_said(fields, _UNTIL)),
    )
    return outline.parsed(facts)


def _said(fields: Mapping[str, object], names: tuple[str, ...]) -> str:
    values = (fields.get(name) for name in names)
    return next(
        (str(value).strip() for value in values if isinstance(value, str | int) and str(value).strip()), ""
    )
