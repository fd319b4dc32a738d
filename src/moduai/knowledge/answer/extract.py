"""What of the passages is about the question, and their own words as the answer.

A search always finds something nearest, and the nearest may be far: so the question's words are looked for in
each section and its headings. Shown are a section's neighbouring statements, as they stand, where a model
wrote nothing that can be shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from moduai.knowledge.answer import words
from moduai.knowledge.answer.sections import Section, Source, sections
from moduai.knowledge.answer.verify import Citation
from moduai.knowledge.search.understand import understand

SHORT = 320
"""Characters: a section up to this length is shown whole, of a longer one about as much."""
MOST = 2
"""Sections that are shown."""
ENOUGH, FEW = 0.5, 2
"""The share of the question's words that a section must have, with its headings, to count as being about it;
of so few words, more than that, or one in its own heading. Of a single word: its heading or its document's
title has it, for a word that only occurs somewhere ("Tell me a joke") says little.
"""
BESIDE = 0.75
"""How near to the best a second section must come to be shown with it."""
FOREIGN = 0.5
"""What a section in another language than the question's is worth beside one in it."""
NAMED = 0.5
"""What it adds, as a share, that title and heading have all words of the question."""
NEAREST = 0.3
"""The share from which on a passage may be named as coming near."""


class Fit(NamedTuple):
    """How a section fits a question."""

    section: Section
    share: float
    """Of the question's words those that it has, itself or as a term of law that they mean."""
    headed: bool
    """Whether its own heading has one of them."""
    named: bool
    """Whether its heading or its document's title has one, or such a term."""
    value: float
    """With what the search makes of its passage; more where title and heading have the words."""


def fits(question: str, sources: Sequence[Source]) -> list[Fit]:
    """All sections, best first."""
    wanted = words.topic(question)
    terms = _unsaid(wanted, understand(question).added)
    language = "ko" if words.is_korean(question) else "en"
    top = max((source.found.score for source in sources), default=0) or 1.0
    found = []
    for source in sources:
        heads, title = words.near_of(source.heads), words.near_of(source.found.facts.title)
        fitness = max(0.0, source.found.score) / top
        if source.found.facts.language not in {"", language}:
            fitness *= FOREIGN
        for section in sections(source):
            head = section.heading or source.found.passage.label
            heading = words.near_of(head)
            said = sum(term in section.text for term in terms) / max(1, len(wanted))
            share = min(1.0, _share(wanted, words.near_of(section.text) | heading | heads) + said)
            named = _share(wanted, heading | title)
            value = share * fitness * (1 + NAMED * named)
            named_so = named > 0 or any(term in f"{source.found.facts.title} {head}" for term in terms)
            found.append(Fit(section, share, _share(wanted, heading) > 0, named_so, value))
    return sorted(found, key=lambda fit: -fit.value)


def _unsaid(wanted: Sequence[str], terms: Iterable[str]) -> list[str]:
    """Terms of law that are no other words for what was said: 인공지능 for AI would count twice."""
    said = frozenset().union(*map(words.near, wanted))
    return [term for term in terms if said.isdisjoint(words.near_of(term))]


def about(question: str, fitting: Sequence[Fit]) -> list[Fit]:
    """Those that are about the question."""
    count = len(words.topic(question))
    few = count <= FEW
    if count == 1:
        return [fit for fit in fitting if fit.named and fit.share > ENOUGH]
    return [fit for fit in fitting if fit.share > ENOUGH or (fit.share == ENOUGH and (fit.headed or not few))]


def extracts(question: str, fitting: Sequence[Fit], most: int = MOST) -> list[Citation]:
    """Words of the best sections, as they stand: of each the part that has most of the question's words. What
    two documents say alike is said once.
    """
    wanted = words.topic(question)
    least = BESIDE * fitting[0].value if fitting else 0
    told = dict[str, Section]()
    for fit in fitting:
        if fit.value >= least:
            told.setdefault(fit.section.text, fit.section)
    return [_part(wanted, section) for section in islice(told.values(), most)]


def nearest(fitting: Sequence[Fit]) -> list[Citation]:
    """Documents to look at where none is about the question."""
    named = dict[str, Section]()
    for fit in fitting:
        if fit.share >= NEAREST:
            named.setdefault(fit.section.source.found.document, fit.section)
    return [each.cite(each.sentences[0][0], each.sentences[-1][1]) for each in list(named.values())[:MOST]]


def _part(wanted: Sequence[str], section: Section) -> Citation:
    """The neighbouring statements that ``SHORT`` holds with most of the words; the first of equals, none
    that begins with what means one before it.
    """
    places = section.sentences
    best, most = places[0], -1.0
    for first, (start, end) in enumerate(places):
        if first and words.leans_back(section.source.text[start:end]):
            continue
        for _, after in places[first + 1 :]:
            if after - start > SHORT:
                break
            end = after  # noqa: PLW2901
        share = _share(wanted, words.near_of(section.source.text[start:end]))
        if share > most:
            best, most = (start, end), share
    return section.cite(*best)


def _share(wanted: Sequence[str], known: frozenset[str]) -> float:
    return sum(not known.isdisjoint(words.near(word)) for word in wanted) / max(1, len(wanted))
