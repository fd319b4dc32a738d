"""Signing in at a real provider (certified, in a process of its own), through the pages."""

import asyncio
import contextlib
import re
import subprocess
import time
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from playwright.async_api import expect

from moduai.accounts.invitations import invite, list_invitations
from moduai.accounts.people import change_person, find_people
from moduai.web import at_provider
from tests.node import NODE, installed

from .harness import resident, serve
from .test_sign_in import Client

HERE = Path(__file__).resolve().parent.parent / "provider"
SECRET = "a secret / with + signs"


@pytest.fixture(scope="session")
def issuer():
    """The provider's address."""
    folder = installed(HERE, "provider.mjs")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([NODE, "provider.mjs"], cwd=folder, text=True, **pipes)
    yield process.stdout.readline().strip()
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


def settings(issuer, **fields):
    provider = {
        "name": "정부 로그인",
        "issuer": issuer,
        "client_id": "modu",
        "client_secret": SECRET,
        "scopes": ["openid", "profile", "address", "groups"],
        "region_claim": "address.region",
        "region_map": {"부산광역시": "KR-26"},
        "group_claim": "groups",
        "group_map": {"student": "students"},
    }
    return {
        "sign_in.providers": {"main": provider, "second": {**provider, "issuer": "http://127.0.0.1:1"}},
        "outbound.private": ["127.0.0.1"],
        "people.sign_up": "open",
        **fields,
    }


@pytest.fixture
async def open_to_all(issuer, script):
    """A service where whom the provider knows has an account at once."""
    async with serve(script, **settings(issuer)) as served:
        yield served


@pytest.fixture
async def client(open_to_all):
    one = Client(open_to_all)
    async with one.http:
        yield one


async def at_issuer(address, login):
    """Sign in at the provider's own pages as a person would; where it sends the browser back to."""
    async with httpx.AsyncClient() as browser:
        page = await browser.get(address)
        while True:
            while page.is_redirect:
                target = urljoin(str(page.url), page.headers["location"])
                if "/callback" in target:
                    return target
                page = await browser.get(target)
            form = re.search(r'<form[^>]*action="([^"]+)"', page.text)
            fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
            if fields.get("prompt") == "login":
                fields |= {"login": login, "password": "any"}
            page = await browser.post(urljoin(str(page.url), unescape(form[1])), data=fields)


async def come_back(client, begin="/signin/main", login="haneul"):
    """Begin at our page, sign in there, come back."""
    begun = await client.get(begin)
    assert begun.status_code == 303, begun.text
    back = await at_issuer(begun.headers["location"], login)
    return back, await client.get(back)


async def people(served):
    async with served.services.database.connect() as connection:
        return await find_people(connection, served.services.subjects)


