"""law.go.kr: statutes, administrative rules, ordinances and decisions, by the open API of the National Law
Information Center (open.law.go.kr).

``law`` is each statute as it was promulgated last; ``eflaw`` each by the day it takes force, and with the
filter ``nw`` also those that were (1) or will be (2) in force beside those that are (3): every day on which
a statute's text changes is a document of its own, with its first and last day. A row of the list names what
was promulgated and when it takes force; while that is the same the text is not fetched again. Decisions
carry no such sign: one that was corrected is read anew with ``modu knowledge update --again`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from functools import partial
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote

from moduai.knowledge.connectors.client import Client, Listed, Row, UnexpectedError, walk
from moduai.knowledge.item import Item
from moduai.knowledge.readers import front, official
from moduai.knowledge.types import ReadError

SITE = "law.go.kr"
API = "https://www.law.go.kr/DRF"
"""Of requests; the site answers only to addresses of machines that were registered with the key."""
PAGES = "https://www.law.go.kr"
"""Of links for people."""
DISPLAY = 100
"""Rows of a page: as many as the API gives."""


class _Kind(NamedTuple):
    """How one kind of document is listed and fetched."""

    row: str
    """The element of one row."""
    serial: str
    id: str
    title: str
    by: str
    """What a text is asked for with, beside the serial number's value."""
    root: str
    dates: tuple[str, ...]
    """What changes where the text changes."""
    page: str


_STATUTE = _Kind(
    "law", "법령일련번호", "법령ID", "법령명한글", "MST", official.STATUTE,
    ("공포일자", "공포번호", "시행일자"), "/법령/{title}",
)  # fmt: skip
_KINDS = {
    "law": _STATUTE,
    "eflaw": _STATUTE._replace(page="/LSW/lsInfoP.do?lsiSeq={serial}&efYd={efYd}"),
    "admrul": _Kind(
        "admrul", "행정규칙일련번호", "행정규칙ID", "행정규칙명", "ID", official.RULE,
        ("발령일자", "발령번호", "시행일자"), "/LSW/admRulInfoP.do?admRulSeq={serial}",
    ),
    "ordin": _Kind(
        "law", "자치법규일련번호", "자치법규ID", "자치법규명", "MST", official.ORDINANCE,
        ("공포일자", "공포번호", "시행일자"), "/LSW/ordinInfoP.do?ordinSeq={serial}",
    ),
    "prec": _Kind(
        "prec", "판례일련번호", "판례일련번호", "사건명", "ID", official.DECISION,
        ("사건번호", "선고일자"), "/LSW/precInfoP.do?precSeq={serial}",
    ),
}  # fmt: skip
FILTERS = {
    "law": frozenset({"query", "search", "org", "knd", "ancYd", "efYd", "gana"}),
    "eflaw": frozenset({"query", "search", "nw", "LID", "org", "knd", "ancYd", "efYd", "gana"}),
    "admrul": frozenset({"query", "search", "nw", "org", "knd", "prmlYd", "gana"}),
    "ordin": frozenset({"query", "search", "nw", "org", "sborg", "knd", "ancYd", "efYd", "gana"}),
    "prec": frozenset({"query", "search", "org", "curt", "JO", "prncYd", "datSrcNm", "gana"}),
}
"""Of each kind, by the API's own names."""
_DEFAULTS = {"eflaw": {"nw": "3"}}
_ENDS = re.compile(rb"</([^<>\s]{1,60})>\s*\Z")


async def listed(client: Client, what: str, filters: Mapping[str, str]) -> list[Item]:
    """The documents of a kind. Raises SourceError."""
    kind = _KINDS[what]
    asked = {"target": what, "type": "XML", "display": str(DISPLAY), **_DEFAULTS.get(what, {}), **filters}
    day = "시행일자" if what == "eflaw" else ""

    async def page(number: int) -> Listed:
        return await client.ask(
            f"{API}/lawSearch.do", {**asked, "page": str(number)}, partial(rows, element=kind.row)
        )

    found = await walk(page, lambda row: (row.get(kind.serial), row.get(day)))
    fit = [row for row in found.values() if row.get(kind.serial, "").isdigit()]
    chosen = _editions(fit) if day else ((row, None) for row in _newest(kind, fit))
    return [_item(client, what, row, until) for row, until in chosen]


def rows(data: bytes, element: str) -> Listed:
    """A page of a list. Raises UnexpectedError."""
    try:
        leaves = official.leaves(data)
    except ReadError as error:
        raise UnexpectedError(str(error)) from None
    total, found, row = "", list[Row](), Row()
    for name, words in leaves:
        if name == "totalCnt":
            total = words
        elif name == element:
            found.append(row)
            row = {}
        else:
            row[name] = words
    if not total.isdigit():
        raise UnexpectedError("a list came that does not say how long it is")
    return Listed(int(total), found)


def _newest(kind: _Kind, found: Iterable[Row]) -> Iterator[Row]:
    """Of each document the row that was promulgated last."""
    for _, same in groupby(sorted(found, key=_order(kind)), key=lambda row: row.get(kind.id)):
        yield list(same)[-1]


def _order(kind: _Kind) -> Callable[[Row], tuple[str, ...]]:
    return lambda row: (
        row.get(kind.id, ""),
        *(row.get(name, "") for name in kind.dates),
        row[kind.serial].zfill(20),
    )


def _editions(found: Iterable[Row]) -> Iterator[tuple[Row, date | None]]:
    """Of each statute and each day on which it takes force the row that was promulgated last, with the last
    day of it: the one before the next. None: none follows in the list.
    """
    for _, same in groupby(sorted(found, key=_order(_STATUTE)), key=lambda row: row.get(_STATUTE.id)):
        by_day = {row.get("시행일자", ""): row for row in same}
        days = sorted(by_day)
        for day, after in zip(days, [*days[1:], ""], strict=True):
            begins = front.day(after) if after else None
            yield by_day[day], begins - timedelta(days=1) if begins else None


def _item(client: Client, what: str, row: Row, until: date | None) -> Item:
    kind = _KINDS[what]
    serial, title, day = row[kind.serial], row.get(kind.title, ""), row.get("시행일자", "")
    asked = {"target": what, "type": "XML", kind.by: serial}
    key = row.get(kind.id) or serial
    if what == "eflaw":
        asked["efYd"] = day
        key = f"{key}@{day}"
    address = kind.page.format(serial=serial, title=title.replace(" ", ""), efYd=day)

    async def fetch() -> bytes:
        return await client.ask(f"{API}/lawService.do", asked, partial(whole, root=kind.root))

    return Item(
        key=key,
        name=f"{title or serial}.xml",
        address=PAGES + quote(address, safe="/?=&"),
        fetch=fetch,
        mark="/".join((serial, *(row.get(name, "") for name in kind.dates), str(until or ""))),
        until=until,
    )


def whole(data: bytes, root: str) -> bytes:
    """The same, if it begins and ends as a document of this kind. Raises UnexpectedError."""
    end = _ENDS.search(data[-200:])
    if not official.looks_like_it(data[:1_000].decode("utf-8", "replace")):
        raise UnexpectedError("it is no document")
    if not end or end[1].decode("utf-8", "replace") != root:
        raise UnexpectedError("the document is cut off")
    return data
