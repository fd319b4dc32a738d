"""Languages of the pages: which there are, which one a request gets, and its words.

Texts in code and templates are English; a folder of ``locales`` with a ``messages.po`` adds a language.
Catalogues are compiled in memory when they are first used, so nothing generated is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

LOCALES: Final = Path(__file__).parent / "locales"
COOKIE: Final = "modu_language"
NAMES: Final = {"ko": "한국어", "en": "English"}
"""Each language by its own name, in the order in which the page offers them."""
_YEAR_S: Final = 31_536_000
_RIGHT_TO_LEFT: Final = {"ar", "fa", "he", "ur"}


@dataclass(frozen=True)
class Language:
    """One language of the pages, with its words."""

    code: str
    words: NullTranslations

    @property
    def direction(self) -> str:
        """``dir`` of the page."""
        return "rtl" if self.code in _RIGHT_TO_LEFT else "ltr"


@cache
def language(code: str) -> Language:
    """The language of a known code."""
    if code == "en":
        return Language(code, NullTranslations())
    from babel.messages.mofile import write_mo  # noqa: PLC0415 (memory: not for English pages)
    from babel.messages.pofile import read_po  # noqa: PLC0415

    compiled = BytesIO()
    with (LOCALES / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=code))
    compiled.seek(0)
    return Language(code, GNUTranslations(compiled))


def choose(request: Request, default: str) -> Language:
    """By ``?lang=``, then the cookie, then Accept-Language, then the service's setting."""
    asked = (request.query_params.get("lang", ""), request.cookies.get(COOKIE, ""))
    for code in (*asked, *preferred(request.headers.get("accept-language", "")), default):
        if code in NAMES:
            return language(code)
    return language("en")


def keep_language(request: Request, response: Response, code: str) -> None:
    """Let the browser keep a language."""
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, code, max_age=_YEAR_S, httponly=True, samesite="lax", secure=secure)


def preferred(header: str) -> list[str]:
    """Primary language codes of an Accept-Language header, the most wanted first."""
    wanted = []
    for part in header[:500].split(","):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if tag and weight > 0:
            wanted.append((weight, tag.split("-")[0].lower()))
    return [code for _, code in sorted(wanted, key=lambda pair: -pair[0])]
