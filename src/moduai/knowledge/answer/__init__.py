"""Answers out of public documents, each with citations that were checked before they are shown.

Words: a *sentence* is what a model wrote; a *claim* is a sentence that a stored passage supports, with its
*citation*; an *extract* is words of a passage shown as they stand. Rules: what is shown of a document is cut
out of its stored version at the place that the citation names, never taken from what a model wrote; a
sentence that the rule of ``support`` does not find in one passage is dropped; where no sentence is left the
passages themselves are the answer, and where nothing was found that is the answer. All of it fails closed.
"""

from moduai.knowledge.answer.answer import (
    Asker,
    Claim,
    Ended,
    Extracts,
    NotFound,
    Searcher,
    SmallTalk,
    answer,
)
from moduai.knowledge.answer.verify import Citation, Shelf, find, stands

__all__ = [
    "Asker",
    "Citation",
    "Claim",
    "Ended",
    "Extracts",
    "NotFound",
    "Searcher",
    "Shelf",
    "SmallTalk",
    "answer",
    "find",
    "stands",
]
