"""Decisions of courts, as Markdown with Korean fields (the form of precedent-kr) or as plain text.

Parts are the headings (판시사항, 판결요지, 참조조문, 판례내용) and, in the decision itself, what stands in
heavy brackets: 【주문】, 【이유】, 【청구취지】. Case number, court and date come from the fields, or from
how a decision is cited at its head: ``대법원 2003. 11. 14. 선고 2000므1257 판결``. The articles it cites
are those under 참조조문; where there are none, those that it names with their law.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from moduai.knowledge.readers import articles, front
from moduai.knowledge.readers.limits import LIMITS, Limits
from moduai.knowledge.readers.outline import Outline
from moduai.knowledge.readers.statutes import LICENCE
from moduai.knowledge.readers.text import address, decoded
from moduai.knowledge.types import Facts, Parsed

MOST_CITED = 100

_HEADING = re.compile(r"#{1,6}[ \t]+(?P<words>.*\S)")
_BRACKETED = re.compile(r"[ \t]*【(?P<words>[^【】\n]{1,60})】[ \t]*(?P<rest>.*)")
_PARTIES = re.compile(r"원고|피고|상고인|청구인|신청인|채권자|채무자|변호인|검사|원심|원판결|사건|전문$")
_NUMBER = (
    r"(?P<number>[0-9]{2,4}[가-힣]{1,3}[0-9]{1,7}"
    r"(?:\s?[,ㆍ·]\s?(?:[0-9]{2,4}[가-힣]{1,3})?[0-9]{1,7}(?![.0-9년]))*)"
)
_CITED_AS = re.compile(
    r"(?P<court>(?:[가-힣]+(?:법원|[고지행가]법)(?:\s?\([가-힣]{2,4}\)|\s?[가-힣]+(?:지원|재판부))?"
    r"|헌법재판소|헌재))\s*"
    r"(?P<date>[12][0-9]{3}\s?\.\s?[0-9]{1,2}\s?\.\s?[0-9]{1,2})\s?\.?\s*(?P<how>선고|자)?\s*"
    rf"(?:\([가-힣]{{2,4}}\)\s?)?{_NUMBER}"
)
_CASE = re.compile(
    rf"^[ \t]*【?\s*사\s?건(?:번호)?\s*】?[ \t:]*{_NUMBER}(?P<name>[^\n]{{0,80}})",
    re.MULTILINE,
)
_RULING = re.compile(r"【\s*(?:주\s*문|이\s*유)\s*】")
_WHO = "당사자"
_HEAD = 2_000


def is_decision(fields: front.Fields) -> bool:
    """Whether a Markdown file is one, by its fields."""
    return "사건번호" in fields


def looks_like_one(text: str) -> bool:
    """Whether plain text is one: it is headed as decisions are, and rules or reasons."""
    return bool(_RULING.search(text) and (_CITED_AS.search(text[:_HEAD]) or _CASE.search(text[:_HEAD])))


def read(data: bytes, limits: Limits = LIMITS) -> Parsed:
    """A decision from the bytes of its file."""
    return parse(*front.split(decoded(data, limits)), limits)


def parse(fields: front.Fields, body: str, limits: Limits = LIMITS) -> Parsed:
    """The same from its fields and the text below them."""
    facts = _facts(fields, body)
    decision = _Decision(limits, {facts.title, *fields.get("사건명", ())})
    for line in body.split("\n"):
        decision.line(line.strip())
    decision.flush()
    cited = "\n".join(decision.parts.get("참조조문", ())) or body
    return decision.outline.parsed(replace(facts, cites=_cites(cited)))


class _Decision:
    """Lines in, parts out."""

    def __init__(self, limits: Limits, titles: set[str]) -> None:
        self.outline = Outline(limits)
        self.parts: dict[str, list[str]] = {}
        self._titles = titles
        self._part = ""
        self._block: list[str] = []

    def line(self, line: str) -> None:
        bracketed, heading = _BRACKETED.match(line), _HEADING.match(line)
        name = "".join(bracketed["words"].split()) if bracketed else ""
        if bracketed and _PARTIES.search(name):
            if self._part != _WHO:
                self._open(_WHO)
                self.outline.heading(3, line, _WHO)
            else:
                self._block.append(line)
        elif bracketed:
            self._open(name)
            self.outline.heading(3, f"【{bracketed['words']}】", name)
            self.line(bracketed["rest"].strip())
        elif heading and heading["words"] in self._titles and not self.parts:
            self.outline.title(heading["words"])
        elif heading:
            self._open(heading["words"])
            self.outline.heading(2, self._part)
        elif line:
            self._block.append(line)

    def _open(self, part: str) -> None:
        self.flush()
        self._part = part

    def flush(self) -> None:
        """What was gathered belongs to the part that is open."""
        self.outline.add("\n".join(self._block))
        if self._block:
            self.parts.setdefault(self._part, []).extend(self._block)
        self._block = []


def _facts(fields: front.Fields, body: str) -> Facts:
    one = {key: values[0] for key, values in fields.items()}
    cited, case = _CITED_AS.search(body[:_HEAD]), _CASE.search(body[:_HEAD])
    court, number = one.get("법원명", ""), one.get("사건번호", "")
    name, on = one.get("사건명", ""), front.day(one.get("선고일자", ""))
    how = " 선고"
    if not number and case:
        number, name = case["number"].strip(), case["name"].strip(" \t()")
    if cited and (not number or number in cited["number"] or cited["number"] in number):
        court, number = court or cited["court"], number or cited["number"]
        on = on or front.day(cited["date"])
        how = "자" if cited["how"] == "자" else how
    return Facts(
        title=_title(court, f"{on.year}. {on.month}. {on.day}.{how}" if on else "", number, name),
        kind="decision",
        language="ko",
        address=address(one.get("출처", "")),
        licence=LICENCE,
        ministry=court,
        number=number,
        level=one.get("법원등급", ""),
        in_force_from=on,
    )


def _title(court: str, when: str, number: str, name: str) -> str:
    """As decisions are cited: 대법원 2003. 11. 14. 선고 2000므1257 (손해배상)."""
    return " ".join(filter(None, (court, when, number, f"({name})" if name else "")))


def _cites(text: str) -> tuple[str, ...]:
    named = (mention.reference for mention in articles.find(text))
    cited = (
        f"{place.law} {articles.Reference(article=place.article).place}" for place in named if place.whole
    )
    return tuple(dict.fromkeys(cited))[:MOST_CITED]
