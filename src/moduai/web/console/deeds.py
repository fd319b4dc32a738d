"""What a form of the console does: ask whether it is meant where it cannot be undone, do it, show it.

A form posts to ``/console/do/OPERATION`` with the fields of the operation, its form token, and ``back``: the
page that it stands on. Fails closed: a form that no page of this session made is not looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from moduai.gateway.errors import ApiError
from moduai.web import forms
from moduai.web.api.operation import Request, perform
from moduai.web.api.table import BY_NAME
from moduai.web.console import pages, words
from moduai.web.console.visit import Visit
from moduai.web.entering import public_url
from moduai.web.forms import FormError

_OWN = {"token", "back", "sure", "once", "of_what"}
"""Fields of the form itself: no operation has one of these."""


async def do(visit: Visit, name: str) -> Response:
    """Do what a form asks for, or ask first."""
    operation = BY_NAME.get(name)
    if operation is None or not operation.writes:
        raise HTTPException(404)
    try:
        fields = await forms.read(visit.request)
    except FormError as error:
        return visit.page("refused", error.status, code=error.code)
    back = forms.own_path(fields.get("back", "/console"))
    given = {name: value for name, value in fields.items() if name not in _OWN}
    deed = "person.block" if name == "person.change" and given.get("state") == "blocked" else name
    question = words.question(visit.t, deed)
    if question and "sure" not in fields and visit.may(operation.permission):
        what = fields.get("of_what") or given.get("model") or ""
        if name == "service.stop" and not what:
            what = visit.t.gettext("The whole service")
        return visit.page(
            "sure", question=question, operation=name, fields=given, what=what, back=back, at=back
        )
    try:
        answer = await perform(
            operation,
            visit.site.services,
            visit.caller,
            typed(operation.request, given),
            strict=False,
            once=fields.get("once", ""),
        )
    except ApiError as error:
        return await _again(visit, back, error, given)
    if name in RESULTS:
        return await RESULTS[name](visit, answer, back, given)
    after = words.AFTER.get(name) or back
    path, _, query = after.partition("?")
    kept = [pair for pair in parse_qsl(query) if pair[0] != "done"]
    return RedirectResponse(f"{path}?{urlencode([*kept, ('done', name)])}", 303)


async def _again(visit: Visit, back: str, error: ApiError, given: Mapping[str, str]) -> Response:
    """The page that the form stands on, with what was wrong and what had been written."""
    address = urlsplit(back)
    found = pages.find(address.path)
    if found is None:
        raise HTTPException(404)
    view, named = found
    again = Visit(
        request=visit.request,
        site=visit.site,
        session=visit.session,
        named=named,
        query={name: value for name, value in parse_qsl(address.query) if name != "done"},
        problem=error,
        given=given,
        place=address.path,
    )
    return await pages.show(view, again)


def typed(request: type[Request], given: Mapping[str, str]) -> dict[str, Any]:
    """What a form gives, for the request's fields: an empty field that is no text is one that was left out,
    one that is a list has a line for each item, and ``words.en`` is an entry of a table.
    """
    hints = get_type_hints(request)
    found: dict[str, Any] = {}
    tables: dict[str, dict[str, str]] = {}
    for name, value in given.items():
        table, dot, entry = name.partition(".")
        if dot:
            tables.setdefault(table, {})[entry] = value
            continue
        kinds = {hints.get(name), *get_args(hints.get(name))}
        if Ellipsis in kinds:
            found[name] = [line.strip() for line in value.splitlines() if line.strip()]
        elif value or str in kinds:
            found[name] = value.replace("\r\n", "\n")
    return found | tables


async def _new_key(visit: Visit, answer: Any, back: str, given: Mapping[str, str]) -> Response:
    return visit.page("key_new", made=answer, back=back, at=back)


async def _new_invitation(visit: Visit, answer: Any, back: str, given: Mapping[str, str]) -> Response:
    link = f"{public_url(visit.request)}{answer.path}"
    return visit.page("invitation_new", made=answer, link=link, back=back, at=back)


async def _found(visit: Visit, answer: Any, back: str, given: Mapping[str, str]) -> Response:
    return await pages.people_page(visit, answer)


async def _report(visit: Visit, answer: Any, back: str, given: Mapping[str, str]) -> Response:
    return visit.page("report", report=answer, back=back, at=back)


async def _conversations(visit: Visit, answer: Any, back: str, given: Mapping[str, str]) -> Response:
    person = given["person"]
    return visit.page("conversations", conversations=answer.items, person=person, back=back, at=back)


async def _conversation(visit: Visit, answer: Any, back: str, given: Mapping[str, str]) -> Response:
    return visit.page("conversation", conversation=answer, back=back, at=back)


RESULTS: dict[str, Callable[[Visit, Any, str, Mapping[str, str]], Awaitable[Response]]] = {
    "key.create": _new_key,
    "invite.create": _new_invitation,
    "person.find": _found,
    "report.read": _report,
    "look.conversations": _conversations,
    "look.read": _conversation,
}
"""Operations whose answer is shown on a page of its own."""
