"""Residents on the page: their conversations beside it, found again, changed, reported, deleted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from playwright.async_api import expect

from moduai.accounts.people import Person
from moduai.accounts.reports import list_reports
from moduai.accounts.sessions import COOKIE
from moduai.gateway.local import Delta

from ..harness import ANSWER, LARGE, SMALL, Script, Served, keep, resident, spoken, waiting
from ..pages import AskPage
from .conftest import DESKTOP, LOOKS, PHONE, Contexts, Open

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

Enter = Callable[..., Awaitable[tuple[AskPage, Person]]]
MATHS = r"""The roots:

$$
x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
$$

where \(a \neq 0\).
"""


@pytest.mark.parametrize("look", LOOKS[1:3])
async def test_a_conversation_from_its_first_question_to_its_end(
    enter: Enter, script: Script, served: Served, look: dict[str, Any]
) -> None:
    script.models, script.gate = [SMALL, LARGE], asyncio.Event()
    script.events = [*waiting((2, 4.0)), None, *spoken(MATHS + ANSWER)]
    ask, _ = await enter(**look)
    page = ask.page
    await ask.check("empty")
    await ask.ask("First?")
    await page.wait_for_url(re.compile("/c/cnv_turn-1$"))
    await expect(ask.answer).to_contain_text("2")
    await ask.check("waiting")
    script.gate.set()
    await ask.expect_done()
    await expect(ask.answer.locator("math").first).to_be_visible()
    await ask.check("done")
    script.events = spoken("Two.")
    await ask.ask("Second?")
    await ask.expect_done()
    assert script.places == [("", ""), ("cnv_turn-1", "turn-1")]
    await page.reload()
    await expect(page.locator(".turn")).to_have_count(2)
    await expect(ask.answer).to_have_text("Two.")
    await expect(page.locator("h1")).to_have_text("First?")
    await ask.check("opened again")
    await page.get_by_role("link", name="한국어").click()
    await expect(page.locator(".turn")).to_have_count(2)
    await expect(ask.last.locator(".by")).to_have_text("AI가 만든 답")
    await ask.ask("Third?")
    await ask.expect_done()
    assert script.places[-1] == ("cnv_turn-1", "turn-2")


async def test_edit_and_ask_again_turn_off_where_they_stand(
    enter: Enter, script: Script, served: Served
) -> None:
    ask, person = await enter()
    ids = await keep(served.services, person, ("A?", "a"), ("B?", "b"), ("C?", "c"), conversation="cnv_edit")
    await ask.page.goto(served.url + "/c/cnv_edit")
    script.events = spoken("new")
    await ask.page.locator(".turn").nth(1).get_by_role("button", name="Edit the question").press("Enter")
    box = ask.page.get_by_role("textbox", name="Edit the question")
    await expect(box).to_be_focused()
    await ask.check("editing")
    await box.press("Escape")
    await expect(ask.page.locator(".turn").nth(1).get_by_role("button", name="Edit")).to_be_focused()
    await ask.page.keyboard.press("Enter")
    await box.fill("B2?")
    await box.press("Enter")
    await ask.expect_done()
    await expect(ask.page.locator(".turn")).to_have_count(2)
    await expect(ask.last.locator(".question")).to_have_text("B2?")
    await ask.last.get_by_role("button", name="Ask again").click()
    await ask.expect_done()
    assert script.places == [("cnv_edit", ids[0])] * 2
    assert [message["content"] for message in script.asked[1][0]["messages"]] == ["A?", "a", "B2?"]


@pytest.mark.parametrize("look", [LOOKS[0], LOOKS[2]])
async def test_the_list_is_searched_changed_and_emptied(
    enter: Enter, served: Served, look: dict[str, Any]
) -> None:
    ask, person = await enter(**{**look, "locale": "en"})
    page = ask.page
    for dish in ("rice", "noodles", "soup"):
        name = dish + person.id[-4:]
        await keep(served.services, person, (f"How to cook {name}?", "Boil it."), conversation=f"cnv_{name}")
    await page.goto(served.url + "/history")
    rows = page.locator(".list li:visible")
    await expect(rows).to_have_count(3)
    await ask.check("list")
    await page.get_by_role("searchbox").fill("NOODLES")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(1)
    await rows.first.locator("summary").press("Enter")
    await ask.check("menu")
    await page.get_by_label("Name").fill("Supper")
    await page.get_by_role("button", name="Rename").click()
    await expect(page.locator(".list")).to_contain_text("Supper")
    row = page.locator(".list li", has_text="Supper")
    await row.locator("summary").click()
    await row.get_by_role("button", name="Delete").click()
    await expect(rows).to_have_count(2)
    await expect(page.get_by_role("button", name="Undo")).to_be_focused()
    await ask.check("deleted, to be taken back")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(3)
    await row.locator("summary").click()
    await row.get_by_role("button", name="Delete").click()
    await page.goto(served.url + "/")  # who leaves has decided
    await page.goto(served.url + "/history")
    async with asyncio.timeout(60):
        while await rows.count() != 2:  # what is sent in leaving may come after the next page
            await page.reload()
    await expect(page.locator(".list")).not_to_contain_text("Supper")


async def test_deleting_from_the_conversation_can_be_taken_back_on_the_list(
    enter: Enter, served: Served
) -> None:
    ask, person = await enter()
    await keep(served.services, person, ("Here?", "Yes."), conversation="cnv_here")
    await ask.page.goto(served.url + "/c/cnv_here")
    await ask.page.locator(".title summary").click()
    await ask.check("menu of the conversation")
    await ask.page.get_by_role("button", name="Delete this conversation").click()
    await ask.page.get_by_role("button", name="Undo").click()
    await expect(ask.page.locator(".list li:visible")).to_have_count(1)
    await expect(ask.page.locator("#status")).to_have_text("The conversation is still there.")


@pytest.mark.parametrize("who", ["guest", "resident"])
async def test_an_answer_is_reported_by_keyboard(
    visit: Open, enter: Enter, script: Script, served: Served, who: str
) -> None:
    script.events = spoken("Bad words.")
    ask = await visit() if who == "guest" else (await enter())[0]
    await ask.ask("Say it")
    await ask.expect_done()
    button = ask.last.locator("[data-do=report]")
    await button.press("Enter")
    dialog = ask.page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await ask.check("report")
    await ask.page.keyboard.press("Escape")
    await expect(button).to_be_focused()
    await button.press("Enter")
    await ask.page.get_by_label("It is harmful or hateful").check()
    await ask.page.get_by_label("Remark").fill("Not for children.")
    await ask.page.get_by_role("button", name="Send the report").press("Enter")
    await expect(dialog).to_be_hidden()
    await expect(ask.status).to_have_text("Thank you. Your report was sent.")
    await expect(button).to_be_focused()
    async with served.services.database.connect() as connection:
        report = (await list_reports(connection))[0]
    assert (report.reason, report.turn, bool(report.person)) == ("harmful", "turn-1", who == "resident")


async def test_without_javascript_everything_is_a_form(enter: Enter, script: Script, served: Served) -> None:
    script.events = spoken("One.")
    ask, _ = await enter(java_script_enabled=False, **PHONE)
    page = ask.page
    await ask.ask("First?")
    await expect(ask.answer).to_contain_text("One.")
    await expect(page.locator("[data-do=copy]:visible")).to_have_count(0)
    await ask.ask("Second?")
    await expect(page.locator(".turn")).to_have_count(2)
    await page.get_by_role("button", name="Edit the question").first.click()
    await expect(ask.field).to_have_value("First?")
    await expect(page.locator(".turn")).to_have_count(0)
    await ask.ask("First, but better?")
    await expect(page.locator(".turn")).to_have_count(1)
    assert script.places == [("", ""), ("cnv_turn-1", "turn-1"), ("cnv_turn-1", "")]
    await page.get_by_role("button", name="Report this").click()
    await page.get_by_label("Something else").check()
    await page.get_by_role("button", name="Send the report").click()
    await expect(page.get_by_role("status")).to_have_text("Thank you. Your report was sent.")
    await page.get_by_role("link", name="Back to the conversation").click()
    await page.wait_for_url(re.compile("/c/cnv_turn-1$"))
    await page.get_by_role("link", name="History").click()
    await expect(page.get_by_role("heading", name="Your conversations")).to_be_visible()


async def test_without_javascript_deleting_asks_first(enter: Enter, served: Served) -> None:
    ask, person = await enter(java_script_enabled=False, **PHONE)
    page = ask.page
    await keep(served.services, person, ("Here?", "Yes."), conversation="cnv_nojs")
    await page.goto(served.url + "/history")
    await page.locator("summary").click()
    await page.get_by_role("button", name="Delete this conversation").click()
    await expect(page.get_by_role("heading")).to_have_text("Delete this conversation?")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("Nothing is kept yet.")).to_be_visible()


async def test_hostile_text_is_only_shown(enter: Enter, script: Script, served: Served) -> None:
    attack = "\u202e<script>alert(1)</script><img src=x onerror=alert(2)>\u2066 " + "W" * 300
    ask, person = await enter(**PHONE)
    ask.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    await keep(
        served.services, person, (attack, attack + "\n\nשלום\n\n" + "글 " * 300_000), conversation="cnv_bad"
    )
    for path in ("/c/cnv_bad", "/history", "/"):
        await ask.page.goto(served.url + path)
        await expect(ask.page.locator("h1")).to_be_visible()
        assert await ask.page.locator("main img, main script, nav script").count() == 0
        assert await ask.sideways() <= 0
    await ask.check("hostile")


async def test_drafts_are_nobody_elses(enter: Enter, served: Served) -> None:
    ask, person = await enter()
    page = ask.page
    await keep(served.services, person, ("Here?", "Yes."), conversation="cnv_draft")
    await ask.field.fill("A new thought")
    await page.goto(served.url + "/c/cnv_draft")
    await expect(ask.field).to_have_value("")
    await ask.field.fill("An answer to that")
    await page.goto(served.url + "/")
    await expect(ask.field).to_have_value("A new thought")
    await page.goto(served.url + "/c/cnv_draft")
    await expect(ask.field).to_have_value("An answer to that")
    _, other = await resident(served.services, "another", history=True)
    await page.context.add_cookies([{"name": COOKIE, "value": other, "url": served.url}])
    await page.goto(served.url + "/")
    await expect(ask.field).to_have_value("")
    assert await page.evaluate("Object.keys(localStorage).length") == 0


async def test_a_long_conversation_opens_and_goes_on(enter: Enter, script: Script, served: Served) -> None:
    ask, person = await enter(**DESKTOP)
    turns = [(f"Question {n}?", f"Answer **{n}**.\n\n- a\n- b\n") for n in range(500)]
    ids = await keep(served.services, person, *turns, conversation="cnv_long")
    await ask.page.goto(served.url + "/c/cnv_long")
    await expect(ask.page.locator(".turn")).to_have_count(50)
    await ask.page.get_by_role("link", name="Show earlier questions").click()
    await expect(ask.page.locator(".turn")).to_have_count(500)
    await expect(ask.last).to_be_in_viewport()
    script.events = [Delta("On."), *spoken(" And on.")]
    await ask.ask("Next?")
    await expect(ask.last.locator(".meta")).not_to_be_empty()
    assert script.places == [("cnv_long", ids[-1])]
    fourth = ask.page.locator(".turn").nth(3)
    await fourth.get_by_role("button", name="Edit the question").click()
    await ask.page.get_by_role("textbox", name="Edit the question").press("Enter")
    await expect(ask.page.locator(".turn")).to_have_count(4)
    await expect(ask.last.get_by_role("button", name="Ask again")).to_be_visible()
    assert script.places[-1] == ("cnv_long", ids[2])


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "form"])
async def test_switching_language_keeps_a_guests_conversation(
    contexts: Contexts, served: Served, script: Script, *, javascript: bool
) -> None:
    script.events = spoken("One **answer**.")
    context = await contexts(java_script_enabled=javascript)
    ask = await AskPage(await context.new_page(), served.url).open()
    await ask.ask("First?")
    await expect(ask.last.locator(".meta")).not_to_be_empty()
    await ask.page.locator("[data-lang=ko]").click()
    await expect(ask.page.locator("html")).to_have_attribute("lang", "ko")
    await expect(ask.answer.locator("strong")).to_have_text("answer")
    await ask.ask("Second?")
    await expect(ask.page.locator(".turn")).to_have_count(2)
    await expect(ask.last.locator(".meta")).not_to_be_empty()
    contents = [message["content"] for message in script.asked[1][0]["messages"]]
    assert contents == ["First?", "One **answer**.", "Second?"]
