"""Making an account: with an invitation, or without one where the settings let anybody."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response

from moduai.accounts import sign_in
from moduai.accounts.invitations import Invitation, find_invitation
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import Person, clean_name
from moduai.web import account_words
from moduai.web.entering import (
    credential,
    entrance_of,
    keep_device,
    make_person,
    network,
    reading,
    records,
    welcome,
)
from moduai.web.forms import FormError, read
from moduai.web.site import page, site_of

WELCOME = "/me?done=welcome"


async def show(request: Request) -> Response:
    """The page to make an account. Opening it uses nothing up."""
    try:
        invitation = await invitation_of(request, request.path_params.get("token", ""))
    except FormError as error:
        return _page(request, None, error)
    return _page(request, invitation)


async def join(request: Request) -> Response:
    """Make an account with a login name and a password."""
    invitation, fields = None, dict[str, str]()
    try:
        fields = await read(request)
        invitation = await invitation_of(request, request.path_params.get("token", ""))
        person = await _made(request, fields, invitation)
        return keep_device(request, await welcome(request, person, WELCOME), fields.get("login", ""))
    except FormError as error:
        return _page(request, invitation, error, fields)


async def invitation_of(request: Request, token: str) -> Invitation | None:
    """The invitation of a token; None where none is needed. Raises FormError; fails closed."""
    site = site_of(request)
    if not token:
        if site.services.loaded.settings.people.sign_up == "open":
            return None
        raise FormError("no_invitation", 404)
    async with reading(site) as connection:
        found = await find_invitation(connection, token[:200], time.time())
    if found is None:
        raise FormError("no_invitation", 404)
    return found


async def _made(request: Request, fields: dict[str, str], invitation: Invitation | None) -> Person:
    """The new person. Raises FormError, and then nothing was made."""
    site, entrance, net = site_of(request), entrance_of(request), network(request)
    if not site.services.loaded.settings.sign_in.local:
        raise FormError("failed", 403)
    login, password = fields.get("login", ""), fields.get("password", "")
    try:
        login = sign_in.clean_login(login)
    except AccountError:
        raise FormError("bad_login", 400) from None
    try:
        name = clean_name(fields.get("name", ""))
    except AccountError:
        raise FormError("bad_name", 400) from None
    entrance.count(login, net)
    kept = await credential(site, login, password)
    async with records(site) as connection:
        language = site.language(request).code
        person = await make_person(
            connection, site, invitation, request.path_params.get("token", ""), name=name, language=language
        )
        try:
            await sign_in.set_password(connection, site.services.keyring, person.id, kept)
        except sign_in.TakenError:
            raise FormError("login_taken", 409) from None
    if invitation is not None:
        entrance.attempts.succeeded(login, net)
    return person


def _page(
    request: Request,
    invitation: Invitation | None,
    error: FormError | None = None,
    fields: dict[str, str] | None = None,
) -> Response:
    site = site_of(request)
    who, settings, t = site.who(request), site.services.loaded.settings, site.language(request).words
    token, fields = request.path_params.get("token", ""), fields or {}
    name = invitation.organisation_name if invitation else ""
    inviter = account_words.organisation(t, name, settings.web.title)
    html = site.html(
        request,
        "join.html",
        here=request.url.path,
        token=who.form_token,
        invitation=invitation,
        invited=token,
        may_join=invitation is not None or (not token and settings.people.sign_up == "open"),
        role=account_words.role(t, invitation.role) if invitation else "",
        organisation=inviter,
        trouble=account_words.trouble(t, error.code, error.wait_s) if error else "",
        wrong=error.code if error else "",
        login=fields.get("login", "")[:100],
        name=fields.get("name", "")[:100],
        local=settings.sign_in.local,
        providers=settings.sign_in.providers,
        least=sign_in.LEAST_PASSWORD,
        most=sign_in.MOST_PASSWORD,
    )
    return page(request, html, error.status if error else 200, guest=who.guest, personal=True)
