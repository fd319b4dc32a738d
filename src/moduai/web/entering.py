"""How a visitor becomes a resident: what signing in by password, at a provider and joining share.

Rule: a sign-in always begins a session with a new token and ends the one that the browser had, so a token
that somebody else put there is worth nothing.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moduai.accounts import audit
from moduai.accounts.invitations import Invitation, use_invitation
from moduai.accounts.networks import network_of
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import Person, create_person
from moduai.accounts.roles import STAFF
from moduai.accounts.sessions import device_of, end_session, start_session
from moduai.accounts.sign_in import (
    Attempts,
    BusyError,
    Credential,
    check_password,
    make_credential,
    same_login,
)
from moduai.store.database import Connection
from moduai.store.keyring import KeyringError
from moduai.web import visitor
from moduai.web.forms import FormError
from moduai.web.guests import decode, encode, sign
from moduai.web.language import keep_language
from moduai.web.site import Site, site_of

if TYPE_CHECKING:
    from moduai.accounts.oidc import Providers


DEVICE = "modu_device"
DEVICE_DAYS = 365
GUESTS_REPORTS = {"network": (20, 900)}
"""After so many within an hour each further one waits longer, at most so many seconds: all guests together
may file few (``accounts.reports``), and one network is not to have them all.
"""


@dataclass
class Entrance:
    """What the pages remember of sign-ins and of reports, in this worker; held by the application's state."""

    attempts: Attempts = field(default_factory=Attempts)
    reports: Attempts = field(default_factory=lambda: Attempts(GUESTS_REPORTS))
    """Answers that guests reported, by their networks."""
    providers: Providers | None = None

    def count(self, login: str, network: str, device: str = "") -> None:
        """Count an attempt; it counts as failed until ``attempts.succeeded``. Raises FormError."""
        wait = self.attempts.begin(login, network, time.monotonic(), device)
        if wait > 0:
            raise FormError("too_often", 429, wait)


def entrance_of(request: Request) -> Entrance:
    """The entrance of the application that serves this request."""
    entrance: Entrance = request.app.state.entrance
    return entrance


def device_of_login(request: Request, login: str) -> str:
    """Names the browser if this login signed in with it before; else empty (fails closed)."""
    shown = request.cookies.get(DEVICE, "")[:200]
    raw = decode(shown) or b""
    return shown if len(raw) == 48 and hmac.compare_digest(raw, _device(request, raw[:16], login)) else ""


def keep_device(request: Request, response: Response, login: str) -> Response:
    """Let the browser show later that this login has signed in with it. It says nothing else."""
    device, secure = _device(request, secrets.token_bytes(16), login), request.url.scheme == "https"
    response.set_cookie(
        DEVICE, encode(device), max_age=DEVICE_DAYS * 86_400, path="/signin", httponly=True,
        samesite="lax", secure=secure,
    )  # fmt: skip
    return response


def _device(request: Request, number: bytes, login: str) -> bytes:
    """A browser's number, with what proves that this login signed in with it."""
    name = same_login(login).encode("utf-8", "replace")
    return number + sign(site_of(request).secret, "device", number, name)


def network(request: Request) -> str:
    """The network prefix that a request comes from: /24 or /56, as for guests."""
    return network_of(request.client.host if request.client else "")


@asynccontextmanager
async def records(site: Site) -> AsyncIterator[Connection]:
    """A write transaction, whose failures are told to people. Raises FormError."""
    with _told(site):
        async with site.services.database.begin() as connection:
            yield connection


@asynccontextmanager
async def reading(site: Site) -> AsyncIterator[Connection]:
    """A connection to read with, whose failures are told to people. Raises FormError."""
    with _told(site):
        async with site.services.database.connect() as connection:
            yield connection


@contextmanager
def _told(site: Site) -> Iterator[None]:
    try:
        yield
    except site.services.database.errors:
        raise FormError("database_away", 503) from None
    except KeyringError:
        raise FormError("key_lost", 503) from None


async def check(site: Site, login: str, password: str) -> str | None:
    """Id of the person with this login and password, or None. Raises FormError."""
    with _told(site):
        try:
            return await check_password(site.services.database, site.services.keyring, login, password)
        except BusyError:
            raise FormError("too_often", 429, 2) from None


async def credential(site: Site, login: str, password: str) -> Credential:
    """What is to be kept of a login and a new password. Raises FormError."""
    try:
        return await make_credential(site.services.keyring, login, password)
    except BusyError:
        raise FormError("too_often", 429, 2) from None
    except AccountError:
        raise FormError("weak_password", 400) from None


async def make_person(
    connection: Connection, site: Site, invitation: Invitation | None, token: str, **profile: Any
) -> Person:
    """A new person, who uses up the invitation if there is one. Raises FormError, AccountError."""
    if invitation is None and site.services.loaded.settings.people.sign_up != "open":
        raise FormError("no_account", 403)
    place: dict[str, Any] = (
        {"role": invitation.role, "organisation": invitation.organisation} if invitation else {}
    )
    person = await create_person(
        connection,
        site.services.subjects,
        history=site.services.loaded.settings.history.default,
        **profile,
        **place,
    )
    if invitation is not None:
        try:
            await use_invitation(connection, token, person.id, time.time())
        except AccountError:
            raise FormError("no_invitation", 403) from None
        detail: dict[str, audit.Value] = {"invitation": invitation.id, "role": person.role}
        await audit.record(connection, actor=person.id, action="person.join", target=person.id, detail=detail)
    return person


async def welcome(request: Request, person: Person, target: str) -> Response:
    """Sign the person in and go on. Raises FormError."""
    site, now = site_of(request), time.time()
    days = site.services.loaded.settings.people.session_days
    device = device_of(request.headers.get("user-agent", ""))
    async with records(site) as connection:
        await _end_present(request, connection)
        try:
            token, session = await start_session(connection, person, device, now, days=days)
        except AccountError:
            raise FormError("blocked", 403) from None
        if person.role in STAFF:
            await audit.record(connection, actor=person.id, action="session.start", target=session.id)
    response = go(target)
    visitor.keep(request, response, token, site)
    if person.language in site.languages:
        keep_language(request, response, person.language)
    return response


def public_url(request: Request) -> str:
    """The address at which people reach this service: by the settings, or else as this request asks."""
    settings = site_of(request).services.loaded.settings.sign_in
    return settings.public_url or str(request.base_url).rstrip("/")


async def leave(request: Request) -> None:
    """End the session that the browser has, if it has one. Raises FormError."""
    async with records(site_of(request)) as connection:
        await _end_present(request, connection)


async def _end_present(request: Request, connection: Connection) -> None:
    session = site_of(request).who(request).session
    if session is not None:
        await end_session(connection, session.id)
        site_of(request).services.sessions.drop(session.person)


def go(path: str) -> Response:
    """Go on to another page."""
    return RedirectResponse(path, 303, {"cache-control": "no-store"})
