"""Grams and morphemes: what is indexed of a text, and what a question is taken apart into.

Grams cost almost nothing and need no model; morphemes know where a word ends, and come 60 times slower.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from threading import Lock, Thread, get_native_id
from typing import Any, NamedTuple

_RUN = re.compile(r"[가-힣]+|[a-z0-9]+")
_EDITS = re.compile(r"[<\[](?:개정|신설|삭제|전문개정|본조신설|제목개정|종전)[^<>\[\]]*[>\]]")
"""A statute's notes on its own changes: dates that answer no question."""
_KEPT = ("NN", "NP", "NR", "VV", "VA", "SL", "SN", "SH", "XR", "MA", "MM")
"""Kiwi's tags of words with a meaning of their own; particles and endings are left out."""
_PLURALS = (("ies", ""), ("ses", "s"), ("xes", "x"), ("s", ""))
_ENGLISH_STOP = frozenset(
    "a an the and or of to in on at by for from with is are was were be been am do does did can could may "
    "might must shall should will would have has had i me my we our you your he she it its they them their "
    "this that these those what which who whom whose when where why how if not no any some there here about "
    "as into than then so such please tell".split()
)
_KNOWN_AT_MOST = 100_000
_PIECE = re.compile(r".{1,800}(?=\s|$)|.{1,800}", re.DOTALL)
"""What Kiwi reads at once of a text for the index: its words are made in a millisecond, which is how long
Python can do nothing else.
"""
_LAST = 19
"""Niceness of Kiwi's own thread."""


def stem(word: str) -> str:
    """An English word without its plural, so that it is a prefix of both forms."""
    if len(word) <= 3 or word.endswith("ss"):
        return word
    if word.endswith("y") and len(word) > 4:
        return word[:-1]
    for ending, instead in _PLURALS:
        if word.endswith(ending):
            return word[: -len(ending)] + instead
    return word


def grams(text: str) -> list[str]:
    """The grams of a text in order, repeated as they occur."""
    return " ".join(map(_of_run, _RUN.findall(text.lower()))).split()


def line(text: str) -> str:
    """The same for the index: separated by blanks, without a statute's notes on its changes."""
    return " ".join(map(_of_run, _RUN.findall(_EDITS.sub(" ", text).lower())))


_known: dict[str, str] = {}


def _of_run(run: str) -> str:
    """One run's grams. Words repeat: most are looked up, and the memory of them is bounded."""
    found = _known.get(run)
    if found is None:
        if len(_known) >= _KNOWN_AT_MOST:
            _known.clear()
        found = _known[run] = _cut(run)
    return found


def _cut(run: str) -> str:
    if run[0] >= "가":
        return run if len(run) < 3 else " ".join([run[at : at + 2] for at in range(len(run) - 1)])
    return "" if run in _ENGLISH_STOP else stem(run)


class Word(NamedTuple):
    """A morpheme, and where it stands in its text."""

    form: str
    start: int
    end: int
    telling: bool
    """It has a meaning of its own; particles and endings have none."""


class Morphemes:
    """Kiwi, loaded once: about a second and 300 MB. Any thread may ask; a question has its words at once, the
    texts of an index are read by a thread of Kiwi's own, which comes after all others.
    """

    def __init__(self) -> None:
        self._kiwi: Any = None
        self._lock = Lock()

    @property
    def ready(self) -> bool:
        """Whether the model is in memory."""
        return self._kiwi is not None

    def load(self) -> None:
        """Bring the model into memory; nothing where it is there. Raises what bringing it in raises."""
        with self._lock:
            if self._kiwi is None:
                self._kiwi = _in_last_place(_kiwi)

    def of(self, text: str) -> list[str]:
        """The words with a meaning of their own, in order: nouns, stems, foreign words, numbers."""
        return [word.form for word in self.words(text) if word.telling]

    def words(self, text: str) -> list[Word]:
        """All morphemes of a question with their places."""
        self.load()
        return [
            Word(_written(each.form, each.tag), each.start, each.end, each.tag.startswith(_KEPT))
            for each in self._kiwi.tokenize(text)
        ]

    def many(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The same for many texts, for the index: others go on meanwhile, for Kiwi holds nothing of Python's
        where it is given more than one.
        """
        self.load()
        for text in texts:
            read = self._kiwi.tokenize(iter(_PIECE.findall(text)))
            yield [word for piece in read for word in _kept(piece)]


def _kiwi() -> Any:
    """Without its names from encyclopedias, which take 180 MB and change nothing that the bars see."""
    from kiwipiepy import Kiwi  # noqa: PLC0415  (only the search process pays for it)

    kiwi = Kiwi(num_workers=1, load_multi_dict=False)
    list(kiwi.tokenize(iter(("",))))  # its thread begins with the first text of many
    return kiwi


def _in_last_place(make: Callable[[], Any]) -> Any:
    """What ``make`` gives, made in a thread that comes after all others; threads begun there do so too."""
    made: list[Any] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            if sys.platform == "linux":  # elsewhere a thread has no niceness of its own
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, get_native_id(), _LAST)
            made.append(make())
        except Exception as error:  # noqa: BLE001  (raised again, where it was asked for)
            errors.append(error)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return made[0]


def _kept(found: Any) -> list[str]:
    return [_written(each.form, each.tag) for each in found if each.tag.startswith(_KEPT)]


def _written(form: str, tag: str) -> str:
    return stem(form.lower()) if tag == "SL" else form.lower().replace(" ", "")
