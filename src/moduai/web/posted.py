"""What a page posts, read with limits and checked: from a form, or as JSON from a page with JavaScript."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from moduai.engines.record import Model
from moduai.web.conversation import CARRIED_BYTES, QUESTION_CHARS, Asked, Turn, unpack
from moduai.web.guests import Guest, form_token_fits, posted_here
from moduai.web.site import Site

FORM_BYTES = CARRIED_BYTES + 12 * QUESTION_CHARS
"""Largest form: the hidden field, and a question of which each byte may be written as %XX."""
JSON_BYTES = 1_048_576


class RefusedError(Exception):
    """The post is not taken; ``code`` is one of ``words``, ``question`` what had been written."""

    def __init__(self, code: str, status: int, question: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.question = question


class Posted(NamedTuple):
    """A question that may be asked."""

    question: str
    turns: Sequence[Turn]
    model: Model


async def form(request: Request, site: Site, guest: Guest) -> Posted:
    """Read the form of the page. Raises RefusedError."""
    raw = await _body(request, FORM_BYTES)
    try:
        fields = dict(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise RefusedError("failed", 400) from None
    question = fields.get("suggestion") or fields.get("question", "")
    turns = unpack(fields.get("conversation", ""), site.secret, guest.id)
    if "again" in fields and turns:
        question, turns = turns[-1].question, turns[:-1]
    asked = Asked(fields.get("token", ""), question, fields.get("model", ""), turns)
    return _checked(request, site, guest, asked)


async def data(request: Request, site: Site, guest: Guest) -> Posted:
    """Read what the page's script posts. Raises RefusedError."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise RefusedError("failed", 415)
    try:
        asked = msgspec.json.decode(await _body(request, JSON_BYTES), type=Asked)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RefusedError("failed", 400) from None
    return _checked(request, site, guest, asked)


def _checked(request: Request, site: Site, guest: Guest, asked: Asked) -> Posted:
    """Fails closed: whoever cannot show that our own page posts is refused."""
    question = asked.question.replace("\r\n", "\n").strip()
    if not posted_here(request) or not form_token_fits(guest, asked.token):
        raise RefusedError("page_too_old", 403, question)
    if not site.services.loaded.settings.web.guests:
        raise RefusedError("guests_off", 403, question)
    if not question:
        raise RefusedError("empty", 400)
    if len(question) > QUESTION_CHARS:
        raise RefusedError("question_too_long", 400, question[:QUESTION_CHARS])
    models = {model.name: model for model in site.models()}
    if not models:
        raise RefusedError("no_engine", 503, question)
    if asked.model and asked.model not in models:
        raise RefusedError("model_not_found", 404, question)
    model = models[asked.model] if asked.model else next(iter(models.values()))
    return Posted(question, asked.turns, model)


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise RefusedError("form_too_large", 413)
    return bytes(body)
