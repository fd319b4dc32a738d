"""``/plan`` in a browser, as people look at it: without a script, on a phone and a desktop, in print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.web.conftest import chromium
from tests.web.harness import Script, serve
from tests.web.pages import check_accessibility

XA = Path(__file__).parents[2] / "packs" / "xa"
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PHONE, DESKTOP = {"width": 360, "height": 780}, {"width": 1280, "height": 900}

__all__ = ["chromium"]


@pytest.mark.parametrize(
    ("language", "size", "scheme"),
    [
        ("ko-KR", PHONE, "light"),
        ("en-US", PHONE, "dark"),
        ("ko-KR", DESKTOP, "dark"),
        ("en-US", DESKTOP, "light"),
    ],
)
async def test_the_plan_is_read_without_a_script(
    chromium: Browser, language: str, size: dict[str, int], scheme: str
) -> None:
    korean = language.startswith("ko")
    async with serve(Script()) as served:
        context = await chromium.new_context(
            base_url=served.url,
            locale=language,
            viewport=size,
            color_scheme=scheme,
            java_script_enabled=False,  # type: ignore[arg-type]
        )
        page, problems = await context.new_page(), list[str]()
        page.on("console", lambda message: problems.append(message.text))
        page.on("requestfailed", lambda request: problems.append(request.url))
        await page.goto("/about")
        await page.get_by_role("link", name="계획" if korean else "The plan").click()
        await expect(page.locator("h1")).to_contain_text("대한민국" if korean else "Republic of Korea")
        box = await page.locator(".plan").bounding_box()
        assert box is not None
        assert box["width"] <= size["width"], "nothing is wider than the window"

        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        note = page.locator("#money ~ table .note").first
        source = (await note.get_attribute("href") or "")[1:]
        await note.click()
        await expect(page.locator(f"[id='{source}']")).to_be_in_viewport()

        await page.locator("#as-of").fill("2025-04-20")
        await page.locator(".as-of button").click()
        await expect(page).to_have_url(re.compile(r"/plan\?as_of=2025-04-20$"))
        await expect(page.locator("#changes")).to_contain_text("2025-04-20")
        await page.locator(".as-of a").click()
        await expect(page).to_have_url(re.compile(r"/plan$"))

        await page.locator(".waits a[href$=gpus-50000]").first.click()
        await expect(page.locator(".claims li").first).to_be_visible()
        await page.locator(".claims summary").first.click()
        await expect(page.locator(".claims details table").first).to_be_visible()
        assert not problems, problems
        await context.close()


@pytest.mark.parametrize(
    ("path", "size", "scheme"),
    [
        ("/plan", PHONE, "light"),
        ("/plan", DESKTOP, "dark"),
        ("/plan/items/gpus-50000", PHONE, "dark"),
        ("/plan/items/gpus-50000?as_of=never", DESKTOP, "light"),
    ],
)
async def test_everyone_can_use_it(chromium: Browser, path: str, size: dict[str, int], scheme: str) -> None:
    async with serve(Script()) as served:
        context = await chromium.new_context(
            base_url=served.url,
            locale="ko-KR",
            viewport=size,
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        page = await context.new_page()
        await page.goto(path)
        await check_accessibility(page, f"{path} {size['width']} {scheme}")
        assert await page.evaluate(SIDEWAYS) <= 0, "the page scrolls sideways"
        await context.close()


async def test_it_prints_whole(chromium: Browser, tmp_path: Path) -> None:
    async with serve(Script()) as served:
        page = await chromium.new_page(base_url=served.url)
        await page.goto("/plan/items/gpus-50000")
        await page.emulate_media(media="print")
        await expect(page.locator(".claims details table").first).to_be_visible()
        await expect(page.locator(".as-of")).to_be_hidden()
        await page.goto("/plan")
        await expect(page.locator(".contents")).to_be_hidden()
        await expect(page.locator(".triangle")).to_be_visible()
        assert len(await page.pdf()) > 50_000
        await page.close()


@pytest.mark.parametrize("path", ["/", "/plan"])
async def test_a_country_that_is_read_from_the_right(chromium: Browser, path: str) -> None:
    async with serve(Script(), **{"pack.use": str(XA)}) as served:
        context = await chromium.new_context(base_url=served.url, locale="ar", viewport=PHONE)  # type: ignore[arg-type]
        page = await context.new_page()
        await page.goto(path)
        brand = await page.locator(".brand").bounding_box()
        assert brand is not None
        assert brand["x"] > PHONE["width"] / 2, "the page begins at the right"
        await check_accessibility(page, f"{path} in Arabic")
        assert await page.evaluate(SIDEWAYS) <= 0
        await context.close()
