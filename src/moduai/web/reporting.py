"""Reporting an answer: anybody who was shown one may say that it is wrong, harmful or against a right.

What staff are shown is what the server recorded or had signed; a page whose turns are kept nowhere sends
the answer along. ``accounts.reports`` bounds how many there can be; what one network of guests may file is
bounded here.
"""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from moduai.accounts.reports import MOST_REMARK, ReportError, ReportText, file_report
from moduai.store.keyring import KeyringError
from moduai.web import kept, posted, words
from moduai.web.conversation import QUESTION_CHARS, Said, Turn
from moduai.web.entering import entrance_of, network
from moduai.web.forms import FormError
from moduai.web.site import Site, page, site_of

_UNKNOWN = "unknown"


class Reported(Struct, frozen=True):
    """What the page's script posts."""

    token: Annotated[str, Meta(max_length=100)]
    reason: Annotated[str, Meta(max_length=20)]
    remark: Annotated[str, Meta(max_length=MOST_REMARK)] = ""
    turn: Annotated[str, Meta(max_length=64)] = ""
    conversation: Annotated[str, Meta(max_length=100)] = ""
    """Where it is kept; empty: nowhere, and the next three say what is reported."""
    question: str = ""
    answer: str = ""
    model: Annotated[str, Meta(max_length=200)] = ""


async def by_form(request: Request) -> Response:
    """Without a reason: the page that asks for one. With a reason: file the report."""
    site = site_of(request)
    try:
        fields = await posted.fields_of(request)
        posted.check_origin(request, site, fields.get("token", ""))
        before = await posted.earlier(site, site.who(request), _whole(fields))
        at = posted.position(before.turns, fields.get("report", ""))
        if at is None:
            raise FormError("nothing_to_report", 404)
        if "reason" not in fields:
            return _page(request, site, fields, before.turns[at])
        await _file(site, request, before.turns[at], fields["reason"], fields.get("remark", ""))
    except FormError as refusal:
        return _page(request, site, {}, None, refusal=refusal)
    return _page(request, site, fields, None, done=True)


async def by_script(request: Request) -> Response:
    """File a report; answers with what to tell the person."""
    site = site_of(request)
    try:
        told = await posted.json_of(request, Reported)
        posted.check_origin(request, site, told.token)
        turn: Said = Turn(told.question[:QUESTION_CHARS], told.answer[:200_000], told.model, told.turn)
        if told.conversation:
            turns = (await kept.read(site, site.who(request), told.conversation)).turns
            if (at := posted.position(turns, told.turn)) is None:
                raise FormError("nothing_to_report", 404)
            turn = turns[at]
        await _file(site, request, turn, told.reason, told.remark)
    except FormError as refusal:
        text = words.error(site.language(request).words, refusal.code)
        return JSONResponse({"message": text}, refusal.status)
    return JSONResponse({"message": ""})


async def post(request: Request) -> Response:
    """A report, from a form or from the page's script."""
    if request.headers.get("content-type", "").startswith("application/json"):
        return await by_script(request)
    return await by_form(request)


def _whole(fields: dict[str, str]) -> dict[str, str]:
    """The whole conversation is looked at, wherever the next question would go."""
    return {key: value for key, value in fields.items() if key != "parent"}


async def _file(site: Site, request: Request, turn: Said, reason: str, remark: str) -> None:
    """Raises FormError; too many from one network of guests fail closed."""
    session, services = site.who(request).session, site.services
    if session is None and entrance_of(request).reports.begin("", network(request), time.monotonic()) > 0:
        raise FormError("not_reported", 503)
    text = ReportText(question=turn.question, answer=turn.answer, remark=remark.replace("\r\n", "\n"))
    try:
        async with services.database.begin() as connection:
            await file_report(
                connection,
                services.subjects,
                person=session.person if session else "",
                turn=turn.id or _UNKNOWN,
                model=turn.model or _UNKNOWN,
                reason=reason,
                text=text,
            )
    except (ReportError, KeyringError):
        raise FormError("not_reported", 503) from None


def _page(
    request: Request,
    site: Site,
    fields: dict[str, str],
    turn: Said | None,
    *,
    done: bool = False,
    refusal: FormError | None = None,
) -> Response:
    html = site.html(
        request,
        "report.html",
        here="/",
        fields={name: fields.get(name, "") for name in ("conversation", "place", "report")},
        turn=turn,
        done=done,
        error=words.error(site.language(request).words, refusal.code) if refusal else "",
    )
    return page(request, html, refusal.status if refusal else 200, personal=True)
