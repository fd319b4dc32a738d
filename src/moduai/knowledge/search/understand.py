"""What a question means: its words, the terms of law that everyday words stand for, articles, numbers, dates.

Nothing is left out of the search because of what is understood here; it only adds. The one exception is a
date that a question names as the time to look at (2020년 3월 1일 당시): then only what was in force counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from importlib import resources

from msgspec import Struct

from moduai.knowledge.readers import articles
from moduai.knowledge.readers.articles import Reference
from moduai.knowledge.search import tokens

_STOP = frozenset(
    "어떻 어떠하 어떤 어떻게 무엇 무슨 뭐 뭣 어디 언제 누구 얼마 몇 왜 어느 것 거 게 수 때 등 및 "
    "저 제 나 내 우리 저희 너 그 이 이것 있 없 하 되 받 알 알리 궁금 궁금하 싶 주 좋 대하 관하 위하 "
    "경우 가능 가능하 지 중 점 때문 더 좀 혹시 만약 원하 필요 필요하 모르 말 말하 보 가 오 같 통하 "
    "따르 관련 알아보 찾 정확히 정확 자세히 자세하 구체 설명 안내 문의 방법 사람 분".split()
)
"""Words of asking, which say nothing of what is asked."""
_LAW = re.compile(r"[가-힣ㆍ·]*?(?:법률|법|령|규칙|규정)(?![가-힣]*(?:법|법률|령|규칙|규정))")
_QUOTES = str.maketrans("「」『』\"'", "      ")
_NAME_WORDS = 8
"""Words that a law's name may have before its last."""
_SAID = 2.0
"""How many everyday words a law weighs that is named itself."""
_DAY = re.compile(r"(\d{4})\s*[년.\-/]\s*(\d{1,2})\s*[월.\-/]\s*(\d{1,2})\s*[일.]?\s*(당시|기준|시점|현재)?")
_SINO = {"일": 1, "이": 2, "삼": 3, "사": 4, "오": 5, "육": 6, "칠": 7, "팔": 8, "구": 9}
_TENS = {"십": 10, "백": 100, "천": 1000}
_SPELLED = re.compile(
    r"(?<![가-힣])(만\s?)?([일이삼사오육칠팔구십백천]{1,7}?)\s?(만\s?)?(년|개월|세|원|퍼센트|시간|조|항|호|회|일)"
    r"(?=[^가-힣]|[은는이가을를의에도만까부동안간마치로]|$)"
)
_NATIVE = {
    "한": 1, "두": 2, "세": 3, "네": 4, "다섯": 5, "여섯": 6, "일곱": 7, "여덟": 8, "아홉": 9, "열": 10,
    "열한": 11, "열두": 12, "열다섯": 15, "스무": 20, "서른": 30, "마흔": 40, "쉰": 50, "예순": 60,
}  # fmt: skip
_COUNTED = {"달": "개월", "살": "세", "해": "년", "명": "명", "번": "회", "시간": "시간", "주": "주"}
_NATIVE_COUNT = re.compile(
    rf"(?<![가-힣])({'|'.join(sorted(_NATIVE, key=len, reverse=True))})\s?({'|'.join(_COUNTED)})"
)
_DIGIT_COUNT = re.compile(r"(\d+)\s?(달|살)")
_HANGUL = re.compile(r"[가-힣]")
_LATIN = re.compile(r"[A-Za-z]")
_RUN = re.compile(r"[가-힣a-z0-9.%]+")
LONGEST_WORD = 10
FAR = 6
"""Letters that may stand between two words of an entry."""
_LONGEST = 2_000
"""Characters of a question that are read; the rest is left out."""


Table = Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]
"""Everyday words, verbs as stems: by the first of them the others, and what all of them mean."""
Places = Mapping[str, Sequence[tuple[int, int]]]
"""Words, and from where to where each stands."""


Known = Callable[[str], bool]
"""Whether there is a statute of this title, squashed."""


class Asked(Struct, frozen=True):
    """A question, understood. Words and added terms come with their grams."""

    text: str
    grams: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]
    """What Kiwi found, or nothing while it is not in memory."""
    morphemes: tuple[str, ...]
    added: Mapping[str, tuple[str, ...]]
    """Terms of law that everyday words stand for."""
    laws: Mapping[str, float]
    """Statutes that govern what is asked of, squashed, and how surely: at most 1."""
    places: tuple[str, ...]
    """Articles by name, 민법제750조; some of them may not exist."""
    level: str
    """The rank of the statutes that are asked for, act, decree or rule; empty: any."""
    day: date | None
    language: str


