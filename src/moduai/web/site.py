"""What all pages share: the services, the files, the templates, and how a page becomes a response."""

from __future__ import annotations

import gzip
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timezone
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from moduai.accounts.roles import may
from moduai.engines.record import Model
from moduai.gateway.policy_text import parse
from moduai.packs.choose import chosen, regions, zone
from moduai.packs.pack import Pack
from moduai.packs.read import PackError
from moduai.web import guests, visitor, words
from moduai.web.assets import Assets, takes_gzip
from moduai.web.fresh import Fresh
from moduai.web.guests import Guest
from moduai.web.language import NAMES, Language, choose, keep_language, language, own_name
from moduai.web.remembered import Remembered
from moduai.web.services import Services
from moduai.web.visitor import Visitor

TEMPLATES = Path(__file__).parent / "templates"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """The pages' parts, held by the application's state."""

    services: Services
    assets: Assets
    templates: Environment
    fresh: Fresh = field(default_factory=Fresh)
    remembered: Remembered = field(default_factory=Remembered)

    @property
    def secret(self) -> bytes:
        """What signatures are derived from."""
        return self.services.secret

    def models(self) -> list[Model]:
        """Models that can be talked to, each name once."""
        return self.services.models()

    @property
    def documents_first(self) -> bool:
        """Whether the page answers from public documents unless one asks otherwise."""
        return self.services.desk is not None and self.services.documents_first()

    @property
    def pack(self) -> Pack:
        """The country; read at the first page that needs it. Raises PackError."""
        return chosen(self.services.loaded, parse)

    @cached_property
    def languages(self) -> Mapping[str, str]:
        """The pack's languages, each by its own name; Modu's where the pack cannot be used (fails open)."""
        try:
            return {code: own_name(code) for code in self.pack.languages}
        except PackError:
            return NAMES

    @property
    def usual_language(self) -> str:
        """The pack's first; English where it cannot be used (fails open)."""
        return "en" if self.languages is NAMES else next(iter(self.languages))

    @property
    def regions(self) -> dict[str, dict[str, str]]:
        """Regions that people may say they live in: code to name by language; none where the pack cannot be
        used (fails closed: nobody is asked what could not be kept rightly).
        """
        try:
            return regions(self.services.loaded, parse)
        except PackError as error:
            log.error("the country pack cannot be used", extra={"faults": len(error.faults)})  # noqa: TRY400
            return {}

    @property
    def zone(self) -> timezone:
        """Where days begin on pages."""
        return zone(self.services.loaded, parse)

    @property
    def groups(self) -> dict[str, dict[str, str]]:
        """What groups are called, by language: as the settings say, else as the pack does (fails open)."""
        own = self.services.loaded.settings.people.groups
        try:
            return {one.id: dict(one.name) for one in self.pack.groups} | own
        except PackError:
            return own

    def language(self, request: Request) -> Language:
        """The language of this request's page."""
        code = choose(
            request, self.languages, self.services.loaded.settings.web.language or self.usual_language
        )
        if code in NAMES or self.languages is NAMES:
            return language(code)
        return language(code, self.pack.messages.get(code, ""))

    def guest(self, request: Request) -> Guest:
        """Who asks; new if the browser shows no token of ours."""
        address = request.client.host if request.client else ""  # behind a listed proxy: as forwarded
        return guests.guest(self.secret, request.cookies.get(guests.COOKIE, ""), time.time(), address)

    def who(self, request: Request) -> Visitor:
        """Who makes this request: found before any page runs, by ``visitor.Visitors``."""
        return visitor.who(request)

    def owner_tag(self, who: Visitor) -> str:
        """A name for this visitor that says nothing: a browser keeps drafts apart by it; "" for guests."""
        return (
            guests.sign(self.secret, "owner", who.session.person.encode()).hex()[:16] if who.session else ""
        )

    def html(self, request: Request, template: str, *, here: str = "", **values: Any) -> str:
        """A page as text. ``here``: where the other language is, for a page that was posted to."""
        lang = self.language(request)
        shown = request.url.path if request.method in ("GET", "HEAD") else "/"
        here = here or "/" + shown.lstrip("/\\")  # two slashes would lead to another host
        title = self.services.loaded.settings.web.title
        return self.templates.get_template(template).render(
            gettext=lang.words.gettext,
            ngettext=lang.words.ngettext,
            language=lang,
            languages=self.languages,
            path=request.url.path,
            in_language=lambda code: f"{here}?{urlencode({**_query(request), 'lang': code})}",
            visitor=self.who(request),
            staff=self._staff(request),
            banner=self._banner(lang),
            title=lang.words.gettext("Modu") if title == "Modu" else title,
            asset=self.assets.url,
            origin=lambda model: words.origin(lang.words, model.name, model.capability.origin),
            **values,
        )

    def _staff(self, request: Request) -> bool:
        session = self.who(request).session
        return session is not None and may(session.role, "console")

    def _banner(self, lang: Language) -> dict[str, str] | None:
        """What staff tell everyone, in this language or else in the first of the pages that has words."""
        if (banner := self.services.switches.banner(time.time())) is None:
            return None
        codes = [code for code in (lang.code, *self.languages, *banner.words) if code in banner.words]
        return {"level": banner.level, "text": banner.words[codes[0]], "lang": codes[0]}


def _query(request: Request) -> dict[str, str]:
    """What stays in the address of the same page in another language. Nothing on the page for asking: it is
    compressed, and what a stranger put into a link must not stand beside the form token then.
    """
    if request.url.path == "/" or request.url.path.startswith("/c/"):
        return {}
    kept = {"next", "q", "from", "to", "as_of"}
    return {name: text for name, text in request.query_params.items() if name in kept}


def site_of(request: Request) -> Site:
    """The site that serves this request."""
    site: Site = request.app.state.site
    return site


def templates() -> Environment:
    """The template environment: everything is escaped, and an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(
    request: Request, html: str, status: int = 200, *, guest: Guest | None = None, personal: bool = False
) -> Response:
    """A page as a response with its cookies; a ``personal`` one is kept by no cache and never compressed.

    Of others only answers to GET are compressed: they repeat nothing that was posted, so their length
    tells nothing about the form token.
    """
    content = html.encode()
    kept = "private, no-store" if personal else "private, no-cache"
    headers = {"cache-control": kept, "vary": "accept-encoding, accept-language, cookie"}
    if request.method == "GET" and not personal and takes_gzip(request):
        content = gzip.compress(content, 6, mtime=0)
        headers["content-encoding"] = "gzip"
    response = Response(content, status, headers, media_type="text/html")
    set_cookies(request, response, guest)
    return response


def set_cookies(request: Request, response: Response, guest: Guest | None) -> None:
    """Keep a new guest's token and a language that was just chosen."""
    if guest and guest.new:
        response.set_cookie(
            guests.COOKIE,
            guest.token,
            max_age=guests.DAYS * 86_400,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
    if (chosen := request.query_params.get("lang", "")) in site_of(request).languages:
        keep_language(request, response, chosen)
