"""The console's pages over HTTP: who sees them, what their forms do, and that text stays text."""

from __future__ import annotations

import dataclasses
import re
from html import unescape
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace

from moduai.accounts.roles import PERMISSIONS, ROLES, STAFF
from moduai.gateway.degraded import MODES
from moduai.gateway.policy_file import from_modu
from moduai.scheduling.policy import Problem
from moduai.web.api.engines import EngineAdded
from moduai.web.api.people import PersonChanged
from moduai.web.api.table import BY_NAME
from moduai.web.console.deeds import _OWN, typed
from moduai.web.console.figures import axis, columns
from moduai.web.console.menu import MENU
from moduai.web.console.pages import VIEWS, find
from tests.web.office import ENGINE, URL, Office, office

from .conftest import ATTACK, Console, crowded, fill, paths


@pytest.fixture
async def desk() -> Any:
    async with office() as opened:
        yield opened


def form(html: str, operation: str, number: int = 0) -> dict[str, str]:
    """The fields of a form on a page."""
    body = re.findall(rf'action="/console/do/{re.escape(operation)}".*?</form>', html, flags=re.DOTALL)[
        number
    ]
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', body))
    return {name: unescape(value) for name, value in fields.items()}


async def post(client: httpx2.AsyncClient, operation: str, fields: dict[str, str]) -> httpx2.Response:
    return await client.post(f"/console/do/{operation}", data=fields)


@pytest.mark.parametrize("role", ["", *ROLES])
async def test_every_page_for_every_role(desk: Office, role: str) -> None:
    async with desk.client(role, form=False) as client:
        for view, path in zip(VIEWS, paths(desk), strict=False):
            answer = await client.get(path)
            if not role:
                assert (answer.status_code, answer.headers["location"]) == (
                    303,
                    f"/signin?next={path.replace('/', '%2F')}",
                )
            elif role not in STAFF:
                assert answer.status_code == 404
                assert "console" not in answer.text.lower()
            elif view.permission in PERMISSIONS[role]:
                assert answer.status_code == 200, (path, answer.text)
                assert answer.headers["cache-control"] == "private, no-store"
            else:
                assert answer.status_code == 403
                assert "Your role may not do this." in answer.text
    if role in STAFF:
        home = (await desk.client(role, form=False).get("/console")).text
        shown = set(re.findall(r'<li><a href="(/console[^"?]*)"', home))
        assert shown - {"/console"} == {i.path for i in MENU if i.permission in PERMISSIONS[role]} - {
            "/console"
        }


@pytest.mark.parametrize("role", ["", *ROLES])
async def test_every_form_for_every_role(desk: Office, role: str) -> None:
    """A form's permission is its operation's: nobody can post past the pages."""
    before = len(await desk.entries())
    async with desk.client(role, form=False) as client:
        for name, operation in BY_NAME.items():
            fields = {"token": desk.forms.get(role, ""), "back": "/console", "sure": "1"}
            answer = await post(client, name, fields)
            if not role:
                assert answer.status_code == 303
                assert answer.headers["location"].startswith("/signin")
            elif role not in STAFF or not operation.writes:
                assert answer.status_code == 404
            elif operation.permission not in PERMISSIONS[role]:
                assert (answer.status_code, "Your role may not do this." in answer.text) == (403, True), name
    if role not in STAFF:
        assert len(await desk.entries()) == before


def test_every_entry_of_the_menu_is_a_view() -> None:
    views = {view.path: view.permission for view in VIEWS}
    assert all(views[item.path] == item.permission for item in MENU)
    assert find("/console/nothing") is None
    assert find("/console/engines/a/b") is None


@pytest.mark.parametrize(("language", "title"), [("en", "Residents"), ("ko", "주민")])
async def test_shares_are_shown_and_few_people_are_not(desk: Office, language: str, title: str) -> None:
    async with crowded(desk), desk.client("officer", form=False, language=language) as client:
        for path in ("/console/shares", "/console/shares?part=live"):
            page = unescape((await client.get(path)).text)
            assert title in page
            assert "부산 도서관" in page
            assert "org_few" not in page
            assert "net_" not in page
            assert "modu policy diff" in page
            assert {"en": "Cap of each person, %", "ko": "한 사람의 상한, %"}[language] in page
        assert "<html" not in page


