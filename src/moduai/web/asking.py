"""The page for asking: empty, with a conversation, and while an answer is written into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from gettext import NullTranslations as Words
from typing import NamedTuple

import msgspec
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from moduai.gateway.public import PUBLIC
from moduai.history.record import Conversation, TurnPlace
from moduai.history.record import Turn as Recorded
from moduai.web import kept, posted, words
from moduai.web.answer import Broken, Finished, Question, Started, Waiting, Written, answer
from moduai.web.assets import takes_gzip
from moduai.web.conversation import QUESTION_CHARS, Said, Turn, pack
from moduai.web.forms import FormError
from moduai.web.markdown import render
from moduai.web.posted import Posted, Wanted
from moduai.web.site import Site, page, set_cookies, site_of
from moduai.web.streaming import LiveResponse

HERE = Markup("<!--answer-->")
"""Where the growing answer stands in the page; escaped text cannot hold it."""
LIVE = {"cache-control": "private, no-store", "x-accel-buffering": "no"}


class ShownTurn(NamedTuple):
    """A turn as the page shows it."""

    key: str
    """What its buttons name: its id, or its number where it is carried."""
    question: str
    html: Markup
    meta: str
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class View:
    """What stands on the page for asking. Without anything it is the empty page."""

    turns: Sequence[ShownTurn] = ()
    current: ShownTurn | None = None
    """The turn whose answer is being written."""
    result: Finished | Broken | None = None
    """How that ended."""
    carried: str = ""
    error: Broken | None = None
    """Why the last post was not taken."""
    draft: str = ""
    chosen: str = ""
    """Name of the model; empty: the first one."""
    public: bool | None = None
    """Whether public documents answer; None: as the service has it."""
    conversation: str = ""
    """Id of the kept conversation; empty: a new one, or none is kept."""
    title: str = ""
    parent: str | None = None
    """The turn that the next question follows; None: the newest."""
    left_out: str = ""
    """The newest of the older turns that are not shown."""
    whole: bool = False
    """All was asked for: what is left out now cannot be shown."""


async def home(request: Request) -> Response:
    """The empty page; a resident's as it was last made, while nothing has changed."""
    site = site_of(request)
    session = site.who(request).session
    if session is None or request.scope["query_string"]:
        return await _respond(request, View())
    language, packed = site.language(request).code, takes_gzip(request)
    models = tuple((model.name, model.capability.origin) for model in site.models())
    made_from = (
        session, language, packed, models, site.documents_first, site.services.switches.banner(time.time())
    )  # fmt: skip
    known = site.remembered.get(session.person, made_from, time.monotonic())
    if known is None:
        known = await _respond(request, View())
        site.remembered.put(session.person, made_from, known, time.monotonic())
    return known


async def conversation(request: Request) -> Response:
    """A kept conversation, for whom it belongs to."""
    site = site_of(request)
    found = await kept.read(site, site.who(request), request.path_params["id"])
    whole = request.query_params.get("turns") == "all"
    most = kept.MOST_SHOWN if whole else kept.SHOWN
    view = View(
        turns=await asyncio.to_thread(_recorded, request, site, found.turns[-most:]),
        conversation=found.id,
        title=_title(request, site, found),
        left_out=found.turns[-most - 1].id if len(found.turns) > most else "",
        whole=whole,
    )
    return await _respond(request, view)


async def turn_text(request: Request) -> Response:
    """The answer of one kept turn as Markdown, to copy."""
    site = site_of(request)
    found = await kept.read(site, site.who(request), request.path_params["id"])
    at = posted.position(found.turns, request.path_params["turn"])
    text = found.turns[at].answer if at is not None else ""
    return Response(text, 200 if at is not None else 404, LIVE, media_type="text/plain")


async def by_form(request: Request) -> Response:
    """A question from the form: the whole page again, with the answer written into it as it comes."""
    site = site_of(request)
    try:
        asked = await posted.form(request, site)
    except FormError as refusal:
        view = View(error=_broken(request, refusal), draft=refusal.question)
        return await _respond(request, view, refusal.status)
    if isinstance(asked, Wanted):
        return await _respond(request, await _wanted(request, site, asked))
    response = LiveResponse(_page_with_answer(request, site, asked), headers=LIVE, media_type="text/html")
    set_cookies(request, response, None)
    return response


