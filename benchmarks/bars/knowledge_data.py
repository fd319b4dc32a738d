"""The public documents that the bars of knowledge measure with, read by small readers of our own.

They are found through ``MODU_BENCH_DATA``, by default ``../shared/data``; none of them is in the project.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.bars import NoDataError
from moduai.knowledge.types import Facts, Parsed, Passage, Stored

DATA = "MODU_BENCH_DATA"
_RETRIEVED = datetime(2026, 1, 1, tzinfo=UTC)
_HEADING = re.compile(r"^(#{1,6}) (.+)$", re.MULTILINE)
_LABEL = re.compile(r"제\d+조(?:의\d+)?")
_TITLE = re.compile(r"^제목: ['\"]?(.+?)['\"]?$", re.MULTILINE)
_LEVEL = re.compile(r"^법령구분: (.+)$", re.MULTILINE)

Document = tuple[Stored, Parsed]


class Question(Struct, frozen=True):
    """A question and the documents that answer it."""

    q: str
    gold: tuple[str, ...]


class _Programme(Struct):
    id: str
    text: str


def folder() -> Path:
    """Where the documents are. Raises NoDataError where they are not."""
    named = os.environ.get(DATA, "")
    place = Path(named) if named else Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not (place / "retrieval").is_dir():
        raise NoDataError(f"no public documents at {place}: set {DATA} to their folder")
    return place


def programmes() -> list[Document]:
    """Welfare programmes: one document each, one passage."""
    lines = (folder() / "retrieval" / "welfare_docs.jsonl").read_bytes().splitlines()
    read = [msgspec.json.decode(line, type=_Programme) for line in lines]
    made = []
    for each in read:
        facts = Facts(title=each.id, kind="programme", language="ko")
        whole = Passage(0, len(each.text), (), "")
        made.append((_stored(each.id, "welfare", facts), Parsed(facts, each.text, (whole,))))
    return made


def questions() -> list[Question]:
    """The development questions on the programmes."""
    lines = (folder() / "retrieval" / "welfare_queries.dev.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=Question) for line in lines]


def statutes(place: Path, *, most: int = 0) -> Iterator[Document]:
    """Statutes in force, unpacked into ``place``: a passage an article. ``most``: only so many; 0: all."""
    if not (place / "kr").is_dir():
        archive = folder() / "law" / "statutes.tar.zst"
        subprocess.run(["tar", "--zstd", "-xf", str(archive), "-C", str(place)], check=True)
    files = sorted((place / "kr").glob("*/*.md"))
    for file in files[:most] if most else files:
        yield statute(f"{file.parent.name}/{file.stem}", file.read_text("utf-8"))


def statute(name: str, text: str) -> Document:
    """One statute: articles that say something, under their headings."""
    title, level = _TITLE.search(text), _LEVEL.search(text)
    facts = Facts(
        title=title[1] if title else name, kind="statute", language="ko", level=level[1] if level else ""
    )
    found = list(_HEADING.finditer(text))
    path: list[str] = []
    passages = []
    for at, heading in enumerate(found):
        depth, words = len(heading[1]), heading[2]
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        label = _LABEL.match(words)
        if depth < 5:
            path = [*path[: max(0, depth - 1)], words]
        elif label is not None and text[heading.end() : end].strip():
            passages.append(Passage(heading.start(), end, tuple(path[1:]), label[0]))
    return _stored(name, "law", facts), Parsed(facts, text, tuple(passages))


def _stored(key: str, collection: str, facts: Facts) -> Stored:
    return Stored(
        id=f"{collection}/{key}",
        collection=collection,
        key=key,
        version=1,
        facts=facts,
        retrieved_at=_RETRIEVED,
        digest="",
    )
