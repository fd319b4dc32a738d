"""My account: all that is kept about a person, on one page, with what can be changed, taken away, deleted.

Rule: every change is a form with the form token; what cannot be undone asks first.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from moduai.accounts import audit, keys, sign_in
from moduai.accounts.organisations import AccountError
from moduai.accounts.people import change_person, clean_name, is_last_admin
from moduai.accounts.roles import STAFF
from moduai.accounts.sessions import Session, end_all, end_session
from moduai.history.forgetting import delete_account
from moduai.web import account_words, visitor
from moduai.web.entering import check, credential, entrance_of, go, network, reading, records
from moduai.web.forms import FormError, read
from moduai.web.guests import posted_here
from moduai.web.language import Language, keep_language
from moduai.web.my_data import EXPORTS, kept, regions_of
from moduai.web.site import page, site_of

MOST_KEYS = 20
"""Keys of one person that are not revoked."""
DAYS = {"30": 30, "90": 90, "365": 365, "0": 0}
"""How long a key may last; 0: until it is revoked."""
_DAY_S = 86_400

Change = Callable[[Request, Session, dict[str, str]], Awaitable[Response]]


async def show(request: Request) -> Response:
    """The page."""
    if site_of(request).who(request).session is None:
        return go("/signin?next=/me")
    return await _page(request, told=request.query_params.get("done", ""))


async def change(request: Request) -> Response:
    """One of the page's forms."""
    act = _CHANGES.get(request.path_params["what"])
    if act is None:
        raise HTTPException(404)
    session = site_of(request).who(request).session
    if session is None:
        return go("/signin?next=/me")
    try:
        return await act(request, session, await read(request))
    except FormError as error:
        return await _page(request, error=error)


async def download(request: Request) -> Response:
    """Everything as a file: JSON, or Markdown to be read."""
    site, kind = site_of(request), request.path_params["kind"]
    session = site.who(request).session
    if kind not in EXPORTS:
        raise HTTPException(404)
    if session is None:
        return go("/signin?next=/me")
    if not posted_here(request):
        raise HTTPException(403)
    media, begin = EXPORTS[kind]
    day = time.strftime("%Y-%m-%d")
    headers = {
        "cache-control": "private, no-store",
        "content-disposition": f'attachment; filename="modu-{day}.{kind}"',
    }
    return StreamingResponse(begin(site, session), headers=headers, media_type=media)


# changes, one function a form


async def _settings(request: Request, session: Session, fields: dict[str, str]) -> Response:
    site, settings = site_of(request), site_of(request).services.loaded.settings.people
    wanted: dict[str, Any] = {
        "history": fields.get("history") == "on",
        "region": _chosen(fields, "region", regions_of(site), session.region),
        "group": _chosen(fields, "group", settings.groups, session.group),
        "language": _chosen(fields, "language", site.languages, session.language),
    }
    try:
        wanted["name"] = clean_name(fields.get("name", ""))
    except AccountError:
        raise FormError("bad_name", 400) from None
    async with records(site) as connection:
        await change_person(connection, site.services.subjects, session.person, **wanted)
    site.services.sessions.drop(session.person)
    response = go("/me?done=saved")
    if wanted["language"]:
        keep_language(request, response, wanted["language"])
    return response


async def _end(request: Request, session: Session, fields: dict[str, str]) -> Response:
    """Sign one other browser out, or all of them, this one too if it is asked for."""
    site, which = site_of(request), fields.get("session", "")
    async with records(site) as connection:
        if which == "everywhere":
            await end_all(connection, session.person)
        elif which == "others":
            await end_all(connection, session.person, keep=session.id)
        else:
            await end_session(connection, which[:64], person=session.person)
    site.services.sessions.drop(session.person)
    if which in {"everywhere", session.id}:
        response = go("/signin?done=signed_out")
        visitor.forget(request, response)
        return response
    return go("/me?done=others_ended" if which == "others" else "/me?done=ended")


