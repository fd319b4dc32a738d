"""The pages: asking (with and without JavaScript), about, and what stands beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from moduai.web import assets, posted, words
from moduai.web.answer import Broken, Finished, Question, Waiting, Written, answer
from moduai.web.conversation import QUESTION_CHARS, Turn, pack
from moduai.web.guests import Guest
from moduai.web.markdown import render
from moduai.web.posted import Posted, RefusedError
from moduai.web.site import Site, page, set_cookies, site_of
from moduai.web.streaming import LiveResponse

FOREVER = "public, max-age=31536000, immutable"
DAY = "public, max-age=86400"
HERE = Markup("<!--answer-->")
"""Where the growing answer stands in the page; escaped text cannot hold it."""


async def home(request: Request) -> Response:
    """The empty page."""
    site, guest = site_of(request), site_of(request).guest(request)
    return page(request, _home(request, site, guest, View()), guest=guest)


async def ask_by_form(request: Request) -> Response:
    """A question from the form: the whole page again, with the answer written into it as it comes."""
    site, guest = site_of(request), site_of(request).guest(request)
    try:
        asked = await posted.form(request, site, guest)
    except RefusedError as refusal:
        view = View(error=_broken(request, refusal), draft=refusal.question)
        return page(request, _home(request, site, guest, view), refusal.status, guest=guest)
    headers = {"cache-control": "private, no-store", "x-accel-buffering": "no"}
    content = _page_with_answer(request, site, guest, asked)
    response = LiveResponse(content, headers=headers, media_type="text/html")
    set_cookies(request, response, None)
    return response


async def ask_by_script(request: Request) -> Response:
    """A question from the page's script: the answer as server-sent events."""
    site, guest = site_of(request), site_of(request).guest(request)
    headers = {"cache-control": "private, no-store", "x-accel-buffering": "no"}
    try:
        asked = await posted.data(request, site, guest)
    except RefusedError as refusal:
        event = _event(_broken(request, refusal))
        return Response(event, refusal.status, headers, media_type="text/event-stream")
    question = _question(request, site, guest, asked)
    return LiveResponse(_events(site, question), headers=headers, media_type="text/event-stream")


async def about(request: Request) -> Response:
    """What this is, and what is kept."""
    site = site_of(request)
    return page(request, site.html(request, "about.html", models=site.models()))


async def static(request: Request) -> Response:
    """A file by its content's address."""
    found = site_of(request).assets.by_address.get(request.path_params["address"])
    if found is None:
        raise HTTPException(404)
    return assets.respond(request, found, FOREVER)


async def favicon(request: Request) -> Response:
    """The mark, at the address that browsers ask for by themselves."""
    return assets.respond(request, site_of(request).assets.by_name["favicon.svg"], DAY)


async def robots(_: Request) -> Response:
    """Search engines may show the page; there is nothing else to find."""
    rules = "User-agent: *\nAllow: /$\nAllow: /about\nDisallow: /\n"
    return PlainTextResponse(rules, headers={"cache-control": DAY})


async def http_error(request: Request, error: Exception) -> Response:
    """Any status that is an error, in the look of the pages."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return page(request, site_of(request).html(request, "error.html", status=status), status)


@dataclass(frozen=True)
class View:
    """What stands on the page for asking. Without anything it is the empty page."""

    turns: Sequence[dict[str, Any]] = ()
    """Earlier turns, rendered."""
    current: Turn | None = None
    """The turn whose answer is being written."""
    result: Finished | Broken | None = None
    """How that ended."""
    carried: str = ""
    error: Broken | None = None
    """Why the last post was not taken."""
    draft: str = ""
    chosen: str = ""
    """Name of the model; empty: the first one."""


def _home(request: Request, site: Site, guest: Guest, view: View) -> str:
    models = site.models()
    return site.html(
        request,
        "ask.html",
        models=models,
        chosen=view.chosen or (models[0].name if models else ""),
        guests=site.services.loaded.settings.web.guests,
        token=guest.form_token,
        question_chars=QUESTION_CHARS,
        here=HERE,
        view=view,
    )


async def _page_with_answer(
    request: Request, site: Site, guest: Guest, asked: Posted
) -> AsyncGenerator[str, None]:
    """The page up to the answer, the answer's blocks as each is finished, and the rest of the page."""
    turns = await asyncio.to_thread(_rendered, asked.turns)
    view = View(turns=turns, current=Turn(asked.question, model=asked.model.name), chosen=asked.model.name)
    yield _home(request, site, guest, view).split(HERE)[0]
    yield _notice(site.language(request).words.gettext("The answer is being prepared"))
    result: Finished | Broken | None = None
    async with aclosing(answer(site.services.ask, _question(request, site, guest, asked))) as events:
        async for event in events:
            match event:
                case Waiting():
                    yield _notice(event.text)
                case Written(finished=True):
                    yield event.html
                case Finished() | Broken():
                    result = event
    text = result.text if isinstance(result, Finished) else ""
    done = (*asked.turns, Turn(asked.question, text, asked.model.name))
    view = replace(view, result=result, carried=pack(done, site.secret, guest.id))
    yield _home(request, site, guest, view).split(HERE)[1]


def _notice(text: str) -> str:
    """What is known while one waits; the style sheet shows the newest, until the answer begins."""
    return f'<p class="place">{Markup.escape(text)}</p>\n'


async def _events(site: Site, question: Question) -> AsyncGenerator[bytes, None]:
    yield b": ok\n\n"  # so that the head goes out, and the page knows that it was heard
    async with aclosing(answer(site.services.ask, question)) as events:
        async for event in events:
            yield _event(event)


def _event(event: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def _question(request: Request, site: Site, guest: Guest, asked: Posted) -> Question:
    return Question(asked.question, asked.turns, asked.model, guest.principal, site.language(request))


def _broken(request: Request, refusal: RefusedError) -> Broken:
    return Broken(refusal.code, words.error(site_of(request).language(request).words, refusal.code))


def _rendered(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [
        {"question": turn.question, "model": turn.model, "html": Markup(render(turn.answer))}  # noqa: S704
        for turn in turns
    ]
