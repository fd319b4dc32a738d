"""Sentences, words and the marks that turn a meaning: as far as a closed list goes, in Korean and English.

Nothing here understands: it is deterministic, small and the same on every machine, so that what counts as
supported can be said in words and checked by hand. Where a list lacks an ending, two forms of a word count
as different words: then a true sentence may be dropped, never a false one shown for it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from moduai.knowledge.answer import lists

_WORD = re.compile(r"[0-9]+(?:[.,:][0-9]+)*%?|[^\W\d_]+(?:['’][a-z]+)?")
_HANGUL = re.compile(r"[가-힣ㄱ-ㆎ]")
_SAID = re.compile(r"[가-힣]|[a-z]{2}|\d")
_ENDS = re.compile(r"(?:[.!?。]+[\"”’'」』)\]]*(?:\s*\[[0-9, ]+\])*(?=\s|$))|\n")
_SHORT = re.compile(r"(?:\b(?:e\.g|i\.e|etc|Art|No|vs|Mr|Ms|Dr)|(?:^|\s)(?:[0-9]{1,2}|[가-하A-Z]))\.$")

_FINALS = str.maketrans("ㄱㄴㄹㅁㅂㅆㅕㅏ", "\u11a8\u11ab\u11af\u11b7\u11b8\u11bb\u1167\u1161")


def _letters(word: str) -> str:
    """Hangul as its letters, so that an ending that begins inside a syllable can be taken off."""
    return unicodedata.normalize("NFD", word)


_SYLLABLE, _TWO = 3, 4
"""Letters of a stem of one syllable, with a final, and of one that has two at least."""
_TAILS = {_letters(each.translate(_FINALS)): _TWO for each in lists.JOINED} | {
    _letters(each.translate(_FINALS)): _SYLLABLE for each in (*lists.PARTICLES, *lists.ENDINGS)
}
"""What may be taken off, and how many letters must be left."""
_LONGEST_TAIL = max(map(len, _TAILS))


_SMALL_TALK = {
    "".join(each.split()): kind for kind, said in lists.SMALL_TALK.items() for each in said.split("|")
}
_NO_TOPIC = lists.ASKING | lists.REFERRING | _SMALL_TALK.keys()
_SAME = tuple(frozenset(map(_letters, same)) for same in lists.SAME)


def sentences(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Ranges of the sentences between two places, without the white space around them."""
    end = len(text) if end is None else end
    found, at = list[tuple[int, int]](), start
    for match in _ENDS.finditer(text, start, end):
        if match.group() == "\n" or not _SHORT.search(text[at : match.end()]):
            found.append((at, match.end()))
            at = match.end()
    found.append((at, end))
    trimmed = [_trim(text, *each) for each in found]
    return [each for each in trimmed if each[0] < each[1]]


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def words(text: str) -> list[str]:
    """All words and numbers, lower case. A number stands with what follows it: "3개월" is 3 and 개월."""
    return _WORD.findall(text.lower())


def content(text: str) -> list[str]:
    """Words that carry what a sentence says: no particles of their own, pronouns, auxiliaries."""
    return [each for each in words(text) if each not in lists.STOP]


@lru_cache(maxsize=65_536)
def stems(word: str) -> frozenset[str]:
    """What may be the stem of a word; two words are the same where they share one."""
    if word[0].isdigit():
        return frozenset({word})
    if word.isascii() or "’" in word:
        return frozenset(
            word.removesuffix(tail)
            for tail in lists.ENGLISH_TAILS
            if word.endswith(tail) and len(word) - len(tail) > 2
        ) | {word}
    letters = _letters(word)
    cut = {
        letters[:at]
        for at in range(max(_SYLLABLE, len(letters) - _LONGEST_TAIL), len(letters))
        if at >= _TAILS.get(letters[at:], len(letters))
    }
    return frozenset(cut | {letters})


def topic(question: str) -> list[str]:
    """Words that say what a question is about, each once."""
    said = dict.fromkeys(content(question))
    return [each for each in said if each not in _NO_TOPIC]


def small_talk(text: str) -> str:
    """Which of ``lists.SMALL_TALK`` a text is, whole; "unclear" where it has no word; else nothing."""
    said = "".join(letter for letter in text.lower() if letter.isalnum() or letter == "'")
    return _SMALL_TALK.get(said, "" if _SAID.search(said) else "unclear")


def refers_back(question: str) -> bool:
    """Whether a question means something that was said before it."""
    return not lists.REFERRING.isdisjoint(words(question))


def leans_back(sentence: str) -> bool:
    """Whether a sentence begins with a word that means one before it."""
    return next(iter(words(sentence)), "") in lists.LEANING


@lru_cache(maxsize=65_536)
def near(word: str) -> frozenset[str]:
    """What a word may share with others of its matter: stems, its beginning, its fellows in ``SAME``."""
    mine = stems(word)
    if len(word) > 2 and not word.isascii():
        mine |= {_letters(word[:2])}
    return mine | {f"={number}" for number, same in enumerate(_SAME) if not same.isdisjoint(mine)}


def near_of(text: str) -> frozenset[str]:
    """The same of all words of a text that carry something."""
    return frozenset().union(*map(near, frozenset(content(text))))


def stems_of(text: str) -> frozenset[str]:
    """Stems of all words of a text."""
    return frozenset().union(*map(stems, frozenset(words(text))))


def marks(text: str) -> dict[str, int]:
    """How often the text has each of the ``lists.MARKS``: in "may apply in May" one of two can be dropped."""
    return {mark: len(pattern.findall(text)) for mark, pattern in lists.MARKS.items()}


def is_korean(text: str) -> bool:
    """Whether any Hangul is in it, or no letter at all."""
    return bool(_HANGUL.search(text)) or not any(letter.isalpha() for letter in text)
