"""Who makes a request: a guest, or somebody who signed in.

Words: a *visitor* is whoever sends a request to a page; a *session* is one browser that is signed in.
Rule: who that is was found before any page runs, once, and a page only asks ``who(request)``. What is
unknown, ended or cannot be looked up counts as not signed in (fails closed). A form is taken only with
the form token that a page of this visitor holds, and only from our own pages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from moduai.accounts.principal import Principal
from moduai.accounts.sessions import ROTATE_S, Session, Unknown, cookie_name, rotate
from moduai.web.guests import Guest, form_token_fits, posted_here

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from moduai.web.site import Site

_SLOT = "modu.visitor"

log = logging.getLogger(__name__)


class Visitor:
    """Who makes a request."""

    def __init__(self, session: Session | None, make_guest: Callable[[], Guest]) -> None:
        self.session = session
        self._make_guest = make_guest

    @cached_property
    def guest(self) -> Guest:
        """The guest of this browser; for a resident too, before and after a session."""
        return self._make_guest()

    @cached_property
    def form_token(self) -> str:
        """What forms of this visitor carry."""
        return self.session.form_token if self.session else self.guest.form_token

    @property
    def principal(self) -> Principal:
        """The author of what this visitor asks."""
        return self.session.principal if self.session else self.guest.principal

    @property
    def signed_in(self) -> bool:
        """Whether there is a session."""
        return self.session is not None

    def may_post(self, request: Request, token: str) -> bool:
        """Whether one of our own pages, made for this visitor, posts. Fails closed."""
        if not posted_here(request):
            return False
        if self.session is None:
            return form_token_fits(self.guest, token)
        return self.session.takes(token)


def who(request: Request) -> Visitor:
    """Who makes this request."""
    visitor: Visitor = request.scope[_SLOT]
    return visitor


class Visitors:
    """ASGI middleware that finds out who makes a request, and gives a session its next token in time."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve with the visitor known."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        token = request.cookies.get(cookie(request), "")
        session = await self._session(token) if token else None
        scope[_SLOT] = Visitor(session, partial(self._site.guest, request))
        if session and request.method not in ("GET", "HEAD"):
            await self._change(session.person, scope, receive, send)
            return
        fresh = await self._rotated(request, session) if session else ""
        if not fresh:
            await self.app(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                carrier = Response()
                keep(request, carrier, fresh, self._site)
                given = [each for each in message["headers"] if each[0] == b"set-cookie"]
                mine = cookie(request).encode()
                if not any(value.startswith(mine + b"=") for _, value in given):  # a page had the last word
                    cookies = [each for each in carrier.raw_headers if each[0] == b"set-cookie"]
                    message = {**message, "headers": [*message["headers"], *cookies]}
            await send(message)

        await self.app(scope, receive, send_with_cookie)

    async def _change(self, person: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what may change something: a page that was made before or meanwhile is not served again."""
        remembered = self._site.remembered
        remembered.posted(person, time.monotonic())
        try:
            await self.app(scope, receive, send)
        finally:
            remembered.posted(person, time.monotonic())

    async def _session(self, token: str) -> Session | None:
        """The session of a token; None where it is unknown or the database is away (fails closed)."""
        services, now = self._site.services, time.time()
        raw = token[:200].encode()
        found = services.sessions.find(raw, now)
        if not isinstance(found, Unknown):
            return found
        try:
            return await services.sessions.load(services.database, raw, now)
        except services.database.errors as error:
            log.warning("a session cannot be read", extra={"why": type(error).__name__})
            return None

    async def _rotated(self, request: Request, session: Session) -> str:
        """The session's next token if it is time; only where a page is opened, whose answer surely
        reaches the browser. While the database is away the old token stays good (fails open).
        """
        services, now = self._site.services, time.time()
        is_current = session.until == session.expires_at
        if request.method != "GET" or now < session.rotated_at + ROTATE_S or not is_current:
            return ""
        try:
            async with services.database.begin() as connection:
                return await rotate(connection, session, now) or ""
        except services.database.errors as error:
            log.warning("a session cannot be renewed", extra={"why": type(error).__name__})
            return ""


def cookie(request: Request) -> str:
    """Name of the session's cookie."""
    return cookie_name(secure=request.scope["scheme"] == "https")


def keep(request: Request, response: Response, token: str, site: Site) -> None:
    """Let the browser keep a session's token."""
    days = site.services.loaded.settings.people.session_days
    response.set_cookie(
        cookie(request),
        token,
        max_age=days * 86_400,
        path="/",
        httponly=True,
        samesite="lax",  # strict would show people as signed out who follow a link to us
        secure=request.url.scheme == "https",
    )


def forget(request: Request, response: Response) -> None:
    """Let the browser forget the session's token."""
    secure = request.url.scheme == "https"
    response.delete_cookie(cookie(request), path="/", httponly=True, samesite="lax", secure=secure)
