"""Texts of a pack are plain: no markup, no script, nothing invisible; in each of its languages.

Rule: what a page shows of a pack is text and stays text. Characters that turn the reading direction of what
follows are refused (the script of a language says how it runs); marks that join or part letters are not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import date

from moduai.packs.pack import KINDS, Document, Fault, Pack, Problem
from moduai.packs.typed import hints, needed, worded

MOST_MESSAGES = 5_000
FRONT = ("title", "kind", "language", "licence")
"""Fields at the head of each document."""
_JOINERS = "\u061c\u200c\u200d\u200e\u200f"
_MARKUP = re.compile(
    r"<\s*[/!?a-z]|&(?:#|[a-z]+;)|\{\{|\{%|\]\(|(?:java|vb)script:|data:[a-z]+/", re.IGNORECASE
)
_TAG = re.compile(r"<[^>]*>?")
_PLACE = re.compile(r"%\([a-z_]+\)[a-z]|%[^(]", re.IGNORECASE)
_HEAD = re.compile(r"---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"([a-z_]+):[ \t]*(.*)")


def unplain(text: str, allowed: str = "") -> str:
    """Why a text is not plain; empty: it is."""
    if found := _MARKUP.search(text):
        return f"there is markup in it: {found[0]!r}"
    return unseen(text, allowed)


def unseen(text: str, allowed: str = "") -> str:
    """Which character in it cannot be seen or is none; empty: there is no such."""
    for char in text:
        if char not in allowed and char not in _JOINERS and unicodedata.category(char)[0] == "C":
            return f"there is a character in it that cannot be seen: U+{ord(char):04X}"
    return ""


def problems(pack: Pack) -> Iterator[Problem]:
    """Texts of rows that are not plain, not in each language of the pack, or in others."""
    for kind, one in KINDS.items():
        fields = worded(one.type)
        for number, row in enumerate(pack.rows(kind)):
            for name in hints(one.type):
                value = getattr(row, name)
                for path, text in _texts(name, value):
                    if why := unplain(text):
                        yield Problem(kind, number, path, why)
                if name in fields and (value or name in needed(one.type)):
                    yield from _languages(pack, kind, number, name, value)
    others = pack.locale.large_numbers.keys() - set(pack.languages)
    for language in sorted(others):
        yield Problem("locale", 0, "large_numbers", f"{language!r} is no language of this pack")


def faults(pack: Pack) -> Iterator[Fault]:
    """What is wrong with the documents and the messages."""
    names = {one.name for one in pack.documents}
    for language in pack.languages:
        there = {one.name for one in pack.documents if one.language == language}
        for name in sorted(names - there):
            yield Fault(
                f"documents/{language}/{name}", 0, (), "this file is missing; other languages have it"
            )
    for one in pack.documents:
        yield from _document(pack, one)
    for language, text in pack.messages.items():
        yield from _messages(pack, language, text)


def _languages(pack: Pack, kind: str, number: int, field: str, texts: Mapping[str, str]) -> Iterator[Problem]:
    for language in pack.languages:
        if language not in texts:
            yield Problem(kind, number, field, f"{field} is missing in {language!r}")
    for language in texts:
        if language not in pack.languages:
            yield Problem(kind, number, field, f"{language!r} is no language of this pack")


def _texts(path: str, value: object) -> Iterator[tuple[str, str]]:
    """All texts in a value, names of tables too, with where they are."""
    match value:
        case str():
            yield path, value
        case dict():
            for name, inner in value.items():
                yield path, name
                yield from _texts(f"{path}.{name}", inner)
        case tuple():
            for inner in value:
                yield from _texts(path, inner)
        case None | bool() | int() | float() | date():
            return
        case _:
            raise TypeError(type(value))


def _document(pack: Pack, one: Document) -> Iterator[Fault]:
    file = f"documents/{one.language}/{one.name}"
    head = _HEAD.match(one.text)
    lines = map(_FIELD.fullmatch, head[1].splitlines() if head else ())
    fields = {found[1]: found[2] for found in lines if found}
    for name in FRONT:
        if not fields.get(name):
            yield Fault(file, 1, (name,), f"{name} is missing between the two --- at its head")
    if one.language not in pack.languages:
        yield Fault(file, 0, (), f"{one.language!r} is no language of this pack")
    if fields.get("language") not in {None, "", one.language}:
        yield Fault(file, 1, ("language",), f"it says {fields['language']!r} and lies in {one.language!r}")
    for number, line in enumerate(one.text.split("\n"), 1):
        why = unseen(line, "\t") or ("there is markup in it" if re.search(r"<\s*[/!?a-zA-Z]", line) else "")
        if why:
            yield Fault(file, number, (), why)


def _messages(pack: Pack, language: str, text: str) -> Iterator[Fault]:
    """A translation may have no tag and no place for a value that the message does not have: pages show
    translations as they are.
    """
    from io import StringIO  # noqa: PLC0415  (only packs with messages need them)

    from babel.messages.pofile import PoFileError, read_po  # noqa: PLC0415

    file = f"locales/{language}/messages.po"
    if language not in pack.languages:
        yield Fault(file, 0, (), f"{language!r} is no language of this pack")
    try:
        catalogue = read_po(StringIO(text), abort_invalid=True)
    except (PoFileError, ValueError) as error:
        yield Fault(file, 0, (), f"this is no catalogue of messages: {error}")
        return
    if len(catalogue) > MOST_MESSAGES:
        yield Fault(file, 0, (), f"there are too many messages; at most {MOST_MESSAGES:,}")
        return
    for message in catalogue:
        here, there = _forms(message.id), _forms(message.string)
        for string in filter(None, there) if any(here) else ():
            for pattern, what in ((_TAG, "markup"), (_PLACE, "places for values")):
                if set(pattern.findall(string)) - set(pattern.findall(" ".join(here))):
                    yield Fault(
                        file, message.lineno or 0, (), f"it has {what} that its message does not have"
                    )
            if why := unseen(string, "\n"):
                yield Fault(file, message.lineno or 0, (), why)


def _forms(text: object) -> list[str]:
    """Of a message: one, or one for each number of things."""
    return (
        [text]
        if isinstance(text, str)
        else [str(one) for one in text]
        if isinstance(text, tuple | list)
        else []
    )
