"""The order of candidates, from their own words alone.

A term is worth more the rarer it is; said again it adds less and less, and less in a long text (BM25). It
counts again where it stands in the document's title, in the headings or the name of the article, and in the
best line of the passage. How much of the title was asked for tells programmes and laws apart whose texts are
alike. A statute that the question names, or that governs the field of life that it is about, counts up to
three times as much; an act more than its decree, a decree more than its rule, unless one of these is asked
for; supplementary provisions count half; what is not in the asker's language counts less. What was named by
its article goes before everything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from moduai.knowledge.search.understand import Asked, squashed
from moduai.knowledge.types import Passage

K1, B = 2.0, 0.45
RARITY = 1.4
"""The power of the inverse document frequency: above 1, rare words say more than their number tells."""
TITLE, HEAD, TITLE_COVERED = 0.75, 0.35, 5.0
TITLE_LENGTH = 10
"""Characters of a title whose terms count as they are; a term in a longer one counts less."""
ADDED = 1.0
"""What a term of law weighs that the asker did not say, beside one that was said."""
LINE, LINES_OF = 0.2, 15
"""What the best line adds, and of how many passages from the top it is looked for."""
LEVELS = {"act": 1.0, "decree": 0.75, "rule": 0.6, "": 1.0}
ADDENDA = 0.5
"""What supplementary provisions count for that were not asked for."""
FIELD = 2.0
"""What it adds, as a share, that a statute governs the field of life that is asked of."""
OTHER_LANGUAGE = 0.8
NAMED = 1_000.0
"""Added where the question names this very article."""
_ARTICLE = re.compile(r"제\s*(\d+)\s*조(?:의\s*(\d+))?")
_BELONGS = re.compile(r"시행(?:령|규칙)$")
_NAME = re.compile(r"^[#\s]*제\d+조(?:의\d+)?\s*\(([^()\n]{1,60})\)")


class Term(NamedTuple):
    """What is counted in a passage, and what one sight of it is worth."""

    text: str
    weight: float


class Candidate(Struct, frozen=True, array_like=True):
    """A passage as the index keeps it."""

    document: str
    version: int
    number: int
    title: str
    level: str
    language: str
    passage: Passage
    text: str


def place(title: str, label: str) -> str:
    """The name of an article in one form, 민법제750조; empty where the label names none."""
    found = _ARTICLE.match(label)
    if found is None:
        return ""
    return squashed(title) + article(found[1], found[2])


def law(title: str) -> str:
    """The act that a statute is or belongs to, by the statute's title, in one form."""
    return _BELONGS.sub("", squashed(title))


def level(level: str) -> str:
    """The rank of a statute in one word, from its source's own."""
    if level in LEVELS:
        return level
    if level in {"법률", "헌법"}:
        return "act"
    return "decree" if level in {"대통령령", "시행령"} else "rule"


def article(number: str, branch: str | None) -> str:
    """An article's number in one form: 제27조의2."""
    return f"제{int(number)}조" + (f"의{int(branch)}" if branch else "")


def heading(passage: Passage, text: str) -> str:
    """What stands above a passage: its headings, its label and the article's name."""
    named = _NAME.match(text)
    return " ".join((*passage.path[-2:], passage.label, named[1] if named else ""))


def terms(asked: Asked, frequency: Callable[[str], int], documents: int) -> list[Term]:
    """What to count, each once: the grams and words of the question, and the terms of law that it means."""
    weights: dict[str, float] = {}
    for gram in asked.grams:
        weights[gram] = _worth([gram], frequency, documents)
    for words, share in ((asked.words, 1.0), (asked.added, ADDED)):
        for word, grams in words.items():
            weights[word] = weights.get(word, 0.0) + share * _worth(grams, frequency, documents)
    return [Term(text, weight) for text, weight in weights.items() if weight > 0.0]


def _worth(grams: Sequence[str], frequency: Callable[[str], int], documents: int) -> float:
    seen = min((frequency(gram) for gram in grams), default=0)
    if not seen:
        return 0.0
    left = max(0.5, documents - seen + 0.5)  # passages that are gone are counted as seen until parts merge
    return math.pow(math.log1p(left / (seen + 0.5)), RARITY)


def order(
    asked: Asked, sought: Sequence[Term], candidates: Iterable[Candidate]
) -> list[tuple[float, Candidate]]:
    """Candidates with their scores, best first; equal ones by document and place: repeatable."""
    held = list(candidates)
    middle = sum(len(each.text) for each in held) / max(1, len(held))
    titles: dict[str, tuple[float, float]] = {}
    ordered = [(_score(asked, sought, each, middle, titles), each) for each in held]
    ordered.sort(key=_place)
    best = [(score + LINE * _line(sought, each.text.lower()), each) for score, each in ordered[:LINES_OF]]
    return sorted(best, key=_place) + ordered[LINES_OF:]


def _place(one: tuple[float, Candidate]) -> tuple[float, str, int]:
    return -one[0], one[1].document, one[1].number


def _line(sought: Sequence[Term], text: str) -> float:
    """What the best line has of what is sought: words that stand together answer better than words apart."""
    here = [(term, weight) for term, weight in sought if term in text]
    return max(
        (sum(weight for term, weight in here if term in line) for line in text.split("\n")), default=0.0
    )


def _score(
    asked: Asked,
    sought: Sequence[Term],
    each: Candidate,
    middle: float,
    titles: dict[str, tuple[float, float]],
) -> float:
    text = each.text.lower()
    spread = K1 * (1 - B + B * len(text) / max(1.0, middle))
    head = heading(each.passage, each.text).lower()
    if each.title not in titles:
        governs = 1 + FIELD * asked.laws.get(law(each.title), 0.0)
        titles[each.title] = _title(sought, each.title.lower()), governs
    score, governs = titles[each.title]
    for term, weight in sought:
        times = text.count(term)
        if times:
            score += weight * times * (K1 + 1) / (times + spread)
        if term in head:
            score += HEAD * weight
    score *= governs * _standing(asked, each)
    if asked.language and each.language and each.language != asked.language:
        score *= OTHER_LANGUAGE
    if asked.places and place(each.title, each.passage.label) in asked.places:
        score += NAMED
    return score


def _standing(asked: Asked, each: Candidate) -> float:
    """What the rank of a statute and the part of it that a passage stands in make of its score."""
    level = LEVELS.get(each.level, 1.0)
    if asked.level and each.level:
        level = 1.0 if each.level == asked.level else LEVELS["rule"]
    return level * (ADDENDA if each.passage.path[:1] == ("부칙",) and "부칙" not in asked.text else 1.0)


def _title(sought: Sequence[Term], title: str) -> float:
    """What a title is worth: the terms in it, and the share of its characters that they cover."""
    covered = bytearray(len(title))
    worth = 0.0
    for term, weight in sought:
        at = title.find(term)
        if at >= 0:
            worth += weight
            covered[at : at + len(term)] = b"\x01" * len(term)
    share = sum(covered) / max(1, len(title.replace(" ", "")))
    return TITLE * worth / (0.5 + 0.5 * len(title) / TITLE_LENGTH) + TITLE_COVERED * share
