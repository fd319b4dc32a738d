"""What a page posts, read with limits and checked: from a form, or as JSON from a page with JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from moduai.engines.record import Model
from moduai.gateway.public import PUBLIC
from moduai.web import kept
from moduai.web.conversation import CARRIED_BYTES, QUESTION_CHARS, Asked, Said, unpack
from moduai.web.forms import FormError, body
from moduai.web.kept import Before
from moduai.web.site import Site
from moduai.web.visitor import Visitor

FORM_BYTES = CARRIED_BYTES + 12 * QUESTION_CHARS
"""Largest form: the hidden field, and a question of which each byte may be written as %XX."""
JSON_BYTES = 1_048_576

_Body = TypeVar("_Body")


class Posted(NamedTuple):
    """A question that may be asked."""

    question: str
    before: Before
    model: Model
    """Its name ends with ``PUBLIC`` where public documents are to answer."""


class Wanted(NamedTuple):
    """A page that is wanted without asking: to edit an earlier question, or in another language."""

    draft: str
    before: Before
    edits: bool


def owner(visitor: Visitor) -> bytes:
    """Whom a hidden field is signed for."""
    return visitor.session.person.encode() if visitor.session else visitor.guest.id


async def form(request: Request, site: Site) -> Posted | Wanted:
    """Read the form of the page. Raises FormError."""
    fields = await fields_of(request)
    question = fields.get("suggestion") or fields.get("question", "")
    check_origin(request, site, fields.get("token", ""), question)
    before = await earlier(site, site.who(request), fields)
    for doing in ("again", "edit"):
        at = position(before.turns, fields.get(doing, ""))
        if at is None:
            continue
        question, before = before.turns[at].question, _up_to(before, at)
        if doing == "edit":
            return Wanted(question, before, edits=True)
    if "show" in fields:
        return Wanted(question, before, edits=False)
    public = "public" in fields
    return _checked(site, site.who(request), question, fields.get("model", ""), before, public=public)


async def data(request: Request, site: Site) -> Posted:
    """Read what the page's script posts. Raises FormError."""
    asked, visitor = await json_of(request, Asked), site.who(request)
    check_origin(request, site, asked.token, asked.question)
    before = Before("", "", asked.turns)
    if kept.keeps(visitor) or asked.conversation:
        before = await _recorded(site, visitor, asked.conversation, asked.parent, asked.question)
    return _checked(site, visitor, asked.question, asked.model, before, public=asked.public)


async def earlier(site: Site, visitor: Visitor, fields: dict[str, str]) -> Before:
    """The turns that a form stands below: recorded ones, or those that it carries."""
    place = fields.get("place", "")
    if kept.keeps(visitor) or (place and visitor.session):
        return await _recorded(site, visitor, place, fields.get("parent"), fields.get("question", ""))
    return Before("", "", unpack(fields.get("conversation", ""), site.secret, owner(visitor)))


async def _recorded(
    site: Site, visitor: Visitor, conversation: str, parent: str | None, question: str
) -> Before:
    """What a question follows, of what was recorded. Raises FormError, which keeps what had been written."""
    try:
        return await kept.before(site, visitor, conversation, parent)
    except FormError as refusal:
        raise FormError(refusal.code, refusal.status, question=question[:QUESTION_CHARS]) from None
    except site.services.database.errors:
        raise FormError("records_away", 503, question=question[:QUESTION_CHARS]) from None


def position(turns: Sequence[Said], key: str) -> int | None:
    """Where the turn stands that a button names: by its id, as "last", or by its number if it is carried."""
    if not key:
        return None
    if key.isdecimal() and len(key) < 4:
        return int(key) if int(key) < len(turns) else None
    if key == "last" and turns:
        return len(turns) - 1
    return next((at for at, turn in enumerate(turns) if turn.id == key), None)


def _up_to(before: Before, at: int) -> Before:
    return Before(before.conversation, before.turns[at - 1].id if at else "", before.turns[:at])


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form. Raises FormError."""
    raw = await body(request, FORM_BYTES)
    try:
        return dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise FormError("failed", 400) from None


async def json_of(request: Request, kind: type[_Body]) -> _Body:
    """A JSON body of a type. Raises FormError."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise FormError("failed", 415)
    try:
        return msgspec.json.decode(await body(request, JSON_BYTES), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise FormError("failed", 400) from None


def check_origin(request: Request, site: Site, token: str, question: str = "") -> None:
    """Fails closed: whoever cannot show that our own page posts is refused. Raises FormError."""
    if not site.who(request).may_post(request, token):
        raise FormError("page_too_old", 403, question=question[:QUESTION_CHARS])


def may_ask(site: Site, visitor: Visitor) -> bool:
    """Guests may be turned away by a setting."""
    return visitor.signed_in or site.services.loaded.settings.web.guests


def _checked(
    site: Site, visitor: Visitor, question: str, model: str, before: Before, *, public: bool
) -> Posted:
    question = question.replace("\r\n", "\n").strip()
    if not may_ask(site, visitor):
        raise FormError("guests_off", 403, question=question)
    if not question:
        raise FormError("empty", 400)
    if len(question) > QUESTION_CHARS:
        raise FormError("question_too_long", 400, question=question[:QUESTION_CHARS])
    models = {each.name: each for each in site.models()}
    if not models:
        raise FormError("no_engine", 503, question=question)
    if model and model not in models:
        raise FormError("model_not_found", 404, question=question)
    chosen = models[model] if model else next(iter(models.values()))
    if public and site.services.desk is not None:
        chosen = replace(chosen, name=chosen.name + PUBLIC)
    return Posted(question, before, chosen)
