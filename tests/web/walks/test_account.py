"""Accounts in Chromium: invited, signed in, changed, signed out, deleted; no page of them has a script."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import Page, expect

from moduai.accounts.invitations import invite
from moduai.accounts.looks import take_leave
from moduai.accounts.people import Person, find_people
from moduai.accounts.sessions import start_session

from ..harness import PASSWORD, Served, resident
from ..pages import check_accessibility
from .conftest import LOOKS, Contexts, Open

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

WORDS = {
    "ko-KR": ("삭제", "내 정보", "로그인", "환영합니다", "저장했습니다", "다른 곳에서 모두"),
    "en-GB": ("delete", "My data", "Sign in", "Welcome", "Saved", "Everywhere else"),
}


async def check(page: Page, state: str) -> None:
    """Accessible, and no wider than the window."""
    await check_accessibility(page, state)
    wide = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0, f"{state}: the page scrolls sideways"


async def pass_by(_: Page, __: str) -> None:
    """Where there is no JavaScript the page cannot be asked; it is the same one."""


Check = Callable[[Page, str], Awaitable[None]]


async def someone(served: Served, name: str) -> Person:
    async with served.services.database.connect() as connection:
        return next(iter(await find_people(connection, served.services.subjects, name)))


async def sign_in(page: Page, login: str, password: str = PASSWORD) -> None:
    await page.locator("#login").fill(login)
    await page.locator("#password").fill(password)
    await page.locator("form.fields button").click()


async def join(page: Page, served: Served, login: str, check: Check) -> None:
    """Accept an invitation, at the second try."""
    async with served.services.database.begin() as connection:
        token, _ = await invite(connection, role="resident")
    await page.goto(f"/join/{token}")
    await check(page, "invited")
    await page.locator("#name").fill(f"바다 {login}")
    await sign_in(page, login, "aaaaaaaaaaaa")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.locator("#password")).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("#login")).to_have_value(login)
    await check(page, "a weak password")
    await sign_in(page, login)


async def change(page: Page, served: Served, login: str, check: Check, *said: str) -> None:
    """Everything on the page that can be changed and stays."""
    person = await someone(served, login)
    staff, _ = await resident(served.services, secrets.token_hex(6), role="steward")
    async with served.services.database.begin() as connection:
        await start_session(connection, person, "Chrome · Android", time.time())
        await take_leave(connection, staff.id, person.id, "A reason of ten letters and more")
    await page.goto("/me")
    await page.locator("#region").select_option("KR-49")
    await page.locator("[name=history]").check()
    await page.locator("#settings button").first.click()
    await expect(page.get_by_role("status")).to_contain_text(said[0])
    assert (await someone(served, login)).region == "KR-49"
    await page.locator("#key-name").fill("나의 프로그램")
    await page.locator("#keys form.fields button").click()
    await expect(page.locator("#new-key")).to_be_in_viewport()
    await check(page, "my data, with a new key")
    await page.locator("#keys .rows button").click()
    await expect(page.locator("#keys .rows")).to_have_count(0)
    await page.locator("#browsers [value=others]").click()
    await expect(page.get_by_role("status")).to_contain_text(said[1])


@pytest.mark.parametrize("look", LOOKS)
async def test_an_account_from_its_invitation_to_its_end(
    contexts: Contexts, served: Served, look: dict[str, Any]
) -> None:
    word, title, enter, welcome, saved, others = WORDS[look["locale"]]
    login = secrets.token_hex(6)
    scripts = look["locale"] == "ko-KR"
    context = await contexts(**look, base_url=served.url, java_script_enabled=scripts)
    looked = check if scripts else pass_by
    page = await context.new_page()
    await join(page, served, login, looked)
    await expect(page.locator("h1")).to_have_text(title)
    await expect(page.get_by_role("status")).to_contain_text(welcome)
    await change(page, served, login, looked, saved, others)

    await page.locator("#browsers .rows button").click()
    await expect(page.locator("h1")).to_have_text(enter)
    await page.goto("/me")
    await expect(page).to_have_url(f"{served.url}/signin?next=/me")
    await sign_in(page, login, "not the password")
    await expect(page.get_by_role("alert")).to_be_visible()
    await looked(page, "a wrong password")
    await sign_in(page, login)
    await expect(page).to_have_url(f"{served.url}/me")

    await page.locator("#word").fill("no")
    await page.locator("#delete .danger").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.locator("#word").fill(word)
    await page.locator("#delete .danger").click()
    await expect(page.locator("h1")).to_have_text(enter)
    await expect(page.get_by_role("status")).to_be_visible()
    await sign_in(page, login)
    await expect(page.get_by_role("alert")).to_be_visible()


async def test_signing_in_with_the_keyboard_alone(visit: Open, served: Served) -> None:
    login = secrets.token_hex(6)
    await resident(served.services, login)
    page = (await visit(base_url=served.url)).page
    await page.goto("/signin")
    keys = page.keyboard
    await keys.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await keys.press("Enter")
    await keys.press("Tab")
    await expect(page.locator("#login")).to_be_focused()
    await keys.type(login)
    await keys.press("Tab")
    await keys.type(PASSWORD)
    await keys.press("Enter")
    await expect(page.locator(".top a[href='/me']")).to_be_visible()
    await page.goto("/me")
    await page.locator("#browsers .rows button").first.focus()
    await keys.press("Enter")
    await expect(page).to_have_url(f"{served.url}/signin?done=signed_out")


async def test_narrow_and_enlarged(contexts: Contexts, served: Served) -> None:
    """320 px wide is what 400 % makes of a small screen."""
    _, token = await resident(served.services, secrets.token_hex(6))
    context = await contexts(base_url=served.url, viewport={"width": 320, "height": 640})
    page = await context.new_page()
    for path in ("/signin", "/join/none"):
        await page.goto(path)
        await check(page, path)
    await context.add_cookies([{"name": "modu_session", "value": token, "url": served.url}])
    for path in ("/me", "/signout"):
        await page.goto(path)
        await check(page, path)


async def test_going_back_after_signing_out_shows_nothing(contexts: Contexts, served: Served) -> None:
    _, token = await resident(served.services, secrets.token_hex(6))
    context = await contexts(base_url=served.url)
    await context.add_cookies([{"name": "modu_session", "value": token, "url": served.url}])
    page = await context.new_page()
    await page.goto("/me")
    await page.locator("#browsers .rows button").click()
    await page.go_back()
    await expect(page).to_have_url(f"{served.url}/signin?next=/me")
