"""The pages served over a real socket, with a scripted engine behind them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from moduai.accounts.sessions import COOKIE

from .harness import Script, Served, resident, serve
from .pages import ARGUMENTS, CHROMIUM


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A real browser. Where there is none the test is skipped, but not in CI."""
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("no Chromium (Debian: apt install chromium fonts-noto-cjk)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def script() -> Script:
    """What the engine will do; tests change it."""
    return Script()


@pytest.fixture
async def served(script: Script) -> AsyncIterator[Served]:
    """The pages on a free port of the loopback."""
    async with serve(script) as running:
        yield running


@pytest.fixture
async def signed_in(served: Served, chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser in which a resident is signed in at ``served``: take its pages with ``new_page()``."""
    _, token = await resident(served.services)
    context = await chromium.new_context(base_url=served.url)
    await context.add_cookies([{"name": COOKIE, "value": token, "url": served.url}])
    yield context
    await context.close()