async def _make_key(request: Request, session: Session, fields: dict[str, str]) -> Response:
    """The key stands on the page that answers, and nowhere else ever again."""
    site = site_of(request)
    days = DAYS.get(fields.get("days", ""), -1)
    if days < 0:
        raise FormError("bad_choice", 400)
    async with records(site) as connection:
        if len(await keys.list_keys(connection, subject=session.person)) >= MOST_KEYS:
            raise FormError("too_many_keys", 409)
        try:
            clear, _ = await keys.create_key(
                connection,
                name=clean_name(fields.get("name", "")),
                organisation=session.organisation,
                expires_at=int(time.time()) + days * _DAY_S if days else 0,
                subject=session.person,
                service_class="resident",
                region=session.region,
                group=session.group,
            )
        except AccountError:
            raise FormError("bad_name", 400) from None
    return await _page(request, key=clear)


async def _revoke(request: Request, session: Session, fields: dict[str, str]) -> Response:
    async with records(site_of(request)) as connection:
        mine = {key.id for key in await keys.list_keys(connection, subject=session.person)}
        if fields.get("key", "") not in mine:
            raise FormError("bad_choice", 404)
        await keys.revoke_key(connection, fields["key"])
    return go("/me?done=revoked")


async def _password(request: Request, session: Session, fields: dict[str, str]) -> Response:
    """Another password, for who knows the one there is; everywhere else the person is signed out."""
    site, login = site_of(request), fields.get("login", "")
    services, attempts, net = site.services, entrance_of(request), network(request)
    attempts.count(login, net)
    if await check(site, login, fields.get("password", "")) != session.person:
        raise FormError("wrong", 403)
    attempts.attempts.succeeded(login, net)
    new = await credential(site, login, fields.get("new", ""))
    async with records(site) as connection:
        await sign_in.set_password(connection, services.keyring, session.person, new)
        await end_all(connection, session.person, keep=session.id)
        if session.role in STAFF:
            await audit.record(
                connection, actor=session.person, action="password.change", target=session.person
            )
    services.sessions.drop(session.person)
    return go("/me?done=password")


async def _delete(request: Request, session: Session, fields: dict[str, str]) -> Response:
    """Delete the account, if its word was typed."""
    site = site_of(request)
    if fields.get("word", "").strip().casefold() != _word(site.language(request)).casefold():
        raise FormError("not_confirmed", 400)
    async with records(site) as connection:
        if await is_last_admin(connection, session.person):
            raise FormError("last_admin", 409)
        if session.role in STAFF:
            await audit.record(
                connection, actor=session.person, action="person.delete", target=session.person
            )
        await delete_account(connection, site.services.subjects, session.person, time.time())
    site.services.sessions.drop(session.person)
    response = go("/signin?done=account")
    visitor.forget(request, response)
    response.headers["clear-site-data"] = '"storage"'
    return response


_CHANGES: dict[str, Change] = {
    "settings": _settings,
    "sessions": _end,
    "keys": _make_key,
    "revoke": _revoke,
    "password": _password,
    "delete": _delete,
}


def _chosen(fields: dict[str, str], name: str, offered: Any, present: str) -> str:
    """What was chosen, if the page offers it or it is so already. Raises FormError."""
    wanted = fields.get(name, present)
    if wanted and wanted not in offered and wanted != present:
        raise FormError("bad_choice", 400)
    return wanted


def _word(lang: Language) -> str:
    """What is typed to delete an account."""
    return lang.words.gettext("delete")


# the page


async def _page(
    request: Request, *, told: str = "", error: FormError | None = None, key: str = ""
) -> Response:
    site, lang = site_of(request), site_of(request).language(request)
    session = site.who(request).session
    if session is None:
        return go("/signin?next=/me")
    try:
        async with reading(site) as connection:
            shown = await kept(connection, site, session, lang)
    except AccountError:  # deleted in another window
        return go("/signin")
    except FormError as failure:
        raise HTTPException(failure.status) from None
    html = site.html(
        request,
        "me.html",
        here="/me",
        token=session.form_token,
        told=account_words.done(lang.words, told),
        trouble=account_words.trouble(lang.words, error.code, error.wait_s) if error else "",
        new_key=key,
        word=_word(lang),
        least=sign_in.LEAST_PASSWORD,
        days=tuple(DAYS),
        **shown,
    )
    return page(request, html, error.status if error else 200, personal=True)
