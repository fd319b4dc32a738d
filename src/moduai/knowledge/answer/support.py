"""Whether a passage supports a sentence: a rule that a person can apply by hand.

A sentence is supported by a passage where one statement of the passage is such that
1. each content word of the one is a word of the other, and as often: the same word, or another form of it by
   a closed list of particles and endings (``lists``); what leads in before a colon may be the headings';
2. its numbers are there exactly, with the same units behind them;
3. both deny, demand, advise, allow, set a condition and say "only" or "all" equally often, each of these;
4. what it puts in quotation marks stands there word for word (``verify.find``);
5. it has at least two content words, half of those of the statement, and the first of them: what it is about.
That statement is the citation. Headings and questions of a passage are no statements (``sections``). The rule
is blind to the order of words (who does what to whom), and knows no synonyms: the first can let a wrong
sentence through, the second drops true ones. Fails closed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from moduai.knowledge.answer import verify, words
from moduai.knowledge.answer.lists import STOP
from moduai.knowledge.answer.sections import Range, Section
from moduai.knowledge.answer.verify import Citation

LONGEST = 600
"""Characters of a sentence; a longer one is no claim that can be checked by hand."""
LEAST = 2
"""Content words without which nothing is said."""
_NUMBER_AND_UNIT = re.compile(r"[0-9]+(?:[.,:][0-9]+)*\s*(?:%|[^\W\d_]+)?")
_UNIT = 2
"""Letters of a unit that are compared: what follows are particles."""


def supported(sentence: str, sections: Sequence[Section]) -> Citation | None:
    """Where the first section that supports the sentence does so; None where none does. Fails closed."""
    if len(sentence) > LONGEST or not sentence.isprintable():
        return None
    for section in sections:
        said = _without_lead(sentence, section)
        wanted = words.content(said)
        if len(wanted) >= LEAST and (found := _in_section(said, wanted, section)):
            return section.cite(*found)
    return None


def _in_section(sentence: str, wanted: Sequence[str], section: Section) -> Range | None:
    marks, units = words.marks(sentence), _units(sentence)
    for place in section.sentences:
        known = section.source.text[slice(*place)]
        if (
            _words_stand(wanted, words.words(known))
            and marks == words.marks(known)
            and units <= _units(known)
            and _quotations_stand(sentence, known)
        ):
            return place
    return None


def _words_stand(wanted: Sequence[str], known: Sequence[str]) -> bool:
    """Whether each word has one of its own that is the same, and not too much is left out."""
    left = [words.stems(word) for word in known]
    whole = [stems for word, stems in zip(known, left, strict=True) if word not in STOP]
    if (
        not whole
        or 2 * len(wanted) < len(whole)
        or all(whole[0].isdisjoint(words.stems(word)) for word in wanted)
    ):
        return False
    for word in wanted:
        mine = words.stems(word)
        at = next((at for at, other in enumerate(left) if not mine.isdisjoint(other)), None)
        if at is None:
            return False
        del left[at]
    return True


def _without_lead(sentence: str, section: Section) -> str:
    """The sentence without headings that it says before a colon."""
    lead, _, rest = sentence.partition(": ")
    said, heads = words.content(lead), words.stems_of(f"{section.source.heads} {section.heading}")
    is_lead = said and rest and all(not heads.isdisjoint(words.stems(word)) for word in said)
    return rest if is_lead else sentence


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
