"""A resident's conversations as a page: found, named anew, deleted.

With JavaScript a deletion can be taken back for some seconds, because it is sent only then; without, a
page asks first. A conversation that is gone already counts as deleted.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moduai.accounts.organisations import AccountError
from moduai.history import conversations
from moduai.store.keyring import KeyringError
from moduai.web import forms, words
from moduai.web.forms import FormError
from moduai.web.site import Site, page, site_of

ALL = "all"
"""Instead of an id: every conversation."""
PAGE = 50
"""Conversations on a page."""
MOST_SOUGHT = 200


async def show(request: Request) -> Response:
    """The list; ``?q=`` seeks in titles and turns, ``?before=`` goes on."""
    site = site_of(request)
    session = site.who(request).session
    if session is None:
        return _to_sign_in()
    sought = request.query_params.get("q", "").strip()[:MOST_SOUGHT]
    at, _, last = request.query_params.get("before", "").partition("-")
    async with site.services.database.connect() as connection:
        found = await conversations.list_conversations(
            connection,
            site.services.subjects,
            session.person,
            text=sought,
            limit=PAGE + 1,
            before=(int(at), last) if at.isascii() and at.isdecimal() and len(at) < 12 else None,
        )
    rows = [
        {"id": each.id, "title": each.title, "lost": each.lost, "day": _day(each.updated_at, site.zone)}
        for each in found[:PAGE]
    ]
    more = f"{found[PAGE - 1].updated_at}-{found[PAGE - 1].id}" if len(found) > PAGE else ""
    return _page(request, site, rows=rows, sought=sought, more=more, history=session.history)


async def rename(request: Request) -> Response:
    """Give a conversation another name."""
    site = site_of(request)
    session = site.who(request).session
    try:
        fields = await forms.read(request)
    except FormError as refusal:
        return _refused(request, site, refusal)
    if session is None:
        return _to_sign_in()
    id, title = fields.get("id", ""), fields.get("title", "")  # noqa: A001
    try:
        async with site.services.database.begin() as connection:
            await conversations.rename(connection, site.services.subjects, session.person, id, title)
    except (AccountError, KeyringError):
        return _refused(request, site, FormError("name_not_taken", 400))
    site.fresh.drop(id)
    back = f"/c/{id}" if fields.get("back") == "conversation" and id.isascii() else "/history"
    return RedirectResponse(back, 303)


async def delete(request: Request) -> Response:
    """Delete one conversation or all; asks first unless the page has already done so."""
    site = site_of(request)
    session = site.who(request).session
    try:
        fields = await forms.read(request)
    except FormError as refusal:
        return _refused(request, site, refusal)
    if session is None:
        return _to_sign_in()
    id = fields.get("id", "")  # noqa: A001
    if "sure" not in fields:
        return _sure(request, site, id)
    async with site.services.database.begin() as connection:
        if id == ALL:
            await conversations.delete_all(connection, session.person, time.time())
        else:
            await conversations.delete_conversation(connection, session.person, id, time.time())
    site.fresh.drop(id)
    return RedirectResponse("/history", 303)


def _sure(request: Request, site: Site, id: str) -> Response:  # noqa: A002
    html = site.html(request, "sure.html", here="/history", id=id, all=id == ALL)
    return page(request, html, personal=True)


def _page(request: Request, site: Site, status: int = 200, **values: Any) -> Response:
    empty = {"rows": (), "sought": "", "more": "", "history": True, "error": ""}
    html = site.html(request, "history.html", here="/history", **{**empty, **values})
    return page(request, html, status, personal=True)


def _refused(request: Request, site: Site, refusal: FormError) -> Response:
    told = words.error(site.language(request).words, refusal.code)
    return _page(request, site, refusal.status, error=told)


def _to_sign_in() -> Response:
    return RedirectResponse("/signin?next=/history", 303)


def _day(at: int, zone: timezone) -> str:
    return str(datetime.fromtimestamp(at, zone).date())
