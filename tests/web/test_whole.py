"""People on the page of a whole service: ``modu up``, its supervisor, and the real model on two slots."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.conftest import Service, until

from .pages import AskPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
LONG_MS = 90_000
ABOUT_SEOUL = re.compile("서울|수도")
"""What an answer about Korea's capital has in it: the small model is not always right."""
DOCUMENTS = "input[name=public]"
"""The switch of public documents: on at first, for only the engine in the box is there."""
GROWTH = """() => {
    window.grown = [];
    new MutationObserver(() => {
        const answer = [...document.querySelectorAll(".turn .answer")].pop();
        const text = answer && !answer.querySelector(".place") ? answer.textContent.trim() : "";
        if (text && text !== window.grown.at(-1)) window.grown.push(text);
    }).observe(document.getElementById("conversation"), {childList: true, subtree: true});
}"""
"""Notes each state of the newest answer."""
STOP_AT_FIRST_WORD = """() => {
    const observer = new MutationObserver(() => {
        const answer = [...document.querySelectorAll(".turn .answer")].pop();
        if (!answer || answer.querySelector(".place") || !answer.textContent.trim()) return;
        observer.disconnect();
        document.getElementById("stop").click();
    });
    observer.observe(document.getElementById("conversation"), {childList: true, subtree: true});
}"""
"""The fastest finger: an answer of a few words would be over before a test presses the button."""


@pytest.fixture
async def open_page(chromium: Browser, whole: Service) -> Callable[..., Any]:
    async def open_page(**options: Any) -> AskPage:
        context = await chromium.new_context(**options)
        ask = await AskPage(await context.new_page(), whole.url).open()
        await ask.page.locator(DOCUMENTS).uncheck()
        return ask

    return open_page


@contextlib.asynccontextmanager
async def both_slots_busy(whole: Service) -> AsyncIterator[None]:
    """Two streams that go on until left: with a stop text of their own, ours does not end them."""
    body = {
        "model": whole.model,
        "stream": True,
        "max_tokens": 2000,
        "stop": ["@@@"],
        "messages": [{"role": "user", "content": "Hello!"}],
    }
    started = asyncio.Semaphore(0)

    async def occupy(client: httpx.AsyncClient) -> None:
        while True:
            async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                assert answer.status_code == 200
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        started.release()

    async with httpx.AsyncClient(base_url=whole.url, headers=whole.bearer, timeout=60) as client:
        tasks = [asyncio.create_task(occupy(client)) for _ in range(2)]
        try:
            async with asyncio.timeout(60):
                for _ in range(20):  # ten words each, or near it: both run
                    await started.acquire()
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("look", "question", "word"),
    [
        ({"locale": "ko-KR", **PHONE}, "대한민국의 수도는 어디인가요?", ABOUT_SEOUL),
        ({"locale": "en-GB", **DESKTOP}, "What is the capital of France?", re.compile("Paris|capital")),
    ],
    ids=["ko-phone", "en-desktop"],
)
async def test_a_question_is_answered_in_a_stream(
    open_page: Callable[..., Any], whole: Service, look: dict[str, Any], question: str, word: re.Pattern[str]
) -> None:
    ask = await open_page(**look)
    await ask.check("empty")
    await ask.page.evaluate(GROWTH)
    before = len(whole.rows())
    await ask.ask(question)
    await expect(ask.last.locator(".meta")).to_contain_text(whole.model, timeout=LONG_MS)
    await expect(ask.answer).to_contain_text(word)
    grown = await ask.page.evaluate("window.grown")
    assert len(grown) > 2, f"it came at once: {grown}"
    await ask.check("done")
    row = until(lambda: whole.rows()[before:], within_s=60)[0]
    assert (row["outcome"], row["service_class"], row["tokens_source"]) == ("ok", "guest", "engine")


async def test_stop_keeps_the_words_and_is_in_the_ledger(
    open_page: Callable[..., Any], whole: Service
) -> None:
    ask = await open_page(locale="en", **DESKTOP)
    await ask.page.evaluate(STOP_AT_FIRST_WORD)
    before = len(whole.rows())
    await ask.ask("How can I stay healthy? Write a long list.")
    await expect(ask.last.locator(".remark")).to_have_text(
        "Stopped. What was written stays.", timeout=LONG_MS
    )
    assert (await ask.answer.inner_text()).strip()
    await expect(ask.field).to_be_focused()
    await ask.check("stopped")
    row = until(lambda: whole.rows()[before:], within_s=60)[0]
    assert (row["outcome"], row["error"], row["status"]) == ("cancelled", "client_left", 200)


async def test_who_waits_sees_the_place_in_line_and_is_served(
    open_page: Callable[..., Any], whole: Service
) -> None:
    ask = await open_page(locale="ko-KR", **PHONE)
    async with both_slots_busy(whole):
        await ask.ask("대한민국의 수도는 어디인가요?")
        await expect(ask.answer).to_contain_text("1", timeout=LONG_MS)
        assert not ABOUT_SEOUL.search(await ask.answer.inner_text())
        await expect(ask.answer).to_have_attribute("aria-busy", "true")
        await ask.check("waiting")
    await expect(ask.answer).to_contain_text(ABOUT_SEOUL, timeout=LONG_MS)
    await ask.expect_done()


async def test_who_leaves_the_line_is_not_served(open_page: Callable[..., Any], whole: Service) -> None:
    ask = await open_page(locale="en", **DESKTOP)
    before = {row["id"] for row in whole.rows()}
    async with both_slots_busy(whole):
        await ask.ask("Hello?")
        await expect(ask.answer).to_contain_text("1", timeout=LONG_MS)
        await ask.page.locator("#stop").click()
        await expect(ask.page.locator("#send")).to_be_visible()
        mine = until(
            lambda: [r for r in whole.rows() if r["id"] not in before and r["service_class"] == "guest"],
            within_s=60,
        )
        assert [(row["outcome"], row["engine"]) for row in mine] == [("cancelled", "")]


async def test_without_javascript_the_same_question_is_answered(chromium: Browser, whole: Service) -> None:
    context = await chromium.new_context(locale="ko-KR", java_script_enabled=False, **PHONE)
    page = await context.new_page()
    await page.goto(whole.url)
    await page.locator(DOCUMENTS).uncheck()
    await page.locator("#question").fill("대한민국의 수도는 어디인가요?")
    await page.locator("#send").click(timeout=LONG_MS)
    await expect(page.locator(".turn .answer")).to_contain_text(ABOUT_SEOUL, timeout=LONG_MS)
    await expect(page.locator(".turn .meta")).to_contain_text(whole.model)


async def test_the_first_question_is_answered_with_a_source_that_opens(
    chromium: Browser, whole: Service
) -> None:
    """What comes with Modu is known as soon as it runs."""
    found = {"q": "내 대화가 학습에 쓰이나요?"}
    search = f"{whole.url}/v1/search"
    until(lambda: httpx.get(search, params=found, headers=whole.bearer).json().get("data"), within_s=60)
    context = await chromium.new_context(locale="ko-KR", **PHONE)
    ask = await AskPage(await context.new_page(), whole.url).open()
    await expect(ask.page.locator(DOCUMENTS)).to_be_checked()
    await ask.ask(found["q"])
    await expect(ask.answer).to_contain_text("훈련시키지 않습니다", timeout=LONG_MS)
    await ask.expect_done()
    await ask.check("with a source")
    address = await ask.answer.locator("a[href^='/source/']").first.get_attribute("href")
    await ask.page.goto(f"{whole.url}{address}")
    await expect(ask.page.locator("mark").first).to_contain_text("훈련시키지 않습니다")
