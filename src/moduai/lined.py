"""TOML that people write: the values, and the line on which each of them stands.

Words: a *path* leads to a value (``("class", "guest", "weight")``; a table of a list has its number in the
list). Rule: the text is a stranger's. It is bounded in size and depth before it is parsed, in time that grows
with its length and no faster, and a text beyond a bound or with a fault is not read (fails closed).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from typing import Any

MOST_DEPTH = 16
"""Tables in tables, and parts of a dotted key (the parser's work grows with their square)."""
Path = tuple[str | int, ...]

_END = re.compile(r"\(at line (\d+), column \d+\)")
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\Z)|'
    r"'''.*?(?:'{3,5}|\Z)|"
    r'"(?:\\.|[^"\\\n])*+"?|'
    r"'[^'\n]*+'?|"
    r"(?P<comment>#[^\n]*+)|"
    r"(?P<mark>[][{}.=,\n])",
    re.DOTALL,
)
"""Strings (also such as never end), comments, and the marks between which everything else stands."""


class LinedError(ValueError):
    """A text is no TOML within the bounds; ``line`` is 0 where there is none."""

    def __init__(self, text: str, line: int = 0) -> None:
        super().__init__(text)
        self.text, self.line = text, line


class Lined:
    """A text that was read. Raises LinedError when it cannot be."""

    def __init__(self, text: str | bytes, most_bytes: int) -> None:
        self.text = decoded(text, most_bytes)
        self._ends, self.comments = _statements(self.text)
        """Where statements end; comments by line."""
        try:
            self.raw: dict[str, Any] = tomllib.loads(self.text)
        except RecursionError:
            raise LinedError("it is nested too deeply") from None
        except ValueError as error:
            raise _syntax(self.text, str(error)) from None

    def line(self, path: Path) -> int:
        """On which line a path stands, or the nearest that there is around it; 0: nowhere."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    @cached_property
    def _lines(self) -> Mapping[Path, int]:
        """The line on which each path first stands.

        Each statement is parsed alone, so that whatever TOML allows in keys is understood as TOML does.
        """
        found: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        here: Path = ()
        begin, line = 0, 1
        for end in self._ends:
            statement = self.text[begin:end]
            bare = statement.lstrip()
            at = line + statement[: len(statement) - len(bare)].count("\n")
            is_header = bare.startswith("[")
            for path in _paths(tomllib.loads(statement), () if is_header else here, counts):
                found.setdefault(path, at)
                here = path if is_header else here
            begin, line = end, line + statement.count("\n")
        return found


def near(name: str, known: Iterator[str] | list[str]) -> str:
    """What was meant by a name that is not there: "did you mean …?", or what there is."""
    names = list(known)
    meant = get_close_matches(name, names, n=1)
    return f"did you mean {meant[0]}?" if meant else f"there are {', '.join(names) or 'none'}"


def decoded(text: str | bytes, most_bytes: int) -> str:
    """UTF-8 within a bound. Raises LinedError."""
    if len(text) > most_bytes:
        raise LinedError(f"it is too large: {len(text):,} bytes; at most {most_bytes:,}")
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise LinedError("it is not UTF-8", text[: error.start].count(b"\n") + 1) from None


def _statements(text: str) -> tuple[list[int], dict[int, str]]:
    """Where each statement ends (a line's end outside all brackets), and the comments by line. Raises
    LinedError for what is nested too deeply.
    """
    ends: list[int] = []
    comments: dict[int, str] = {}
    depth = dots = counted = 0
    line = 1
    for token in _TOKEN.finditer(text):
        mark = token["mark"]
        if token["comment"]:
            line, counted = line + text.count("\n", counted, token.start()), token.start()
            comments[line] = token["comment"]
        if mark is None:
            continue
        dots = dots + 1 if mark == "." else 0
        depth = max(0, depth + (mark in "[{") - (mark in "]}"))
        if depth > MOST_DEPTH or dots >= MOST_DEPTH:
            raise LinedError("it is nested too deeply", text.count("\n", 0, token.start()) + 1)
        if mark == "\n" and not depth:
            ends.append(token.end())
    return [*ends, len(text)], comments


def _syntax(text: str, said: str) -> LinedError:
    found = _END.search(said)
    line = int(found[1]) if found else text.count("\n") + (not text.endswith("\n"))
    what = _END.sub("", said).replace("(at end of document)", "").strip()
    return LinedError(f"this is not TOML: {what}", line)


def _paths(value: object, path: Path, counts: dict[Path, int]) -> Iterator[Path]:
    """All paths of a statement, outer ones first; a table of a list has its number in the list."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, (*path, name), counts)
    elif value == [{}]:
        counts[path] = counts.get(path, -1) + 1
        yield (*path, counts[path])
