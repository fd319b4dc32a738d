"""What was changed since the index was last written to disk: in memory, found at once, small.

Writing to disk takes tens of milliseconds and more, for each part of an index is a file that has to be safe;
here a passage takes a tenth of one. Of a document that is on disk already only the passages that say
something else come here; the others are found where they stand. Nothing here outlives the process: the
store's feed has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from moduai.knowledge.search import rank
from moduai.knowledge.search.passages import Changed, candidate, words


class Way(NamedTuple):
    """One way of searching: by words of a field, of which each passage has to have one."""

    field: str
    words: list[str]
    laws: Sequence[str] = ()
    """Only in statutes of these acts; none named: anywhere."""


class Fresh:
    """Documents that the disk does not have as they are. One thread at a time adds, any may search: lists
    only grow, and who searches passes over what is not of the documents as it saw them.
    """

    def __init__(self) -> None:
        self.documents: Mapping[str, Changed] = {}
        """Replaced at each change."""
        self.passages = 0
        """Of all these documents."""
        self.held = 0
        """Passages that came here; those of versions before too."""
        self._having: dict[tuple[str, str], list[tuple[Changed, rank.Candidate]]] = {}
        """Passages by field and word."""

    def add(self, given: Iterable[Changed]) -> None:
        """Put documents in, each instead of its version before. Found on return."""
        for each in given:
            stored = each.new.stored
            for number, passage, text in each.fresh:
                one = each, candidate(stored, number, passage, text)
                for field, said in words(stored, passage, text).items():
                    for word in set(said.split()):
                        self._having.setdefault((field, word), []).append(one)
                self.held += 1
            self.documents = {**self.documents, stored.id: each}
        self.passages = sum(len(each.new.passages) for each in self.documents.values())

    def frequency(self, field: str, word: str) -> int:
        """Passages that have a word."""
        return len(self._having.get((field, word), ()))

    def best(
        self, way: Way, documents: Mapping[str, Changed], rarity: Callable[[str, str], float], most: int
    ) -> list[rank.Candidate]:
        """Passages of these documents that a way of searching names: those whose words are the rarest."""
        found: dict[tuple[str, int], rank.Candidate] = {}
        scores: dict[tuple[str, int], float] = {}
        for word in way.words:
            having = self._having.get((way.field, word))
            worth = rarity(way.field, word) if having else 0.0
            for of, one in having or ():
                at = one.document, one.number
                if documents.get(one.document) is of and (not way.laws or rank.law(one.title) in way.laws):
                    found[at] = one
                    scores[at] = scores.get(at, 0.0) + worth
        return [found[at] for at in sorted(found, key=lambda at: (-scores[at], at))[:most]]
