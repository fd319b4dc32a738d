"""Signing in with a login name and a password, and signing out.

Whatever is wrong with a login, the words and the work are the same.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from moduai.accounts.people import Person, get_person
from moduai.web import account_words, visitor
from moduai.web.entering import (
    check,
    device_of_login,
    entrance_of,
    go,
    keep_device,
    leave,
    network,
    reading,
    welcome,
)
from moduai.web.forms import FormError, own_path, read
from moduai.web.site import page, site_of


async def show(request: Request) -> Response:
    """The page to sign in; who is signed in already goes on."""
    target = own_path(request.query_params.get("next", ""))
    if site_of(request).who(request).signed_in:
        return go(target)
    return sign_in_page(request, target)


async def by_password(request: Request) -> Response:
    """A login name and a password."""
    target, login = "/", ""
    try:
        fields = await read(request)
        target, login = own_path(fields.get("next", "")), fields.get("login", "")
        person = await _checked(request, login, fields.get("password", ""))
        return keep_device(request, await welcome(request, person, target), login)
    except FormError as error:
        if error.code == "page_too_old" and site_of(request).who(request).signed_in:
            return go("/")  # signed in meanwhile, in another tab
        return sign_in_page(request, target, error, login=login)


async def _checked(request: Request, login: str, password: str) -> Person:
    """The person with this login and password. Raises FormError; fails closed."""
    site, attempts, net = site_of(request), entrance_of(request), network(request)
    if not site.services.loaded.settings.sign_in.local:
        raise FormError("failed", 403)
    device = device_of_login(request, login)
    attempts.count(login, net, device)
    found = await check(site, login, password)
    if found is None:
        raise FormError("wrong", 403)
    async with reading(site) as connection:
        person = await get_person(connection, site.services.subjects, found)
    attempts.attempts.succeeded(login, net, device)
    return person


async def show_sign_out(request: Request) -> Response:
    """A page with the button, for who comes by the address: a link must not sign anybody out."""
    site = site_of(request)
    if not site.who(request).signed_in:
        return go("/signin")
    html = site.html(request, "sign_out.html", token=site.who(request).form_token)
    return page(request, html, personal=True)


async def sign_out(request: Request) -> Response:
    """End this session."""
    try:
        await read(request)
        await leave(request)
    except FormError as error:
        return sign_in_page(request, "/", error)
    response = go("/signin?done=signed_out")
    visitor.forget(request, response)
    response.headers["clear-site-data"] = '"storage"'  # drafts
    return response


def sign_in_page(
    request: Request, target: str, error: FormError | None = None, *, login: str = ""
) -> Response:
    """The page to sign in, with what went wrong."""
    site = site_of(request)
    who, settings, t = site.who(request), site.services.loaded.settings, site.language(request).words
    html = site.html(
        request,
        "sign_in.html",
        here="/signin",
        token=who.form_token,
        next=target,
        trouble=account_words.trouble(t, error.code, error.wait_s) if error else "",
        told=account_words.done(t, request.query_params.get("done", "")),
        login=login[:100],
        local=settings.sign_in.local,
        providers=settings.sign_in.providers,
        open=settings.people.sign_up == "open",
        guests=settings.web.guests,
    )
    return page(request, html, error.status if error else 200, guest=who.guest, personal=True)
