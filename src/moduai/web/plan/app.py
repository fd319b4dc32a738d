"""The addresses below ``/plan``, for everyone: the page, its items, its files, its feed."""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import date
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from moduai.packs import strategy
from moduai.packs.pack import Pack
from moduai.packs.read import PackError
from moduai.packs.strategy import Plan
from moduai.planner.handed import CannotHandOverError, handed
from moduai.proposals.repository import accepted, lay
from moduai.web.assets import takes_gzip
from moduai.web.entering import public_url
from moduai.web.plan import export
from moduai.web.plan.drawing import bar
from moduai.web.plan.events import events
from moduai.web.plan.live import Ledgers
from moduai.web.plan.view import View, missing
from moduai.web.site import Site, page, site_of

SHORT = "public, max-age=300"
MOST_KEPT = 32
"""Pages that guests saw last, as text: the same for all of them until something changes."""
FILES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "jsonld": "application/ld+json",
    "xml": "application/atom+xml; charset=utf-8",
}

log = logging.getLogger(__name__)


class Asked(Struct, frozen=True):
    """As of which day a plan is wanted."""

    day: date | None
    """None: the last."""
    wrong: str = ""
    """What was written instead of a day."""


class Present:
    """The pack as it now is: with what was accepted. One for each site, which keeps the last."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._laid: tuple[tuple[int, tuple[str, ...]], Pack] | None = None
        self.kept: OrderedDict[Any, tuple[tuple[object, ...], str]] = OrderedDict()
        self.ledgers = Ledgers(site.services)

    async def pack(self) -> Pack:
        """Raises PackError. Without its database the page shows the pack alone (fails open)."""
        pack = self._site.pack
        try:
            async with self._site.services.database.connect() as connection:
                found = await accepted(connection, pack)
        except self._site.services.database.errors:
            log.warning("accepted proposals cannot be read", exc_info=True)
            return pack
        key = id(pack), tuple(one.id for one in found)
        if self._laid is None or self._laid[0] != key:
            laid = await asyncio.to_thread(lay, pack, found)
            for name, why in laid.left_out.items():
                log.warning("a proposal no longer fits the pack", extra={"proposal": name, "why": why})
            self._laid = key, laid.pack
        return self._laid[1]


async def plan(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    request = Request(scope, receive)
    response = await _answer(request)
    await response(scope, receive, send)


async def _answer(request: Request) -> Response:
    if request.method not in {"GET", "HEAD"}:
        raise HTTPException(405, headers={"allow": "GET, HEAD"})
    state = request.app.state
    if not hasattr(state, "plan"):
        state.plan = Present(site_of(request))
    present: Present = state.plan
    try:
        pack = await present.pack()
    except PackError as error:
        log.error("the country pack cannot be used", extra={"faults": len(error.faults)})  # noqa: TRY400
        raise HTTPException(503) from None
    path = request.scope["path"].removeprefix("/plan")
    if path.startswith("/items/") and path.endswith(".toml"):
        return _scenario(
            request, pack, *path.removeprefix("/items/").removesuffix(".toml").partition("/")[::2]
        )
    if path.startswith("/items/"):
        return await _item(request, present, pack, path.removeprefix("/items/"))
    if path == "/feed.xml" or path.removeprefix(".") in FILES.keys() - {"xml"}:
        return _file(request, pack, path.rpartition(".")[2])
    if path in {"", "/"}:
        return await _whole(request, present, pack)
    raise HTTPException(404)


async def _whole(request: Request, present: Present, pack: Pack) -> Response:
    asked, figures = _asked(request), await present.ledgers.read()

    def make() -> str:
        found = strategy.as_of(pack, asked.day)
        view = View(found, site_of(request).language(request), figures)
        lacks = missing(found.entries.values())
        return _html(request, "plan.html", view, asked, missing=lacks, changed=view.changed(asked.day))

    return _page(request, present, asked, (pack, figures), make)


async def _item(request: Request, present: Present, pack: Pack, item: str) -> Response:
    asked, figures = _asked(request), await present.ledgers.read()
    found = strategy.as_of(pack, asked.day)
    if item not in found.entries:
        raise HTTPException(404)

    def make() -> str:
        view = View(found, site_of(request).language(request), figures)
        return _html(request, "plan_item.html", view, asked, entry=found.entries[item])

    return _page(request, present, asked, (pack, figures), make)


def _html(request: Request, template: str, view: View, asked: Asked, **values: Any) -> str:
    return site_of(request).html(
        request,
        template,
        here=request.scope["path"].rstrip("/"),
        v=view,
        bar=bar,
        plan=view.plan,
        pack=view.pack,
        asked=asked,
        query=f"?as_of={asked.day}" if asked.day else "",
        **values,
    )


def _page(
    request: Request, present: Present, asked: Asked, made_of: tuple[object, ...], make: Callable[[], str]
) -> Response:
    """The page; guests are shown what the guest before was shown, while what it is made of is the same."""
    site = site_of(request)
    if (
        site.who(request).session is not None
        or request.query_params.keys() - {"as_of", "lang"}
        or asked.wrong
    ):
        return page(request, make(), 400 if asked.wrong else 200)
    banner = msgspec.json.encode(site.services.switches.banner(time.time()))
    key = request.scope["path"], asked.day, site.language(request).code, banner
    kept = present.kept.get(key)
    if kept is None or any(one is not other for one, other in zip(kept[0], made_of, strict=True)):
        kept = present.kept[key] = made_of, make()
        if len(present.kept) > MOST_KEPT:
            present.kept.popitem(last=False)
    return page(request, kept[1])


def _file(request: Request, pack: Pack, kind: str) -> Response:
    asked = _asked(request)
    if asked.wrong:
        raise HTTPException(400)
    found = strategy.as_of(pack, asked.day)
    content = _content(request, found, kind)
    etag = f'"{sha256(content).hexdigest()[:32]}"'
    headers = {"cache-control": SHORT, "etag": etag, "vary": "accept-encoding, accept-language, cookie"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(None, 304, headers)
    if kind in {"json", "csv"}:
        name = f"plan-{pack.head.id}-{found.day}.{kind}"
        headers["content-disposition"] = f'inline; filename="{name}"'
    if takes_gzip(request):
        content, headers["content-encoding"] = gzip.compress(content, 6, mtime=0), "gzip"
    headers["content-type"] = FILES[kind]
    return Response(content, 200, headers)


def _scenario(request: Request, pack: Pack, item: str, claim: str) -> Response:
    """A claim of accelerators as a scenario of the planner."""
    said = pack.claim.get(claim)
    if said is None or said.item != item:
        raise HTTPException(404)
    try:
        text = handed(pack, pack.head.id, said, proposed=claim not in site_of(request).pack.claim)
    except CannotHandOverError:
        raise HTTPException(404) from None
    headers = {"content-disposition": f'attachment; filename="{claim}.toml"', "cache-control": SHORT}
    return Response(text, 200, headers, "application/toml")


def _content(request: Request, plan: Plan, kind: str) -> bytes:
    site = site_of(request)
    language = site.language(request)
    match kind:
        case "json":
            return export.as_json(plan)
        case "csv":
            return export.as_csv(plan, language.code)
        case "jsonld":
            return export.as_json_ld(plan, public_url(request))
        case _:
            title = language.words.gettext("Changes of the plan")
            found = events(plan.pack, until=plan.day)
            return export.as_atom(plan.pack, found, language, public_url(request), title)


def _asked(request: Request) -> Asked:
    text = request.query_params.get("as_of", "").strip()
    if not text:
        return Asked(None)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return Asked(None, text[:40])
    return Asked(day) if text == str(day) else Asked(None, text[:40])  # not the other forms of ISO 8601
