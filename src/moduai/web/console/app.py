"""The console's application: guests are sent to sign in, residents find nothing here."""

from __future__ import annotations

import logging
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from moduai.accounts.roles import may
from moduai.gateway.errors import ApiError
from moduai.store.keyring import KeyringError
from moduai.web.console import deeds, pages
from moduai.web.console.visit import Visit
from moduai.web.site import site_of

DO = "/console/do/"

log = logging.getLogger(__name__)


async def console(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application of all pages below /console."""
    request = Request(scope, receive)
    response = await _answer(request)
    await response(scope, receive, send)


async def _answer(request: Request) -> Response:
    """Fails closed: whoever may not see the console learns nothing of what is there."""
    site, path = site_of(request), request.scope["path"]
    session = site.who(request).session
    if session is None:
        return RedirectResponse(f"/signin?{urlencode({'next': path})}", 303)
    if not may(session.role, "console"):
        raise HTTPException(404)
    visit = Visit(request, site, session, query=dict(request.query_params))
    try:
        return await (_deed(visit, path) if path.startswith(DO) else _view(visit, path))
    except ApiError as error:
        return _refused(visit, error)
    except KeyringError as error:
        return _refused(visit, ApiError("keyring_lost", str(error)))
    except site.services.database.errors:
        log.warning("a page of the console failed: the database does not answer", exc_info=True)
        return _refused(visit, ApiError("database_unavailable"))


async def _deed(visit: Visit, path: str) -> Response:
    if visit.request.method != "POST":  # such as the other language of what a form answered
        return RedirectResponse("/console", 303)
    return await deeds.do(visit, path.removeprefix(DO))


async def _view(visit: Visit, path: str) -> Response:
    if visit.request.method not in {"GET", "HEAD"}:
        raise HTTPException(405, headers={"allow": "GET, HEAD"})
    found = pages.find(path)
    if found is None:
        raise HTTPException(404)
    view, named = found
    return await pages.show(
        view, Visit(visit.request, visit.site, visit.session, named=named, query=visit.query)
    )


def _refused(visit: Visit, error: ApiError) -> Response:
    told = Visit(visit.request, visit.site, visit.session, problem=error)
    return told.page("refused", error.status, code="")
