"""Walks through the pages: one browser, one service and one event loop for all of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from moduai.accounts.people import Person
from moduai.accounts.sessions import COOKIE

from ..harness import Script, Served, resident, serve
from ..pages import ARGUMENTS, CHROMIUM, AskPage

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
LOOKS = [
    pytest.param({**PHONE, "color_scheme": "light", "locale": "ko-KR"}, id="phone-light-ko"),
    pytest.param({**PHONE, "color_scheme": "dark", "locale": "en-GB"}, id="phone-dark-en"),
    pytest.param({**DESKTOP, "color_scheme": "light", "locale": "en-GB"}, id="desktop-light-en"),
    pytest.param({**DESKTOP, "color_scheme": "dark", "locale": "ko-KR"}, id="desktop-dark-ko"),
]
"""Each size, scheme and language with each other one at least once."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """A real browser. Where there is none the test is skipped, but not in CI."""
    if not CHROMIUM and not os.environ.get("CI"):
        pytest.skip("no Chromium (Debian: apt install chromium-headless-shell fonts-noto-cjk)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def served_once() -> AsyncIterator[Served]:
    async with serve(Script()) as running:
        yield running


@pytest.fixture
def served(served_once: Served) -> Served:
    """The pages, with an engine that has seen nothing yet."""
    vars(served_once.script).update(vars(Script()))
    return served_once


@pytest.fixture
def script(served: Served) -> Script:
    """What the engine will do; tests change it."""
    return served.script


Contexts = Callable[..., Awaitable[BrowserContext]]


@pytest_asyncio.fixture(loop_scope="session")
async def contexts(chromium: Browser) -> AsyncIterator[Contexts]:
    """Makes browsers of people; keywords are the context's options."""
    opened: list[BrowserContext] = []

    async def contexts(**options: Any) -> BrowserContext:
        opened.append(await chromium.new_context(**{"locale": "en", **DESKTOP, **options}))
        return opened[-1]

    yield contexts
    for each in opened:
        await each.close()


Open = Callable[..., Awaitable[AskPage]]


@pytest.fixture
def visit(contexts: Contexts, served: Served) -> Open:
    """Opens the page as a guest."""

    async def visit(**options: Any) -> AskPage:
        context = await contexts(**options)
        return await AskPage(await context.new_page(), served.url).open()

    return visit


@pytest.fixture
def enter(contexts: Contexts, served: Served) -> Callable[..., Awaitable[tuple[AskPage, Person]]]:
    """Opens the page as a resident of its own whose history is on."""

    async def enter(*, path: str = "", history: bool = True, **options: Any) -> tuple[AskPage, Person]:
        person, token = await resident(served.services, os.urandom(6).hex(), history=history)
        context = await contexts(**options)
        await context.add_cookies([{"name": COOKIE, "value": token, "url": served.url}])
        return await AskPage(await context.new_page(), served.url).open(path), person

    return enter
