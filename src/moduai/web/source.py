"""The page of a citation: the stored words, marked where they stand, with what is known of their document.

Rule: it shows a version as it is stored and nothing else; one that never was there is a 404, one that was
removed a 410 (fails closed). It needs no script, and nothing on it comes from elsewhere but the link out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from moduai.knowledge.types import Passage
from moduai.web.site import page, site_of

AROUND = 6_000
"""Characters that are shown before and behind the cited words, to the next line's end."""

MOST_VERSION = 2**31 - 1
_ID = re.compile(r"[a-z0-9_]{1,64}")
"""What a database can be asked for."""


class Cut(NamedTuple):
    """A text around the cited words."""

    before: str
    cited: str
    after: str
    starts: bool
    """Whether the text begins here."""
    ends: bool


async def show(request: Request) -> Response:
    """One version of a document, around a place."""
    site = site_of(request)
    desk = site.services.desk
    document, version = request.path_params["document"], request.path_params["version"]
    if desk is None or version > MOST_VERSION or not _ID.fullmatch(document):
        raise HTTPException(404)
    newest = await desk.shelf.newest(document)
    found = await desk.shelf.text(document, version)
    if found is None:
        raise HTTPException(404 if newest is None or version > newest > 0 else 410)
    stored, text, passages = found
    start, end = _range(request, len(text))
    address = stored.facts.address
    html = site.html(
        request,
        "source.html",
        stored=stored,
        newer=newest if newest and newest > version else 0,
        facts=stored.facts,
        cut=_cut(text, start, end),
        labels=_labels(passages, start, end),
        link=address if address.startswith(("https://", "http://")) else "",
    )
    return page(request, html)


def _range(request: Request, size: int) -> tuple[int, int]:
    """The cited range; an empty one at the beginning where the address names none that is there."""
    start, end = (request.query_params.get(name, "") for name in ("from", "to"))
    if not (start.isdecimal() and end.isdecimal() and len(start) < 12 and len(end) < 12):
        return 0, 0
    return (int(start), int(end)) if int(start) < int(end) <= size else (0, 0)


def _cut(text: str, start: int, end: int) -> Cut:
    first = text.rfind("\n", 0, max(0, start - AROUND)) + 1 if start > AROUND else 0
    last = text.find("\n", end + AROUND)
    last = len(text) if last < 0 else last
    first, last = max(first, start - 2 * AROUND), min(last, end + 2 * AROUND)
    return Cut(text[first:start], text[start:end], text[end:last], first == 0, last == len(text))


def _labels(passages: tuple[Passage, ...], start: int, end: int) -> list[str]:
    """Headings above the cited words, and their place."""
    at = next((each for each in passages if each.start <= start and end <= each.end), None)
    return [] if at is None or start == end else list(dict.fromkeys(filter(None, (*at.path, at.label))))