async def test_a_new_person(client, open_to_all):
    assert 'href="/signin/main?next=%2F"' in (await client.get("/signin")).text
    _, answer = await come_back(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/me?done=welcome")
    (person,) = await people(open_to_all)
    assert (person.name, person.region, person.group, person.role) == (
        "김하늘",
        "KR-26",
        "students",
        "resident",
    )
    page = (await client.get("/me")).text
    assert "정부 로그인" in page
    assert "Change my password" not in page


async def test_the_same_person_again(client, open_to_all):
    await come_back(client)
    first = client.session
    async with open_to_all.services.database.begin() as connection:
        (person,) = await find_people(connection, open_to_all.services.subjects)
        await change_person(connection, open_to_all.services.subjects, person.id, region="", name="나")
    _, answer = await come_back(client, "/signin/main?next=/about")
    assert answer.headers["location"] == "/about"
    assert client.session != first
    (person,) = await people(open_to_all)
    assert (person.region, person.name) == ("", "나")  # what the person chose stays


async def test_what_the_provider_writes_is_text(client, open_to_all):
    await come_back(client, login="bada")
    (person,) = await people(open_to_all)
    assert (person.name, person.region, person.group) == ("<b>바다</b>", "", "")
    assert "<b>바다" not in (await client.get("/me")).text


async def test_nobody_new_without_an_invitation(issuer, script):
    async with serve(script, **settings(issuer, **{"people.sign_up": "invited"})) as served:
        client = Client(served)
        async with client.http:
            _, refused = await come_back(client)
            assert refused.status_code == 403
            assert "no account for you" in refused.text
            async with served.services.database.begin() as connection:
                token, _ = await invite(connection, role="operator")
            assert f'href="/signin/main?join={token}"' in (await client.get(f"/join/{token}")).text
            _, answer = await come_back(client, f"/signin/main?join={token}")
            assert answer.headers["location"] == "/me?done=welcome"
            (person,) = await people(served)
            assert person.role == "operator"
            async with served.services.database.connect() as connection:
                assert await list_invitations(connection, time.time()) == []
            _, again = await come_back(client, f"/signin/main?join={token}", login="bada")
            assert again.status_code == 403
            assert len(await people(served)) == 1


async def test_a_blocked_person(client, open_to_all):
    await come_back(client)
    await client.post("/signout")
    (person,) = await people(open_to_all)
    async with open_to_all.services.database.begin() as connection:
        await change_person(connection, open_to_all.services.subjects, person.id, state="blocked")
    _, answer = await come_back(client)
    assert answer.status_code == 403
    assert "blocked" in answer.text
    assert len(await people(open_to_all)) == 1


async def test_the_address_back_works_once(client):
    back, first = await come_back(client)
    assert first.status_code == 303
    again = await client.get(back)
    assert again.status_code == 403
    assert "begin again" in again.text


async def test_a_copied_attempt_is_worth_nothing_twice(client, open_to_all):
    """Even with its cookie kept: the state was used, and the provider refuses the code."""
    begun = await client.get("/signin/main")
    cookie = client.http.cookies[at_provider.COOKIE]
    back = await at_issuer(begun.headers["location"], "haneul")
    assert (await client.get(back)).status_code == 303
    thief = Client(open_to_all)
    async with thief.http:
        thief.http.cookies.set(at_provider.COOKIE, cookie, domain="127.0.0.1", path="/signin/main")
        assert (await thief.get(back)).status_code == 403
        assert thief.session is None


async def test_another_browser_cannot_finish(client, open_to_all):
    """Somebody's link, which would sign a victim in to the sender's account."""
    begun = await client.get("/signin/main")
    back = await at_issuer(begun.headers["location"], "haneul")
    victim = Client(open_to_all)
    async with victim.http:
        for begin in ("/signin", "/signin/main"):
            await victim.get(begin)
            answer = await victim.get(back)
            assert answer.status_code == 403
            assert victim.session is None


async def test_the_answer_of_one_provider_at_another(client):
    begun = await client.get("/signin/main")
    back = await at_issuer(begun.headers["location"], "haneul")
    assert (await client.get(back.replace("/main/", "/second/"))).status_code == 403
    parts = parse_qs(urlsplit(back).query)
    assert parts["iss"] != ["http://127.0.0.1:1"]  # the provider names itself (RFC 9207)
    foreign = re.sub(r"iss=[^&]+", "iss=http%3A%2F%2F127.0.0.1%3A1", back)
    assert (await client.get(foreign)).status_code == 502
    assert client.session is None


async def test_the_cookie_of_an_attempt(client):
    answer = await client.get("/signin/main")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(at_provider.COOKIE))
    for part in ("HttpOnly", "SameSite=lax", "Path=/signin/main"):
        assert part in cookie
    (age,) = re.findall(r"Max-Age=(\d+)", cookie)
    assert 500 < int(age) <= 600  # what is left of ten minutes
    value = client.http.cookies[at_provider.COOKIE]
    changed = value[:-3] + ("AAA" if value[-3:] != "AAA" else "BBB")
    client.http.cookies.set(at_provider.COOKIE, changed, domain="127.0.0.1", path="/signin/main")
    back = await at_issuer(answer.headers["location"], "haneul")
    assert (await client.get(back)).status_code == 403


async def test_answers_are_counted(client):
    """Nobody makes this service knock at a provider again and again."""
    said = [(await client.get("/signin/main/callback?code=x&state=y")).status_code for _ in range(7)]
    assert said == [403] * 5 + [429] * 2


async def test_who_does_not_want_to(client):
    begun = await client.get("/signin/main")
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    answer = await client.get(
        f"/signin/main/callback?error=access_denied&error_description=<b>x&state={state}"
    )
    assert answer.status_code == 403
    assert "not finished" in answer.text
    assert "<b>x" not in answer.text


async def test_a_provider_that_is_down(client):
    answer = await client.get("/signin/second")
    assert answer.status_code == 502
    assert "cannot be reached just now" in answer.text
    assert 'name="password"' in answer.text  # another way in is at hand
    assert (await client.get("/signin/third")).status_code == 404


async def test_a_session_of_before_ends(client, open_to_all):
    _, token = await resident(open_to_all.services)
    client.carry(token)
    await come_back(client)
    other = Client(open_to_all)
    other.carry(token)
    async with other.http:
        assert (await other.get("/me")).status_code == 303


async def test_a_wrong_secret(issuer, script):
    changed = settings(issuer)
    changed["sign_in.providers"]["main"]["client_secret"] = "another"
    async with serve(script, **changed) as served:
        client = Client(served)
        async with client.http:
            _, answer = await come_back(client)
            assert answer.status_code == 502
            assert "cannot accept" in answer.text


async def test_several_at_once(open_to_all):
    async with contextlib.AsyncExitStack() as stack:
        clients = [Client(open_to_all) for _ in range(4)]
        for each in clients:
            await stack.enter_async_context(each.http)
        answers = await asyncio.gather(*(come_back(each, login=f"one{n}") for n, each in enumerate(clients)))
    assert {answer.status_code for _, answer in answers} == {303}
    assert len(await people(open_to_all)) == 4


@pytest.mark.browser
async def test_in_a_browser(open_to_all, chromium):
    context = await chromium.new_context(base_url=open_to_all.url, locale="ko-KR", java_script_enabled=False)
    page = await context.new_page()
    await page.goto("/signin")
    await page.get_by_role("link", name="정부 로그인").first.click()
    await page.locator("[name=login]").fill("haneul")
    await page.locator("[name=password]").fill("any")
    await page.locator("[type=submit]").click()
    await page.locator("[type=submit]").click()
    await expect(page.locator("h1")).to_have_text("내 정보")
    await expect(page.get_by_role("status")).to_contain_text("환영합니다")
    await context.close()