async def by_script(request: Request) -> Response:
    """A question from the page's script: the answer as server-sent events."""
    site = site_of(request)
    try:
        asked = await posted.data(request, site)
    except FormError as refusal:
        event = _event(_broken(request, refusal))
        return Response(event, refusal.status, LIVE, media_type="text/event-stream")
    events = _events(site, _question(request, site, asked))
    return LiveResponse(events, headers=LIVE, media_type="text/event-stream")


async def _respond(request: Request, view: View, status: int = 200) -> Response:
    """The page; nobody else's cache keeps what stands on it."""
    site = site_of(request)
    who = site.who(request)
    html = _html(request, site, view, await kept.recent(site, who))
    response = page(request, html, status, guest=None if who.signed_in else who.guest)
    if who.signed_in:
        response.headers["cache-control"] = "private, no-store"
    return response


def _html(request: Request, site: Site, view: View, recent: Sequence[Conversation]) -> str:
    models, who = site.models(), site.who(request)
    return site.html(
        request,
        "ask.html",
        here=f"/c/{view.conversation}" if view.conversation else "/",
        models=models,
        chosen=view.chosen or (models[0].name if models else ""),
        public=site.documents_first if view.public is None else view.public,
        documents=site.services.desk is not None,
        may_ask=posted.may_ask(site, who),
        keeps=kept.keeps(who),
        owner=site.owner_tag(who),
        recent=recent,
        question_chars=QUESTION_CHARS,
        here_stands=HERE,
        view=view,
    )


async def _wanted(request: Request, site: Site, wanted: Wanted) -> View:
    before, who = wanted.before, site.who(request)
    return View(
        turns=await asyncio.to_thread(_earlier, request, site, before.turns),
        draft=wanted.draft,
        conversation=before.conversation,
        parent=before.parent if before.conversation and wanted.edits else None,
        carried="" if before.conversation else pack(_carried(before.turns), site.secret, posted.owner(who)),
    )


async def _page_with_answer(request: Request, site: Site, asked: Posted) -> AsyncGenerator[str, None]:
    """The page up to the answer, the answer's blocks as each is finished, and the rest of the page."""
    who, before = site.who(request), asked.before
    recent = await kept.recent(site, who)
    turns = await asyncio.to_thread(_earlier, request, site, before.turns)
    key = "last" if kept.keeps(who) else str(len(before.turns))
    current = ShownTurn(key, asked.question, Markup(), "")
    view = View(
        turns=turns,
        current=current,
        chosen=asked.model.name.removesuffix(PUBLIC),
        public=asked.model.name.endswith(PUBLIC),
        conversation=before.conversation,
    )
    yield _html(request, site, view, recent).split(HERE)[0]
    t = site.language(request).words
    yield _notice(t.gettext("The answer is being prepared"))
    result: Finished | Broken | None = None
    started = Started("", "")
    async with aclosing(answer(site.services.ask, _question(request, site, asked))) as events:
        async for event in events:
            match event:
                case Started():
                    started = event
                case Waiting():
                    yield _notice(event.text, _offer(request, site, asked, started, event))
                case Written(finished=True):
                    yield event.html
                case Finished() | Broken():
                    result = event
    view = replace(view, result=result, conversation=started.conversation or before.conversation)
    if not view.conversation:
        text, model = (result.text, result.model) if isinstance(result, Finished) else ("", asked.model.name)
        done = [*_carried(before.turns), Turn(asked.question, text, model, started.turn)]
        view = replace(view, carried=pack(done, site.secret, posted.owner(who)))
    yield _html(request, site, view, recent).split(HERE)[1]


def _notice(text: str, offer: str = "") -> str:
    """What is known while one waits; the style sheet shows the newest, until the answer begins."""
    return Markup('<div class="place"><p>{}</p>{}</div>\n').format(text, offer)


def _offer(request: Request, site: Site, asked: Posted, started: Started, waiting: Waiting) -> Markup:
    """A form of its own that asks a lighter model the same; who sends it leaves the line."""
    if not waiting.lighter:
        return Markup()
    who, before, t = site.who(request), asked.before, site.language(request).words
    fields = {"token": who.form_token, "model": waiting.lighter, "question": asked.question}
    if asked.model.name.endswith(PUBLIC):
        fields["public"] = "1"
    if started.conversation:
        fields |= {"place": started.conversation, "parent": before.parent}
    else:
        fields["conversation"] = pack(_carried(before.turns), site.secret, posted.owner(who))
    hidden = Markup('<input type="hidden" name="{}" value="{}">')
    return Markup(
        '<form method="post" action="/" class="offer"><p>{}</p>{}<button>{}</button></form>'
    ).format(
        t.gettext("A lighter model may answer sooner."),
        Markup().join(hidden.format(*each) for each in fields.items()),
        waiting.offer,
    )


