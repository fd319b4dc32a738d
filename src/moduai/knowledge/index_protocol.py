"""An index as the search process needs it: ``knowledge.search.index.Index``, or another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from moduai.knowledge.types import Aside, Found, Parsed, Query, Stored


class Held(Protocol):
    """How much an index holds."""

    @property
    def documents(self) -> int:
        """All of them."""

    @property
    def passages(self) -> int:
        """Of all documents."""

    @property
    def waiting(self) -> int:
        """Passages whose morphemes are still to be filled in."""

    @property
    def aside(self) -> tuple[Aside, ...]:
        """Documents that were set aside."""

    @property
    def position(self) -> int:
        """The number of the last change that it has; 0: none."""

    @property
    def rebuilt(self) -> str:
        """Why what was there was thrown away when it was opened; empty: it was not."""


class Morphemes(Protocol):
    """Kiwi."""

    def load(self) -> None:
        """Bring it into memory."""


class Index(Protocol):
    """It is written from one thread, searched from several, and a third one fills in morphemes."""

    @property
    def morphemes(self) -> Morphemes:
        """What finds them."""

    def add(self, documents: Iterable[tuple[Stored, Parsed]], *, position: int | None) -> object:
        """Hold these, each instead of its earlier version, and the position with them."""

    def remove(self, documents: Iterable[str], *, position: int | None) -> object:
        """Hold these no longer."""

    def set_aside(self, documents: Iterable[Aside], *, position: int | None) -> object:
        """Hold of these only why they are left out."""

    @property
    def unwritten(self) -> bool:
        """Whether something of it stands in memory alone."""

    def write(self) -> None:
        """Have all of it on disk."""

    def fill(self) -> int:
        """Fill in morphemes for a while; how many passages wait then."""

    def search(self, query: Query, allowed: frozenset[str] | None) -> list[Found]:
        """The best passages, best first."""

    def status(self) -> Held:
        """How much is in it."""

    def damage(self) -> str:
        """The file that is not as it was written; empty: all are."""

    def close(self) -> None:
        """End what runs in it."""
