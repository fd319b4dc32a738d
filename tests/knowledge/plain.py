"""A small reader of plain text, for tests of what stands above the readers; it runs in their processes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from moduai.knowledge.types import Facts, Parsed, Passage, ReadError


def parsed(text: str, **facts: object) -> Parsed:
    """A text whose passages are its lines."""
    passages, start = [], 0
    for line in text.splitlines(keepends=True):
        passages.append(Passage(start, start + len(line.rstrip("\n")), label=line.split(" ")[0].strip()))
        start += len(line)
    return Parsed(Facts(title=text.split("\n", 1)[0], **facts), text, tuple(passages))  # type: ignore[arg-type]


def read(name: str, data: bytes) -> Sequence[tuple[str, Parsed]]:
    """One document a file, or one a line of a ``.jsonl``; some words make it fail."""
    match data.strip():
        case b"END":
            os._exit(3)
        case b"SPIN":
            while True:
                pass
        case b"FILL":
            return [("", parsed("x" * (8 << 30)))]
        case b"FAIL":
            raise RuntimeError("a fault of the reader")
        case b"REFUSE":
            raise ReadError("encrypted", "it is encrypted")
        case _:
            text = data.decode()
    if name.endswith(".jsonl"):
        return [(line.split(" ")[0], parsed(line)) for line in text.splitlines()]
    notes = ("a picture",) if "PICTURE" in text else ()
    one = parsed(text)
    return [("", Parsed(one.facts, one.text, one.passages, notes))]
