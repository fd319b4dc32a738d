"""Pictures of the console for people to look at: ``python -m tests.web.console.screenshots``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from moduai.accounts.sessions import COOKIE
from tests.web.harness import _listening as listening
from tests.web.office import ENGINE, Office, office
from tests.web.pages import ARGUMENTS, CHROMIUM

from .conftest import crowded, fill

FOLDER = Path(__file__).parents[3] / "docs" / "screenshots"
LOOKS = [
    ("desktop", "light", "en", {"width": 1280, "height": 860}),
    ("phone", "dark", "ko", {"width": 390, "height": 844}),
]


async def take(browser: Browser, url: str, desk: Office, look: tuple[str, str, str, dict[str, int]]) -> None:
    """Every page in one look."""
    size, scheme, language, viewport = look
    context = await browser.new_context(viewport=viewport, color_scheme=scheme, locale=language)
    await context.add_cookies([{"name": COOKIE, "value": desk.tokens["admin"], "url": url}])
    page = await context.new_page()
    pages = {
        "now": "/console",
        "shares": "/console/shares",
        "usage": "/console/usage",
        "engine": f"/console/engines/{ENGINE.id}",
        "switches": "/console/switches",
        "reports": "/console/reports",
        "person": f"/console/people/{desk.people['resident']}",
        "keys": "/console/keys",
        "settings": "/console/settings",
        "audit": "/console/audit",
        "scenarios": "/console/scenarios?scenario=kr-50000&days=2&launch=8",
    }
    for name, path in pages.items():
        await page.goto(url + path)
        await page.screenshot(path=FOLDER / f"console-{name}-{size}-{scheme}-{language}.png")
    await context.close()


async def main() -> None:
    """Every look, one after the other."""
    async with office() as desk, listening(desk.app) as url, async_playwright() as playwright:
        await fill(desk)
        await desk.follow()
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        async with crowded(desk):
            for look in LOOKS:
                await take(browser, url, desk, look)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
