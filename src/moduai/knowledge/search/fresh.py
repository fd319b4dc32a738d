"""What was changed since the index was last written to disk: in memory, found at once, small.

Writing to disk takes tens of milliseconds and more, for each part of an index is a file that has to be safe;
here it takes two or three. Of a document that is on disk already only the passages that say something else
come here: the others are found where they stand, and get their new numbers and places when they are. So a
change costs what it changes, however long the document. Nothing here outlives the process: the store's feed
has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import tantivy
from msgspec import Struct

from moduai.knowledge.search import rank
from moduai.knowledge.types import Parsed, Passage, Stored

HEAP_BYTES = 15_000_000
"""The least that tantivy takes."""

Cut = Sequence[tuple[int, Passage, str]]
"""Passages with their numbers and words."""
Kept = Mapping[int, tuple[int, Passage]]
"""Passages that stand elsewhere in a new version and say the same: by their old number the new one."""


class Head(Struct, frozen=True, array_like=True):
    """A document as a whole, as the disk has it."""

    stored: Stored
    signs: Mapping[int, bytes]
    """Of its passages, by number: digests of what they say."""


class New(NamedTuple):
    """A document as it was given."""

    stored: Stored
    passages: Cut
    signs: Mapping[int, bytes]


class Changed(NamedTuple):
    """A document that is newer than on disk."""

    new: New
    kept: Kept
    """Passages that are found on disk, if there are any."""

    @property
    def fresh(self) -> Cut:
        """Passages that are found in memory."""
        kept = {number for number, _ in self.kept.values()}
        return [each for each in self.new.passages if each[0] not in kept]

    def now(self, found: rank.Candidate) -> rank.Candidate | None:
        """What a passage found on disk is now; None: it is gone."""
        if found.number not in self.kept:
            return None
        number, passage = self.kept[found.number]
        stored = self.new.stored
        return msgspec.structs.replace(
            found,
            version=stored.version,
            number=number,
            level=rank.level(stored.facts.level),
            language=stored.facts.language,
            passage=passage,
        )


def cut(stored: Stored, parsed: Parsed) -> New:
    """The passages that say something, with their signs."""
    parts = [
        (number, each, parsed.text[each.start : each.end]) for number, each in enumerate(parsed.passages)
    ]
    passages = [each for each in parts if each[2].strip()]
    return New(stored, passages, {number: _sign(each, text) for number, each, text in passages})


def changed(new: New, old: Head | None) -> Changed:
    """A document as it is now, beside the disk's. Where its title or its kind is another one, by which each
    passage is found, all of it is new.
    """
    if old is None or _found_by(old.stored) != _found_by(new.stored):
        return Changed(new, {})
    there: dict[bytes, list[int]] = {}
    for number, sign in old.signs.items():
        there.setdefault(sign, []).append(number)
    return Changed(
        new,
        {
            there[sign].pop(): (number, passage)
            for number, passage, _ in new.passages
            if there.get(sign := new.signs[number])
        },
    )


def _found_by(stored: Stored) -> tuple[str, str]:
    return stored.facts.title, stored.facts.kind


def _sign(passage: Passage, text: str) -> bytes:
    said = "\0".join((*passage.path, passage.label, text))
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


class Fresh:
    """Documents that the disk does not have as they are. Whoever changes it holds the index's lock."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self.documents: dict[str, Changed] = {}
        self.passages = 0
        """Of all these documents."""
        self._index: Any = None
        self.searcher: Any = None
        """None while there is nothing."""

    def add(self, given: Iterable[tuple[Changed, Sequence[Any]]]) -> None:
        """Put documents in, each instead of its version before; all of them or none. With each comes what
        tantivy is to hold of its fresh passages. Found on return.
        """
        if self._index is None:
            self._index = tantivy.Index(self._schema)
            self._writer = self._index.writer(HEAP_BYTES, 1)
        given = list(given)
        try:
            for each, made in given:
                self._writer.delete_documents_by_term("document", each.new.stored.id)
                for one in made:
                    self._writer.add_document(one)
            self._writer.commit()
        except BaseException:
            self._writer.rollback()
            raise
        self.documents = self.documents | {each.new.stored.id: each for each, _ in given}
        self.passages = sum(len(each.new.passages) for each in self.documents.values())
        self._index.reload()
        self.searcher = self._index.searcher()
