"""What the search process and those who ask it say to each other: JSON over HTTP on a Unix socket.

``POST /search`` takes an ``Asked`` and answers a list of ``Found``; ``POST /changed`` answers a ``Status``
once the index has every change that was written before; ``GET /status`` answers one at once. Anything else
is refused with a reason in ``Refusal``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from moduai.knowledge.types import Aside, Found, Query

SOCKET = "search"
"""Name of the socket (see ``child.socket_path``)."""
MOST_BODY = 262_144
"""Bytes of a request."""
MOST_LETTERS = 4_000
"""Characters of a query's text."""
MOST_FOUND = 200

State = Literal["building", "ready"]


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """A search."""

    query: Query
    allowed: frozenset[str] | None = None
    """Collections that the asker may see; None: all."""

    def __post_init__(self) -> None:
        """Raises ValueError for a query that is out of bounds."""
        if not 1 <= self.query.limit <= MOST_FOUND:
            raise ValueError(f"limit has to be from 1 to {MOST_FOUND}")
        if len(self.query.text) > MOST_LETTERS:
            raise ValueError(f"a query has at most {MOST_LETTERS:,} characters")


class Status(Struct, frozen=True):
    """How the search process is."""

    state: State = "building"
    """building: it has not yet seen all that is in the database since it began."""
    documents: int = 0
    passages: int = 0
    behind: int = 0
    """Changes of documents that are in the database and not yet in the index."""
    morphemes: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Part of the passages that are found by morphemes too."""
    error: str = ""
    """Why the index does not follow the database; empty if it does."""
    waiting: int = 0
    """Passages that are not yet found by morphemes."""
    anew: str = ""
    """Why the index is being built anew: until that is done nothing is searched; empty if it is not."""
    aside: tuple[Aside, ...] = ()
    """Documents that cannot be indexed, or not by morphemes."""


class Refusal(Struct, frozen=True):
    """Why a request was refused."""

    error: str


__all__ = ["MOST_BODY", "MOST_FOUND", "MOST_LETTERS", "SOCKET", "Asked", "Found", "Refusal", "Status"]
