"""Whether a passage supports a sentence: a rule that a person can apply by hand.

A sentence is supported by a passage where one sentence of the passage is such that
1. each content word of the one is a word of the other, or of the passage's headings, label or title: the
   same word, or another form of it by a closed list of particles and endings (``lists``);
2. its numbers are there exactly, with the same units behind them;
3. both deny, demand, allow, set a condition and say "only" or "all" equally often, each of these;
4. what it puts in quotation marks stands there word for word (``verify.find``);
5. at least two of its content words are that sentence's own, not only the headings'.
That sentence of the passage is the citation. The rule is blind to the order of words (who does what to whom),
and knows no synonyms: the first can let a wrong sentence through, the second drops true ones. Fails closed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from moduai.knowledge.answer import verify, words
from moduai.knowledge.answer.verify import Citation
from moduai.knowledge.types import Found

LONGEST = 600
"""Characters of a sentence; a longer one is no claim that can be checked by hand."""
LEAST = 2
"""Content words without which nothing is said."""
_NUMBER_AND_UNIT = re.compile(r"[0-9]+(?:[.,:][0-9]+)*\s*(?:%|[^\W\d_]+)?")
_UNIT = 2
"""Letters of a unit that are compared: what follows are particles."""


class Source(Struct, frozen=True):
    """A passage that was found, with the whole text of the version it stands in."""

    found: Found
    text: str

    @property
    def heads(self) -> str:
        """What stands above the passage."""
        passage, facts = self.found.passage, self.found.facts
        return " ".join((facts.title, facts.number, *passage.path, passage.label))

    def cite(self, start: int, end: int) -> Citation:
        """A citation of a range of the version."""
        found = self.found
        quote = self.text[start:end]
        return Citation(found.document, found.version, start, end, quote, found.passage.label, found.facts)


def supported(sentence: str, sources: Sequence[Source]) -> Citation | None:
    """Where the first source that supports the sentence does so; None where none does. Fails closed."""
    wanted = words.content(sentence)
    if not wanted or len(sentence) > LONGEST or not sentence.isprintable():
        return None
    for source in sources:
        found = _in_source(sentence, wanted, source)
        if found is not None:
            return source.cite(*found)
    return None


def _in_source(sentence: str, wanted: Sequence[str], source: Source) -> tuple[int, int] | None:
    passage, heads = source.found.passage, words.stems_of(source.heads)
    marks, units = words.marks(sentence), _units(sentence)
    for start, end in words.sentences(source.text, passage.start, passage.end):
        known = source.text[start:end]
        if (
            _words_stand(wanted, known, heads)
            and marks == words.marks(known)
            and units <= _units(f"{known} {source.heads}")
            and _quotations_stand(sentence, known)
        ):
            return start, end
    return None


def _words_stand(wanted: Sequence[str], text: str, heads: frozenset[str]) -> bool:
    known = words.stems_of(text)
    own = [not known.isdisjoint(words.stems(word)) for word in wanted]
    return sum(own) >= LEAST and all(
        is_own or not heads.isdisjoint(words.stems(word)) for word, is_own in zip(wanted, own, strict=True)
    )


def _units(text: str) -> frozenset[str]:
    """Numbers with the beginning of the word that follows them."""
    found = set()
    for each in _NUMBER_AND_UNIT.findall(text):
        number = re.match(r"[0-9.,:]*[0-9]", each)
        if number is not None:
            found.add(number.group() + each[number.end() :].strip().lower()[:_UNIT])
    return frozenset(found)


def _quotations_stand(sentence: str, text: str) -> bool:
    quoted = verify.quotations(sentence)
    return quoted is not None and all(verify.find(each, text) is not None for each in quoted)