async def test_a_policy_file_with_problems_is_told_on_the_page(desk: Office, monkeypatch) -> None:
    found = replace(from_modu(), source="last good", problems=(Problem((), "line 3: no <such> class"),))
    site = desk.app.state.site
    services = dataclasses.replace(site.services, policy=lambda: found, degraded=lambda: ["policy"])
    monkeypatch.setattr(desk.app.state, "site", dataclasses.replace(site, services=services))
    async with desk.client("officer", form=False) as client:
        page = (await client.get("/console/shares")).text
        assert "no &lt;such&gt; class" in page
        assert "The last good one, for the policy file has problems." in page
        assert "The policy file cannot be used" in (await client.get("/console")).text


@pytest.mark.parametrize("language", ["en", "ko"])
async def test_the_first_page_says_what_does_not_work(desk: Office, monkeypatch, language: str) -> None:
    site = desk.app.state.site
    services = dataclasses.replace(site.services, degraded=lambda: [mode.name for mode in MODES])
    monkeypatch.setattr(desk.app.state, "site", dataclasses.replace(site, services=services))
    async with desk.client("operator", form=False, language=language) as client:
        page = unescape((await client.get("/console")).text)
    for mode in MODES:
        assert (mode.what in page) == (language == "en")
    assert ("시계가 바뀌었거나" in page) == (language == "ko")
    assert page.count('class="notice bad"') == len(MODES)


async def test_forms_need_their_token_and_our_own_site(desk: Office) -> None:
    async with desk.client("admin", form=False) as client:
        fields = form((await client.get("/console/switches")).text, "banner.set") | {"words.en": "Hi"}
        for change, headers in (
            ({"token": ""}, {}),
            ({"token": "x" * 40}, {}),
            ({"token": desk.forms["operator"]}, {}),
            ({}, {"origin": "https://evil.example"}),
            ({}, {"sec-fetch-site": "cross-site"}),
        ):
            answer = await client.post("/console/do/banner.set", data={**fields, **change}, headers=headers)
            assert answer.status_code == 403
        assert not await desk.entries()
        answer = await client.post(
            "/console/do/banner.set", data={**fields, "back": "https://evil.example/x"}
        )
        assert answer.headers["location"] == "/?done=banner.set"
        assert len(await desk.entries()) == 1
        assert (await client.get("/console/do/banner.set")).headers["location"] == "/console"
        assert (await client.put("/console")).status_code == 405


def test_no_operation_has_a_field_that_forms_keep_for_themselves() -> None:
    assert not [name for name, one in BY_NAME.items() if _OWN & set(one.request.__struct_fields__)]


async def test_what_cannot_be_taken_back_is_asked_first(desk: Office) -> None:
    async with desk.client("admin", form=False) as client:
        page = (await client.get(f"/console/engines/{ENGINE.id}")).text
        asked = await post(client, "engine.remove", form(page, "engine.remove"))
        assert "Remove this engine?" in asked.text
        assert "<strong>lab</strong>" in asked.text
        assert not await desk.entries()
        done = await post(client, "engine.remove", form(asked.text, "engine.remove"))
        assert done.headers["location"] == "/console/engines?removed=1&done=engine.remove"
        listed = await client.get(done.headers["location"])
        assert "The engine was removed. You can bring it back below." in listed.text
        page = (await client.get(f"/console/engines/{ENGINE.id}")).text
        done = await post(client, "engine.resume", form(page, "engine.resume"))
        assert "The engine gets requests again." in (await client.get(done.headers["location"])).text

        fields = form((await client.get("/console/switches")).text, "service.stop")
        asked = await post(client, "service.stop", {**fields, "model": "", "words.en": "Back at nine"})
        assert "The whole service" in asked.text
        assert "Back at nine" in asked.text
        await post(client, "service.stop", form(asked.text, "service.stop"))
    assert [one.action for one in await desk.entries()] == ["switch.set", "engine.resume", "engine.remove"]


async def test_documents_are_added_looked_at_and_removed(desk: Office) -> None:
    async with desk.client("steward", form=False) as client:
        fields = form((await client.get("/console/knowledge")).text, "knowledge.add")
        done = await post(client, "knowledge.add", {**fields, "address": "https://example.org/guide.pdf"})
        listed = (await client.get(done.headers["location"])).text
        assert "example.org guide.pdf" in listed
        assert "waits to be read" in listed
        bad = await post(client, "knowledge.add", {**fields, "once": "", "address": "/etc/passwd"})
        assert (bad.status_code, 'value="/etc/passwd"' in bad.text) == (400, True)
        page = (await client.get("/console/knowledge/laws")).text
        assert "민법 &lt;b&gt;" in page
        assert "it is encrypted" in page
        done = await post(client, "knowledge.update", form(page, "knowledge.update"))
        assert "waits to be read" in (await client.get(done.headers["location"])).text
        asked = await post(client, "knowledge.remove", form(page, "knowledge.remove"))
        assert "Remove these documents?" in asked.text
        done = await post(client, "knowledge.remove", form(asked.text, "knowledge.remove"))
        assert done.headers["location"] == "/console/knowledge?done=knowledge.remove"
        assert "laws" not in (await client.get(done.headers["location"])).text
        assert (await client.get("/console/knowledge/laws")).status_code == 404


