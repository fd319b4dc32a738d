"""Languages of the pages: which there are, which one a request gets, and its words.

Texts in code and templates are English; a folder of ``locales`` with a ``messages.po`` adds a language, and
so does a country pack with one. A language of the pack without any has the English texts, and says so.
Catalogues are compiled in memory when they are first used, so nothing generated is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
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
"""Languages with a catalogue of ours, or none needed, each by its own name."""
_YEAR_S: Final = 31_536_000
_RIGHT_TO_LEFT: Final = {
    *("ar", "arc", "ckb", "dv", "fa", "he", "ks", "nqo", "ps", "sd", "syr", "ug", "ur", "yi"),
    *("Adlm", "Arab", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"),
}
"""Languages whose usual script runs so, and scripts that do (ISO 639, ISO 15924)."""


@dataclass(frozen=True)
class Language:
    """One language of the pages, with its words."""

    code: str
    words: NullTranslations
    texts: str
    """The language that the words are in: English where there is no catalogue."""

    @property
    def direction(self) -> str:
        """``dir`` of the page."""
        return direction(self.code)


def direction(code: str) -> str:
    """How a language is written: by its script where the code names one, else by what is usual."""
    first, _, more = code.partition("-")
    script = more[:4] if len(more.partition("-")[0]) == 4 else ""
    return "rtl" if (script or first) in _RIGHT_TO_LEFT else "ltr"


@cache
def language(code: str, messages: str = "") -> Language:
    """A language with Modu's catalogue, else with that of the pack (the text of a ``messages.po``), else with
    the English texts.
    """
    own = LOCALES / code / "LC_MESSAGES" / "messages.po"
    content = own.read_bytes() if own.is_file() else messages.encode()
    if not content:
        return Language(code, NullTranslations(), "en")
    from babel.messages.mofile import write_mo  # noqa: PLC0415 (memory: not for English pages)
    from babel.messages.pofile import read_po  # noqa: PLC0415

    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(content), locale=code.replace("-", "_")))
    compiled.seek(0)
    return Language(code, GNUTranslations(compiled), code)


@cache
def own_name(code: str) -> str:
    """What a language is called in itself; its code where nobody knows."""
    if code in NAMES:
        return NAMES[code]
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415 (memory: not for English pages)

    try:
        return Locale.parse(code, sep="-").get_display_name() or code
    except (UnknownLocaleError, ValueError):
        return code


def choose(request: Request, offered: Iterable[str], default: str) -> str:
    """By ``?lang=``, then the cookie, then Accept-Language, then the service's setting; else English."""
    known = list(offered)
    by_primary = {code.split("-")[0]: code for code in reversed(known)}
    asked = (request.query_params.get("lang", ""), request.cookies.get(COOKIE, ""))
    for code in (*asked, *preferred(request.headers.get("accept-language", "")), default):
        if code in known:
            return code
        if found := by_primary.get(code):
            return found
    return "en"


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
