"""Signing in at a provider of OpenID Connect: the browser goes there and comes back.

What the browser carries meanwhile is sealed, belongs to one provider's address, and lasts ten minutes.
What a provider says is checked in ``accounts.oidc``; both are imported at the first such sign-in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from moduai.accounts.invitations import find_invitation
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import Person, get_person
from moduai.accounts.sign_in import link_identity, person_of_identity
from moduai.store.keyring import KeyringError
from moduai.web.entering import entrance_of, make_person, network, public_url, records, welcome
from moduai.web.forms import FormError, own_path
from moduai.web.guests import decode, encode
from moduai.web.sign_in import sign_in_page
from moduai.web.site import Site, site_of

if TYPE_CHECKING:
    from moduai.accounts.oidc import Attempt, Identity, Providers

COOKIE = "modu_signing_in"
_PURPOSE = "sign-in attempt"
_STATUS = {"sign_in_stale": 403, "sign_in_denied": 403}

log = logging.getLogger(__name__)


async def begin(request: Request) -> Response:
    """Send the browser to a provider."""
    site, key = site_of(request), _provider(request)
    target = own_path(request.query_params.get("next", ""))
    try:
        async with _asking():
            url, attempt = await _providers(request).begin(
                key,
                _redirect(request, key),
                target=target,
                invitation=request.query_params.get("join", "")[:200],
            )
    except FormError as error:
        return sign_in_page(request, target, error)
    response = RedirectResponse(url, 303, {"cache-control": "no-store"})
    response.set_cookie(
        COOKIE,
        encode(site.services.keyring.seal(_PURPOSE, msgspec.json.encode(attempt))),
        max_age=attempt.expires_at - int(time.time()),
        path=f"/signin/{key}",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
    return response


async def finish(request: Request) -> Response:
    """The browser comes back from a provider."""
    key, attempt = _provider(request), _attempt(request)
    target = attempt.target if attempt else "/"
    entrance, net = entrance_of(request), network(request)
    state = attempt.state if attempt else ""
    try:
        entrance.count(state, net)  # each one may cost the provider a request
        async with _asking():
            identity = await _providers(request).finish(key, attempt, request.query_params)
        person, new = await _person_of(site_of(request), identity, attempt.invitation if attempt else "")
        entrance.attempts.succeeded(state, net)
        response = await welcome(request, person, "/me?done=welcome" if new else target)
    except FormError as error:
        response = sign_in_page(request, target, error)
    response.delete_cookie(COOKIE, path=f"/signin/{key}")
    return response


async def _person_of(site: Site, identity: Identity, token: str) -> tuple[Person, bool]:
    """The person whom a provider vouches for, and whether it is a new one. Raises FormError; fails closed.

    Region and group are taken from the provider when the account is made; later the person decides.
    """
    services = site.services
    async with records(site) as connection:
        given = (connection, services.keyring, identity.issuer, identity.subject)
        if found := await person_of_identity(*given):
            return await get_person(connection, services.subjects, found), False
        invitation = await find_invitation(connection, token, time.time()) if token else None
        if token and invitation is None:
            raise FormError("no_invitation", 403)
        coarse = {"region": identity.region, "group": identity.group}
        profile = {"name": identity.name, "address": identity.address}
        try:
            person = await make_person(connection, site, invitation, token, **coarse, **profile)
        except AccountError:  # a name or address that we do not take is no reason to refuse its owner
            person = await make_person(connection, site, invitation, token, **coarse)
        try:
            await link_identity(connection, services.keyring, person.id, identity.issuer, identity.subject)
        except AccountError:
            raise FormError("blocked", 403) from None  # known, and not active
        return person, True


@asynccontextmanager
async def _asking() -> AsyncIterator[None]:
    """Failures of a provider become those of the page; why stands in the log."""
    from moduai.accounts.oidc import ProviderError  # noqa: PLC0415  (see above)

    try:
        yield
    except ProviderError as error:
        log.warning("a sign-in at a provider failed", extra={"code": error.code, "why": str(error)})
        raise FormError(error.code, _STATUS.get(error.code, 502)) from None


def _providers(request: Request) -> Providers:
    from moduai import outbound  # noqa: PLC0415
    from moduai.accounts.oidc import Providers  # noqa: PLC0415

    entrance, settings = entrance_of(request), site_of(request).services.loaded.settings
    if entrance.providers is None:
        private = outbound.networks(settings.outbound.private)
        entrance.providers = Providers(settings.sign_in.providers, private)
    return entrance.providers


def _provider(request: Request) -> str:
    key: str = request.path_params["provider"]
    if key not in site_of(request).services.loaded.settings.sign_in.providers:
        raise HTTPException(404)
    return key


def _redirect(request: Request, key: str) -> str:
    """Where a provider sends the browser back to: an address of its own for each provider."""
    return f"{public_url(request)}/signin/{key}/callback"


def _attempt(request: Request) -> Attempt | None:
    """What the browser carries; None if it is missing, forged or damaged."""
    from moduai.accounts.oidc import Attempt  # noqa: PLC0415

    sealed = decode(request.cookies.get(COOKIE, "")[:8192])
    try:
        clear = site_of(request).services.keyring.unseal(_PURPOSE, sealed or b"")
        return msgspec.json.decode(clear, type=Attempt)
    except (KeyringError, msgspec.DecodeError):
        return None
