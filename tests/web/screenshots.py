"""Takes the pictures of ``docs/screenshots``: ``python -m tests.web.screenshots``.

The engine behind them is scripted, so that they only change when the page does.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Browser, async_playwright, expect

from .harness import ANSWER, LARGE, SMALL, Script, Served, failed, serve, spoken, waiting
from .pages import ARGUMENTS, CHROMIUM, AskPage

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
QUESTIONS = {
    "ko": "서울은 어떤 도시인가요? 표로도 알려 주세요.",
    "en": "What kind of city is Seoul? With a table, please.",
}
SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 900}}
LOOKS = [
    ("phone", "light", "ko"),
    ("phone", "dark", "en"),
    ("desktop", "light", "en"),
    ("desktop", "dark", "ko"),
]


async def take(browser: Browser, served: Served, look: tuple[str, str, str]) -> None:
    """All states in one look."""
    size, scheme, language = look
    script, name = served.script, "-".join(look)
    context = await browser.new_context(
        viewport=SIZES[size], color_scheme=scheme, locale=language, has_touch=size == "phone"
    )
    ask = await AskPage(await context.new_page(), served.url).open()
    await ask.page.screenshot(path=FOLDER / f"empty-{name}.png")
    script.gate = asyncio.Event()
    script.events = [*waiting((3, 8.0)), None, *spoken(ANSWER)]
    await ask.ask(QUESTIONS[language])
    await expect(ask.answer).to_contain_text("3")
    await ask.page.screenshot(path=FOLDER / f"waiting-{name}.png")
    script.gate.set()
    await ask.expect_done()
    await ask.page.screenshot(path=FOLDER / f"answer-{name}.png")
    script.events = [failed("line_full", 40)]
    await ask.ask("?")
    await expect(ask.last.get_by_role("alert")).to_be_visible()
    await ask.page.screenshot(path=FOLDER / f"error-{name}.png")
    if size == "phone":
        await ask.page.goto(served.url + "/about")
        await ask.page.screenshot(path=FOLDER / f"about-{name}.png")
    await context.close()


async def main() -> None:
    """Every look, one after the other."""
    async with serve(Script(models=[SMALL, LARGE])) as served, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for look in LOOKS:
            await take(browser, served, look)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