async def test_a_form_that_is_refused_says_why_and_keeps_what_was_written(desk: Office) -> None:
    async with desk.client("admin", form=False) as client:
        fields = form((await client.get("/console/organisations")).text, "org.create")
        assert (await post(client, "org.create", {**fields, "name": "부산"})).status_code == 303
        again = await post(client, "org.create", {**fields, "once": "", "name": "부산", "region": "KR-26"})
        assert again.status_code == 409
        assert "already an organisation" in again.text
        assert 'value="KR-26"' in again.text
        assert form(again.text, "org.create")["back"] == "/console/organisations"
        assert 'href="/console/organisations?lang=ko"' in again.text
        twice = await post(client, "org.create", {**fields, "name": "다른 이름"})
        assert "the form was sent twice" in twice.text
        bad = await post(client, "engine.add", {**fields, "back": "/console/engines", "url": "ftp://x"})
        assert (bad.status_code, 'value="ftp://x"' in bad.text) == (400, True)


async def test_a_key_and_an_invitation_are_shown_once(desk: Office) -> None:
    async with desk.client("admin", form=False) as client:
        page = (await client.get("/console/keys")).text
        made = await post(client, "key.create", {**form(page, "key.create"), "name": "ci", "manage": "true"})
        key = re.search(r'value="(modu-[^"]+)" readonly', made.text)
        assert key is not None
        assert made.headers["cache-control"] == "private, no-store"
        listed = (await client.get("/console/keys")).text
        assert key[1] not in listed
        assert key[1][:12] in listed
        await desk.follow()
        headers = {"authorization": f"Bearer {key[1]}"}
        assert (await desk.client().get("/api/now", headers=headers)).status_code == 200

        page = (await client.get("/console/invitations")).text
        made = await post(client, "invite.create", {**form(page, "invite.create"), "role": "steward"})
        link = re.search(rf'value="({URL}/join/[^"]+)" readonly', made.text)
        assert link is not None
        assert link[1] not in (await client.get("/console/invitations")).text


async def test_an_invitation_leads_to_where_people_reach_the_service(desk: Office, monkeypatch) -> None:
    public, loaded = "https://ai.example.go.kr", desk.services.loaded
    told = replace(loaded.settings, sign_in=replace(loaded.settings.sign_in, public_url=public))
    site = desk.app.state.site
    services = dataclasses.replace(site.services, loaded=loaded._replace(settings=told))
    monkeypatch.setattr(desk.app.state, "site", dataclasses.replace(site, services=services))
    async with desk.client("admin", form=False) as client:
        fields = form((await client.get("/console/invitations")).text, "invite.create")
        made = await post(client, "invite.create", {**fields, "role": "steward"})
        assert f'value="{public}/join/' in made.text


async def test_people_are_found_by_a_form_and_changed(desk: Office) -> None:
    async with desk.client("admin", form=False) as client:
        fields = form((await client.get("/console/people")).text, "person.find")
        found = await post(client, "person.find", {**fields, "text": "one RES", "role": ""})
        assert found.status_code == 200
        assert len(re.findall(r'href="/console/people/sub_', found.text)) == 1
        path = f"/console/people/{desk.people['resident']}"
        fields = form((await client.get(path)).text, "person.change", 1)
        done = await post(
            client, "person.change", {**fields, "role": "steward", "region": "KR-26", "group": ""}
        )
        assert done.headers["location"] == f"{path}?done=person.change"
        assert "The person was changed." in (await client.get(done.headers["location"])).text
        asked = await post(client, "person.change", form((await client.get(path)).text, "person.change"))
        assert "Block this person?" in asked.text
        await post(client, "person.change", form(asked.text, "person.change"))
        assert "blocked" in (await client.get(path)).text


