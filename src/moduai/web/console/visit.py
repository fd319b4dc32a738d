"""One request for a page of the console: who asks, what the person may do, and how a page is made of it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from moduai.accounts.roles import may
from moduai.accounts.sessions import Session
from moduai.gateway.errors import ApiError
from moduai.web import words as common
from moduai.web.api.operation import Caller, perform
from moduai.web.api.table import BY_NAME
from moduai.web.console import figures, words
from moduai.web.console.menu import MENU
from moduai.web.console.words import Words
from moduai.web.site import Site, page


@dataclass(frozen=True)
class Visit:
    """One request, by a person who may see the console."""

    request: Request
    site: Site
    session: Session
    named: Mapping[str, str] = field(default_factory=dict)
    """Fields of the path."""
    query: Mapping[str, str] = field(default_factory=dict)
    problem: ApiError | None = None
    """Why the last form was not done."""
    given: Mapping[str, str] = field(default_factory=dict)
    """What that form held."""
    place: str = ""
    """Path of the view, where the request is for another: a form's answer shows the page it stands on."""

    @property
    def t(self) -> Words:
        """The words of the page's language."""
        return self.site.language(self.request).words

    @property
    def caller(self) -> Caller:
        """Whoever is signed in, as the operations see it."""
        return Caller(person=self.session.person, role=self.session.role)

    def may(self, permission: str) -> bool:
        """Whether the person has a permission. Fails closed."""
        return may(self.session.role, permission)

    async def ask(self, operation: str, **given: Any) -> Any:
        """Use an operation that only reads, with what a page's address gives it. Raises ApiError."""
        return await perform(BY_NAME[operation], self.site.services, self.caller, given, strict=False)

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page of the console."""
        site, t = self.site, self.t
        place = self.place or self.request.scope["path"]
        at = str(values.pop("at", "")) or ("" if self.request.method == "GET" else self.place or "/console")
        zone = site.zone
        html = site.html(
            self.request,
            f"console/{template}.html",
            here=at.partition("?")[0],
            place=place,
            menu=[(item.path, item.title(t)) for item in MENU if self.may(item.permission)],
            may=self.may,
            once=secrets.token_hex(8),
            me=self.session.person,
            role=self.session.role,
            token=self.session.form_token,
            problem=words.problem(t, self.problem) if self.problem else None,
            done=words.done(t, self.query.get("done", "")),
            given=self.given,
            words=words,
            t=t,
            bar=figures.bar,
            columns=figures.columns,
            axis=figures.axis,
            number=number,
            seconds=lambda value: common.seconds(t, value),
            when=lambda value: moment(value, zone),
            ends=lambda spans: ends(t, spans),
            zone=str(zone).removeprefix("UTC") or "+00:00",
            **values,
        )
        return page(self.request, html, self.problem.status if self.problem else status, personal=True)


def ends(t: Words, spans: Sequence[int]) -> list[tuple[str, str]]:
    """Choices of an end: the time that is so many seconds from now, and the span in words."""
    return [(str(int(time.time()) + span), words.span(t, span)) for span in spans]


def number(value: float | None) -> str:
    """A number as people read it; a dash for none."""
    if value is None:
        return "–"
    return (
        f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:,.2f}".rstrip("0").rstrip(".")
    )


def moment(seconds: int, zone: timezone) -> str:
    """A time to the minute; a dash for never."""
    return f"{datetime.fromtimestamp(seconds, zone):%Y-%m-%d %H:%M}" if seconds else "–"
