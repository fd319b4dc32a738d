"""Page objects: what people do on a page, and an accessibility check of each state that they pass."""

from __future__ import annotations

import os
import shutil

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Locator, Page, expect

expect.set_options(timeout=30_000)  # milliseconds; a machine under load takes many times its usual ones
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NAMES = (
    os.environ.get("CHROMIUM", ""), "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"
)  # fmt: skip
CHROMIUM = next((found for name in NAMES if name and (found := shutil.which(name))), "")
"""The browser, found as scripts/browser finds it; empty if there is none. The one without a window first: it
draws no toolbar for each page, and takes half the time.
"""
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ALONE = [
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--mute-audio",
    "--password-store=basic",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--force-color-profile=srgb",
]
"""For a browser that is started by itself and driven through its port."""


async def check_accessibility(page: Page, state: str) -> None:
    """No violation of WCAG 2.2 AA in this state."""
    options = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
    results = await Axe().run(page, options=options)
    assert results.violations_count == 0, f"{state}:\n{results.generate_report()}"


class AskPage:
    """The page for asking."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda m: self.problems.append(m.text) if "Content Security" in m.text else None)
        self.foreign: list[str] = []
        page.on("request", lambda r: None if r.url.startswith(url) else self.foreign.append(r.url))

    @property
    def field(self) -> Locator:
        return self.page.locator("#question")

    @property
    def last(self) -> Locator:
        """The newest turn."""
        return self.page.locator(".turn").last

    @property
    def answer(self) -> Locator:
        return self.last.locator(".answer")

    @property
    def status(self) -> Locator:
        """The live region."""
        return self.page.locator("#status")

    async def open(self, query: str = "") -> AskPage:
        await self.page.goto(f"{self.url}/{query}")
        await expect(self.page.locator("h1")).to_be_visible()
        return self

    async def ask(self, question: str) -> None:
        await self.field.fill(question)
        await self.page.locator("#send").click()

    async def expect_done(self) -> None:
        await expect(self.last.locator(".meta")).not_to_be_empty()
        await expect(self.page.locator("#send")).to_be_visible()

    async def check(self, state: str) -> None:
        # elsewhere the box for the question covers part of what can be scrolled
        await self.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        await check_accessibility(self.page, state)
        assert await self.sideways() <= 0, f"{state}: the page scrolls sideways"
        assert not self.problems, self.problems
        assert not self.foreign, self.foreign

    async def sideways(self) -> int:
        """Pixels by which the page is wider than its window."""
        width: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return width