async def _events(site: Site, question: Question) -> AsyncGenerator[bytes, None]:
    yield b": ok\n\n"  # so that the head goes out, and the page knows that it was heard
    async with aclosing(answer(site.services.ask, question)) as events:
        async for event in events:
            yield _event(event)


def _event(event: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def _question(request: Request, site: Site, asked: Posted) -> Question:
    who, before = site.who(request), asked.before
    return Question(
        text=asked.question,
        turns=before.turns,
        model=asked.model,
        principal=who.principal,
        language=site.language(request),
        place=TurnPlace(before.conversation, before.parent) if kept.keeps(who) else TurnPlace(),
        makers={model.name: model.capability.origin for model in site.models()},
        ended=_remember(site, asked, who.principal.subject),
    )


def _remember(site: Site, asked: Posted, person: str) -> Callable[[Started, str, str, str], None]:
    """Keep a recorded turn at hand for the next question."""
    at = time.time_ns() // 1000

    def ended(started: Started, model: str, text: str, outcome: str) -> None:
        if not started.conversation:
            return
        turn = Recorded(
            id=started.turn,
            conversation=started.conversation,
            person=person,
            at=at,
            model=model,
            engine="",
            outcome=outcome,
            consent="",
            parent=asked.before.parent,
            question=asked.question,
            answer=text,
        )
        site.fresh.add(turn)

    return ended


def _broken(request: Request, refusal: FormError) -> Broken:
    return Broken(refusal.code, words.error(site_of(request).language(request).words, refusal.code))


def _carried(turns: Sequence[Said]) -> list[Turn]:
    return [Turn(turn.question, turn.answer, turn.model, turn.id) for turn in turns]


def _title(request: Request, site: Site, found: Conversation) -> str:
    t = site.language(request).words
    return (
        t.gettext("Cannot be read: its key is lost") if found.lost else found.title or t.gettext("Untitled")
    )


def _earlier(request: Request, site: Site, turns: Sequence[Said]) -> list[ShownTurn]:
    """Turns before a question, carried or recorded."""
    known = {model.name: model.capability.origin for model in site.models()}
    t, shown = site.language(request).words, []
    for number, turn in enumerate(turns):
        if isinstance(turn, Recorded):
            shown.append(_one_recorded(t, turn, known, site.zone))
            continue
        html, origin = _rendered(t, turn), words.origin(t, turn.model, _maker(known, turn.model))
        shown.append(ShownTurn(str(number), turn.question, html, origin))
    return shown


def _recorded(request: Request, site: Site, turns: Sequence[Recorded]) -> list[ShownTurn]:
    known = {model.name: model.capability.origin for model in site.models()}
    t, zone = site.language(request).words, site.zone
    return [_one_recorded(t, turn, known, zone) for turn in turns]


def _one_recorded(t: Words, turn: Recorded, known: dict[str, str], zone: timezone) -> ShownTurn:
    when = f"{datetime.fromtimestamp(turn.at / 1e6, zone):%Y-%m-%d %H:%M}"
    meta = f"{words.origin(t, turn.model, _maker(known, turn.model))} · {when}"
    if turn.lost:
        return ShownTurn(turn.id, t.gettext("Cannot be read: its key is lost"), Markup(), meta)
    return ShownTurn(
        turn.id, turn.question, _rendered(t, turn), meta, words.recorded(t, turn.outcome, turn.notes)
    )


def _maker(known: dict[str, str], model: str) -> str:
    return known.get(model.removesuffix(PUBLIC), "")


def _rendered(t: Words, turn: Said) -> Markup:
    if not turn.answer:
        return Markup("<p>{}</p>").format(t.gettext("There was no answer."))
    sources = turn.model.endswith(PUBLIC)
    return Markup(render(turn.answer, t.gettext("Copy code"), sources=sources))  # noqa: S704  (through the allow-list)
