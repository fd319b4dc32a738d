"""What reading, storing and searching documents say to each other. Plain data.

Positions are in characters (code points) of a version's text, from 0; an end is behind the last one.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from msgspec import Struct

Kind = Literal["page", "statute", "decision", "programme", "data"]
"""A page of text, a statute (act, decree, rule), a court's decision, a public service, rows of data."""


class Facts(Struct, frozen=True):
    """What is known of a document beside its text; empty where it is not."""

    title: str
    kind: Kind = "page"
    language: str = ""
    """ISO 639-1: ko, en."""
    address: str = ""
    """Where it came from, for a link out: http(s) only."""
    licence: str = ""
    ministry: str = ""
    """Who is responsible for it."""
    number: str = ""
    """Of a statute its law id, of a decision its case number."""
    level: str = ""
    """Of a statute: act, decree, rule; as its own source says: 법률, 대통령령, 총리령, 부령."""
    in_force_from: date | None = None
    in_force_until: date | None = None
    cites: tuple[str, ...] = ()
    """Articles of statutes that it names: "민법 제750조"."""


class Passage(Struct, frozen=True):
    """A part of a text by the document's own structure; passages do not overlap, and stand in order."""

    start: int
    end: int
    path: tuple[str, ...] = ()
    """Headings above it, outermost first, without the document's title."""
    label: str = ""
    """How one names the place: "제27조제1항", "p. 3", a heading; empty: the document as a whole."""
    page: int = 0
    """From 1; 0: the format has none."""


class Parsed(Struct, frozen=True):
    """A document that was read."""

    facts: Facts
    text: str
    """All of it, as passages and citations name it; lines end with a line feed."""
    passages: tuple[Passage, ...]
    notes: tuple[str, ...] = ()
    """What could not be read, in plain words: pictures, an encrypted part."""


class ReadError(ValueError):
    """A document is refused; ``code`` is stable, the text is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class SearchAwayError(RuntimeError):
    """Nothing can be searched now."""

    def __init__(self, why: str) -> None:
        super().__init__(f"search is away: {why}")
        self.why = why


class Aside(Struct, frozen=True):
    """A document that cannot be indexed as it is: left out until its version changes, so that those behind it
    can be found.
    """

    document: str
    version: int
    reason: str


class Stored(Struct, frozen=True):
    """A document as it stands in a collection."""

    id: str
    collection: str
    key: str
    """Its name in its source: a path, an address, a law id."""
    version: int
    """From 1; the text of a version never changes."""
    facts: Facts
    retrieved_at: datetime
    digest: str
    """Of the bytes that were read, or the source's own mark of them."""


class Found(Struct, frozen=True):
    """One passage that answers a query, best first."""

    document: str
    version: int
    number: int
    """Of the passage in its version, from 0."""
    passage: Passage
    text: str
    """The passage's own words."""
    facts: Facts
    collection: str
    score: float


class Query(Struct, frozen=True):
    """What is sought."""

    text: str
    limit: int = 10
    collections: tuple[str, ...] = ()
    """Only in these; none named: in all that the asker may see."""
    kinds: tuple[Kind, ...] = ()
    ministry: str = ""
    in_force_on: date | None = None
    """Only what was in force then."""
    language: str = ""
    """What the asker writes, if it is known: passages in it come first where both answer."""
