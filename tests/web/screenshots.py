"""Takes the pictures of ``docs/screenshots``: ``python -m tests.web.screenshots``.

The engine behind them is scripted, so that they only change when the pages do.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from moduai.accounts.invitations import invite
from moduai.accounts.looks import take_leave
from moduai.accounts.people import Person
from moduai.accounts.sessions import COOKIE

from .harness import ANSWER, LARGE, SMALL, Script, Served, failed, keep, resident, serve, spoken, waiting
from .pages import ARGUMENTS, CHROMIUM, AskPage

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
QUESTIONS = {
    "ko": "서울은 어떤 도시인가요? 표로도 알려 주세요.",
    "en": "What kind of city is Seoul? With a table, please.",
}
TITLES = [
    "이사할 때 전입신고는 어떻게 하나요?",
    "할머니 생신 축하 글",
    "What do I need for a driving licence?",
    "두부와 애호박으로 만들 수 있는 저녁",
    "A cover letter for a nursing home",
    "광합성을 초등학생에게 설명하기",
]
MATHS = r"""이차방정식의 근은 다음과 같습니다.

$$
x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
$$

여기서 \(a \neq 0\)이고, 두 근의 합은 $-\frac{b}{a}$ 입니다.
"""
SIZES = {"phone": {"width": 360, "height": 780}, "desktop": {"width": 1280, "height": 900}}
LOOKS = [
    ("phone", "light", "ko"),
    ("phone", "dark", "en"),
    ("desktop", "light", "en"),
    ("desktop", "dark", "ko"),
]


PROVIDER = {"name": "정부 로그인", "issuer": "https://login.example", "client_id": "modu"}


async def _shot(page: Page, name: str, *look: str, whole: bool = False) -> None:
    await page.screenshot(path=FOLDER / f"{'-'.join((name, *look))}.png", full_page=whole)


async def guests(context: BrowserContext, served: Served, look: tuple[str, str, str]) -> None:
    """All states of the page for asking."""
    script, language = served.script, look[2]
    ask = await AskPage(await context.new_page(), served.url).open()
    await _shot(ask.page, "empty", *look)
    script.gate = asyncio.Event()
    script.events = [*waiting((3, 8.0, 5.0, 14.0)), None, *spoken(ANSWER)]
    await ask.ask(QUESTIONS[language])
    await expect(ask.answer).to_contain_text("3")
    await _shot(ask.page, "waiting", *look)
    script.gate.set()
    await ask.expect_done()
    await _shot(ask.page, "answer", *look)
    script.events = [failed("line_full", 40)]
    await ask.ask("?")
    await expect(ask.last.get_by_role("alert")).to_be_visible()
    await _shot(ask.page, "error", *look)
    if look[0] == "phone":
        await ask.page.goto(served.url + "/about")
        await _shot(ask.page, "about", *look)
    await ask.page.goto(served.url + "/plan")
    await _shot(ask.page, "plan", *look)


async def crowds(context: BrowserContext, served: Served, look: tuple[str, str, str]) -> None:
    """What people are told while very many ask: a lighter model is offered, an answer is cut short."""
    script, language = served.script, look[2]
    models, script.models = script.models, [LARGE, SMALL]
    script.gate = asyncio.Event()
    answer = spoken(ANSWER[: ANSWER.index("\n\n|")], finish_reason="length", step="shortened")
    script.events = [*waiting((9, 42.0, 25.0, 61.0, SMALL.name)), None, *answer]
    ask = await AskPage(await context.new_page(), served.url).open()
    await ask.ask(QUESTIONS[language])
    await expect(ask.last.locator(".offer")).to_be_visible()
    await _shot(ask.page, "offer", *look)
    script.gate.set()
    await ask.expect_done()
    await _shot(ask.page, "cut-short", *look)
    script.models = models


async def residents(
    context: BrowserContext, served: Served, look: tuple[str, str, str], who: tuple[Person, str]
) -> None:
    """What a resident sees besides."""
    await context.add_cookies([{"name": COOKIE, "value": who[1], "url": served.url}])
    page = await context.new_page()
    for name, path in (("resident", "/"), ("conversation", "/c/cnv_0"), ("history", "/history")):
        await page.goto(served.url + path)
        await page.wait_for_timeout(200)  # until the conversation stands at its end
        await _shot(page, name, *look)
    if look[0] == "phone":
        await page.goto(served.url + "/c/cnv_0")
        await page.locator("[data-do=report]").last.click()
        await _shot(page, "report", *look)


async def accounts(
    context: BrowserContext, served: Served, look: tuple[str, str, str], who: tuple[Person, str]
) -> None:
    """Signing in, an invitation, and what is kept about a person."""
    async with served.services.database.begin() as connection:
        invitation, _ = await invite(connection, role="operator")
    await context.clear_cookies()
    page = await context.new_page()
    for name, path in (("sign-in", "/signin"), ("join", f"/join/{invitation}")):
        await page.goto(served.url + path)
        await _shot(page, name, *look)
    await context.add_cookies([{"name": COOKIE, "value": who[1], "url": served.url}])
    await page.goto(served.url + "/me")
    await _shot(page, "my-data", *look, whole=True)


async def take(browser: Browser, served: Served, look: tuple[str, str, str], who: tuple[Person, str]) -> None:
    """All pages in one look."""
    size, scheme, language = look
    context = await browser.new_context(
        viewport=SIZES[size], color_scheme=scheme, locale=language, has_touch=size == "phone"
    )
    await guests(context, served, look)
    await crowds(context, served, look)
    await residents(context, served, look, who)
    await accounts(context, served, look, who)
    await context.close()


async def main() -> None:
    """Every look, one after the other."""
    settings = {"sign_in.providers": {"gov": PROVIDER}}
    script = Script(models=[SMALL, LARGE])
    async with serve(script, **settings) as served, async_playwright() as playwright:
        who = await resident(served.services, history=True)
        staff, _ = await resident(served.services, "steward", role="steward")
        async with served.services.database.begin() as connection:
            await take_leave(connection, staff.id, who[0].id, "신고된 답변이 맞는지 확인하기 위해 읽음")
        for number, title in reversed(list(enumerate(TITLES))):
            turns = ((title, "…"), ("근의 공식은 무엇인가요?", MATHS + "\n" + ANSWER))
            await keep(served.services, who[0], *turns, conversation=f"cnv_{number}")
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for look in LOOKS:
            await take(browser, served, look, who)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
