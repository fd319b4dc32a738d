"""The page in Chromium: people's walks through it, each state checked for accessibility."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import expect

from moduai.gateway.local import Delta

from ..harness import ANSWER, LARGE, SMALL, Script, Served, failed, spoken, waiting
from ..pages import AskPage, check_accessibility
from .conftest import DESKTOP, LOOKS, PHONE, Contexts, Open

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

SAID = """() => { window.said = []; new MutationObserver(() => window.said.push(
    document.getElementById("status").textContent)).observe(
    document.getElementById("status"), {childList: true, characterData: true, subtree: true}); }"""
"""Notes what the live region says."""


@pytest.mark.parametrize("look", LOOKS)
async def test_every_state_is_accessible(visit: Open, script: Script, look: dict[str, Any]) -> None:
    script.models, script.gate = [SMALL, LARGE], asyncio.Event()
    script.events = [*waiting((3, 8.0)), None, *spoken(ANSWER)]
    ask = await visit(**look)
    await ask.check("empty")
    await ask.page.locator(".models summary").click()
    await ask.check("models")
    await ask.page.keyboard.press("Escape")
    await ask.ask("Where is Seoul? " + "서울" * 60)
    await expect(ask.answer).to_contain_text("3")
    await ask.check("waiting")
    script.gate.set()
    await ask.expect_done()
    await expect(ask.answer.locator("table")).to_be_visible()
    await expect(ask.last.locator(".actions")).to_be_in_viewport(ratio=1)
    await ask.check("done")
    script.events = [Delta("Half"), failed("line_full", 40)]
    await ask.ask("And?")
    await expect(ask.last.get_by_role("alert")).to_contain_text("40")
    await ask.check("error")


async def test_streaming_shows_growth_and_announces_only_begin_and_end(visit: Open, script: Script) -> None:
    script.gate = asyncio.Event()
    script.events = [Delta("First words"), None, *spoken(" and **more**.")]
    ask = await visit()
    await ask.page.evaluate(SAID)
    await ask.ask("Hello?")
    await expect(ask.answer).to_have_text("First words")
    await expect(ask.answer).to_have_attribute("aria-busy", "true")
    await expect(ask.page.locator("#stop")).to_be_visible()
    await ask.check("streaming")
    script.gate.set()
    await ask.expect_done()
    await expect(ask.answer.locator("strong")).to_have_text("more")
    await expect(ask.last.locator(".meta")).to_contain_text("gemma3-270m by Google")
    assert await ask.page.evaluate("window.said") == ["The AI is answering.", "The answer is complete."]


async def test_a_place_that_changes_often_is_said_once(visit: Open, script: Script) -> None:
    script.gate = asyncio.Event()
    script.events = [*waiting(*((n, n * 4.0, n * 3.0, n * 6.0) for n in (5, 4, 3, 2))), None, *spoken("Hi.")]
    ask = await visit(locale="en")
    await ask.page.evaluate(SAID)
    await ask.ask("Hello?")
    await expect(ask.answer).to_have_text(
        "You are number 2 in line. About 8 seconds to go (6 to 12 seconds)."
    )
    script.gate.set()
    await ask.expect_done()
    assert await ask.page.evaluate("window.said") == [
        "The AI is answering.",
        "You are number 5 in line. About 20 seconds to go (15 to 30 seconds).",
        "The answer is complete.",
    ]


@pytest.mark.parametrize("look", LOOKS)
async def test_a_lighter_model_can_be_asked_instead(
    visit: Open, script: Script, look: dict[str, Any]
) -> None:
    script.models, script.gate = [LARGE, SMALL], asyncio.Event()
    script.events = [
        *waiting((9, 42.0, 25.0, 61.0), (8, 40.0, 25.0, 60.0, SMALL.name)),
        None,
        *spoken("Late."),
    ]
    ask = await visit(**look)
    await ask.ask("Hello?")
    button = ask.last.locator(".offer button")
    await expect(button).to_contain_text(SMALL.name)
    await expect(ask.status).to_contain_text(SMALL.name)
    await ask.check("a lighter model is offered")
    script.gate, script.events = None, spoken("Sooner.")
    await button.press("Enter")
    await expect(ask.answer).to_have_text("Sooner.")
    await ask.expect_done()
    await expect(ask.page.locator(".offer, .remark")).to_have_count(0)
    await expect(ask.page.locator(".turn")).to_have_count(1)
    await expect(ask.page.locator("#chosen")).to_have_text(LARGE.name)
    assert [body["model"] for body, _ in script.asked] == [LARGE.name, SMALL.name]
    assert script.asked[0][0]["messages"] == script.asked[1][0]["messages"]
    assert script.closed == 2, "the first has left the line"


async def test_the_offer_goes_when_the_answer_comes(visit: Open, script: Script) -> None:
    script.models, script.gate = [LARGE, SMALL], asyncio.Event()
    script.events = [*waiting((2, 9.0, 5.0, 20.0, SMALL.name)), None, *spoken("Late.")]
    ask = await visit()
    await ask.ask("Hello?")
    await ask.last.locator(".offer button").focus()
    script.gate.set()
    await expect(ask.answer).to_have_text("Late.")
    await ask.expect_done()
    await expect(ask.page.locator(".offer")).to_have_count(0)
    await expect(ask.field).to_be_focused()


async def test_stop_keeps_what_was_written_and_cancels_upstream(visit: Open, script: Script) -> None:
    script.gate, script.events = asyncio.Event(), [Delta("Kept words"), None]
    ask = await visit()
    await ask.ask("Hello?")
    await expect(ask.answer).to_have_text("Kept words")
    await ask.page.locator("#stop").press("Enter")
    await asyncio.wait_for(script.ended.wait(), 5)
    await expect(ask.answer).to_have_text("Kept words")
    await expect(ask.status).to_have_text("Stopped. What was written stays.")
    await expect(ask.last.locator(".remark")).to_have_text("Stopped. What was written stays.")
    await expect(ask.field).to_be_focused()
    script.gate, script.events = None, spoken("On.")
    await ask.ask("Go on")
    await ask.expect_done()
    contents = [message["content"] for message in script.asked[1][0]["messages"]]
    assert contents == ["Hello?", "Kept words", "Go on"]


async def test_a_conversation_by_keyboard_only(visit: Open, script: Script) -> None:
    script.models, script.events = [SMALL, LARGE], spoken("One.")
    ask = await visit()
    keys = ask.page.keyboard
    for _ in range(6):
        await keys.press("Tab")
    await expect(ask.field).to_be_focused()
    await keys.type("First?")
    await keys.press("Shift+Enter")
    await keys.type("Second line")
    await keys.press("Tab")
    await keys.press("Enter")
    await keys.press("Tab")
    await keys.press("ArrowDown")
    await expect(ask.page.locator("#chosen")).to_have_text("haneul-32b")
    await keys.press("Escape")
    await keys.press("Tab")
    await expect(ask.page.locator("#send")).to_be_focused()
    await keys.press("Enter")
    await ask.expect_done()
    await expect(ask.field).to_be_focused()
    body = script.asked[0][0]
    assert (body["model"], body["messages"][0]["content"]) == ("haneul-32b", "First?\nSecond line")
    await keys.type("Next?")
    await keys.press("Enter")
    await expect(ask.page.locator(".turn")).to_have_count(2)
    await ask.expect_done()
    assert len(script.asked[1][0]["messages"]) == 3
    await ask.page.locator("#new").press("Enter")
    await expect(ask.page.locator(".turn")).to_have_count(0)
    await expect(ask.field).to_be_focused()


async def test_enter_that_ends_a_hangul_syllable_does_not_send(visit: Open, script: Script) -> None:
    ask = await visit(locale="ko")
    await ask.field.fill("안녕")
    await ask.field.evaluate(
        "field => field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true}))"
    )
    await expect(ask.page.locator(".turn")).to_have_count(0)
    await ask.field.press("Enter")
    await ask.expect_done()
    assert len(script.asked) == 1


async def test_copy_and_ask_again(visit: Open, script: Script) -> None:
    script.events = spoken("One **answer**.")
    ask = await visit(permissions=["clipboard-read", "clipboard-write"])
    await ask.ask("Hello?")
    await ask.expect_done()
    await ask.last.get_by_role("button", name="Copy").click()
    await expect(ask.status).to_have_text("Copied")
    assert await ask.page.evaluate("navigator.clipboard.readText()") == "One **answer**."
    script.events = spoken("Another.")
    await ask.last.get_by_role("button", name="Ask again").click()
    await expect(ask.answer).to_have_text("Another.")
    await ask.expect_done()
    assert script.asked[1][0]["messages"] == script.asked[0][0]["messages"]


async def test_drafts_survive_a_reload_and_end_with_sending(visit: Open) -> None:
    ask = await visit()
    await ask.field.fill("Half a thought")
    await ask.page.reload()
    await expect(ask.field).to_have_value("Half a thought")
    await ask.page.locator("#send").click()
    await ask.expect_done()
    await ask.page.reload()
    await expect(ask.field).to_have_value("")


async def test_offline_is_said_and_can_be_tried_again(visit: Open, script: Script) -> None:
    script.events = spoken("Back.")
    ask = await visit()
    await ask.page.context.set_offline(True)
    await ask.ask("Hello?")
    await expect(ask.last.get_by_role("alert")).to_contain_text("No connection.")
    await check_accessibility(ask.page, "offline")
    await ask.page.context.set_offline(False)
    await ask.last.get_by_role("button", name="Ask again").click()
    await expect(ask.answer).to_have_text("Back.")
    await expect(ask.last.get_by_role("alert")).to_have_count(0)


async def test_markup_in_questions_and_answers_is_only_shown(visit: Open, script: Script) -> None:
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    script.events = spoken(attack + "\n\n[x](javascript:alert(3))")
    ask = await visit()
    ask.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    await ask.ask(attack)
    await ask.expect_done()
    await expect(ask.last.locator(".question")).to_have_text(attack)
    await expect(ask.answer).to_contain_text("onerror=alert(1)")
    assert await ask.page.locator(".turn img, .turn script").count() == 0
    await ask.check("attack")


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_without_javascript(
    contexts: Contexts, served: Served, script: Script, size: dict[str, Any]
) -> None:
    script.events = [*waiting((2, 3.0)), *spoken(ANSWER)]
    context = await contexts(java_script_enabled=False, locale="ko-KR", **size)
    page = await context.new_page()
    ask = await AskPage(page, served.url).open()
    await ask.ask("서울은 어떤 곳인가요?")
    await expect(ask.answer.locator("table")).to_be_visible()
    await expect(ask.answer.locator(".place:visible")).to_have_count(0)
    await expect(ask.last.locator(".meta")).to_contain_text("Google")
    await ask.ask("또?")
    await expect(page.locator(".turn")).to_have_count(2)
    assert len(script.asked[1][0]["messages"]) == 3
    await page.get_by_role("button", name="다시 묻기").click()
    await expect(page.locator(".turn")).to_have_count(2)
    assert script.asked[2][0]["messages"] == script.asked[1][0]["messages"]
    html = await page.content()
    await context.close()
    await _check_still(contexts, served, html, size)


async def test_without_javascript_the_wait_is_shown(
    contexts: Contexts, served: Served, script: Script
) -> None:
    script.gate, script.events = asyncio.Event(), [*waiting((2, None)), None, *spoken("Here.")]
    context = await contexts(java_script_enabled=False, locale="en", **PHONE)
    ask = await AskPage(await context.new_page(), served.url).open()
    await ask.field.fill("Hello?")
    await ask.page.locator("#send").click(no_wait_after=True)
    await expect(ask.answer.locator(".place:visible")).to_have_text("You are number 2 in line.")
    script.gate.set()
    await expect(ask.answer).to_contain_text("Here.")
    await expect(ask.answer.locator(".place:visible")).to_have_count(0)


async def _check_still(contexts: Contexts, served: Served, html: str, size: dict[str, Any]) -> None:
    """Axe is a script, so it looks at the same page where scripts run but ours is kept away."""
    context = await contexts(locale="ko-KR", **size)
    page = await context.new_page()
    await page.route("**/*.js", lambda route: route.abort())
    shown = html.replace("<noscript>", "").replace("</noscript>", "")
    await page.route(served.url + "/still", lambda route: route.fulfill(body=shown, content_type="text/html"))
    await page.goto(served.url + "/still")
    await page.evaluate("scrollTo(0, document.body.scrollHeight)")
    await check_accessibility(page, "without JavaScript")


@pytest.mark.parametrize("path", ["/about", "/nothing"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_other_pages_are_accessible(visit: Open, served: Served, path: str, scheme: str) -> None:
    ask = await visit(color_scheme=scheme, **PHONE)
    await ask.page.goto(served.url + path)
    await ask.check(path)
    await ask.page.get_by_role("link", name="Ask a question").click()
    await expect(ask.field).to_be_visible()


async def test_the_language_is_switched_on_the_page(visit: Open) -> None:
    ask = await visit(locale="ko-KR")
    await ask.page.get_by_role("link", name="English").click()
    await expect(ask.page.locator("h1")).to_have_text("Ask anything")
    await ask.page.goto(ask.url + "/about")
    await expect(ask.page.locator("h1")).to_have_text("About this service")


async def test_at_two_hundred_per_cent_nothing_is_cut_off(visit: Open, script: Script) -> None:
    """A 1280 px window at 400 % is 320 px wide: WCAG's reflow."""
    script.events = spoken(ANSWER)
    ask = await visit(viewport={"width": 320, "height": 256})
    await ask.check("empty at 400 %")
    await ask.ask("Hello?")
    await ask.expect_done()
    await ask.check("done at 400 %")
    await expect(ask.field).to_be_in_viewport()
