"""Who calls the API: a person with a role, by the cookie of a session or by an API key.

A key counts as the person whose subject it has, with the role that the person has now; its scope must be
``manage``. A session must show that our own page calls: by the browser's word on where the call comes from,
and for whatever changes something by the page's form token. Every check here fails closed.
"""

from __future__ import annotations

import time

from starlette.requests import Request

from moduai.accounts.organisations import AccountError
from moduai.accounts.people import get_person
from moduai.gateway.errors import ApiError
from moduai.web.api.operation import Caller
from moduai.web.guests import posted_here
from moduai.web.services import Services
from moduai.web.site import site_of

SCOPE = "manage"
TOKEN_FIELD = "modu-token"  # noqa: S105  (a name)
"""Header field in which a page's script sends the form token."""


async def caller_of(request: Request, *, writes: bool) -> Caller:
    """The caller of a request. Raises ApiError. Fails closed."""
    if "authorization" in request.headers:
        return await _by_key(request, site_of(request).services)
    visitor = site_of(request).who(request)
    if visitor.session is None:
        raise ApiError("not_signed_in")
    if not posted_here(request):
        raise ApiError("form_refused")
    if writes and not visitor.may_post(request, request.headers.get(TOKEN_FIELD, "")):
        raise ApiError("form_refused")
    return Caller(person=visitor.session.person, role=visitor.session.role)


async def _by_key(request: Request, services: Services) -> Caller:
    """The person whose key it is, with the role of now. Raises ApiError. Fails closed."""
    scheme, _, token = request.headers["authorization"].partition(" ")
    if scheme.lower() != "bearer":
        raise ApiError("missing_api_key")
    principal = services.keys.find(token.strip().encode("latin-1"), time.time())
    if principal is None:
        raise ApiError("invalid_api_key")
    if SCOPE not in principal.scopes:
        raise ApiError("scope_missing", f"The API key lacks the scope {SCOPE}.")
    try:
        async with services.database.connect() as connection:
            person = await get_person(connection, services.subjects, principal.subject)
    except AccountError:
        raise ApiError("permission_missing", "The API key belongs to no person with a role.") from None
    if person.state != "active":
        raise ApiError("invalid_api_key")
    return Caller(person=person.id, role=person.role, key=principal.key)