def understand(text: str, morphemes: tokens.Morphemes | None = None, known: Known | None = None) -> Asked:
    """Take a question apart. ``morphemes``: used if they are in memory. ``known``: whether there is a statute
    of this title, squashed.
    """
    asked = text[:_LONGEST]
    words = morphemes.words(asked) if morphemes is not None and morphemes.ready else []
    telling = list(dict.fromkeys(word.form for word in words if word.telling and word.form not in _STOP))
    places = _places(asked.lower(), words)
    added = dict.fromkeys((*_terms(asked, words, places), *numbers(asked)))
    return Asked(
        text=asked,
        grams=tuple(dict.fromkeys(tokens.grams(_telling(asked, words)))),
        words={word: tuple(tokens.grams(word)) for word in telling if len(word) > 1},
        morphemes=tuple(telling),
        added={term: tuple(tokens.grams(term)) for term in added},
        laws=_laws(asked, words, places, known),
        places=named_articles(asked, known),
        level=level(asked),
        day=day(asked),
        language=language(asked),
    )


def _telling(text: str, words: Sequence[tokens.Word]) -> str:
    """The text without endings, particles and words of asking, between which no gram reaches; all of it where
    nothing was found.
    """
    kept = [" "] * len(text)
    for word in words:
        if word.telling and word.form not in _STOP:
            kept[word.start : word.end] = text[word.start : word.end]
    return "".join(kept) if words else text


def squashed(text: str) -> str:
    """Without blanks and middle dots, in small letters: how names of laws are compared."""
    return re.sub(r"[\sㆍ·]+", "", text).lower()


def language(text: str) -> str:
    """``ko`` where there is Hangul, else ``en`` where there is Latin, else empty."""
    if _HANGUL.search(text):
        return "ko"
    return "en" if _LATIN.search(text) else ""


def named_articles(text: str, known: Known | None = None) -> tuple[str, ...]:
    """Articles that a question names with their laws; short names of laws are written out."""
    found = [
        mention.reference for mention in articles.find(text, known and (lambda name: known(_title(name))))
    ]
    return tuple(
        dict.fromkeys(
            _title(each.law) + Reference(article=each.article).place for each in found if each.whole
        )
    )


def _title(name: str) -> str:
    """A law's title, squashed, from it or from a short name."""
    return abbreviations().get(squashed(name), squashed(name))


def level(text: str) -> str:
    """Which statutes a question asks for by their rank: act, decree, rule; empty: any."""
    if "시행규칙" in text:
        return "rule"
    return "decree" if "시행령" in text or "대통령령" in text else ""


def day(text: str) -> date | None:
    """The day that a question wants to be answered for, in its own words; None where it names none."""
    for match in _DAY.finditer(text):
        if match[4]:
            try:
                return date(int(match[1]), int(match[2]), int(match[3]))
            except ValueError:
                continue
    return None


def numbers(text: str) -> list[str]:
    """Spelled numbers as statutes write them: 두 달 → 2개월, 삼 년 → 3년, 18살 → 18세."""
    found = [f"{_NATIVE[match[1]]}{_COUNTED[match[2]]}" for match in _NATIVE_COUNT.finditer(text)]
    found += [f"{match[1]}{_COUNTED[match[2]]}" for match in _DIGIT_COUNT.finditer(text)]
    found += [f"{_sino(match[2])}{'만' if match[3] else ''}{match[4]}" for match in _SPELLED.finditer(text)]
    return found


def _sino(spelled: str) -> int:
    total = digit = 0
    for character in spelled:
        if character in _TENS:
            total += (digit or 1) * _TENS[character]
            digit = 0
        else:
            digit = _SINO[character]
    return total + digit


def _laws(text: str, words: Sequence[tokens.Word], places: Places, known: Known | None) -> dict[str, float]:
    """Statutes that a question names or that govern what it is about, the most probable as 1."""
    votes = dict.fromkeys(_named(text, known), _SAID)
    for titles in _said(fields(), words, places):
        for title in titles:
            votes[title] = votes.get(title, 0.0) + len(titles) ** -0.5
    most = max(votes.values(), default=1.0)
    return {title: each / most for title, each in votes.items()}


