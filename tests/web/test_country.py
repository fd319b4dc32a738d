"""Every page with the pack of an invented country: its languages and direction, and nothing of Korea."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from moduai.accounts.invitations import invite
from moduai.accounts.roles import ROLES
from moduai.gateway.policy_text import parse
from moduai.knowledge.tables import documents
from moduai.packs import strategy
from moduai.packs.choose import chosen
from moduai.web.app import ROUTES
from tests.web.console.conftest import fill, paths
from tests.web.office import Office, office
from tests.web.plan.test_plan import XA

HANGUL = r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]+"
KOREA = re.compile(rf"{HANGUL}|Korean?s?(?! for)\b|\bwon\b|KRW|KR-\d\d|₩|Seoul")
WRITTEN = re.compile("모두|도서관|하늘|길다|점검|한빛연구소|민법|제1조|KR-11|작고 빠르지만 자주 틀립니다")
"""The name of Modu, and what this test and those it borrows from have written themselves."""
LANGUAGES = re.compile("Search Korean")
"""What Kiwi is for."""
NO_PAGES = "/api"
"""What is for programs; files have a dot in their names."""


@pytest.mark.parametrize(("language", "direction"), [("ar", "rtl"), ("en", "ltr")])
async def test_every_page_is_the_countrys_own(language: str, direction: str) -> None:
    async with office(**{"pack.use": str(XA)}) as desk:
        await fill(desk)
        await desk.follow()
        faults = {}
        for path in await every_path(desk):
            html = await page_of(desk, path, language)
            found = sorted(set(KOREA.findall(LANGUAGES.sub("", WRITTEN.sub("", html)))))
            if found or f'<html lang="{language}" dir="{direction}"' not in html:
                faults[path] = found or html[:60]
        assert faults == {}


async def test_staff_write_to_everyone_in_the_countrys_languages() -> None:
    async with office(**{"pack.use": str(XA)}) as desk:
        async with desk.client("admin", form=False, language="en") as admin:
            page = (await admin.get("/console/switches")).text
            assert re.findall(r'<input id="(?:stop|banner)-\w+" name="(.*?)" lang="(.*?)"', page) == [
                (f"words.{code}", code) for code in ("ar", "en", "ar", "en")
            ]
            fields = {
                "token": desk.forms["admin"],
                "back": "/console/switches",
                "words.ar": "صيانة",
                "until": "0",
            }
            done = await admin.post("/console/do/banner.set", data={**fields, "words.en": ""})
            assert done.headers["location"] == "/console/switches?done=banner.set"
            asked = await admin.post("/console/do/service.stop", data={**fields, "model": ""})
            assert "العربية</dt>" in asked.text.replace("</bdi>", "")
            wrong = await admin.post(
                "/console/do/banner.set", data={**fields, "words": "x", "words.<b>": "x"}
            )
            assert wrong.status_code == 400
        await desk.follow()
        for language in ("ar", "en"):
            async with desk.client(language=language) as guest:
                page = (await guest.get("/")).text
            assert 'role="note" lang="ar" dir="auto">صيانة</p>' in page, "in words that there are"


async def page_of(desk: Office, path: str, language: str) -> str:
    """As the first role sees it that may; where none may, the page that says so."""
    for role in ("", *ROLES):
        async with desk.client(role, language=language) as client:
            answer = await client.get(path)
        if answer.status_code == 200:
            break
    return answer.text


async def every_path(desk: Office) -> list[str]:
    """Each page of the routes, the console and the plan, with ids that are there."""
    async with desk.services.database.begin() as connection:
        token, _ = await invite(connection, role="resident")
        ids = (await connection.execute(select(documents.c.id))).scalars()
    items = strategy.as_of(chosen(desk.services.loaded, parse)).entries
    public = [
        getattr(route, "path", "") or route._prefix
        for route in ROUTES
        if "GET" in (getattr(route, "methods", None) or {"GET"})
    ]
    pages = [path for path in public if not re.search(r"[{.]", path) and not path.startswith(NO_PAGES)]
    pages += ["/nowhere", f"/join/{token}", *(f"/source/{one}/1" for one in ids), *paths(desk)]
    return [*dict.fromkeys(pages), *(f"/plan/items/{name}" for name in items)]
