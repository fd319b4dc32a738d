"""What was added since the index was last written to disk: in memory, found at once, small.

Writing to disk takes tens of milliseconds and more, for each part of an index is a file that has to be safe;
here it takes two or three. Nothing here outlives the process: the store's feed has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import tantivy

from moduai.knowledge.types import Passage, Stored

HEAP_BYTES = 15_000_000
"""The least that tantivy takes."""

Cut = Sequence[tuple[int, Passage, str]]
"""Passages with their numbers and words."""


class New(NamedTuple):
    """A document as it was given, and what tantivy is to hold of it."""

    stored: Stored
    passages: Cut
    made: Sequence[Any]


class Fresh:
    """Documents that are not on disk yet. Whoever changes it holds the index's lock."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self.clear()

    def clear(self) -> None:
        """They are on disk now."""
        self.documents: dict[str, New] = {}
        self.passages = 0
        self._index: Any = None
        self.searcher: Any = None
        """None while there is nothing."""

    def add(self, given: Iterable[New]) -> None:
        """Put documents in, each instead of its version before; all of them or none. Found on return."""
        if self._index is None:
            self._index = tantivy.Index(self._schema)
            self._writer = self._index.writer(HEAP_BYTES, 1)
        given = list(given)
        try:
            for each in given:
                self._writer.delete_documents_by_term("document", each.stored.id)
                for made in each.made:
                    self._writer.add_document(made)
            self._writer.commit()
        except BaseException:
            self._writer.rollback()
            raise
        self.documents |= {each.stored.id: each for each in given}
        self.passages = sum(len(each.passages) for each in self.documents.values())
        self._index.reload()
        self.searcher = self._index.searcher()

    def forget(self, document: str) -> None:
        """It is not to come to disk any more. It is still found here: who removes a document hides it."""
        self.documents.pop(document, None)