async def test_a_report_is_read_and_handled_and_its_text_is_only_text(console: Console) -> None:
    desk = console.desk
    async with desk.client("steward", form=False) as client:
        inbox = (await client.get("/console/reports")).text
        assert "alert(1)" not in inbox
        shown = await post(client, "report.read", form(inbox, "report.read"))
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown.text
        assert "<script>alert" not in shown.text
        fields = form(shown.text, "report.handle")
        await post(client, "report.handle", {**fields, "state": "handled", "note": ATTACK})
        done = await post(client, "report.handle", {**fields, "state": "handled", "note": "model replaced"})
        assert done.headers["location"] == "/console/reports?state=open&done=report.handle"
        assert "model replaced" in (await client.get("/console/reports?state=handled")).text
    assert [one.action for one in await desk.entries("report")] == ["report.handle", "report.read"]


async def test_a_persons_text_is_read_with_leave_only(console: Console) -> None:
    desk = console.desk
    person = desk.people["resident"]
    path = f"/console/look?person={person}"
    async with desk.client("steward", form=False) as client:
        page = (await client.get(path)).text
        assert form(page, "look.conversations")["back"] == path  # the fixture took leave
        listed = await post(client, "look.conversations", form(page, "look.conversations"))
        assert "Nothing is kept of this person." in listed.text
        await post(client, "look.end", form(page, "look.end"))
        page = (await client.get(path)).text
        refused = await post(
            client, "look.conversations", {"token": desk.forms["steward"], "back": path, "person": person}
        )
        assert refused.status_code == 403
        assert "First take leave to look" in refused.text
        fields = form(page, "look.take")
        done = await post(client, "look.take", {**fields, "reason": "Asked for by a court.", "hours": "1"})
        assert done.status_code == 303
        assert "You have leave to look until" in (await client.get(path)).text


async def test_figures_of_a_few_people_are_not_shown(desk: Office) -> None:
    await fill(desk)
    async with desk.client("officer", form=False) as client:
        months = (await client.get("/console/usage?by=region")).text
        assert '<td class="right">9</td>' in months
        hours = (await client.get("/console/usage")).text
        assert "&lt;5" in hours
        assert "kept back" in hours
        bad = await client.get("/console/usage?by=colour&period=never")
        assert bad.status_code == 400
        assert "Something in the form" in bad.text


async def test_the_live_part_is_what_the_page_holds(desk: Office) -> None:
    async with desk.client("operator", form=False) as client:
        part = await client.get("/console?part=live")
        assert part.status_code == 200
        assert "<html" not in part.text
        page = (await client.get("/console")).text
        assert '<div id="live">' in page
        assert 'id="s-engines"' in part.text
        assert 'id="s-engines"' in page


async def test_no_page_has_inline_script_or_style(desk: Office) -> None:
    await fill(desk)
    async with desk.client("admin", form=False) as client:
        for path in paths(desk):
            html = (await client.get(path)).text
            assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=", html), path
            assert html.count("<h1") == 1, path
            labels = set(re.findall(r'<label for="([^"]+)"', html))
            ids = re.findall(r'\sid="([^"]+)"', html)
            assert len(ids) == len(set(ids)), path
            assert labels <= set(ids), path


async def test_console_files_are_loaded_there_only(desk: Office) -> None:
    async with desk.client("admin", form=False) as client:
        assert "console." not in (await client.get("/")).text
        assert re.search(r"/static/console\.\w+\.css", (await client.get("/console")).text)


async def test_a_database_that_is_away_is_told(desk: Office) -> None:
    async with desk.client("admin", form=False) as client:
        await client.get("/console/audit")  # the session is known now
        assert desk.services.database.file is not None
        desk.services.database.file.unlink()
        answer = await client.get("/console/audit")
        assert answer.status_code == 503
        assert "The database does not answer." in answer.text
        assert (await client.get("/console")).status_code == 200


def test_fields_of_forms_become_those_of_requests() -> None:
    engine = typed(EngineAdded, {"url": "u", "concurrency": "", "models": " a \r\n\r\nb=c ", "name": ""})
    assert engine == {"url": "u", "models": ["a", "b=c"], "name": ""}
    person = typed(PersonChanged, {"person": "p", "region": "", "role": "", "state": "active"})
    assert person == {"person": "p", "region": "", "state": "active"}


def test_figures_are_drawn_to_a_round_number() -> None:
    assert [axis([(value, 0)]) for value in (0, 1, 3, 10, 11, 4999, 5001)] == [1, 1, 5, 10, 20, 5000, 10000]
    drawn = columns('A "label"', [(10, 5), (None, 0), (0, 0)])
    assert 'aria-label="A &#34;label&#34;"' in drawn
    assert '<rect class="failed" x="0" y="60" width="8" height="60"/>' in drawn
    assert '<rect class="kept-back"' in drawn
