"""The console in Chromium: every page in both languages, on phone and desktop, and its one script."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from moduai.accounts.sessions import COOKIE
from tests.web.pages import check_accessibility

from .conftest import Console, crowded, paths

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 860}}
LOOKS = [
    pytest.param({**PHONE, "color_scheme": "light", "locale": "ko-KR"}, id="phone-light-ko"),
    pytest.param({**DESKTOP, "color_scheme": "dark", "locale": "en-GB"}, id="desktop-dark-en"),
]


async def signed_in(chromium: Browser, console: Console, role: str, **options: Any) -> BrowserContext:
    context = await chromium.new_context(**options)
    token = console.desk.tokens[role]
    await context.add_cookies([{"name": COOKIE, "value": token, "url": console.url}])
    return context


async def check(page: Page, state: str) -> None:
    """Accessible, and no wider than its window; what is wider in it scrolls by itself."""
    await check_accessibility(page, state)
    wider = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"{state}: {wider} px too wide"


@pytest.mark.parametrize("look", LOOKS)
async def test_every_page_is_accessible(chromium: Browser, console: Console, look: dict[str, Any]) -> None:
    context = await signed_in(chromium, console, "admin", **look)
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    foreign: list[str] = []
    page.on("request", lambda r: None if r.url.startswith(console.url) else foreign.append(r.url))
    every = paths(console.desk)
    for path in every if "is_mobile" in look else every[:4]:  # all where room is scarce
        await page.goto(console.url + path)
        await check(page, path)
    await page.goto(f"{console.url}/console/reports")
    await page.locator("[action$='report.read'] button").click()
    await expect(page.locator(".told").first).to_be_visible()
    await check(page, "a report")
    await page.goto(f"{console.url}/console/switches")
    await page.locator("[action$='service.stop'] .danger").click()
    await expect(page.locator(".sure")).to_be_visible()
    await check(page, "to be confirmed")
    assert not problems
    await page.goto(f"{console.url}/console/organisations")
    await page.locator("#f-name").fill("default")
    await page.locator("[action$='org.create'] .button").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await check(page, "refused")
    assert not foreign
    await context.close()


async def test_the_first_page_follows_and_can_be_paused(chromium: Browser, console: Console) -> None:
    context = await signed_in(chromium, console, "operator", locale="en", **DESKTOP)
    page = await context.new_page()
    await page.goto(f"{console.url}/console")
    errors = page.locator("#s-errors ~ *")
    await expect(errors).to_contain_text("None since the workers began.")
    link = page.locator("#live a").first
    await link.focus()
    console.desk.lane.stats.errors["line_full"] = 3
    await expect(page.locator("#live")).to_contain_text("line_full", timeout=60_000)
    await expect(page.locator("#live a").first).to_be_focused()
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("button", name="Go on")).to_be_visible()
    await check(page, "paused")
    await page.route("**/console?part=live", lambda route: route.abort())
    await page.get_by_role("button", name="Go on").click()
    await expect(page.locator("#state")).to_have_text("The service does not answer. Trying again.")
    await page.unroute("**/console?part=live")
    await expect(page.locator("#state")).to_have_text("", timeout=60_000)
    await context.close()


@pytest.mark.parametrize("look", LOOKS)
async def test_shares_follow_and_are_accessible(
    chromium: Browser, console: Console, look: dict[str, Any]
) -> None:
    context = await signed_in(chromium, console, "committee", **look)
    page = await context.new_page()
    async with crowded(console.desk):
        await page.goto(f"{console.url}/console/shares")
        await check(page, "shares")
        await expect(page.locator("#live")).to_contain_text("부산 도서관")
        await expect(page.locator("#live")).not_to_contain_text("98,765")
        console.desk.lane.stats.steps["queued"] = 98_765
        await expect(page.locator("#live")).to_contain_text("98,765", timeout=60_000)
    await context.close()


async def test_an_engine_is_drained_by_keyboard_without_javascript(
    chromium: Browser, console: Console
) -> None:
    context = await signed_in(
        chromium, console, "operator", locale="en", java_script_enabled=False, **DESKTOP
    )
    page = await context.new_page()
    await page.goto(f"{console.url}/console")
    await page.get_by_role("link", name="lab").press("Enter")
    await page.get_by_role("button", name="Drain").press("Enter")
    await expect(page.get_by_role("status")).to_have_text(
        "The engine ends what it runs and gets nothing new."
    )
    await page.get_by_role("button", name="Remove").press("Enter")
    await expect(page.locator("h1")).to_have_text("Remove this engine?")
    await page.get_by_role("link", name="Cancel").press("Enter")
    await expect(page.get_by_role("button", name="Send requests again")).to_be_visible()
    assert [one.action for one in await console.desk.entries("engine")] == ["engine.drain"]
    await context.close()
