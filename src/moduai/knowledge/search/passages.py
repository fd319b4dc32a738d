"""A document as the index takes it: its passages, what each is found by, and which a new version keeps.

Rule: a passage that says the same under the same headings and label is the same, wherever it stands. So a
new version costs what it changes, however long the document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from moduai.knowledge.search import rank, tokens
from moduai.knowledge.types import Parsed, Passage, Stored

Cut = Sequence[tuple[int, Passage, str]]
"""Passages with their numbers and words."""
Kept = Mapping[int, tuple[int, Passage]]
"""Passages that stand elsewhere in a new version and say the same: by their old number the new one."""


class Head(Struct, frozen=True, array_like=True):
    """A document as a whole, as the disk has it."""

    stored: Stored
    signs: Mapping[int, bytes]
    """Of its passages, by number: digests of what they say."""
    waits: bool
    """Its morphemes are still to be filled in."""


class New(NamedTuple):
    """A document as it was given."""

    stored: Stored
    passages: Cut
    signs: Mapping[int, bytes]


class Changed(NamedTuple):
    """A document that is newer than on disk."""

    new: New
    old: Head | None
    """What the disk has; None: nothing."""
    kept: Kept
    """Passages that are found there."""

    @property
    def fresh(self) -> Cut:
        """Passages that are not."""
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
        return Changed(new, old, {})
    there: dict[bytes, list[int]] = {}
    for number, sign in old.signs.items():
        there.setdefault(sign, []).append(number)
    kept = {
        there[sign].pop(): (number, passage)
        for number, passage, _ in new.passages
        if there.get(sign := new.signs[number])
    }
    return Changed(new, old, kept)


def _found_by(stored: Stored) -> tuple[str, str]:
    return stored.facts.title, stored.facts.kind


def _sign(passage: Passage, text: str) -> bytes:
    said = "\0".join((*passage.path, passage.label, text))
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def words(stored: Stored, passage: Passage, text: str) -> dict[str, str]:
    """What a passage is found by, by field: words between blanks, or one name."""
    facts = stored.facts
    return {
        "grams": tokens.line(f"{facts.title} {rank.heading(passage, text)} {text}"),
        "place": rank.place(facts.title, passage.label),
        "law": rank.law(facts.title) if facts.kind == "statute" else "",
    }


def candidate(stored: Stored, number: int, passage: Passage, text: str) -> rank.Candidate:
    """A passage as the index keeps it."""
    facts = stored.facts
    level = rank.level(facts.level)
    return rank.Candidate(
        stored.id, stored.version, number, facts.title, level, facts.language, passage, text
    )