def _terms(text: str, words: Sequence[tokens.Word], places: Places) -> list[str]:
    """Terms of law for the everyday words in a Korean question, without those that it says itself."""
    if language(text) != "ko":  # they would only find pages in the other language
        return []
    plain = squashed(text)
    means = _said(everyday(), words, places)
    return [term for terms in means for term in terms if squashed(term) not in plain]


def _named(text: str, known: Known | None) -> Iterator[str]:
    """Laws that a question names, by their titles or short names."""
    words = text.translate(_QUOTES).split()
    for at, word in enumerate(words):
        if found := _LAW.match(word):
            names = (
                squashed("".join((*words[start:at], found[0])))
                for start in range(max(0, at - _NAME_WORDS), at + 1)
            )
            yield from [_title(name) for name in names if name in abbreviations() or (known and known(name))][
                :1
            ]


def _said(table: Table, words: Sequence[tokens.Word], places: Places) -> list[tuple[str, ...]]:
    """What the entries of a table mean whose words stand in the text, one not far behind the other."""
    return [
        means
        for word in places
        for rest, means in table.get(word, ())
        if (rest or words or len(word) > 1) and _behind(rest, places, [end for _, end in places[word]])
    ]


def _behind(rest: tuple[str, ...], places: Places, ends: list[int]) -> bool:
    """Whether words stand in the text, the first behind one of these ends, each near the one before."""
    for word in rest:
        ends = [to for at, to in places.get(word, ()) if any(end <= at <= end + FAR for end in ends)]
    return bool(ends)


def _places(text: str, words: Sequence[tokens.Word]) -> Places:
    """Where everyday words may stand in a question: a word of Kiwi's, or letters that begin and end with such
    words; without Kiwi any letters.
    """
    places: dict[str, list[tuple[int, int]]] = {}
    for word in words:
        if word.telling:
            places.setdefault(word.form, []).append((word.start, word.end))
    ends = {word.end for word in words}
    for run in _RUN.finditer(text):
        for start in [word.start for word in words if run.start() <= word.start < run.end()] or (
            range(run.start(), run.end()) if not words else ()
        ):
            for end in range(start + (2 if words else 1), min(start + LONGEST_WORD, run.end()) + 1):
                if not ends or end in ends:
                    places.setdefault(text[start:end], []).append((start, end))
    return places


@cache
def everyday() -> Table:
    """Everyday words, verbs as stems, and what the law calls them: ``everyday.tsv`` in this package."""
    return _table((word, tuple(terms)) for words, terms in _lines("everyday.tsv") for word in words)


@cache
def fields() -> Table:
    """Everyday words and the statutes, squashed, that govern them: ``fields.tsv`` in this package."""
    return _table((word, (squashed(titles[0]),)) for titles, words in _lines("fields.tsv") for word in words)


@cache
def abbreviations() -> Mapping[str, str]:
    """Short names of laws and their titles, squashed: ``laws.tsv`` in this package."""
    return {squashed(short): squashed(titles[0]) for shorts, titles in _lines("laws.tsv") for short in shorts}


def _table(entries: Iterable[tuple[str, tuple[str, ...]]]) -> Table:
    meant: dict[tuple[str, ...], tuple[str, ...]] = {}
    for words, means in entries:
        meant[_stems(words)] = (*meant.get(_stems(words), ()), *means)
    table: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {}
    for (first, *rest), means in meant.items():
        table[first] = (*table.get(first, ()), (tuple(rest), means))
    return table


def _stems(words: str) -> tuple[str, ...]:
    """The words of an entry, a verb without its ending."""
    return tuple(word.removesuffix("다") if len(word) > 1 else word for word in words.lower().split())


def _lines(name: str) -> Iterator[tuple[list[str], list[str]]]:
    """Lines of ``words, with commas <tab> terms, with commas``; a line that opens with # is a remark."""
    for line in resources.files(__package__).joinpath(name).read_text("utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            words, terms = line.split("\t")
            yield [each.strip() for each in words.split(",")], [each.strip() for each in terms.split(",")]
