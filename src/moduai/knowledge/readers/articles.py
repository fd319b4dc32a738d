"""How articles of statutes are named: found in text, and written in one form.

The one form is what Korean law writes: ``민법 제750조``, ``제27조의2제1항제3호가목``. Found are also what people
write, ``근로기준법 60조 1항``, names in brackets, ``제2조(정의)제1항``, and English: ``Article 27-2 (1) 3``,
``Article 750 of the Civil Act``. What stands without its article takes it from what it follows (``제1항 및
제3항``); else it is relative, and ``Reference.within`` says where it lies.

This looks for names; whether such an article exists, it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Reference(NamedTuple):
    """A place in a statute; empty is what was not said. Numbers as strings: 27, 27의2."""

    law: str = ""
    """As it was written, without brackets. 법, 영, 같은 법 and the like are relative too."""
    article: str = ""
    paragraph: str = ""
    item: str = ""
    letter: str = ""

    @property
    def place(self) -> str:
        """Without the law: 제27조의2제1항제3호가목."""
        parts = ((self.article, "조"), (self.paragraph, "항"), (self.item, "호"))
        return "".join(_numbered(number, unit) for number, unit in parts if number) + (
            f"{self.letter[:1]}목{self.letter[1:]}" if self.letter else ""
        )

    @property
    def normal(self) -> str:
        """The one form: 민법 제750조."""
        return f"{self.law} {self.place}".strip()

    @property
    def whole(self) -> bool:
        """Whether it says law and article, and so can be looked up from anywhere."""
        return bool(self.law and self.article) and not _LEANING.fullmatch(self.law)

    def within(self, here: Reference) -> Reference:
        """The same, what it leaves unsaid taken from the place where it is written."""
        law = here.law if not self.law or _LEANING.fullmatch(self.law) else self.law
        if self.article or self.law:
            return self._replace(law=law)
        if self.paragraph:
            return self._replace(law=law, article=here.article)
        return self._replace(law=law, article=here.article, paragraph=here.paragraph)

    def covers(self, other: Reference) -> bool:
        """Whether ``other`` lies in this place; laws are not compared."""
        return all(not mine or mine == its for mine, its in zip(self[1:], other[1:], strict=True))


class Mention(NamedTuple):
    """A reference and where it stands in the text."""

    start: int
    end: int
    reference: Reference


_BRANCH = r"(?:\s?의\s?[0-9]{1,3}){0,2}"
_PARAGRAPH = r"(?P<paragraph{0}>[0-9]{{1,3}})\s?항"
_ITEM = rf"(?P<item{{0}}>[0-9]{{{{1,3}}}}\s?호{_BRANCH.replace('{', '{{').replace('}', '}}')})"
_LETTER = r"(?P<letter{0}>[가-하])\s?목(?:의(?P<letter_branch{0}>[0-9]{{1,2}}))?"


def _then(number: int, *parts: str) -> str:
    return "".join(rf"(?:\s?(?:제\s?)?{part.format(number)})?" for part in parts)


_PLACE = re.compile(
    rf"(?<![0-9])(?:(?P<sure>제\s?)?(?P<article>[0-9]{{1,4}}\s?조{_BRANCH})(?:\s?\([^()\n]{{1,60}}\)(?=\s?제))?"
    rf"{_then(1, _PARAGRAPH, _ITEM, _LETTER)}"
    rf"|제\s?{_PARAGRAPH.format(2)}{_then(2, _ITEM, _LETTER)}"
    rf"|제\s?{_ITEM.format(3)}{_then(3, _LETTER)})"
)
_LEANING = re.compile(r"(?:(?:같은|이)\s)?(?:법|영|규칙)(?:\s?시행령|\s?시행규칙)?|동법|본법")
_MONEY = re.compile(r"\s?(?:원|[0-9]|[천백십]|달러)")
_JOINED = re.compile(r"[\s,ㆍ·]*(?:및|또는|와|과|이나|나|내지|부터|까지)?[\s,ㆍ·]*")
_QUOTED = re.compile(r"「([^「」\n]{1,100})」\s?(?:\([^()\n]{1,40}\)\s?)?(시행령|시행규칙)?\s*$")
_RELATIVE = re.compile(
    r"(?<![가-힣])(같은\s(?:법|영|규칙)|이\s(?:법|영|규칙)|동법|본법|법|영|규칙)(\s?시행령|\s?시행규칙)?\s$"
)
_SAME = re.compile(r"(?:같은\s조|동조|이\s조)\s*$")
_NAME = re.compile(
    r"(?:^|(?<=[\s(\[\"'“‘]))(?:[^\s\[\](){}<>「」\"'“”‘’.,;:?!]+[ ]){0,12}[가-힣A-Za-z0-9ㆍ·]*(?:법|법률|령|규칙|규정|조례|직제)[ ]?$"
)
_GENERIC = frozenset(
    "법률 시행령 시행규칙 규칙 규정 특별법 특례법 령 조례 기본법 보호법 진흥법 지원법 관리법 촉진법 육성법 처벌법 방지법 보장법".split()
)
"""Last words that name nothing alone: words before them belong to the name."""
_BOUND = ("관한", "위한", "대한", "따른")
_LAW_WORD = re.compile(r"[가-힣ㆍ·]*(?:법|법률|령|규칙|규정|조례|직제)$")
_BEFORE = 120

_ENGLISH = re.compile(
    r"(?:\b[Ss]ubparagraph\s(?P<before>[0-9]{1,3})\sof\s)?\bArt(?:icle|\.)\s?(?P<article>[0-9]{1,4})"
    r"(?:-(?P<branch>[0-9]{1,3}))?(?:\s?\((?P<paragraph>[0-9]{1,3})\))?"
    r"(?:\s?\((?P<nested>[0-9]{1,3})\)|\s(?:[Ss]ubparagraph\s)?(?P<item>[0-9]{1,2})(?=[\s,.;)]|$)(?!\.[0-9]))?"
    r"(?:,?\s(?:of|under|in)\sthe\s(?P<law>(?:(?:[A-Z][\w'-]*|and|of|on|for|the|to|in)\s){0,15}"
    r"(?:Act|Decree|Rules?|Code|Constitution)\b))?"
)


def find(text: str, known: Callable[[str], bool] | None = None) -> list[Mention]:
    """All places named in a text, in order.

    ``known`` says whether a name is a statute's title. With it, names of several words that stand without
    brackets are found whole; without it, by their last words.
    """
    return sorted([*_korean(text, known), *_english(text)], key=lambda mention: mention.start)


def _korean(text: str, known: Callable[[str], bool] | None) -> Iterator[Mention]:
    before = Mention(0, 0, Reference())
    for found in _PLACE.finditer(text):
        reference = _reference(found)
        head = text[max(before.end, found.start() - _BEFORE) : found.start()]
        law, written = _law(head, known)
        if not law and before.end and len(head) < _BEFORE:
            reference = _carried(reference, before.reference, head)
        elif law:
            reference = reference._replace(law=law)
        if found["article"] and not found["sure"] and (not reference.law or _MONEY.match(text, found.end())):
            continue
        before = Mention(found.start() - written, found.end(), reference)
        yield before


def _reference(found: re.Match[str]) -> Reference:
    """What the match itself says, from whichever of the three ways to write it."""

    def said(part: str) -> str:
        return next((value for at in "123" if (value := found.groupdict().get(f"{part}{at}"))), "")

    branch = said("letter_branch")
    return Reference(
        article=re.sub(r"[\s조]", "", found["article"] or ""),
        paragraph=said("paragraph"),
        item=re.sub(r"[\s호]", "", said("item")),
        letter=said("letter") + (f"의{branch}" if branch else ""),
    )


def _carried(reference: Reference, before: Reference, gap: str) -> Reference:
    """With what it takes over from the place named just before: 민법 제750조, 제751조; 제1항 및 제3항."""
    if _SAME.search(gap):
        return reference._replace(law=before.law, article=before.article)
    if not _JOINED.fullmatch(gap):
        return reference
    if reference.article:
        return reference._replace(law=before.law)
    above = before._replace(item="", letter="")
    if reference.paragraph:
        above = above._replace(paragraph=reference.paragraph)
    return above._replace(item=reference.item, letter=reference.letter)


def _law(head: str, known: Callable[[str], bool] | None) -> tuple[str, int]:
    """The law named at the end of the words before a place, and how many characters of them it takes."""
    quoted = _QUOTED.search(head)
    if quoted:
        return " ".join(filter(None, (quoted[1].strip(), quoted[2]))), len(head) - quoted.start()
    relative = _RELATIVE.search(head)
    if relative:
        return " ".join("".join(part or "" for part in relative.groups()).split()), len(
            head
        ) - relative.start()
    name = _NAME.search(head)
    if name is None:
        return "", 0
    words = name[0].split()
    count = next((n for n in range(len(words), 0, -1) if known(" ".join(words[-n:]))), 0) if known else 0
    chosen = words[-(count or _guessed(words)) :]
    if not count and (chosen[0] in _GENERIC or not _LAW_WORD.search(chosen[-1])):
        return "", 0
    return " ".join(chosen), len(head) - head.rfind(
        chosen[0], 0, len(head) - len(" ".join(chosen)) + len(chosen[0]) + 1
    )


def _guessed(words: list[str]) -> int:
    """How many of the last words are the name, without knowing the names."""
    count = 1
    while count < len(words) and words[-count] in _GENERIC:
        count += 1
    if count < len(words) and words[-count].endswith(_BOUND):
        return len(words)
    return count


def _english(text: str) -> Iterator[Mention]:
    for found in _ENGLISH.finditer(text):
        article = found["article"] + (f"의{found['branch']}" if found["branch"] else "")
        item = found["item"] or found["nested"] or found["before"] or ""
        yield Mention(
            found.start(), found.end(), Reference(found["law"] or "", article, found["paragraph"] or "", item)
        )


def _numbered(number: str, unit: str) -> str:
    whole, _, branch = number.partition("의")
    return f"제{whole}{unit}의{branch}" if branch else f"제{whole}{unit}"
