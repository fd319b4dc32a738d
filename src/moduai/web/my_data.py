"""All that is kept about a person: as the page shows it, and as a file to take along.

Each line is read from the records at that moment; secrets (digests of keys and sessions) are in neither.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Any

import msgspec

from moduai.accounts import keys, sign_in
from moduai.accounts.looks import Looked, looks_at
from moduai.accounts.organisations import get_organisation
from moduai.accounts.people import get_person
from moduai.accounts.reports import Reading, own_reports, readings_of
from moduai.accounts.sessions import Session, list_sessions
from moduai.gateway.quota_look import look
from moduai.history import conversations, export
from moduai.packs.pack import in_language
from moduai.store.database import Connection
from moduai.web import account_words
from moduai.web.language import Language
from moduai.web.site import Site


async def kept(connection: Connection, site: Site, session: Session, lang: Language) -> dict[str, Any]:
    """All that the page shows, read from the records."""
    services, now = site.services, time.time()
    person = await get_person(connection, services.subjects, session.person)
    settings = services.loaded.settings
    owner = await get_organisation(connection, person.organisation)
    ways = await sign_in.identities_of(connection, person.id)
    talks, turns = await conversations.count(connection, person.id)
    return {
        "person": person,
        "organisation": account_words.organisation(lang.words, owner.name, settings.web.title),
        "role": account_words.role(lang.words, person.role),
        "since": _day(person.created_at, lang, site.zone),
        "ways": [_way(way.issuer, site) for way in ways],
        "has_password": any(way.issuer == sign_in.LOCAL for way in ways),
        "conversations": talks,
        "turns": turns,
        "retention_days": settings.history.retention_days,
        "sessions": [
            {
                "id": each.id,
                "device": each.device,
                "since": _day(each.created_at, lang, site.zone),
                "seen": _day(each.seen_at, lang, site.zone),
                "here": each.id == session.id,
            }
            for each in await list_sessions(connection, person.id, now)
        ],
        "keys": [
            {
                "id": each.id,
                "name": each.name,
                "prefix": each.prefix,
                "since": _day(each.created_at, lang, site.zone),
                "until": _day(each.expires_at, lang, site.zone) if each.expires_at else "",
                "expired": each.state(now) == "expired",
            }
            for each in await keys.list_keys(connection, subject=person.id)
        ],
        "quota": await look(connection, services.loaded, person.id, now),
        "renews": lambda at: f"{datetime.fromtimestamp(at, site.zone):%Y-%m-%d %H:%M}",
        **await _who_looked(connection, site, person.id, lang),
        "regions": _offered(regions_of(site), person.region, lang),
        "groups": _offered(settings.people.groups, person.group, lang),
    }


async def _who_looked(connection: Connection, site: Site, person: str, lang: Language) -> dict[str, Any]:
    """Staff who took leave for the person's text, and who read what the person reported."""
    title = site.services.loaded.settings.web.title

    def who(each: Looked | Reading) -> dict[str, str]:
        return {
            "role": account_words.role(lang.words, each.role),
            "organisation": account_words.organisation(lang.words, each.organisation, title),
        }

    def day(at: int) -> str:
        return _day(at, lang, site.zone) if at else ""

    return {
        "looks": [
            {**who(each), "reason": each.reason, "day": day(each.created_at), "read": day(each.used_at)}
            for each in await looks_at(connection, person)
        ],
        "readings": [
            {**who(each), "reported": day(each.reported_at), "read": day(each.at)}
            for each in await readings_of(connection, person)
        ],
    }


def _offered(names: dict[str, dict[str, str]], present: str, lang: Language) -> list[tuple[str, str]]:
    """Codes to choose from with their names; what the person has stands among them."""
    codes = [*names, *([present] if present and present not in names else [])] if names or present else []
    return [(code, in_language(names.get(code, {}), lang.code) or code) for code in codes]


def _way(issuer: str, site: Site) -> str:
    """A way to sign in: empty for a login name and password, else the provider's name."""
    if issuer == sign_in.LOCAL:
        return ""
    providers = site.services.loaded.settings.sign_in.providers.values()
    return next((provider.name for provider in providers if provider.issuer == issuer), issuer)


def _day(at: int, lang: Language, zone: timezone) -> str:
    """A day as it is written in the language."""
    from babel.dates import format_date  # noqa: PLC0415  (memory: only this page needs it)

    day = datetime.fromtimestamp(at, zone).date()
    return str(format_date(day, "long", locale=lang.code))


def regions_of(site: Site) -> dict[str, dict[str, str]]:
    """Regions to choose from, with their names by language; none where the settings ask nobody."""
    return site.regions if site.services.loaded.settings.people.ask_region else {}


async def _json(site: Site, session: Session) -> AsyncIterator[bytes]:
    """An object of the account and of the conversations."""
    services = site.services
    async with services.database.connect() as connection:
        account = await _account(connection, site, session)
    yield b'{"account":' + msgspec.json.encode(account) + b',"kept":'
    async for piece in export.as_json(services.database, services.subjects, session.person, time.time()):
        yield piece
    yield b"}\n"


def _markdown(site: Site, session: Session) -> AsyncIterator[bytes]:
    services = site.services
    return export.as_markdown(services.database, services.subjects, session.person, time.time())


async def _account(connection: Connection, site: Site, session: Session) -> dict[str, Any]:
    """The account as records have it; secrets are in none of them."""
    person = await get_person(connection, site.services.subjects, session.person)
    return {
        "person": person,
        "ways_to_sign_in": await sign_in.identities_of(connection, person.id),
        "sessions": await list_sessions(connection, person.id, time.time()),
        "keys": await keys.list_keys(connection, subject=person.id, revoked=True),
        "looks": await looks_at(connection, person.id),
        "reports": await own_reports(connection, site.services.subjects, person.id),
        "readings_of_reports": await readings_of(connection, person.id),
    }


EXPORTS: dict[str, tuple[str, Callable[[Site, Session], AsyncIterator[bytes]]]] = {
    "json": ("application/json", _json),
    "md": ("text/markdown; charset=utf-8", _markdown),
}
"""Kind of file to its media type and its writer."""
